//! Signals that ask this process to stop: Ctrl-C (SIGINT), SIGTERM, and SIGHUP, which comes when
//! the terminal closes.
//!
//! One thread receives them in every command. Without it, process 1 of a container could not be
//! stopped: the kernel gives that process only the signals that it handles.
//!
//! - A command that ends itself in its own way, such as a role, calls [`Asked::take_over`].
//! - A command that has something to clean up gives [`on_stop`] a function.
//! - Every other command ends at once, with the exit code of convention: 128 + the signal's number.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError, mpsc};

use anyhow::{Context, Result, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::runtime::one_thread;

/// Number of times that the process was asked to stop; kept by those who take over.
static ASKED: LazyLock<watch::Sender<u64>> = LazyLock::new(|| watch::Sender::new(0));
/// Number of [`Asked`] values that exist.
static TAKEN_OVER: AtomicU64 = AtomicU64::new(0);
/// Exit code of the first signal that ends the process; 0: none came.
static CODE: AtomicU8 = AtomicU8::new(0);
/// The function given to [`on_stop`] last.
static CLEANUP: Mutex<Option<(u64, Cleanup)>> = Mutex::new(None);

type Cleanup = Box<dyn FnOnce() + Send>;

/// Exit code of a process that this signal ended.
fn code_of(kind: SignalKind) -> u8 {
    u8::try_from(128 + kind.as_raw_value()).unwrap_or(u8::MAX)
}

/// Starts to receive signals; later calls do nothing.
///
/// # Errors
/// If the system refuses the thread or the handlers.
pub(crate) fn start() -> Result<()> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        let (ready, is_ready) = mpsc::channel();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || receive(&ready))
            .map_err(|error| error.to_string())?;
        is_ready.recv().map_err(|error| error.to_string())?
    });
    started.clone().map_err(|why| anyhow!(why)).context("signals can't be received")
}

/// Installs the handlers, answers on `ready`, and takes signals until the process ends.
fn receive(ready: &mpsc::Sender<Result<(), String>>) {
    let runtime = match one_thread() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(format!("{error:#}")))),
    };
    let ended: std::io::Result<()> = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // `nohup` starts a program with SIGHUP ignored, so that it outlives the terminal.
        let mut hangup = match is_ignored(SignalKind::hangup()) {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        let _ = ready.send(Ok(()));
        loop {
            let kind = tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
                () = next(&mut hangup) => SignalKind::hangup(),
            };
            take(kind);
        }
    });
    if let Err(error) = ended {
        let _ = ready.send(Err(error.to_string()));
    }
}

async fn next(signals: &mut Option<tokio::signal::unix::Signal>) {
    match signals {
        Some(signals) => drop(signals.recv().await),
        None => std::future::pending().await,
    }
}

/// Returns true if the process was started with a signal ignored.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, kind)
}

/// Reads the mask of ignored signals in the text of `/proc/PID/status`.
fn ignores(status: &str, kind: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    mask >> (kind.as_raw_value() - 1) & 1 == 1
}

fn take(kind: SignalKind) {
    // A terminal that closes sends SIGHUP more than once, which is no second request.
    let again = kind == SignalKind::hangup();
    if TAKEN_OVER.load(Ordering::SeqCst) > 0 {
        ASKED.send_if_modified(|n| {
            let counts = *n == 0 || !again;
            *n += u64::from(counts);
            counts
        });
        return;
    }
    let code = code_of(kind);
    let first = CODE.compare_exchange(0, code, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    let cleanup = CLEANUP.lock().unwrap_or_else(PoisonError::into_inner).take();
    match cleanup {
        // On a thread of its own, so that a second signal ends a cleanup that takes too long.
        Some((_, cleanup)) => drop(std::thread::spawn(move || {
            cleanup();
            std::process::exit(code.into());
        })),
        None if first || !again => std::process::exit(code.into()),
        None => {}
    }
}

/// The exit code of the signal that is ending the process, if one came.
///
/// A command whose cleanup makes it return early has an error of its own then, which is no news.
pub(crate) fn code() -> Option<ExitCode> {
    Some(CODE.load(Ordering::SeqCst)).filter(|code| *code != 0).map(ExitCode::from)
}

/// Requests to stop, for a command that ends itself; while this exists, no signal ends the process.
#[derive(Debug)]
pub(crate) struct Asked {
    requests: watch::Receiver<u64>,
    /// Requests that have been answered.
    answered: u64,
}

impl Asked {
    /// From now on this command decides when to end.
    pub(crate) fn take_over() -> Self {
        let requests = ASKED.subscribe(); // first, so that no request is missed
        TAKEN_OVER.fetch_add(1, Ordering::SeqCst);
        let answered = *requests.borrow();
        Self { requests, answered }
    }

    /// Resolves at the next request, once for each; the end of a terminal counts only if it is the
    /// first.
    pub(crate) async fn asked(&mut self) {
        let answered = self.answered;
        if self.requests.wait_for(|n| *n > answered).await.is_err() {
            std::future::pending::<()>().await;
        }
        self.answered += 1;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        TAKEN_OVER.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Has `cleanup` called before a signal ends the process, until the result is dropped.
///
/// The process ends when `cleanup` returns, or at a second Ctrl-C or SIGTERM. Other threads work on
/// meanwhile: a cleanup that removes files must first stop those that write them, for example by
/// setting a flag and waiting for their answer. If the command returns before that, the process
/// ends with the signal's exit code, and its error is not printed. There is one cleanup at a time;
/// a later one replaces it.
#[must_use = "the cleanup is forgotten when this is dropped"]
pub(crate) fn on_stop(cleanup: impl FnOnce() + Send + 'static) -> OnStop {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    let number = NUMBERS.fetch_add(1, Ordering::SeqCst);
    *CLEANUP.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, Box::new(cleanup)));
    OnStop(number)
}

/// A cleanup that waits for a signal.
#[derive(Debug)]
pub(crate) struct OnStop(u64);

impl Drop for OnStop {
    fn drop(&mut self) {
        let mut cleanup = CLEANUP.lock().unwrap_or_else(PoisonError::into_inner);
        drop(cleanup.take_if(|(number, _)| *number == self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_convention() {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        assert_eq!(kinds.map(code_of), [130, 143, 129]);
    }

    /// As `nohup` leaves it: SIGHUP is bit 0.
    #[test]
    fn ignored_signals_are_read_from_the_kernels_mask() {
        let status = "Name:\talexnet\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        assert!(ignores(status, SignalKind::hangup()));
        assert!(!ignores(status, SignalKind::interrupt()));
        assert!(!ignores("", SignalKind::hangup()));
    }

    #[test]
    fn a_dropped_cleanup_is_forgotten_and_a_later_one_stays() {
        let first = on_stop(|| ());
        let second = on_stop(|| ());
        drop(first);
        assert!(CLEANUP.lock().unwrap().is_some());
        drop(second);
        assert!(CLEANUP.lock().unwrap().is_none());
    }
}
