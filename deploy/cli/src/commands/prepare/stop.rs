//! Ctrl-C and other wishes to stop, while pictures are prepared.
//!
//! Before anything is stored, the process ends at once. While pictures are stored, the preparation
//! is asked to stop, so that it keeps or removes what it has written; a second signal ends the
//! process at once.

use std::process::ExitCode;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::runtime::one_thread;

/// The signal that asked to stop; 0 before there was one.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// The reaction to a signal: one of the three constants below.
static REACTION: AtomicU8 = AtomicU8::new(END);
/// A signal ends the process.
const END: u8 = 0;
/// A signal asks the preparation to stop.
const ASK: u8 = 1;
/// Ctrl-C and SIGTERM are somebody else's; a hangup ends the process.
const ELSEWHERE: u8 = 2;

/// Listens for signals from now on, also as process 1 of a container, where the system's default
/// would be to ignore them.
pub(super) fn listen() -> Result<()> {
    static LISTENING: Once = Once::new();
    let mut result = Ok(());
    LISTENING.call_once(|| {
        let listening = std::thread::Builder::new().name("signals".into()).spawn(receive);
        result = listening.map(|_| ()).context("signals can't be received");
    });
    result
}

/// Asks the preparation to stop at a signal, until the returned value is dropped.
pub(super) fn ask() -> Asking {
    REACTION.store(ASK, Ordering::Relaxed);
    Asking
}

/// The time in which a signal asks the preparation to stop.
#[derive(Debug)]
pub(super) struct Asking;

impl Drop for Asking {
    fn drop(&mut self) {
        REACTION.store(END, Ordering::Relaxed);
    }
}

/// Leaves Ctrl-C and SIGTERM to the caller from now on.
pub(crate) fn handled_elsewhere() {
    REACTION.store(ELSEWHERE, Ordering::Relaxed);
}

/// Tells whether a signal has asked to stop.
pub(super) fn asked() -> bool {
    SIGNAL.load(Ordering::Relaxed) != 0
}

/// The exit code of a process that a signal has stopped.
pub(crate) fn code() -> ExitCode {
    ExitCode::from(128 + SIGNAL.load(Ordering::Relaxed) as u8)
}

fn receive() {
    let Ok(runtime) = one_thread() else { return };
    runtime.block_on(async {
        let kinds = [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate()];
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        for kind in kinds {
            let number = kind.as_raw_value();
            // `nohup` and shells let background jobs ignore signals; so does this program then.
            if is_ignored(number) && kind != SignalKind::terminate() {
                continue;
            }
            let Ok(mut signals) = signal(kind) else { continue };
            let tell = tell.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    let _ = tell.send(number);
                }
            });
        }
        while let Some(number) = told.recv().await {
            react(number);
        }
    });
}

fn react(number: i32) {
    let hangup = number == SignalKind::hangup().as_raw_value();
    match REACTION.load(Ordering::Relaxed) {
        ELSEWHERE if !hangup => {}
        ASK if SIGNAL.swap(number, Ordering::Relaxed) == 0 => {}
        _ => std::process::exit(128 + number),
    }
}

/// Tells whether the process was started with a signal ignored.
fn is_ignored(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}
