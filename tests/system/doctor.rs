//! `alexnet doctor` as a person runs it, on machines with something amiss. What each number means
//! is tested beside the code that judges it (`deploy/cli/src/commands/doctor`).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use harness::process::unprivileged;
use serde_json::Value;

use crate::disks::Disk;

const PROGRAM: &str = env!("CARGO_BIN_EXE_alexnet-under-test");
/// Time limit that the help text promises.
const WITHIN: Duration = Duration::from_secs(10);

/// A report, and the code that the program ended with.
struct Report {
    json: Value,
    code: Option<i32>,
}

impl Report {
    /// Runs the command with these arguments, and reads its document.
    fn of(mut command: Command, args: &[&str]) -> Self {
        let output = command.arg("doctor").args(args).arg("--json").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let json = serde_json::from_str(&said).unwrap_or_else(|why| {
            panic!("{why}: {said}{}", String::from_utf8_lossy(&output.stderr))
        });
        Self { json, code: output.status.code() }
    }

    /// The lines with this key.
    fn lines(&self, key: &str) -> Vec<&Value> {
        let checks = self.json["checks"].as_array().unwrap();
        checks.iter().filter(|check| check["key"] == key).collect()
    }

    /// The first line with this key.
    #[track_caller]
    fn line(&self, key: &str) -> &Value {
        let lines = self.lines(key);
        lines.first().unwrap_or_else(|| panic!("no line {key}: {:#}", self.json))
    }

    /// Stops unless this line has the verdict, and a remedy with these words.
    #[track_caller]
    fn assert(&self, key: &str, verdict: &str, remedy: &str) {
        let line = self.line(key);
        assert_eq!(line["verdict"], verdict, "{line:#}");
        assert!(line["remedy"].as_str().is_some_and(|said| said.contains(remedy)), "{line:#}");
    }
}

fn program() -> Command {
    Command::new(PROGRAM)
}

/// The program under the emulated driver, with these settings.
fn emulated(folder: &Path, settings: &str) -> Command {
    let driver = folder.join("driver");
    cuda_emulator::folder(&driver).unwrap();
    let mut command = program();
    command.env("CUDA_EMULATOR", settings).env("LD_LIBRARY_PATH", driver);
    command
}

/// Folder of NVRTC 12.9; None, with a line that says so, where it is not installed.
fn nvrtc() -> Option<String> {
    let folder: PathBuf = cuda_emulator::tools()?.join("nvidia/cuda_nvrtc/lib");
    Some(folder.to_string_lossy().into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn is_empty(folder: &Path) -> bool {
    folder.read_dir().unwrap().count() == 0
}

#[test]
fn a_report_takes_less_than_ten_seconds_fits_a_terminal_and_leaves_nothing() {
    let run = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let output = program().args(["doctor", "--run", text(run.path())]).output().unwrap();
    assert!(started.elapsed() < WITHIN, "{:?}", started.elapsed());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    for group in ["program", "cpu", "memory", "limits", "disk", "network", "gpu", "clock"] {
        assert!(said.contains(&format!("\n{group}\n")), "no {group}: {said}");
    }
    let path = |line: &str| line.contains('/'); // which is not cut
    let wide = said.lines().find(|line| line.chars().count() > 100 && !path(line));
    assert_eq!(wide, None, "{said}");
    assert!(!said.contains('\u{1b}'), "colors outside a terminal: {said:?}");
    assert!(is_empty(run.path()));
}

#[test]
fn a_machine_without_a_gpu_trains_on_its_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let report = Report::of(emulated(folder.path(), "devices=0"), &["--run", text(folder.path())]);
    assert_eq!(report.code, Some(0), "{:#}", report.json);
    report.assert("gpu.device", "look", "nvidia-smi -L");
    assert_eq!(report.line("nvrtc.taken")["verdict"], "ok");
    assert!(report.line("devices.taken")["measured"].as_str().unwrap().contains("uses cpu:"));
}

#[test]
fn two_gpus_are_measured_and_taken() {
    let folder = tempfile::tempdir().unwrap();
    let Some(nvrtc) = nvrtc() else { return };
    let args = ["--run", text(folder.path()), "--nvrtc", &nvrtc, "--devices", "cuda:0,cuda:1"];
    let report = Report::of(emulated(folder.path(), "devices=2"), &args);
    assert_eq!(report.code, Some(0), "{:#}", report.json);
    assert_eq!(report.line("gpu.driver")["measured"], "CUDA 12.9");
    let devices = report.lines("gpu.device");
    assert_eq!(devices.len(), 2);
    assert_eq!((&devices[1]["subject"], &devices[1]["verdict"]), (&"cuda:1".into(), &"ok".into()));
    let copies = report.lines("gpu.copies");
    assert_eq!(copies.len(), 2);
    for name in ["up_bytes_per_s", "down_bytes_per_s"] {
        assert!(copies.iter().all(|line| line["numbers"][name].as_f64().unwrap() > 1e6));
    }
    assert_eq!(report.line("gpu.peers")["numbers"]["reached"], 2.0);
    assert_eq!(report.line("nvrtc.found")["subject"], "12.9");
    assert_eq!(report.line("nvrtc.taken")["verdict"], "ok");
    let taken = report.line("devices.taken");
    assert!(taken["measured"].as_str().unwrap().ends_with("uses cuda:0 and cuda:1"), "{taken:#}");
}

#[test]
fn gpus_that_are_too_old_are_looked_at_and_wrong_where_they_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["--run", text(folder.path())];
    let report = Report::of(emulated(folder.path(), "arch=70"), &run);
    assert_eq!(report.code, Some(0), "{:#}", report.json);
    report.assert("gpu.device", "look", "7.5");
    let args = [&run[..], &["--devices", "cuda:0,cuda:1"]].concat();
    let report = Report::of(emulated(folder.path(), "arch=70"), &args);
    assert_eq!(report.code, Some(1), "{:#}", report.json);
    report.assert("devices.taken", "wrong", "cpu");
}

