//! Stalled processes: a slow one is waited for, a sleeping or disconnected one is replaced, and the
//! bits are the same.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::program;
use coordinator::Until;
use harness::certs::certificates;
use harness::cluster::{Cluster, shards};
use harness::process::{Up, last_step, lives, signal, sleep, wait, wait_long};
use harness::proxy::{Proxy, WORD};
use harness::roles::{Machine, Running};

use crate::trust::{coordinator, loader, text, worker};

const STEPS: u64 = 120;

/// Roles of a small run, each a process with TLS, half A behind a stretch of cable.
struct Run {
    folder: tempfile::TempDir,
    machine: Machine,
    certs: PathBuf,
    cable: Proxy,
    coordinator: Running,
    loader: Option<Running>,
    workers: Vec<Running>,
}

impl Run {
    fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// With more options of the coordinator and of each worker.
    fn start_with(of_coordinator: &[&str], of_workers: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::here(program(), folder.path());
        let certs = certificates(folder.path(), "certs");
        let steps = STEPS.to_string();
        let more = ["--steps", &steps, "--checkpoint-every", "10", "--certs", text(&certs)];
        let more = [&more[..], of_coordinator].concat();
        let coordinator = coordinator(&machine, folder.path(), "127.0.0.1:0", &more);
        let mut cable = Proxy::start(machine.command(&[WORD, "127.0.0.1:0"]));
        let (at, secure) = (coordinator.address.clone(), ["--certs", text(&certs)]);
        let loader = Some(loader(&machine, &at, "127.0.0.1:0", &secure));
        let others = [&secure[..], of_workers].concat();
        let advertise = [&others[..], &["--advertise", &cable.address]].concat();
        let first = worker(&machine, "first", &at, &advertise);
        cable.leads_to(&first.address, 0);
        first.wait_for("joined");
        let second = worker(&machine, "second", &at, &others);
        let workers = vec![first, second];
        Self { folder, machine, certs: certs.clone(), cable, coordinator, loader, workers }
    }

    fn joins(&mut self, name: &str) {
        let more = ["--certs", text(&self.certs)];
        let joins = worker(&self.machine, name, &self.coordinator.address, &more);
        joins.wait_for("joined");
        self.workers.push(joins);
    }

    fn starts_a_loader(&mut self) {
        let more = ["--certs", text(&self.certs)];
        self.loader = Some(loader(&self.machine, &self.coordinator.address, "127.0.0.1:0", &more));
    }

    fn last_step(&self) -> u64 {
        last_step(&self.folder.path().join("run"))
    }

    fn wait_for_step(&self, step: u64) {
        wait_long(&format!("step {step}"), || self.last_step() >= step);
    }

    /// Everyone ends well, with the bits of an undisturbed run; how often it began.
    fn ends(self) -> usize {
        let began = self.coordinator.log().matches("steps to do").count();
        let log = self.coordinator.log();
        for role in self.workers.into_iter().chain(self.loader).chain([self.coordinator]) {
            let own = role.log();
            assert!(role.end().success(), "{own}\n{log}");
        }
        assert!(undisturbed() == shards(&self.folder.path().join("run"), STEPS), "other bits");
        began
    }
}

fn undisturbed() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::small(&folder.path().join("undisturbed"));
    cluster.until = Until::Steps(STEPS);
    cluster.run();
    cluster.shards(STEPS)
}

/// Five seconds are slow, sixty are too long: the standby is seated; the sleeper, woken, is the
/// standby then. (Meanwhile the run waits for a loader, so that it is still there.)
#[test]
fn a_worker_asleep_for_five_seconds_is_kept_and_one_asleep_for_sixty_is_replaced() {
    let mut run = Run::start();
    run.joins("standby");
    run.wait_for_step(15);
    let sleeper = run.workers[1].pid();
    signal(sleeper, "STOP");
    sleep(Duration::from_secs(5));
    signal(sleeper, "CONT");
    let step = run.last_step();
    run.wait_for_step(step + 2);
    let log = run.coordinator.log();
    assert!(!log.contains("half B failed"), "slow, not failed: {log}");

    let asleep = Instant::now();
    signal(sleeper, "STOP");
    run.coordinator.wait_for("half B failed");
    run.workers[2].wait_for("begin: restored");
    let replaced = asleep.elapsed();
    drop(run.loader.take());
    sleep(Duration::from_secs(60).saturating_sub(asleep.elapsed()));
    signal(sleeper, "CONT");
    wait("the sleeper joins again", || run.workers[1].log().matches("joined").count() == 2);
    run.starts_a_loader();
    eprintln!("asleep for 60 s: replaced after {replaced:.1?}");
    assert!(replaced < Duration::from_secs(15), "{replaced:?}");
    run.ends();
}

/// Whoever sets the deadlines above the usual ten seconds is obeyed by the connections, too.
#[test]
fn a_worker_asleep_for_less_than_longer_deadlines_is_waited_for() {
    let run = Run::start_with(&["--silence", "30"], &["--peer-deadline", "40"]);
    run.wait_for_step(15);
    let sleeper = run.workers[1].pid();
    signal(sleeper, "STOP");
    sleep(Duration::from_secs(13));
    signal(sleeper, "CONT");
    assert_eq!(run.ends(), 1, "slow, not lost");
}

