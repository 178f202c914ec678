//! Runs that can't work say so once, at the start, in words that fit the command; processes that
//! are asked to stop end.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use harness::process::{ENDLESS, Up, signal, wait};

use crate::program;

const PICTURES: &str = "synthetic:72:200:40";

fn up(folder: &Path, data: &str, more: &[&str]) -> Output {
    Up::start_on(program(), folder, data, more).end()
}

/// Everything that a process has printed.
fn all(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr];
    streams.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// Each is found by another process: all say it once, nothing is started again, and nobody is told
/// to type the same command again.
#[test]
fn a_refusal_is_said_once_whoever_finds_it() {
    let cases: [(&str, &[&str], &str); 3] = [
        (PICTURES, &["--set", "classes=1000"], "classes = 1000"),
        (PICTURES, &["--set", "crop=80"], "80×80"),
        ("synthetic:72:200:0", &[], "no validation pictures"),
    ];
    for (data, more, says) in cases {
        let folder = tempfile::tempdir().unwrap();
        let output = up(folder.path(), data, more);
        let said = all(&output);
        assert!(!output.status.success(), "{said}");
        assert_eq!(said.matches(says).count(), 1, "{more:?}: {said}");
        assert!(!said.contains("restarting it") && !said.contains("resumes"), "{said}");
    }
}

#[test]
fn a_run_is_not_continued_with_other_pictures_and_says_so_once() {
    let folder = tempfile::tempdir().unwrap();
    assert!(up(folder.path(), PICTURES, &["--steps", "2"]).status.success());
    let said = all(&up(folder.path(), "synthetic:72:201:40", &["--steps", "4"]));
    assert_eq!(said.matches("was begun with").count(), 1, "{said}");
    assert!(said.contains("201 training") && said.contains("200 training"), "{said}");
    assert!(!said.contains("restarting it") && !said.contains("resumes"), "{said}");
    let longest = said.split_whitespace().map(|word| word.trim_matches('"').len()).max();
    assert!(longest.is_some_and(|n| n < 64), "a whole digest is for machines: {said}");
}

/// The terminal closes: as after Ctrl-C there is a checkpoint of the last step.
#[test]
fn a_hangup_writes_a_checkpoint_even_if_it_comes_twice() {
    if has("self", "SigIgn:", 1) {
        return eprintln!("skipped: these tests run under nohup");
    }
    let folder = tempfile::tempdir().unwrap();
    let run = Up::start(program(), folder.path(), &ENDLESS);
    run.wait_for_step(3);
    run.signal("HUP");
    run.signal("HUP");
    let directory = run.run_dir();
    let output = run.end();
    assert!(output.status.success(), "{}", all(&output));
    let metrics = std::fs::read_to_string(directory.join("metrics.jsonl")).unwrap();
    let last = metrics.lines().filter(|line| line.contains("\"step_ms\"")).count();
    let newest = std::fs::read_dir(directory.join("checkpoints")).unwrap();
    let newest = newest.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).max();
    assert!(newest.as_deref().is_some_and(|n| n.contains(&last.to_string())), "{newest:?} {last}");
}

/// A command without an ending of its own ends with the code of convention.
#[test]
fn every_signal_ends_a_command_with_its_own_code() {
    for (name, number, code) in [("INT", 2, 130), ("TERM", 15, 143), ("HUP", 1, 129)] {
        if has("self", "SigIgn:", number) && name == "HUP" {
            eprintln!("skipped: these tests run under nohup");
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let picture = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&picture).status().unwrap().success());
        // Reading the recipe waits for somebody to write to the pipe.
        let mut command = Command::new(program());
        command.arg("recipes").arg(&picture).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        wait("handler", || has(&child.id().to_string(), "SigCgt:", number));
        signal(child.id(), name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name}: {}", all(&output));
    }
}

/// Returns true if a signal is in one of the masks in `/proc/PROCESS/status`.
fn has(process: &str, mask: &str, signal: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let hex = status.lines().find_map(|line| line.strip_prefix(mask)).unwrap_or_default();
    u64::from_str_radix(hex.trim(), 16).is_ok_and(|bits| bits >> (signal - 1) & 1 == 1)
}

/// A role started by hand with its output in a file.
#[test]
fn a_log_in_a_file_has_no_colors() {
    let folder = tempfile::tempdir().unwrap();
    let mut coordinator = Command::new(program());
    coordinator.args(["coordinator", "--listen", "0", "--run"]).arg(folder.path().join("run"));
    coordinator.env_remove("NO_COLOR").stderr(Stdio::piped()).stdout(Stdio::piped());
    let child = coordinator.spawn().unwrap();
    wait("the run directory", || folder.path().join("run/run.json").exists());
    signal(child.id(), "TERM");
    let output = child.wait_with_output().unwrap();
    let said = all(&output);
    assert!(said.contains("ready 127.0.0.1:"), "a port alone is taken: {said}");
    assert!(!output.stderr.is_empty() && !output.stderr.contains(&0x1b), "{said}");
}
