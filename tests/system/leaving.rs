//! Processes that are asked to leave, that hang inside, or that do not fit their place: nothing
//! that was reported as kept is lost, and another worker takes over if there is one.

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use coordinator::Until;
use harness::cluster::{Cluster, shards};
use harness::freeze::freeze;
use harness::process::{ENDLESS, Up, lives, signal, signal_all, sleep, wait};
use harness::roles::Machine;
use model::random::{Purpose, Random};

use crate::processes::pictures;
use crate::program;
use crate::trust::{coordinator, loader, worker};

const STEPS: u64 = 120;
/// Time to end with a checkpoint, far more than it takes.
const SOON: Duration = Duration::from_secs(15);

/// Everything that a process has printed.
fn all(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr];
    streams.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// The step of the newest complete checkpoint.
fn newest(run: &Path) -> u64 {
    let steps = std::fs::read_dir(run.join("checkpoints")).unwrap().flatten();
    let whole = steps.filter(|step| step.path().join("manifest.json").exists());
    let step = whole.map(|s| s.file_name().to_str().unwrap()["step-".len()..].parse().unwrap());
    step.max().unwrap_or(0)
}

/// The step that `up` says it stopped after.
fn reported(said: &str) -> Option<u64> {
    said.split_once("stopped after ")?.1.split_once(" steps")?.0.parse().ok()
}

fn undisturbed(folder: &Path, steps: u64) -> Vec<Vec<u8>> {
    let mut cluster = Cluster::small(&folder.join("undisturbed"));
    cluster.until = Until::Steps(steps);
    cluster.run();
    cluster.shards(steps)
}

#[expect(clippy::disallowed_methods, reason = "a test's own switch; the program doesn't see it")]
fn shutdowns() -> u32 {
    std::env::var("SHUTDOWNS").map_or(3, |n| n.parse().expect("SHUTDOWNS=NUMBER"))
}

/// As systemd, Slurm and `docker stop` do: SIGTERM to all processes at once, at a random time.
/// `SHUTDOWNS=50` does it fifty times.
#[test]
fn a_run_whose_processes_all_get_sigterm_resumes_from_the_step_that_was_reported() {
    let folder = tempfile::tempdir().unwrap();
    let undisturbed = undisturbed(folder.path(), STEPS);
    let more = ["--steps", &STEPS.to_string(), "--checkpoint-every", "1000"];
    let (random, mut drawn) = (Random::new(1, Purpose::Synthetic), 0);
    let mut draw = |below: u32| {
        drawn += 1;
        random.below(0x5167_7e12, drawn, below)
    };
    let (mut times, mut left) = (Vec::new(), shutdowns());
    while left > 0 {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mut kept = 0;
        while left > 0 && kept + 35 < STEPS {
            left -= 1;
            let up = Up::start(program(), folder.path(), &more);
            let at = kept + 1 + u64::from(draw(25));
            wait(&format!("step {at}"), || up.is_over() || up.last_step() >= at);
            sleep(Duration::from_micros(draw(40_000).into()));
            let everybody = up.everybody();
            assert_eq!(everybody.len(), 5, "two workers, a loader, a coordinator and up");
            let asked = Instant::now();
            signal_all(&everybody, "TERM");
            let output = up.end();
            times.push(asked.elapsed());
            let said = all(&output);
            assert!(output.status.success(), "{said}");
            let step = reported(&said).unwrap_or_else(|| panic!("no step is reported: {said}"));
            assert!(step >= at, "step {at} was done, {step} is kept: {said}");
            assert_eq!(newest(&run), step, "{said}");
            let log = std::fs::read_to_string(run.join("logs/coordinator.log")).unwrap();
            let from = format!("from step {kept};");
            assert!(kept == 0 || log.contains(&from), "no {from:?} in {log}");
            kept = step;
        }
        let output = Up::start(program(), folder.path(), &more).end();
        assert!(output.status.success(), "{}", all(&output));
        assert!(shards(&run, STEPS) == undisturbed, "other bits");
    }
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!("{} shutdowns: median {median:.2?}, worst {worst:.2?}", times.len());
    assert!(worst < SOON, "{worst:?}");
}

/// The loader stands still, so no further step can be done: the last one is kept without waiting.
#[test]
fn a_run_that_waits_for_data_stops_at_once_and_a_second_signal_ends_a_process() {
    let folder = tempfile::tempdir().unwrap();
    let more = [&ENDLESS[..], &["--checkpoint-every", "100000"]].concat();
    let up = Up::start(program(), folder.path(), &more);
    up.wait_for_step(5);
    signal(up.role("loader"), "STOP");
    let (mut length, mut unchanged) = (0, 0);
    wait("a run without data", || {
        let now = up.metrics_bytes();
        unchanged = if now == length { unchanged + 1 } else { 0 };
        length = now;
        unchanged > 25
    });
    let (run, last, asked) = (up.run_dir(), up.last_step(), Instant::now());
    up.signal("TERM");
    let output = up.end();
    let (took, said) = (asked.elapsed(), all(&output));
    eprintln!("stopped without data after {took:.2?}");
    assert!(output.status.success() && took < SOON, "{took:?}: {said}");
    assert_eq!((reported(&said), newest(&run)), (Some(last), last), "{said}");

    // A worker waits for its coordinator's answer, until it is asked again.
    let up = Up::start(program(), folder.path(), &more);
    up.wait_for_step(last + 5);
    let (waits, stands) = (up.role("worker"), up.role("coordinator"));
    signal(stands, "STOP");
    signal(waits, "TERM");
    let log = || {
        let logs = ["worker-0", "worker-1"].map(|name| run.join(format!("logs/{name}.log")));
        logs.map(|log| std::fs::read_to_string(log).unwrap_or_default()).concat()
    };
    wait("a worker that waits", || log().matches("asked to stop: waiting").count() == 1);
    assert!(lives(waits));
    let asked = Instant::now();
    signal(waits, "TERM");
    wait("its end", || !lives(waits));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(log().contains("asked to stop for the second time"), "{}", log());
    signal(stands, "CONT");
    up.signal("TERM");
    assert!(up.end().status.success());
}

