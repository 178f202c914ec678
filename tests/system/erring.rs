//! Disks that err or are slow at one call, at a start or in mid-run: nothing is lost, and no file
//! that can't be read is taken for absent.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::disks::{assert_undisturbed, log_in, text};
use crate::program;
use harness::erring_disk::{self, ErringDisk};
use harness::process::{Up, signal, signal_all, wait};

/// Each way in which a process uses its disk is caught, and only
/// where and when a rule says so.
#[test]
fn the_erring_disk_catches_every_call_that_its_rules_name_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let disk = ErringDisk::new(&folder.path().join("disk"), folder.path());
    let elsewhere = folder.path().join("elsewhere");
    let probe = |at: &Path, number: usize| {
        let number = number.to_string();
        let args = [erring_disk::WORD, at.to_str().unwrap(), &number];
        let output = Command::new(program()).args(args).envs(disk.environment()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    };
    let at = disk.folder().join("probes");
    for (number, kind) in erring_disk::probes().enumerate() {
        erring_disk::prepare(&at);
        erring_disk::prepare(&elsewhere);
        disk.rules(&[&format!("{kind} every EIO")]);
        let said = probe(&at, number);
        assert!(said.contains("Input/output error"), "{kind}, probe {number}: {said:?}");
        assert_eq!(probe(&elsewhere, number), "", "{kind}, probe {number}");
        disk.rules(&["any every ENOSPC !probes", "any every EACCES * coordinator"]);
        assert_eq!(probe(&at, number), "", "{kind}, probe {number}");
    }
    // Across processes: the second of them, and no other.
    disk.rules(&["sync nth:2 ENOSPC probes/new"]);
    let before = disk.hits();
    let said = [6, 6, 6].map(|number| probe(&at, number));
    assert_eq!(said, ["", "No space left on device (os error 28)", ""]);
    assert_eq!(disk.hits() - before, 1, "{}", disk.log());
}

/// A run of 30 steps on a disk that works, to be resumed on one that doesn't.
fn begun(folder: &Path) -> ErringDisk {
    let disk = ErringDisk::new(&folder.join("run"), folder);
    let output = resumed(folder, &disk, "30", &[]);
    assert!(output.status.success(), "{}", text(&output));
    disk
}

fn resumed(folder: &Path, disk: &ErringDisk, steps: &str, more: &[&str]) -> Output {
    let options = ["--steps", steps, "--checkpoint-every", "10", "--timing-every", "0"];
    let options = [&options[..], more].concat();
    Up::start_with(program(), folder, &options, &disk.environment()).end()
}

/// Everything that a start must not change: metrics, and the checkpoints with their lengths.
fn kept(run: &Path) -> (Vec<u8>, Vec<(PathBuf, u64)>) {
    let mut files = Vec::new();
    for folder in run.join("checkpoints").read_dir().unwrap() {
        for entry in folder.unwrap().path().read_dir().unwrap().map(Result::unwrap) {
            files.push((entry.path(), entry.metadata().unwrap().len()));
        }
    }
    files.sort();
    (std::fs::read(run.join("metrics.jsonl")).unwrap(), files)
}

/// One error of the disk at a start, or some in a row: named, nothing is lost, and the same command
/// resumes the run. `begun anew` was the answer to each of them once.
#[test]
fn a_disk_that_errs_at_a_start_is_named_and_nothing_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let disk = begun(folder.path());
    let run = disk.folder();
    let before = kept(run);
    for rule in [
        "any first:3 EIO checkpoints coordinator",
        "stat every EACCES checkpoints/step coordinator",
        "read first:1 EIO half-b coordinator",
        "readdir nth:2 EIO checkpoints coordinator",
        "open,read,stat first:1 EIO run.json coordinator",
        "open,read,stat first:1 EIO run.json up",
        "open,read first:1 EIO up.json up",
    ] {
        disk.rules(&[rule]);
        let hits = disk.hits();
        let output = match rule.contains("up.json") {
            false => resumed(folder.path(), &disk, "60", &[]),
            // Of itself, `up` reads this one only where no pictures are named.
            true => {
                let args = ["up", "--run", run.to_str().unwrap(), "--steps", "60"];
                let mut command = Command::new(program());
                command.args(args).envs(disk.environment()).output().unwrap()
            }
        };
        let said = text(&output);
        assert!(!output.status.success() && disk.hits() > hits, "{rule}: {said}\n{}", disk.log());
        let named = ["Input/output error", "Permission denied"].iter().any(|e| said.contains(e));
        assert!(named && said.contains(run.to_str().unwrap()), "{rule}: {said}");
        assert!(kept(run) == before, "{rule}: something was cut or removed; {said}");
    }
    disk.rules(&[]);
    // Checkpoints that are gone are not a run that has not begun.
    let (checkpoints, away) = (run.join("checkpoints"), folder.path().join("away"));
    std::fs::rename(&checkpoints, &away).unwrap();
    let said = text(&resumed(folder.path(), &disk, "60", &[]));
    assert!(said.contains("had checkpoints") && said.contains("--from-start"), "{said}");
    std::fs::rename(&away, &checkpoints).unwrap();
    assert!(kept(run) == before);
    let output = resumed(folder.path(), &disk, "60", &["--from-start"]);
    let said = text(&output);
    assert!(output.status.success() && !said.contains("begins anew"), "{said}");
    assert_undisturbed(run);
    std::fs::rename(&checkpoints, &away).unwrap();
    let output = resumed(folder.path(), &disk, "60", &["--from-start"]);
    let said = text(&output);
    assert!(output.status.success() && said.contains("begins anew"), "{said}");
    assert_undisturbed(run);
    let before = std::fs::read_to_string(run.join("metrics.jsonl.before")).unwrap();
    assert_eq!(before.matches("\"kind\":\"step\"").count(), 60);
}

