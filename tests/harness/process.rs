//! `alexnet up` as real processes, with real signals.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::schedule::Process;

/// Time limit of these small runs, far longer than any of them needs.
const TIMEOUT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `alexnet up` on the small network, in its own run directory.
#[derive(Debug)]
pub struct Up {
    program: PathBuf,
    /// Folder that holds the recipe and the run directory.
    folder: PathBuf,
    child: Child,
}

/// Arguments of a run that trains until it is stopped: a plateau of the validation error, which
/// ends a run of the small network after some hundred steps, does not end it.
pub const ENDLESS: [&str; 4] = ["--steps", "1000000", "--set", "patience=1000000"];

/// The arguments that train the small network in `folder/run`.
pub fn small_run(folder: &Path) -> Vec<String> {
    small_run_on(folder, "synthetic:72:200:40")
}

/// The arguments of [`small_run`] for the pictures `data`.
pub fn small_run_on(folder: &Path, data: &str) -> Vec<String> {
    let recipe = folder.join("small.toml");
    std::fs::write(&recipe, crate::small::recipe().to_toml()).expect("a recipe file");
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let mut args = vec!["up".to_string(), "--recipe".into(), text(recipe)];
    args.extend(["--run".into(), text(folder.join("run"))]);
    args.extend(["--data", data, "--seed", "7"].map(String::from));
    args
}

impl Up {
    /// Starts `up` with more arguments.
    pub fn start(program: &str, folder: &Path, more: &[&str]) -> Self {
        Self::start_with(program, folder, more, &[])
    }

    /// Starts `up` as [`Self::start`] does, with environment variables.
    pub fn start_with(
        program: &str,
        folder: &Path,
        more: &[&str],
        environment: &[(&str, String)],
    ) -> Self {
        let environment = environment.iter().map(|(name, value)| (name, value));
        let mut command = Command::new(program);
        command.args(small_run(folder)).args(more).envs(environment);
        Self::run(command, folder)
    }

    /// Starts `up` as [`Self::start`] does, on the pictures `data`.
    pub fn start_on(program: &str, folder: &Path, data: &str, more: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(small_run_on(folder, data)).args(more);
        Self::run(command, folder)
    }

    /// Starts `up` as [`Self::start`] does, without root's privilege to ignore file modes.
    pub fn start_unprivileged(program: &str, folder: &Path, more: &[&str]) -> Self {
        let mut command = unprivileged(program);
        command.args(small_run(folder)).args(more);
        Self { program: program.into(), ..Self::run(command, folder) }
    }

    fn run(mut command: Command, folder: &Path) -> Self {
        let program = command.get_program().into();
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        Self { program, folder: folder.into(), child }
    }

    /// The run directory.
    pub fn run_dir(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// Waits until a step has been recorded.
    pub fn wait_for_step(&self, step: u64) {
        let metrics = self.run_dir().join("metrics.jsonl");
        let wanted = format!("\"step\":{step},");
        wait(&format!("step {step}"), || {
            std::fs::read_to_string(&metrics).is_ok_and(|text| text.contains(&wanted))
        });
    }

    /// The first process of a role, such as `worker`.
    pub fn role(&self, role: &str) -> u32 {
        let mut found = None;
        wait(&format!("a {role} process"), || {
            found = children(self.child.id()).into_iter().find(|pid| is_role(*pid, role));
            found.is_some()
        });
        found.expect("waited for")
    }

    /// Whether `up` has ended.
    pub fn is_over(&self) -> bool {
        !lives(self.child.id())
    }

    /// The last step on record; 0 before the first.
    pub fn last_step(&self) -> u64 {
        last_step(&self.run_dir())
    }

    /// Length of `metrics.jsonl`, in bytes.
    pub fn metrics_bytes(&self) -> u64 {
        self.read("metrics.jsonl").len() as u64
    }

    /// Number of the present incarnation.
    pub fn incarnation(&self) -> u64 {
        let record: serde_json::Value =
            serde_json::from_str(&self.read("run.json")).unwrap_or_default();
        record["incarnation"].as_u64().unwrap_or(0)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.run_dir().join(file)).unwrap_or_default()
    }

