//! Single roles as real processes, here or in a network namespace.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::process::wait;

/// A place to run processes: this machine, or a network namespace of it.
#[derive(Debug, Clone)]
pub struct Machine {
    program: String,
    namespace: Option<String>,
    /// Folder of logs and runs.
    folder: PathBuf,
    /// Log filter, as for `RUST_LOG`.
    filter: &'static str,
    environment: Vec<(&'static str, String)>,
}

/// A running role that listens.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
    /// Address on which the role listens.
    pub address: String,
}

impl Machine {
    /// This machine; `program` is the program under test, `folder` is for logs.
    pub fn here(program: &str, folder: &Path) -> Self {
        Self {
            program: program.into(),
            namespace: None,
            folder: folder.into(),
            filter: "info,gpu_worker::engine=debug",
            environment: Vec::new(),
        }
    }

    /// The same machine for processes with these environment variables.
    pub fn with(&self, environment: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self { environment: environment.into_iter().collect(), ..self.clone() }
    }

    /// The same machine with another log filter.
    pub fn logging(&self, filter: &'static str) -> Self {
        Self { filter, ..self.clone() }
    }

    /// A network namespace of this machine.
    pub fn in_namespace(&self, name: &str) -> Self {
        Self { namespace: Some(name.into()), ..self.clone() }
    }

    /// A command for the program with these arguments, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.namespace {
            None => Command::new(&self.program),
            Some(name) => {
                let mut ip = Command::new("ip");
                ip.args(["netns", "exec", name, &self.program]);
                ip
            }
        };
        command.args(args).env_remove("ALEXNET_CERTS").env("NO_COLOR", "1");
        command.env("RUST_LOG", self.filter);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command to its end; returns whether it succeeded, and all its output.
    pub fn run(&self, args: &[&str]) -> (bool, String) {
        let output = self.command(args).output().expect("the program starts");
        let both = [&output.stdout[..], &output.stderr[..]].concat();
        (output.status.success(), String::from_utf8_lossy(&both).into_owned())
    }

    /// Starts a role and waits until it listens; its log is `name.log`.
    pub fn start(&self, name: &str, args: &[&str]) -> Running {
        let log = self.folder.join(format!("{name}.log"));
        let file = std::fs::File::create(&log).expect("a log file");
        let mut child = self
            .command(args)
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
        // The address of the metrics may come first.
        while said.read_line(&mut line).expect("a line of text") > 0 && line.starts_with("metrics")
        {
            line.clear();
        }
        // What it prints later fits into the pipe.
        child.stdout = Some(said.into_inner());
        let mut running = Running { child, log, address: String::new() };
        match line.strip_prefix("ready ") {
            Some(address) => running.address = address.trim().into(),
            None => panic!("{name} doesn't listen: {line}{}", running.log()),
        }
        running
    }
}

impl Running {
    /// The log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// File of the log.
    pub fn log_file(&self) -> PathBuf {
        self.log.clone()
    }

    /// Waits until the log contains `words`.
    pub fn wait_for(&self, words: &str) {
        wait(&format!("{words:?} in {}", self.log.display()), || self.log().contains(words));
    }

    /// Process id of the role.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the role.
    pub fn end(mut self) -> ExitStatus {
        let mut status = None;
        wait(&format!("end of {}", self.log.display()), || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("waited for")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
