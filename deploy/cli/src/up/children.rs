//! Child processes, one per role: started by executing this program again, restarted when they end
//! too early, ended with the run.
//!
//! A child prints `ready HOST:PORT` once it listens. It ends by itself when its standard input
//! closes, so that nothing outlives `up`, however `up` ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use net::Backoff;
use proto::wire::{self, RunStatus};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::environment::CERTS_VARIABLE;
use crate::exit::{FOR_GOOD, REFUSED};
use crate::role::{METRICS, READY};

/// Most restarts of a child that ends soon after each start.
const MOST_RESTARTS: u32 = 10;
/// A child that lived for this long has its restarts counted from zero.
pub(crate) const LONG_LIFE: Duration = Duration::from_secs(60);
/// A process that has been missing from the coordinator's list for this long hangs: one that works
/// joins again within moments.
const MISSED_FOR: Duration = Duration::from_secs(5);
/// Longest time until a coordinator ends that has refused another process or given up its run.
const COORDINATOR_ENDS: Duration = Duration::from_secs(10);
/// Longest time until a child ends whose pipe is closed.
const WITHOUT_PARENT: Duration = Duration::from_millis(500);
/// Longest time until a child listens. Reading the largest index takes a loader seconds.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A child process to start.
#[derive(Debug, Clone)]
pub(crate) struct ChildCommand {
    /// Name in messages and file names: `coordinator`, `worker-0`, `loader-0`.
    pub name: String,
    /// The command line, without the program.
    pub args: Vec<OsString>,
    /// Folder of its log.
    pub logs: PathBuf,
}

/// The wish of `up` for its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A process that ends is started again.
    Alive,
    /// The run stops: nothing is started again.
    Stopping,
    /// The run is over: a process has this time to finish.
    Gone(Duration),
}

/// A process that is not started again while the run needs it.
#[derive(Debug)]
pub(crate) struct GivenUp {
    /// Name of the process.
    pub name: String,
    /// The last reason.
    pub why: anyhow::Error,
}

/// A running process.
#[derive(Debug)]
pub(crate) struct Running {
    /// Address on which the process listens.
    pub address: String,
    /// URL of its metrics, if it serves any.
    pub metrics: Option<String>,
    child: Child,
    /// Standard input; closing it makes the process end.
    stdin: Option<ChildStdin>,
    /// Last line on standard output, once that closes.
    printed: JoinHandle<String>,
    command: ChildCommand,
}

/// The end of a process, by its exit code or signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Code 0.
    Done,
    /// Another code, with the error from its log.
    Error(String),
    /// [`FOR_GOOD`], with the error from its log: a new process would end in the same way.
    ForGood(String),
    /// [`REFUSED`], with the error from its log: the coordinator has said no, and why.
    Refused(String),
    /// A signal, described.
    Killed(String),
}

impl ChildCommand {
    /// A child with this command line, and its log in `logs`.
    pub(crate) fn new(name: impl Into<String>, logs: &Path, args: Vec<OsString>) -> Self {
        Self { name: name.into(), args, logs: logs.to_owned() }
    }

    /// Log file of the child.
    pub(crate) fn log(&self) -> PathBuf {
        self.logs.join(format!("{}.log", self.name))
    }

    /// Starts the process and waits until it listens.
    ///
    /// # Errors
    /// If the process can't be started, or ends before it listens.
    pub(crate) async fn start(&self) -> Result<Running> {
        let program = std::env::current_exe().context("this program's own file can't be found")?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .with_context(|| format!("{} can't be written", self.log().display()))?;
        let mut child = Command::new(program)
            .args(&self.args)
            .env("NO_COLOR", "1") // the log is a file
            .env_remove(CERTS_VARIABLE) // its command line has --certs
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // A group of its own, so that Ctrl-C in the terminal reaches `up` alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} can't be started", self.name))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("its standard output is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut metrics = None;
        let address = tokio::time::timeout(STARTS_WITHIN, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = line.strip_prefix(READY) {
                    return Some(address.trim().to_owned());
                }
                metrics = line.strip_prefix(METRICS).map(str::to_owned).or(metrics.take());
            }
            None
        })
        .await;
        match address {
            Ok(Some(address)) => {
                let printed = tokio::spawn(async move {
                    let mut last = String::new();
                    while let Ok(Some(line)) = lines.next_line().await {
                        last = line;
                    }
                    last
                });
                Ok(Running { address, metrics, child, stdin, printed, command: self.clone() })
            }
            Ok(None) => {
                let end = self.end_of(child.wait().await?);
                bail!("{} did not start: {}", self.name, end.why())
            }
            Err(_) => bail!(
                "{} was not ready after {} s; see its log {}",
                self.name,
                STARTS_WITHIN.as_secs(),
                self.log().display()
            ),
        }
    }

    fn end_of(&self, status: ExitStatus) -> End {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(0), _) => End::Done,
            (Some(code), _) if code == i32::from(FOR_GOOD) => End::ForGood(last_words(&self.log())),
            (Some(code), _) if code == i32::from(REFUSED) => End::Refused(last_words(&self.log())),
            (Some(_), _) => End::Error(last_words(&self.log())),
            (None, Some(9)) => End::Killed("killed, by hand or because memory ran out".into()),
            (None, signal) => End::Killed(format!("killed by signal {}", signal.unwrap_or(0))),
        }
    }
}

impl End {
    /// The reason, in words.
    pub(crate) fn why(&self) -> &str {
        match self {
            End::Done => "it ended",
            End::Error(why) | End::ForGood(why) | End::Refused(why) | End::Killed(why) => why,
        }
    }
}

impl Running {
    /// Name of the child.
    pub(crate) fn name(&self) -> &str {
        &self.command.name
    }

