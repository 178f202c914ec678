//! `deploy/slurm/alexnet.sbatch` on a real Slurm of three nodes: a node is lost, the time limit
//! comes, jobs are cancelled, and submissions that can't work say why.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::program;
use harness::cluster::{Cluster, shards};
use harness::process::{last_step, signal_all, wait, wait_long};
use harness::slurm::{Slurm, can_unshare, free_ports};

/// Steps of a run, and steps between its checkpoints.
const STEPS: u64 = 60;
const CHECKPOINT_EVERY: u64 = 10;

/// A cluster, or a line that says why there is none.
fn cluster() -> Option<Slurm> {
    Slurm::start().map_err(|why| eprintln!("skipped: {why}")).ok()
}

/// A training of the small network that jobs work on, one after another.
struct Training<'a> {
    slurm: &'a Slurm,
    run: PathBuf,
    log: PathBuf,
    data: String,
    recipe: PathBuf,
    steps: u64,
}

impl<'a> Training<'a> {
    fn new(slurm: &'a Slurm, name: &str, steps: u64) -> Self {
        let in_folder = |file: String| slurm.folder().join(file);
        let recipe = in_folder(format!("{name}.toml"));
        std::fs::write(&recipe, harness::small::recipe().to_toml()).unwrap();
        let (run, log) = (in_folder(name.into()), in_folder(format!("{name}.log")));
        Self { slurm, run, log, data: "synthetic:72:200:40".into(), recipe, steps }
    }

