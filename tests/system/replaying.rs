//! Steps of a run's past, computed again.

use std::path::Path;

use crate::program;
use harness::cluster::shards;
use harness::gpu::Gpus;
use harness::process::{Up, small_run};
use harness::roles::Machine;
use harness::schedule::Process;
use model::random::{Purpose, Random};
use safetensors::SafeTensors;

use crate::trust::{says, text};

const STEPS: u32 = 60;

/// A run with kills in it: every step that is tried has the bits on record.
#[test]
fn random_steps_of_a_run_with_kills_in_it_are_computed_again_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let steps = STEPS.to_string();
    let more = ["--steps", &steps, "--checkpoint-every", "9", "--keep", "3"];
    let up = Up::start(program(), folder.path(), &more);
    for (step, who) in [(12, Process::SecondWorker), (30, Process::Coordinator)] {
        up.wait_for_step(step);
        up.kill(who);
    }
    let run = up.run_dir();
    let output = up.end();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let machine = Machine::here(program(), folder.path());
    let replay = |step: u32, more: &[&str]| {
        let step = step.to_string();
        machine.run(
            &[&["replay", text(&run), "--step", &step, "--devices", "cpu:1,cpu:1"], more].concat(),
        )
    };
    let random = Random::new(16, Purpose::Synthetic);
    // The last step has a checkpoint, with which the weights are compared.
    let steps = (0..19).map(|i| 1 + random.below(0x5e91_a11e, i, STEPS)).chain([STEPS]);
    for step in steps {
        let (well, said) = replay(step, &[]);
        assert!(well, "step {step}: {said}");
        says(&said, &["the same bits as on record", "conv1.weight", "fc8.bias"]);
        let compared = said.contains("equal the checkpoint of this step, bit for bit");
        assert!(compared || step != STEPS, "{said}");
    }

    let (sheet, file) = (folder.path().join("s.png"), folder.path().join("s.safetensors"));
    let (well, said) = replay(7, &["--sheet", text(&sheet), "--tensors", text(&file)]);
    assert!(well && image::open(&sheet).is_ok(), "{said}");
    tensors_fit(&file);
    wrong_records_and_pictures_are_refused(&machine, &run, &replay);
}