    /// Waits for the end of standard output and returns its last line.
    pub(crate) async fn last_line(self) -> String {
        self.printed.await.unwrap_or_default()
    }

    /// Process number.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the process ends.
    pub(crate) async fn ended(&mut self) -> End {
        match self.child.wait().await {
            Ok(status) => self.command.end_of(status),
            Err(e) => End::Error(e.to_string()),
        }
    }

    /// Kills the process; [`Self::ended`] then resolves.
    pub(crate) fn kill(&mut self) {
        // This fails only if the process has ended already.
        let _ = self.child.start_kill();
    }

    /// Gives the process `grace` to end by itself, then closes its pipe, then kills it.
    pub(crate) async fn finish(mut self, grace: Duration) {
        if tokio::time::timeout(grace, self.child.wait()).await.is_ok() {
            return;
        }
        drop(self.stdin.take());
        if tokio::time::timeout(WITHOUT_PARENT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Restarts a worker or loader whenever it ends or hangs, as long as it is wanted.
///
/// # Errors
/// If the process ended more than [`MOST_RESTARTS`] times, can't be restarted, or ended with
/// [`FOR_GOOD`] or [`REFUSED`].
pub(crate) async fn keep_alive(
    running: Running,
    wanted: watch::Receiver<Wanted>,
    states: watch::Receiver<RunStatus>,
    notices: mpsc::UnboundedSender<String>,
) -> Result<(), GivenUp> {
    let name = running.name().to_owned();
    restarting(running, wanted, states, notices).await.map_err(|why| GivenUp { name, why })
}

async fn restarting(
    mut running: Running,
    mut wanted: watch::Receiver<Wanted>,
    mut states: watch::Receiver<RunStatus>,
    notices: mpsc::UnboundedSender<String>,
) -> Result<()> {
    let command = running.command.clone();
    let mut backoff = Backoff::default();
    let mut restart = 0;
    loop {
        let born = Instant::now();
        let address = running.address.clone();
        let end = tokio::select! {
            end = running.ended() => end,
            () = missed(&address, &mut states) => {
                running.kill();
                running.ended().await;
                End::Killed("it stopped answering".into())
            }
            grace = run_over(&mut wanted) => {
                running.finish(grace).await;
                return Ok(());
            }
        };
        // All roles end with the run, and the coordinator is not always the first. What it refuses,
        // it says itself as a rule, in words that fit this command.
        let wait = match &end {
            End::Done => Duration::from_secs(3),
            End::Refused(_) => COORDINATOR_ENDS,
            _ => Duration::ZERO,
        };
        let unwanted = wanted.wait_for(|wanted| *wanted != Wanted::Alive);
        if tokio::time::timeout(wait, unwanted).await.is_ok() {
            return Ok(());
        }
        if let End::ForGood(why) | End::Refused(why) = &end {
            bail!("{} ended, and a restart would not help: {why}", command.name);
        }
        if born.elapsed() > LONG_LIFE {
            (restart, backoff) = (0, Backoff::default());
        }
        restart += 1;
        if restart > MOST_RESTARTS {
            bail!(
                "{} ended {restart} times; last: {}; see its log {}",
                command.name,
                end.why(),
                command.log().display()
            );
        }
        let _ = notices.send(format!("{} ended: {}; restarting it", command.name, end.why()));
        backoff.pause().await;
        running = command.start().await?;
    }
}

/// Resolves once the process at this address was on the coordinator's list and has been missing for
/// [`MISSED_FOR`].
async fn missed(address: &str, states: &mut watch::Receiver<RunStatus>) {
    let (mut was_there, mut since) = (false, None);
    while states.changed().await.is_ok() {
        let state = states.borrow_and_update();
        let mut addresses = state
            .workers
            .iter()
            .map(|w| &w.address)
            .chain(state.loaders.iter().map(|l| &l.address));
        if addresses.any(|known| known == address) {
            (was_there, since) = (true, None);
        } else if was_there
            && since.get_or_insert_with(Instant::now).elapsed() > MISSED_FOR
            && state.phase() != wire::Phase::Ended
        {
            return;
        }
    }
    std::future::pending().await
}

/// Resolves when the run is over, with the time that the process has to finish.
async fn run_over(wanted: &mut watch::Receiver<Wanted>) -> Duration {
    let is_gone = |wanted: &Wanted| matches!(wanted, Wanted::Gone(_));
    match wanted.wait_for(is_gone).await.map(|wanted| *wanted) {
        Ok(Wanted::Gone(grace)) => grace,
        _ => Duration::ZERO,
    }
}

/// The error with which a process ended: the last one in its log, or the last line of the log.
fn last_words(log: &Path) -> String {
    let text = tail(log, 16 << 10).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    match lines.iter().rposition(|line| line.starts_with("error: ")) {
        Some(at) => {
            let rest = lines[at + 1..].iter().take_while(|line| line.starts_with("  "));
            let mut said = lines[at].trim_start_matches("error: ").to_owned();
            rest.for_each(|line| {
                said.push_str("; ");
                said.push_str(line.trim());
            });
            said
        }
        None => lines.last().map_or_else(
            || format!("its log {} is empty", log.display()),
            |line| (*line).to_owned(),
        ),
    }
}

fn tail(file: &Path, bytes: u64) -> Result<String> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_last_error_and_its_causes() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        std::fs::write(&log, "INFO a\nerror: old\nINFO b\nerror: no disk\n  because: full\n\n")
            .unwrap();
        assert_eq!(last_words(&log), "no disk; because: full");
        std::fs::write(&log, "thread panicked\nnote: …\n").unwrap();
        assert_eq!(last_words(&log), "note: …");
        assert!(last_words(&dir.path().join("none")).contains("is empty"));
    }
}