    /// Submits the script as the page in `docs` says; returns the job's number.
    fn submit(&self, options: &[&str]) -> String {
        let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let script = repository.join("deploy/slurm/alexnet.sbatch");
        let text = |path: &PathBuf| path.display().to_string();
        let output = format!("--output={}", text(&self.log));
        let (steps, every) = (self.steps.to_string(), CHECKPOINT_EVERY.to_string());
        let args = ["--recipe", &text(&self.recipe), "--seed", "7", "--steps", &steps];
        let args = args.into_iter().chain(["--checkpoint-every", &every, "--set"]);
        let args: Vec<_> = args.chain(["patience=1000000"]).map(String::from).collect();
        let environment = [
            ("ALEXNET", program().to_owned()),
            ("RUN", text(&self.run)),
            ("DATA", self.data.clone()),
            // Every cluster here begins to count its jobs at 1.
            ("PORT", free_ports(1)[0].to_string()),
        ];
        self.slurm.submit(&[&[&*output], options].concat(), &script, &args, &environment)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_for(&self, words: &str) {
        wait(words, || self.log().contains(words));
    }

    fn wait_for_step(&self, step: u64) {
        wait(&format!("step {step}"), || last_step(&self.run) >= step);
    }

    /// The step of the newest checkpoint, as `status --json` says.
    fn kept(&self) -> u64 {
        let mut status = std::process::Command::new(program());
        let output = status.args(["status", "--json"]).arg(&self.run).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        status["checkpoint_step"].as_u64().unwrap()
    }

    /// The run ended with the bits of one that nothing disturbed.
    fn has_the_bits_of_an_undisturbed_run(&self) {
        let folder = tempfile::tempdir().unwrap();
        let mut recipe = harness::small::recipe();
        recipe.patience = 1_000_000;
        let mut undisturbed = Cluster::small(folder.path());
        undisturbed.recipe = recipe;
        undisturbed.until = coordinator::Until::Steps(STEPS);
        undisturbed.run();
        assert!(undisturbed.shards(STEPS) == shards(&self.run, STEPS), "{}", self.log());
    }
}

#[test]
fn a_lost_node_costs_seconds_and_no_bit() {
    let Some(slurm) = cluster() else { return };
    let training = Training::new(&slurm, "lost", STEPS);
    let job = training.submit(&["--time=10"]);
    training.wait_for_step(15);
    // The worker on node n2 is a half or the standby; so is that of n3.
    let of_n2 = std::fs::read_to_string(training.run.join("logs/worker-n2-0.log")).unwrap();
    let lost = if of_n2.contains("begin: ") { 2 } else { 3 };
    let (at, began) = (last_step(&training.run), Instant::now());
    slurm.lose(lost);
    wait("a second start", || training.log().matches("steps to do").count() == 2);
    let resumed = training.kept();
    wait("the next step", || last_step(&training.run) > resumed);
    let took = began.elapsed();
    eprintln!("n{lost} was lost at step {at}; the step after {resumed} was done {took:?} later");
    assert_eq!(slurm.end(&job), "COMPLETED", "{}", training.log());
    assert_eq!(training.kept(), STEPS);
    // The standby took the seat: the coordinator never ended, and the workers began twice.
    assert_eq!(training.log().matches("ready ").count(), 1, "{}", training.log());
    assert!(training.log().contains(" failed: "), "{}", training.log());
    training.has_the_bits_of_an_undisturbed_run();
}

/// The script and the coordinator run on the first node. The other two are enough to resume.
#[test]
fn a_lost_first_node_puts_the_job_into_the_queue_and_costs_no_bit() {
    let Some(slurm) = cluster() else { return };
    let training = Training::new(&slurm, "first", STEPS);
    let job = training.submit(&["--time=10", "--nodes=2"]);
    training.wait_for_step(15);
    slurm.lose(1);
    let (at, began) = (last_step(&training.run), Instant::now());
    wait_long("a second start", || training.log().contains("job 1 on n[2-3]"));
    let resumed = training.kept();
    wait("the next step", || last_step(&training.run) > resumed);
    let took = began.elapsed();
    eprintln!("n1 was lost at step {at}; the step after {resumed} was done {took:?} later");
    assert_eq!(slurm.end(&job), "COMPLETED", "{}", training.log());
    training.has_the_bits_of_an_undisturbed_run();
}

#[test]
fn at_its_time_limit_a_job_keeps_its_steps_and_queues_itself_again() {
    let Some(slurm) = cluster() else { return };
    let training = Training::new(&slurm, "limit", STEPS);
    let job = training.submit(&["--time=2", "--signal=B:USR1@60"]);
    training.wait_for_step(5);
    // As if their disk hung: the time limit comes in the middle of the run, on any machine.
    signal_all(&slurm.role("loader"), "STOP");
    training.wait_for("the time limit is near");
    training.wait_for("putting the job into the queue again");
    let kept = training.kept();
    assert!((5..STEPS).contains(&kept), "{}", training.log());
    assert_eq!(slurm.end(&job), "COMPLETED", "{}", training.log());
    let log = training.log();
    assert!(log.contains(&format!("from step {kept}")), "{log}");
    assert_eq!(log.matches("steps to do").count(), 2, "{log}");
    training.has_the_bits_of_an_undisturbed_run();
}

#[test]
fn a_cancelled_job_keeps_its_last_step_and_refused_ones_say_why() {
    let Some(slurm) = cluster() else { return };
    let mut training = Training::new(&slurm, "cancelled", 1_000_000);
    let job = training.submit(&["--time=10", "--nodes=2"]);
    training.wait_for_step(12);

    // A second job on the same run directory, on the node that is left.
    let second = Training {
        log: slurm.folder().join("second.log"),
        ..Training::new(&slurm, "cancelled", 60)
    };
    let refused = second.submit(&["--time=10", "--nodes=1"]);
    assert_eq!(slurm.end(&refused), "FAILED", "{}", second.log());
    assert!(second.log().contains("is in use by another coordinator"), "{}", second.log());

    let before = last_step(&training.run);
    slurm.ask("scancel", &[&job]);
    assert_eq!(slurm.end(&job), "CANCELLED", "{}", training.log());
    let kept = training.kept();
    assert!(kept >= before, "step {before} was done, {kept} kept: {}", training.log());
    assert_eq!(kept, last_step(&training.run));

    // A time limit that leaves no time for a step: one worker waits for the other half.
    let limit = Training::new(&slurm, "short", STEPS);
    let job = limit.submit(&["--time=10", "--nodes=1"]);
    limit.wait_for("ready ");
    slurm.ask("scancel", &["--batch", "--signal=USR1", &job]);
    assert_eq!(slurm.end(&job), "FAILED", "{}", limit.log());
    assert!(limit.log().contains("submit the job with a longer --time"), "{}", limit.log());

    // Another recipe in the run's directory.
    std::fs::write(&training.recipe, harness::small::recipe().to_toml().replace("0.25", "0.5"))
        .unwrap();
    training.log = slurm.folder().join("other.log");
    let job = training.submit(&["--time=10", "--nodes=1"]);
    assert_eq!(slurm.end(&job), "FAILED", "{}", training.log());
    assert!(training.log().contains("holds another run: "), "{}", training.log());
    assert!(slurm.ask("scontrol", &["show", "job", &job]).contains("ExitCode=78:0"));

    // Nodes without the GPU that Slurm promised.
    if !Path::new("/dev/nvidiactl").exists() {
        let gpus = Training::new(&slurm, "gpus", STEPS);
        let job = gpus.submit(&["--time=10", "--nodes=2", "--gres=gpu:1"]);
        assert_eq!(slurm.end(&job), "FAILED", "{}", gpus.log());
        let log = gpus.log();
        assert!(log.contains("device cuda:LOCALID"), "{log}");
        assert!(log.contains("which no restart cures: error: device cuda:0: "), "{log}");
        assert!(log.contains("no worker is left"), "{log}");
    }

    // Pictures on a disk that one node does not have.
    if can_unshare() {
        let mut elsewhere = Training::new(&slurm, "elsewhere", STEPS);
        let data = slurm.folder().join("private/pictures");
        std::fs::create_dir(&data).unwrap();
        elsewhere.data = data.display().to_string();
        let job = elsewhere.submit(&["--time=10", "--nodes=3"]);
        assert_eq!(slurm.end(&job), "FAILED", "{}", elsewhere.log());
        let says = format!("node n3 does not see {}", data.display());
        assert!(elsewhere.log().contains(&says), "{}", elsewhere.log());
    }
}