#[test]
fn a_cable_cut_for_thirty_seconds_and_healed_costs_no_bits() {
    let mut run = Run::start();
    run.wait_for_step(15);
    run.cable.cut();
    let cut = Instant::now();
    run.coordinator.wait_for("returning to the last checkpoint");
    eprintln!("noticed after {:.1?}", cut.elapsed());
    sleep(Duration::from_secs(30).saturating_sub(cut.elapsed()));
    run.cable.heal();
    let healed = Instant::now();
    run.wait_for_step(STEPS);
    eprintln!("trained to the end {:.1?} after healing", healed.elapsed());
    assert!(run.ends() >= 2, "the run had to begin again");
}

#[test]
fn half_a_second_of_delay_only_slows() {
    let mut run = Run::start();
    run.wait_for_step(15);
    run.cable.delay(500_000);
    let (from, since) = (run.last_step(), Instant::now());
    run.wait_for_step(from + 5);
    let a_step = since.elapsed() / 5;
    eprintln!("a step takes {a_step:.2?} with 500 ms of delay");
    assert!(a_step > Duration::from_millis(500), "the delay is not felt: {a_step:?}");
    run.cable.delay(0);
    assert_eq!(run.ends(), 1, "slow, not lost");
}

/// `up` ends a child that sleeps, and starts another; so it does with a coordinator.
#[test]
fn up_replaces_a_sleeping_process() {
    let folder = tempfile::tempdir().unwrap();
    let steps = STEPS.to_string();
    let more = ["--steps", &steps, "--checkpoint-every", "10", "--silence", "3"];
    let up = Up::start(program(), folder.path(), &more);
    for (role, step) in [("worker", 12), ("loader", 22), ("coordinator", 32)] {
        up.wait_for_step(step);
        let (pid, since) = (up.role(role), Instant::now());
        signal(pid, "STOP");
        wait(&format!("end of the sleeping {role}"), || !lives(pid));
        eprintln!("a sleeping {role} is replaced after {:.1?}", since.elapsed());
    }
    let run = up.run_dir();
    let output = up.end();
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    for words in ["stopped answering; restarting it", "the coordinator does not answer: killing it"]
    {
        assert!(said.contains(words), "{words:?} in: {said}");
    }
    assert!(undisturbed() == shards(&run, STEPS), "other bits");
}

/// The full network: half B is killed in mid-step, in mid-exchange and in mid-checkpoint.
#[test]
fn the_full_network_survives_kills_in_step_exchange_and_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let args = ["--recipe", "caffe", "--set", "batch=8", "--seed", "7", "--steps", "6"];
    let args = [&args[..], &["--checkpoint-every", "2", "--keep", "1"]].concat();
    let data = "synthetic:256:64:1";
    let calm = text(&at.join("calm")).to_owned();
    let machine = Machine::here(program(), at);
    let more = ["--data", data, "--devices", "cpu,cpu", "--run", &calm];
    let (well, said) = machine.run(&[&["up"][..], &args, &more].concat());
    assert!(well, "{said}");

    let run = at.join("run");
    let listen = ["coordinator", "--listen", "127.0.0.1:0", "--run", text(&run)];
    let coordinator = machine.start("coordinator", &[&listen[..], &args].concat());
    let by = ["--coordinator", coordinator.address.as_str()];
    let loader = machine.start("loader", &[&["loader"][..], &by, &["--data", data]].concat());
    let mut cable = Proxy::start(machine.command(&[WORD, "127.0.0.1:0"]));
    let advertise = ["--advertise", cable.address.as_str()];
    let first = machine.start("half-a", &[&["worker"][..], &by, &advertise].concat());
    cable.leads_to(&first.address, 0);
    first.wait_for("joined");
    let second = |name: &str| machine.start(name, &[&["worker"][..], &by].concat());

    let step = |n: u64| {
        let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
        text.contains(&format!("\"step\":{n},"))
    };
    let kill = |running: Running, what: &str| {
        signal(running.pid(), "KILL");
        eprintln!("killed in {what}");
        running.end();
    };
    let second_half = second("half-b-1");
    wait_long("step 1", || step(1));
    sleep(Duration::from_millis(300)); // a step takes more than a second
    kill(second_half, "mid-step");

    let second_half = second("half-b-2");
    wait_long("step 2", || step(2));
    cable.cut_after(100_000); // a slice of conv3 alone has 173 KB
    kill(second_half, "mid-exchange");
    cable.heal();

    let second_half = second("half-b-3");
    wait_long("half B's shard on its way", || part_of_half_b(&run, 4));
    kill(second_half, "mid-checkpoint");
    assert!(!run.join("checkpoints/step-00000004/manifest.json").exists());

    let last = second("half-b-4");
    for role in [last, first, loader, coordinator] {
        let log = role.log();
        assert!(role.end().success(), "{log}");
    }
    assert!(shards(Path::new(&calm), 6) == shards(&run, 6), "other bits");
}

/// Whether half B's shard of a step is being written.
fn part_of_half_b(run: &Path, step: u64) -> bool {
    let folder = std::fs::read_dir(run.join(format!("checkpoints/step-{step:08}")));
    let mut names = folder.into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.any(|name| {
        let name = name.to_string_lossy();
        name.starts_with("half-b") && name.ends_with(".part")
    })
}