#[test]
fn gpus_without_nvrtc_are_looked_at_and_wrong_where_they_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let args = ["--run", text(folder.path()), "--nvrtc", text(&nowhere)];
    let report = Report::of(emulated(folder.path(), ""), &args);
    assert_eq!(report.code, Some(0), "{:#}", report.json);
    report.assert("nvrtc.taken", "look", "pip install");
    let args = [&args[..], &["--devices", "cuda:0,cuda:1"]].concat();
    let report = Report::of(emulated(folder.path(), ""), &args);
    assert_eq!(report.code, Some(1), "{:#}", report.json);
    assert_eq!(report.line("devices.taken")["verdict"], "wrong");
}

#[test]
fn a_gpu_that_others_have_filled_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "memory=16000000000,used=15000000000";
    let report = Report::of(emulated(folder.path(), settings), &["--run", text(folder.path())]);
    report.assert("gpu.device", "look", "nvidia-smi");
    let settings = "memory=16000000000,used=15999000000";
    let report = Report::of(emulated(folder.path(), settings), &["--run", text(folder.path())]);
    report.assert("gpu.copies", "look", "nvidia-smi");
}

#[test]
fn a_driver_that_is_too_old_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["--run", text(folder.path())];
    let report = Report::of(emulated(folder.path(), "driver=11080"), &run);
    report.assert("gpu.driver", "look", "newer driver");
}

#[test]
fn a_run_directory_that_may_not_be_written_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o555);
    std::fs::set_permissions(&run, mode).unwrap();
    let report = Report::of(unprivileged(PROGRAM), &["--run", text(&run)]);
    assert_eq!(report.code, Some(1), "{:#}", report.json);
    report.assert("disk.run-directory", "wrong", "--run");
    let said = report.line("disk.run-directory")["measured"].as_str().unwrap();
    assert!(said.contains("Permission denied"), "{said}");
}

#[test]
fn a_disk_that_is_full_or_read_only_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::new(&folder.path().join("run"), 1 << 20) else { return };
    for (remount, why) in [(None, "No space left on device"), (Some("ro"), "Read-only")] {
        remount.into_iter().for_each(|how| disk.remount(how));
        let report = Report::of(program(), &["--run", text(&disk.at)]);
        assert_eq!(report.code, Some(1), "{:#}", report.json);
        report.assert("disk.run-directory", "wrong", "--run");
        let said = report.line("disk.run-directory")["measured"].as_str().unwrap();
        assert!(said.contains(why), "{said}");
        report.assert("disk.free", "wrong", "another disk");
        assert!(is_empty(&disk.at));
    }
}

#[test]
fn few_open_files_are_looked_at_and_too_few_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    for (n, verdict, code) in [("64", "look", 0), ("24", "wrong", 1)] {
        let mut limited = Command::new("sh");
        let line = format!("ulimit -n {n}; exec \"$0\" \"$@\"");
        limited.args(["-c", &line, PROGRAM]);
        let report = Report::of(limited, &["--run", text(folder.path())]);
        assert_eq!(report.code, Some(code), "{:#}", report.json);
        report.assert("limits.open-files", verdict, "nofile");
    }
}

/// Ctrl-C while the disk is measured: the report ends, and its files go.
#[test]
fn ctrl_c_ends_the_report_and_removes_its_files() {
    let run = tempfile::tempdir().unwrap();
    let mut doctor = program();
    doctor.args(["doctor", "--run", text(run.path())]).stdout(Stdio::piped());
    let mut doctor = doctor.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(doctor.stdout.take().unwrap()).lines();
    let mut lines = lines.map(|line| line.unwrap());
    assert!(lines.any(|line| line.contains("shared memory")), "the disk comes after the limits");
    harness::process::signal(doctor.id(), "INT");
    let rest: Vec<String> = lines.collect();
    let output: Output = doctor.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{rest:?}");
    assert!(error.contains("stopped before the report was complete"), "{error}");
    assert!(is_empty(run.path()));
}

#[test]
fn the_documentation_names_every_key() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let doc = std::fs::read_to_string(root.join("docs/doctor.md")).unwrap();
    let files = std::fs::read_dir(root.join("deploy/cli/src/commands/doctor")).unwrap();
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    // Its tests are at the end of each file, with keys of their own.
    let code = |file: PathBuf| {
        let text = std::fs::read_to_string(file).unwrap();
        text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
    };
    let source: String =
        files.chain([root.join("deploy/cli/src/commands/doctor.rs")]).map(code).collect();
    let mut keys = 0;
    for call in ["Check::ok(\"", "self.line(\"", "Part::quick(\""] {
        let found = source.split(call).skip(1).filter_map(|rest| rest.split_once('"'));
        for (key, _) in found {
            keys += 1;
            assert!(doc.contains(&format!("`{key}`")), "docs/doctor.md: {key}?");
        }
    }
    assert!(keys > 30, "{keys} keys");
    for number in source.split(".number(\"").skip(1).filter_map(|rest| rest.split_once('"')) {
        assert!(doc.contains(&format!("`{}`", number.0)), "docs/doctor.md: {}?", number.0);
    }
}
