//! `alexnet up` as a person runs it: real processes, real signals.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::schedule::Process;

/// The longest any of these small runs may take; far beyond what they need.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `alexnet up` on the small network, in a run directory of its own.
#[derive(Debug)]
pub struct Up {
    program: PathBuf,
    /// Folder of the recipe and the run.
    folder: PathBuf,
    child: Child,
}

/// The arguments that train the small network in `folder/run`.
pub fn small_run(folder: &Path) -> Vec<String> {
    small_run_on(folder, "synthetic:72:200:40")
}

/// As [`small_run`], on these pictures.
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
    /// Starts it with more arguments.
    pub fn start(program: &str, folder: &Path, more: &[&str]) -> Self {
        Self::start_with(program, folder, more, &[])
    }

    /// As [`Self::start`], with variables in its environment.
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

    /// As [`Self::start`], on these pictures.
    pub fn start_on(program: &str, folder: &Path, data: &str, more: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(small_run_on(folder, data)).args(more);
        Self::run(command, folder)
    }

    /// As [`Self::start`], without root's privilege to write whatever a file's mode says.
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

    /// Where it runs.
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

    /// The process of one of its roles, such as `worker`; the first it finds.
    pub fn role(&self, role: &str) -> u32 {
        let mut found = None;
        wait(&format!("a {role} process"), || {
            found = children(self.child.id()).into_iter().find(|pid| is_role(*pid, role));
            found.is_some()
        });
        found.expect("waited for")
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        !lives(self.child.id())
    }

    /// The last step on record; 0 before the first.
    pub fn last_step(&self) -> u64 {
        let text = self.read("metrics.jsonl");
        let step = |line: &str| line.split_once("\"step\":")?.1.split_once(',')?.0.parse().ok();
        text.lines().rev().find_map(step).unwrap_or(0)
    }

    /// Length of the record.
    pub fn metrics_bytes(&self) -> u64 {
        self.read("metrics.jsonl").len() as u64
    }

    /// How often the run has begun.
    pub fn incarnation(&self) -> u64 {
        let record: serde_json::Value =
            serde_json::from_str(&self.read("run.json")).unwrap_or_default();
        record["incarnation"].as_u64().unwrap_or(0)
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.run_dir().join(file)).unwrap_or_default()
    }

    /// Kills a process by SIGKILL; whether it was there. `up` itself is left to [`Self::signal`].
    pub fn kill(&self, who: Process) -> bool {
        let (role, which) = match who {
            Process::FirstWorker => ("worker", 0),
            Process::SecondWorker => ("worker", 1),
            Process::Loader => ("loader", 0),
            Process::Coordinator => ("coordinator", 0),
            Process::Up => return false,
        };
        let mut found = children(self.child.id());
        found.retain(|pid| is_role(*pid, role));
        found.sort_unstable();
        let Some(pid) = found.get(which) else { return false };
        let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        killed.is_ok_and(|status| status.success())
    }

    /// All processes it started.
    pub fn roles(&self) -> Vec<u32> {
        children(self.child.id())
    }

    /// Sends a signal to itself.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits for its end.
    pub fn end(self) -> Output {
        let pid = self.child.id();
        let started = Instant::now();
        let waiting = std::thread::spawn(move || self.child.wait_with_output());
        while !waiting.is_finished() {
            if started.elapsed() > PATIENCE {
                signal(pid, "KILL");
                panic!("{} did not end within {PATIENCE:?}", self.program.display());
            }
            pause();
        }
        waiting.join().expect("no panic").expect("its output")
    }
}

/// The program without root's privilege to write whatever a file's mode says.
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

/// Sends a signal by `kill`.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(sent.expect("kill runs").success(), "kill -{name} {pid}");
}

/// Waits for a condition, and names it if it doesn't come.
pub fn wait(what: &str, mut is: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < PATIENCE, "no {what} within {PATIENCE:?}");
        pause();
    }
}

/// As [`wait`], for what may take long beside other work.
pub fn wait_long(what: &str, mut is: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < 10 * PATIENCE, "no {what} within {:?}", 10 * PATIENCE);
        pause();
    }
}

/// Whether a process is there (and not just a zombie).
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
    rest(LOOK_EVERY);
}

/// Lets time pass: between two looks at another process, or before a random instant.
#[expect(clippy::disallowed_methods, reason = "nothing here could wake it")]
pub fn rest(time: Duration) {
    std::thread::sleep(time);
}
