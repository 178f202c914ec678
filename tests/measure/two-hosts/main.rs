//! Measures training across two hosts: the full AlexNet in network namespaces, with 1 ms of delay
//! each way, at 10 and 1 Gbit/s, with TLS and without; then the cost of TLS for the exchange alone.
//!
//! Run it as root, on an idle machine; with 0 steps it measures TLS alone:
//!
//! ```text
//! cargo build --release -p system-tests --bins
//! cargo run --release -p system-tests --example two-hosts [STEPS]
//! ```

mod goodput; // the exchange alone
mod records; // reads the records of a run

use std::path::Path;

use harness::certs::certificates;
use harness::hosts::{ADDRESSES, Hosts};
use harness::process::wait_long;
use harness::roles::Machine;

use records::{median, row, steps};

/// Enough pictures that no evaluation comes between the steps.
const DATA: &str = "synthetic:256:4096:128";
const DELAY_US: u32 = 1000;
/// Number of steps until caches, memory and connections are warm.
const WARM_UP: u64 = 2;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let measured: u64 = args.get(1).map_or(6, |n| n.parse().expect("a number of steps"));
    let rates: &[&str] = if measured == 0 { &[] } else { &["10gbit", "1gbit"] };
    let own = std::env::current_exe().expect("this file");
    let built = own.ancestors().nth(2).expect("target/release/examples/two-hosts");
    let program = built.join("alexnet-under-test");
    let program = program.to_str().expect("a path in UTF-8");
    let folder = tempfile::tempdir().expect("room for runs");
    let certs = certificates(folder.path(), "certs");
    let certs = certs.to_str().expect("a path in UTF-8");
    say("ms per half and exchange point: waiting for bytes + waiting for the peer to send");
    say("");
    say("| cable | TLS | step | conv3 | fc6 | fc7 | fc8 | logits | hidden |");
    say("|---|---|---|---|---|---|---|---|---|");
    for rate in rates {
        for secure in [false, true] {
            let run = folder.path().join(format!("{rate}-{secure}"));
            std::fs::create_dir(&run).expect("a folder");
            let machine = Machine::here(program, &run);
            let more = if secure { vec!["--certs", certs] } else { vec!["--insecure"] };
            let row = train(&machine, &run, rate, &more, WARM_UP + measured);
            say(&format!("| {rate} | {} | {row} |", if secure { "yes" } else { "no" }));
            std::fs::remove_dir_all(&run).expect("an end to it");
        }
    }
    say("");
    goodput::measure(Path::new(certs));
}

#[expect(clippy::print_stdout, reason = "a table for people")]
fn say(line: &str) {
    println!("{line}");
}

/// Trains `until` steps across two hosts and returns the row of the table.
fn train(machine: &Machine, folder: &Path, rate: &str, more: &[&str], until: u64) -> String {
    let hosts = match Hosts::new(machine, Some(rate)) {
        Ok(hosts) => hosts,
        Err(why) => return why,
    };
    let [a, b] = &hosts.machines;
    let at = |host: usize, port: u16| format!("{}:{port}", ADDRESSES[host]);
    let run = folder.join("run");
    let run = run.to_str().expect("a path in UTF-8");
    let (_coordinator, public) = hosts.delay(0, 4000, DELAY_US);
    let (_half_a, half_a) = hosts.delay(0, 4002, DELAY_US);
    let (_half_b, half_b) = hosts.delay(1, 4002, DELAY_US);
    let steps_typed = (until + 1).to_string();
    let with = |args: &[&str]| [args, more].concat().into_iter().map(String::from).collect();
    let start = |machine: &Machine, name: &str, args: Vec<String>| {
        machine.start(name, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let local = at(0, 4000);
    let listen = ["coordinator", "--listen", &local, "--run", run, "--recipe", "caffe"];
    let typed = ["--steps", &steps_typed, "--timing-every", "1"];
    let coordinator = start(a, "coordinator", with(&[&listen[..], &typed].concat()));
    let loader = |host: usize, coordinator: &str| {
        let listen = at(host, 4001);
        let args = ["loader", "--coordinator", coordinator, "--listen", &listen, "--data", DATA];
        start(&hosts.machines[host], &format!("loader-{host}"), with(&args))
    };
    let worker = |machine: &Machine, name: &str, listen: &str, public: &str, by: &str| {
        let args = ["worker", "--coordinator", by, "--listen", listen, "--advertise", public];
        start(machine, name, with(&args))
    };
    let loaders = [loader(0, &local), loader(1, &public)];
    let workers = [
        worker(a, "half-a", &at(0, 4002), &half_a, &local),
        worker(b, "half-b", &at(1, 4002), &half_b, &public),
    ];
    let metrics = folder.join("run/metrics.jsonl");
    wait_long("the last step", || steps(&metrics).len() as u64 >= until);
    drop((coordinator, loaders, workers));
    let mut times: Vec<f64> = steps(&metrics).into_iter().skip(WARM_UP as usize).collect();
    let points = row(&folder.join("run/timing.jsonl"), WARM_UP);
    format!("{:.2} s | {points}", median(&mut times) / 1000.0)
}