/// Nobody else would notice a whole network that stands still.
#[test]
fn a_worker_whose_engine_hangs_ends_and_a_standby_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut calm = Cluster::small(&folder.join("undisturbed"));
    calm.recipe.columns = 1;
    calm.until = Until::Steps(60);
    calm.run();

    let machine = Machine::here(program(), folder);
    let more = ["--set", "columns=1", "--steps", "60", "--checkpoint-every", "10"];
    let coordinator = coordinator(&machine, folder, "127.0.0.1:0", &more);
    let loader = loader(&machine, &coordinator.address, "127.0.0.1:0", &[]);
    let seated = |name: &str, more: &[&str]| {
        let worker = worker(&machine, name, &coordinator.address, more);
        worker.wait_for("joined");
        worker
    };
    let hangs = seated("hangs", &["--device-deadline", "2"]);
    let standby = seated("standby", &[]);
    wait("step 15", || {
        let metrics = std::fs::read_to_string(folder.join("run/metrics.jsonl"));
        metrics.unwrap_or_default().contains("\"step\":15,")
    });
    if let Err(why) = freeze(hangs.pid(), "cpu-0") {
        return eprintln!("skipped: {why}");
    }
    let since = Instant::now();
    coordinator.wait_for("no progress for 2 s");
    eprintln!("a hanging engine is noticed after {:.1?}", since.elapsed());
    let log = hangs.log();
    assert_eq!(hangs.end().code(), Some(75), "{log}");
    for role in [standby, loader, coordinator] {
        let log = role.log();
        assert!(role.end().success(), "{log}");
    }
    let whole = |run: &Path| {
        std::fs::read(run.join("checkpoints/step-00000060/whole.safetensors")).unwrap()
    };
    assert!(whole(&folder.join("run")) == whole(&folder.join("undisturbed")), "other bits");
}

/// Half B announces an address that is no worker's: the standby is seated instead.
#[test]
fn a_worker_that_the_other_half_cannot_reach_makes_room_for_a_standby() {
    let folder = tempfile::tempdir().unwrap();
    let undisturbed = undisturbed(folder.path(), 20);
    let folder = folder.path();
    let machine = Machine::here(program(), folder);
    let more = ["--steps", "20"];
    let coordinator = coordinator(&machine, folder, "127.0.0.1:0", &more);
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = other.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut open = Vec::new(); // a connection that closes at once would be tried again
        for connection in other.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut &connection, b"220 another program\r\n");
            open.push(connection);
        }
    });
    let joins = |name: &str, more: &[&str]| {
        let worker = worker(&machine, name, &coordinator.address, more);
        worker.wait_for("joined");
        worker
    };
    let first = joins("first", &[]);
    let unreached = joins("unreached", &["--advertise", &elsewhere]);
    let standby = joins("standby", &[]);
    let loader = loader(&machine, &coordinator.address, "127.0.0.1:0", &[]);
    for role in [first, unreached, standby, loader] {
        let log = role.log();
        assert!(role.end().success(), "{log}");
    }
    let log = coordinator.log();
    assert!(coordinator.end().success(), "{log}");
    assert!(log.contains(&format!("can't reach the worker at {elsewhere}")), "{log}");
    assert_eq!(log.matches("steps to do").count(), 2, "{log}");
    assert!(shards(&folder.join("run"), 20) == undisturbed, "other bits");
}

/// A spare loader that can't be started again is a notice. The last one ends the run, which keeps
/// its steps.
#[test]
fn up_goes_on_without_a_spare_loader_and_keeps_a_checkpoint_before_it_gives_up() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(&folder.path().join("data"), 10);
    let more = [&ENDLESS[..], &["--loaders", "2", "--checkpoint-every", "100000"]].concat();
    let up = Up::start_on(program(), folder.path(), &data, &more);
    up.wait_for_step(5);
    std::fs::remove_file(Path::new(&data).join("dataset.json")).unwrap();
    let spare = up.role("loader");
    signal(spare, "KILL");
    wait("the end of the spare loader", || !lives(spare));
    let step = up.last_step();
    wait("ten more steps", || up.is_over() || up.last_step() > step + 10);
    assert!(!up.is_over(), "{}", all(&up.end()));
    let run = up.run_dir();
    let before = up.last_step();
    signal(up.role("loader"), "KILL");
    let output = up.end();
    let said = all(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("the run continues with 1 other loader"), "{said}");
    assert!(said.contains("a restart would not help"), "{said}");
    assert!(newest(&run) >= before, "step {before} was done, {} is kept: {said}", newest(&run));
}