/// The last checkpoint of a run fails at its shard, then at its manifest.
#[test]
fn the_last_checkpoint_is_tried_again_while_the_weights_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let disk = ErringDisk::new(&folder.path().join("run"), folder.path());
    disk.rules(&[
        "write first:1 ENOSPC step-00000060/half-b coordinator",
        "rename first:1 EIO step-00000060/manifest.json coordinator",
    ]);
    let options = ["--steps", "60", "--checkpoint-every", "500", "--timing-every", "0"];
    let up = Up::start_with(program(), folder.path(), &options, &disk.environment());
    let output = up.end();
    let said = text(&output);
    assert!(output.status.success() && disk.hits() == 2, "{said}\n{}", disk.log());
    for words in ["No space left on device", "Input/output error", "waits up to 600 s"] {
        assert!(said.contains(words), "{said}");
    }
    assert_undisturbed(disk.folder());
}

/// One fsync takes six seconds, as long as a worker's heartbeats may be missing. Training
/// continues meanwhile, and no worker is lost.
#[test]
fn a_disk_that_is_slow_to_sync_stops_no_training() {
    let folder = tempfile::tempdir().unwrap();
    let disk = ErringDisk::new(&folder.path().join("run"), folder.path());
    disk.rules(&["sync first:1 delay:6000 metrics.jsonl coordinator"]);
    let options = ["--checkpoint-every", "30", "--timing-every", "0", "--silence", "5"];
    let options = [&options[..], &["--steps", "60"]].concat();
    let up = Up::start_with(program(), folder.path(), &options, &disk.environment());
    wait("an fsync that takes its time", || disk.hits() == 1 || up.is_over());
    // The first checkpoint is that of the first evaluation, after step 13; the next is not due
    // before step 25.
    up.wait_for_step(20);
    let first = disk.folder().join("checkpoints/step-00000013/manifest.json");
    assert!(!first.exists(), "the checkpoint was there before training went on");
    let output = up.end();
    let said = text(&output);
    assert!(output.status.success() && !said.contains("rolled back"), "{said}");
    assert_undisturbed(disk.folder());
}

/// During training, a bit of the newest checkpoint flips, and then a worker dies.
#[test]
fn a_checkpoint_that_rots_in_mid_run_makes_way_for_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--steps", "60", "--checkpoint-every", "15", "--timing-every", "0"];
    let up = Up::start(program(), folder.path(), &more);
    let manifest =
        |step: u32| up.run_dir().join(format!("checkpoints/step-{step:08}/manifest.json"));
    let newest = up.run_dir().join("checkpoints/step-00000030");
    // The workers are looked up before it counts: they are stopped within fifteen quick steps.
    wait("the first checkpoint", || up.is_over() || manifest(15).exists());
    let workers: Vec<u32> = up.roles().into_iter().filter(|pid| is_worker(*pid)).collect();
    wait("the second checkpoint", || up.is_over() || manifest(30).exists());
    signal_all(&workers, "STOP");
    assert!(!up.run_dir().join("checkpoints/step-00000045/manifest.json").exists(), "too late");
    // That of step 15, or that of the evaluation at 25, if it was the best so far.
    let before = (15..30).rev().find(|step| manifest(*step).exists()).expect("a checkpoint");
    let shard = newest.join("half-b.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    signal(workers[0], "KILL");
    signal(workers[1], "CONT");
    let run = up.run_dir();
    let output = up.end();
    let said = text(&output);
    assert!(output.status.success(), "{said}\n{}", log_in(&run));
    for words in ["the checkpoint of step 30 is not used", "half-b.safetensors is damaged"] {
        assert!(said.contains(words), "{said}");
    }
    let line = said.lines().find(|line| line.contains("rolled back")).unwrap_or_default();
    assert!(line.ends_with(&format!(" to {before}")), "{before}: {said}");
    assert_undisturbed(&run);
}

fn is_worker(pid: u32) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(b"worker")
}