/// A device that computes wrongly once, without any error: the audit names the step and the half.
#[test]
fn a_bit_flipped_on_a_gpu_is_traced_to_its_step_and_its_device() {
    if cuda_emulator::only_emulated("a real device does not fail on command") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(gpus) = Gpus::for_processes(folder.path()) else { return };
    const LAST: u64 = 5;
    let devices = ["--devices", "cuda:0,cuda:1"];
    let alexnet = |settings: &str, args: &[&str]| {
        let mut command = std::process::Command::new(program());
        command.args(args).args(devices).args(gpus.arguments());
        let output = command.envs(gpus.environment(settings)).output().unwrap();
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let up = |name: &str, settings: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let small = small_run(&folder);
        let small: Vec<&str> = small.iter().map(String::as_str).collect();
        let more = ["--steps", "5", "--checkpoint-every", "2", "--keep", "9"];
        let (well, said) = alexnet(settings, &[&small[..], &more].concat());
        assert!(well, "{said}");
        folder.join("run")
    };
    let audit = |run: &Path, steps: &[u64]| {
        let mut args = vec!["audit".to_owned(), text(run).to_owned()];
        steps.iter().for_each(|step| args.extend(["--step".into(), step.to_string()]));
        alexnet("", &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    // Of each step what the halves sent, and the loss: a small error may leave the loss as it is.
    let recorded = |run: &Path| -> Vec<[serde_json::Value; 2]> {
        let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        let lines = metrics.lines().map(|line| serde_json::from_str(line).unwrap());
        let steps = lines.filter(|line: &serde_json::Value| line["kind"] == "step");
        steps.map(|step| [step["sent"].clone(), step["loss"].clone()]).collect()
    };
    let clean = up("clean", "");
    let (well, said) = audit(&clean, &[2, 4, LAST]);
    assert!(well, "{said}");
    says(&said, &["5 steps have the bits on record"]);
    // A bit of a result that nothing reads, or that an evaluation reads, changes no training.
    let flipped = (150..).step_by(61).take(4).find_map(|launch| {
        let once = folder.path().join(format!("came-{launch}"));
        let settings = format!("flip={launch},fault_file={}", once.display());
        let run = up(&format!("flipped-{launch}"), &settings);
        assert!(once.is_file(), "launch {launch} came");
        (shards(&run, LAST) != shards(&clean, LAST)).then_some(run)
    });
    let run = flipped.expect("one of four flipped bits changes the training");
    let (well, said) = audit(&run, &[2, 4, LAST]);
    assert!(!well, "{said}");
    let (step, half) = blamed(&said);
    says(&said, &["docs/repeatability.md"]);
    // The records of the runs say which process was hit, and since when they differ.
    assert_eq!(half, half_hit(&run), "{said}");
    let (clean, flipped) = (recorded(&clean), recorded(&run));
    assert!(clean.len() == LAST as usize && clean.iter().all(|[sent, _]| !sent.is_null()));
    let differs = clean.iter().zip(&flipped).position(|(a, b)| a != b);
    // After an error in the last update, no step follows that differs.
    let since = differs.map_or(LAST + 1, |i| i as u64 + 1);
    assert!(step <= since && since <= step + 1, "named {step}, differing at {since}: {said}");
}

/// The step and the half that an audit names.
fn blamed(said: &str) -> (u64, char) {
    let (_, after) =
        said.split_once("step ").and_then(|_| said.split_once("error: step ")).unwrap();
    let (step, after) = after.split_once(": half ").unwrap();
    (step.parse().unwrap(), after.chars().next().unwrap())
}

/// The half whose worker reports in its log that a bit was flipped.
fn half_hit(run: &Path) -> char {
    let hit = ["worker-0", "worker-1"].map(|name| {
        let log = std::fs::read_to_string(run.join("logs").join(format!("{name}.log"))).unwrap();
        let half = ['A', 'B'].into_iter().find(|half| log.contains(&format!("half=\"{half}\"")));
        log.contains("one bit is flipped").then(|| half.expect("a seated worker names its half"))
    });
    hit.into_iter().flatten().next().expect("one worker was hit")
}

/// Before, gradient and update fit each other: after the first steps, momentum is not zero.
fn tensors_fit(file: &Path) {
    let bytes = std::fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape("conv3.weight"), shape("conv3.weight.gradient"));
    assert_eq!(shape("conv3.weight"), shape("conv3.weight.update"));
    let losses = file.tensor("losses").unwrap();
    assert_eq!(losses.shape(), file.tensor("images").unwrap().shape());
}

fn wrong_records_and_pictures_are_refused(
    machine: &Machine,
    run: &Path,
    replay: &impl Fn(u32, &[&str]) -> (bool, String),
) {
    let (well, said) = replay(STEPS + 1, &[]);
    assert!(!well);
    says(&said, &["step 61 is not on record", "is 60"]);
    let (well, said) = replay(5, &["--data", "synthetic:72:200:20"]);
    assert!(!well);
    says(&said, &["other pictures than those that the run was trained on"]);
    // A record of other bits: what a device that computed wrongly would leave.
    let metrics = run.join("metrics.jsonl");
    let text_there = std::fs::read_to_string(&metrics).unwrap();
    let mut lines: Vec<String> = text_there.lines().map(str::to_owned).collect();
    let at = lines.iter().position(|line| line.contains("\"step\":58,")).unwrap();
    let (before, after) = lines[at].split_once("\"loss\":").unwrap();
    let (loss, after) = after.split_once(',').unwrap();
    let other: f64 = loss.parse::<f64>().unwrap() * (1.0 + 1e-15);
    lines[at] = format!("{before}\"loss\":{other},{after}");
    std::fs::write(&metrics, lines.join("\n") + "\n").unwrap();
    let (well, said) = replay(59, &[]);
    assert!(!well);
    says(&said, &["step 58: the loss is", "on record", "docs/repeatability.md"]);
    let _ = machine;
}
