//! Disks that are full, read-only or damaged in mid-run: named, and nothing is lost.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::program;
use coordinator::Until;
use harness::cluster::{Cluster, shards};
use harness::process::{Up, signal, wait};

const STEPS: u64 = 60;

/// A small file system in memory, unmounted when dropped.
pub(crate) struct Disk {
    /// Mount point.
    pub(crate) at: PathBuf,
}

impl Disk {
    /// None, with a line that says so, where this process may not mount one.
    pub(crate) fn new(at: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={bytes}");
        let mounted = mount(&["-t", "tmpfs", "-o", &options, "tmpfs", at.to_str().unwrap()]);
        if !mounted {
            eprintln!("skipped: no file system can be mounted here");
        }
        mounted.then(|| Self { at: at.to_owned() })
    }

    /// Changes how it is mounted: `ro`.
    pub(crate) fn remount(&self, how: &str) {
        // Busy for as long as a file is open for writing: then a moment later.
        let options = format!("remount,{how}");
        wait(&options, || mount(&["-o", &options, self.at.to_str().unwrap()]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy".as_ref(), self.at.as_os_str()]).status();
    }
}

fn mount(args: &[&str]) -> bool {
    Command::new("mount").args(args).output().is_ok_and(|output| output.status.success())
}

pub(crate) fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

pub(crate) fn assert_undisturbed(run: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::small(&folder.path().join("undisturbed"));
    cluster.until = Until::Steps(STEPS);
    cluster.run();
    assert!(cluster.shards(STEPS) == shards(run, STEPS), "other bits");
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    for step in 1..=STEPS {
        let line = format!("\"kind\":\"step\",\"step\":{step},");
        assert_eq!(metrics.matches(&line).count(), 1, "step {step} in metrics.jsonl");
    }
}

/// The disk fills in mid-run: checkpoints fail and are said to, and after three of them training
/// pauses; once there is room again the run ends as if nothing had been.
#[test]
fn a_disk_that_fills_makes_training_pause_and_costs_no_bits() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(&folder.path().join("run"), 64 << 20) else { return };
    let more = ["--steps", "60", "--checkpoint-every", "5", "--timing-every", "0"];
    let up = Up::start(program(), folder.path(), &more);
    up.wait_for_step(12);
    let filler = disk.at.join("filler");
    // Until nothing more fits. Without minibatches, the run can't get to its end meanwhile.
    let loader = up.role("loader");
    signal(loader, "STOP");
    let _ = std::fs::write(&filler, vec![0; 64 << 20]);
    signal(loader, "CONT");
    let mut said = String::new();
    wait("a pause that `status` knows of", || {
        said = status(&up);
        // It is announced before the boundary at which the run then waits.
        let pauses = said.contains("training pauses") && said.contains("checkpointing");
        up.is_over() || pauses
    });
    let paused = status(&up);
    assert!(step_in(&said) < STEPS && step_in(&said) == step_in(&paused), "{said}\n{paused}");
    std::fs::remove_file(&filler).unwrap();
    let output = up.end();
    let said = text(&output);
    assert!(output.status.success(), "{said}\n{}", log_in(&disk.at));
    for words in ["No space left on device", "training pauses", "the run continues"] {
        assert!(said.contains(words), "{said}\n{}", log_in(&disk.at));
    }
    assert_undisturbed(&disk.at);
}

/// The folder of checkpoints may not be written any more for a while.
#[test]
fn permissions_that_change_cost_checkpoints_and_no_bits() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--steps", "60", "--checkpoint-every", "5", "--timing-every", "0"];
    let up = Up::start_unprivileged(program(), folder.path(), &more);
    up.wait_for_step(12);
    let checkpoints = up.run_dir().join("checkpoints");
    let mode = |bits| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(bits);
        std::fs::set_permissions(&checkpoints, mode).unwrap();
    };
    mode(0o555);
    let log = up.run_dir().join("logs/coordinator.log");
    let log = || std::fs::read_to_string(&log).unwrap_or_default();
    wait("a checkpoint that fails", || log().contains("Permission denied"));
    mode(0o755);
    let run = up.run_dir();
    let output = up.end();
    let said = text(&output);
    assert!(output.status.success(), "{said}\n{}", log());
    assert!(said.contains("Permission denied"), "{said}");
    assert_undisturbed(&run);
}

/// The answer of `status`, since a full disk has no room for records.
fn status(up: &Up) -> String {
    let memory = std::fs::read_to_string(up.run_dir().join("up.json")).unwrap_or_default();
    let memory: serde_json::Value = serde_json::from_str(&memory).unwrap_or_default();
    let Some(at) = memory["coordinator"].as_str() else { return String::new() };
    let certs = up.run_dir().join("certs");
    text(&Command::new(program()).args(["status", at, "--certs"]).arg(certs).output().unwrap())
}

/// The last step by what `status` says.
fn step_in(said: &str) -> u64 {
    let step = said.split_once("step ").and_then(|(_, rest)| rest.split(['/', ' ', ',']).next());
    step.and_then(|step| step.trim().parse().ok()).unwrap_or(0)
}

pub(crate) fn log_in(run: &Path) -> String {
    std::fs::read_to_string(run.join("logs/coordinator.log")).unwrap_or_default()
}

#[test]
fn a_read_only_run_directory_is_named_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(&folder.path().join("run"), 8 << 20) else { return };
    disk.remount("ro");
    let output = Up::start(program(), folder.path(), &["--steps", "5"]).end();
    let said = text(&output);
    assert!(!output.status.success() && said.contains("Read-only file system"), "{said}");
    assert!(said.contains(disk.at.to_str().unwrap()) && said.contains("--run"), "{said}");
}

/// A shard of the pictures vanishes, or is cut short, in mid-run.
#[test]
fn pictures_that_vanish_or_are_cut_short_are_named_and_the_run_resumes_with_them_back() {
    for cut in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let data = crate::processes::pictures(&folder.path().join("data"), 10);
        let shard = crate::processes::training_shard(&data);
        let whole = std::fs::read(&shard).unwrap();
        let more = ["--steps", "200", "--checkpoint-every", "10"];
        let up = Up::start_on(program(), folder.path(), &data, &more);
        up.wait_for_step(15);
        match cut {
            // In place, so that files that are open see it too.
            true => std::fs::File::options()
                .write(true)
                .open(&shard)
                .and_then(|file| file.set_len(whole.len() as u64 / 2))
                .unwrap(),
            false => std::fs::remove_file(&shard).unwrap(),
        }
        let run = up.run_dir();
        let output = up.end();
        let said = text(&output);
        let name = shard.file_name().unwrap().to_str().unwrap();
        if !output.status.success() {
            assert!(said.contains(name) && !said.contains("panicked"), "{said}");
        }
        // A file that is open stays readable: then nothing was lost at all.
        std::fs::write(&shard, &whole).unwrap();
        let again = Up::start_on(program(), folder.path(), &data, &more).end();
        assert!(again.status.success(), "{}", text(&again));
        assert!(run.join("checkpoints").read_dir().unwrap().count() > 0);
    }
}