    /// Kills a process by SIGKILL and returns whether it existed. Use [`Self::signal`] for `up`.
    pub fn kill(&self, who: Process) -> bool {
        who != Process::Up && self.send(who, "KILL")
    }

    /// Sends a signal to a process and returns whether it existed.
    pub fn send(&self, who: Process, name: &str) -> bool {
        let (role, which) = match who {
            Process::FirstWorker => ("worker", 0),
            Process::SecondWorker => ("worker", 1),
            Process::Loader => ("loader", 0),
            Process::Coordinator => ("coordinator", 0),
            Process::Up => return send(self.child.id(), name),
        };
        let mut found = children(self.child.id());
        found.retain(|pid| is_role(*pid, role));
        found.sort_unstable();
        let Some(pid) = found.get(which) else { return false };
        send(*pid, name)
    }

    /// Sends a signal to `up` and all its processes at once.
    pub fn send_to_all(&self, name: &str) {
        let all = self.roles().into_iter().chain([self.child.id()]).map(|pid| pid.to_string());
        // One that has just ended makes `kill` fail after it has sent to the others.
        let _ = Command::new("kill").arg(format!("-{name}")).args(all).status();
    }

    /// All processes that `up` started.
    pub fn roles(&self) -> Vec<u32> {
        children(self.child.id())
    }

    /// All processes of the run, `up` included.
    pub fn everybody(&self) -> Vec<u32> {
        [self.roles(), vec![self.child.id()]].concat()
    }

    /// Sends a signal to `up`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for the end of `up` and returns its output.
    pub fn end(self) -> Output {
        let pid = self.child.id();
        let started = Instant::now();
        let waiting = std::thread::spawn(move || self.child.wait_with_output());
        while !waiting.is_finished() {
            if started.elapsed() > TIMEOUT {
                signal(pid, "KILL");
                panic!("{} did not end within {TIMEOUT:?}", self.program.display());
            }
            pause();
        }
        waiting.join().expect("no panic").expect("its output")
    }
}

/// The last step on record in a run directory; 0 before the first.
pub fn last_step(run: &Path) -> u64 {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let step = |line: &str| line.split_once("\"step\":")?.1.split_once(',')?.0.parse().ok();
    text.lines().rev().find_map(step).unwrap_or(0)
}

/// A command for the program without root's privilege to ignore file modes.
pub fn unprivileged(program: &str) -> Command {
    let own = std::fs::metadata("/proc/self").expect("a process");
    if own.uid() != 0 {
        return Command::new(program);
    }
    let drop = "-dac_override,-dac_read_search";
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps", drop, "--bounding-set", drop, program]);
    command
}

fn send(pid: u32, name: &str) -> bool {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status();
    sent.is_ok_and(|status| status.success())
}

/// Sends a signal with the command `kill`.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(sent.expect("kill runs").success(), "kill -{name} {pid}");
}

/// Sends a signal to several processes at once.
pub fn signal_all(pids: &[u32], name: &str) {
    let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
    let sent = Command::new("kill").arg(format!("-{name}")).args(&pids).status();
    assert!(sent.expect("kill runs").success(), "kill -{name} {pids:?}");
}

/// Waits for a condition; panics with its name if it does not become true in time.
pub fn wait(what: &str, mut is: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < TIMEOUT, "no {what} within {TIMEOUT:?}");
        pause();
    }
}

/// Waits as [`wait`] does, ten times as long.
pub fn wait_long(what: &str, mut is: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < 10 * TIMEOUT, "no {what} within {:?}", 10 * TIMEOUT);
        pause();
    }
}

/// Whether a process exists and is not a zombie.
pub fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

fn children(parent: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after = stat.rsplit(')').next().unwrap_or_default();
            after.split_whitespace().nth(1) == Some(&parent.to_string()) && lives(*pid)
        })
        .collect()
}

fn is_role(pid: u32, role: &str) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).nth(1) == Some(role.as_bytes())
}

fn pause() {
    sleep(LOOK_EVERY);
}

/// Sleeps between two polls of another process, or until a random time.
#[expect(clippy::disallowed_methods, reason = "nothing here could wake it")]
pub fn sleep(time: Duration) {
    std::thread::sleep(time);
}
