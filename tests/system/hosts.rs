//! Two hosts with a slow cable between them train as one machine does, bit for bit.

use std::path::Path;

use crate::program;
use coordinator::Until;
use harness::certs::certificates;
use harness::cluster::{Cluster, shards};
use harness::hosts::{ADDRESSES, Hosts};
use harness::process::wait;
use harness::roles::{Machine, Running};

use crate::trust::{coordinator, intrude, loader, text, worker};

const A: &str = ADDRESSES[0];
const B: &str = ADDRESSES[1];
const MILLISECOND: u32 = 1000;

/// Two hosts, or a line that says why there are none.
fn hosts(folder: &Path) -> Option<Hosts> {
    match Hosts::new(&Machine::here(program(), folder), Some("1gbit")) {
        Ok(hosts) => Some(hosts),
        Err(why) => {
            eprintln!("skipped: {why}");
            None
        }
    }
}

fn on_one_machine(folder: &Path, steps: u64) -> Vec<Vec<u8>> {
    let mut cluster = Cluster::small(&folder.join("one-machine"));
    cluster.until = Until::Steps(steps);
    cluster.run();
    cluster.shards(steps)
}

/// Waits until the run of `folder` has recorded a step.
fn wait_for_step(folder: &Path, step: u64) {
    let metrics = folder.join("run/metrics.jsonl");
    let wanted = format!("\"step\":{step},");
    wait(&format!("step {step}"), || {
        std::fs::read_to_string(&metrics).is_ok_and(|text| text.contains(&wanted))
    });
}

fn all_end_well(roles: impl IntoIterator<Item = Running>) {
    for role in roles {
        let log = role.log();
        assert!(role.end().success(), "{log}");
    }
}

/// 1 ms each way, mutual TLS; while it waits for its second half, everyone who has no business in
/// the run tries to get in from the other host; then the cable is cut and healed in mid-run.
#[test]
fn two_hosts_train_as_one_despite_foreign_connections() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(hosts) = hosts(folder) else { return };
    let [a, b] = &hosts.machines;
    let certs = certificates(folder, "certs");
    let secure = ["--certs", text(&certs)];
    let (_c, public) = hosts.delay(0, 4000, MILLISECOND);
    let (_l, loads) = hosts.delay(0, 4001, MILLISECOND);
    let (mut cable, half_a) = hosts.delay(0, 4002, MILLISECOND);
    let (_b, half_b) = hosts.delay(1, 4002, MILLISECOND);
    let listen = |host: &str, port: u16| format!("{host}:{port}");

    let more = [&secure[..], &["--steps", "60", "--checkpoint-every", "10"]].concat();
    let coordinator = coordinator(a, folder, &listen(A, 4000), &more);
    let more = [&secure[..], &["--advertise", &loads]].concat();
    let loader = loader(a, &listen(A, 4000), &listen(A, 4001), &more);
    let [own_a, own_b] = [listen(A, 4002), listen(B, 4002)];
    let more = [&secure[..], &["--listen", &own_a, "--advertise", &half_a]].concat();
    let first = worker(a, "half-a", &listen(A, 4000), &more);
    intrude(b, folder, &coordinator, &public);

    let more = [&secure[..], &["--listen", &own_b, "--advertise", &half_b]].concat();
    let second = worker(b, "half-b", &public, &more);
    wait_for_step(folder, 15);
    intrude_again(b, folder, &public);
    wait_for_step(folder, 20);
    cable.cut();
    coordinator.wait_for("returning to the last");
    cable.heal();
    all_end_well([first, second, loader, coordinator]);
    assert!(on_one_machine(folder, 60) == shards(&folder.join("run"), 60), "other bits");
}

/// In mid-run, what the run must not even notice.
fn intrude_again(machine: &Machine, folder: &Path, address: &str) {
    let foreign = folder.join("foreign");
    for more in [&[][..], &["--certs", text(&foreign)]] {
        let (well, said) = machine.run(&[&["worker", "--coordinator", address][..], more].concat());
        assert!(!well, "{said}");
    }
}

/// The address that half B announces is one of its own machine only: half A says what it tried.
#[test]
fn an_unreachable_address_is_reported_with_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some(hosts) = hosts(folder) else { return };
    let [a, b] = &hosts.machines;
    let certs = certificates(folder, "certs");
    let secure = ["--certs", text(&certs)];
    let at = format!("{A}:4000");
    let more = [&secure[..], &["--steps", "10"]].concat();
    let coordinator = coordinator(a, folder, &at, &more);
    // A loader that says it is on the coordinator's own machine, which it is not.
    let lost = loader(b, &at, "127.0.0.1:4001", &secure);
    let tried = format!("the coordinator ({at}) can't reach the loader at 127.0.0.1:4001");
    for said in [&lost, &coordinator] {
        said.wait_for(&tried);
        said.wait_for("--advertise HOST:PORT");
    }
    drop(lost);
    let _loader = loader(a, &at, &format!("{A}:4001"), &secure);
    let own = format!("{A}:4002");
    let first = worker(a, "half-a", &at, &[&secure[..], &["--listen", &own]].concat());
    let _second =
        worker(b, "half-b", &at, &[&secure[..], &["--listen", "127.0.0.1:4002"]].concat());
    first.wait_for(&format!("this worker ({own}) can't reach the worker at 127.0.0.1:4002"));
    first.wait_for("that address means this machine itself");
}
