//! The progress of a preparation: a bar on a terminal; elsewhere, as in a container's log, a line
//! every ten seconds.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use loader::prepare::{Phase, Progress, Watch, listed};

use crate::print;

/// Time between two lines, and between two pictures of a bar.
const LINES: Duration = Duration::from_secs(10);
const BAR: Duration = Duration::from_millis(200);

/// Shows the progress of a preparation until it is dropped.
#[derive(Debug)]
pub(super) struct Shown {
    state: Arc<Mutex<State>>,
    bar: Option<ProgressBar>,
    /// Turns true when the preparation should stop.
    stop: Option<Arc<AtomicBool>>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The last progress, and the beginning of its phase.
#[derive(Debug, Clone, Copy)]
struct State {
    now: Option<Progress>,
    since: Instant,
    /// Pictures that were done when the phase began.
    before: u64,
}

impl Shown {
    /// Shows the progress of something that a signal may stop by this flag.
    pub(super) fn until(stop: Arc<AtomicBool>) -> Result<Self> {
        let mut shown = Self::new()?;
        shown.stop = Some(stop);
        Ok(shown)
    }

    pub(super) fn new() -> Result<Self> {
        let state = State { now: None, since: Instant::now(), before: 0 };
        let state = Arc::new(Mutex::new(state));
        let bar = std::io::stderr().is_terminal().then(new_bar);
        let (end, ended) = channel();
        let (shared, drawn) = (state.clone(), bar.clone());
        let draw = move || {
            let every = if drawn.is_some() { BAR } else { LINES };
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let state = *shared.lock().unwrap_or_else(PoisonError::into_inner);
                match &drawn {
                    Some(bar) => draw(bar, &state),
                    None => write(&sentence(&state, state.since.elapsed(), listed())),
                }
            }
        };
        let thread = std::thread::Builder::new().name("progress".into()).spawn(draw);
        let thread = Some(thread.context("no thread can be started")?);
        Ok(Self { state, bar, stop: None, end: Some(end), thread })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| write(line)),
            None => write(line),
        }
    }
}

impl Watch for Shown {
    fn progress(&self, progress: Progress) {
        let mut state = self.state();
        if state.now.is_none_or(|now| now.phase != progress.phase) {
            (state.since, state.before) = (Instant::now(), 0);
        }
        state.now = Some(progress);
    }

    fn resumed(&self, progress: Progress) {
        *self.state() = State { now: Some(progress), since: Instant::now(), before: progress.done };
        self.print(&format!(
            "resuming an interrupted preparation: {} of {} pictures are stored",
            print::thousands(progress.done),
            print::thousands(progress.total)
        ));
    }

    fn say(&self, remark: &str) {
        self.print(remark);
    }

    fn stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::SeqCst))
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().map(JoinHandle::join);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn write(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{spinner} {bar:24} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}

fn draw(bar: &ProgressBar, state: &State) {
    let (done, total) = state.now.map_or((0, 0), |now| (now.done, now.total));
    bar.set_length(total.max(1));
    bar.set_position(done);
    bar.set_message(sentence(state, state.since.elapsed(), listed()));
    bar.tick();
}

/// The state of the work in a sentence.
fn sentence(state: &State, elapsed: Duration, listed: u64) -> String {
    let Some(now) = state.now else {
        return format!("listed {} files and folders", print::thousands(listed));
    };
    let what = match now.phase {
        Phase::Storing => "stored",
        Phase::Dividing => "divided into training and validation",
        Phase::Finishing => return "writing index and description".into(),
    };
    let rate = now.done.saturating_sub(state.before) as f64 / elapsed.as_secs_f64().max(1e-3);
    let mut line = format!(
        "{what} {} of {} pictures, {} per second",
        print::thousands(now.done),
        print::thousands(now.total),
        print::thousands(rate.round() as u64)
    );
    if rate > 0.0 && now.done < now.total {
        let left = now.total.saturating_sub(now.done) as f64 / rate;
        line.push_str(&format!(", {} left", print::duration(left)));
    }
    if now.left_out > 0 {
        line.push_str(&format!(", {} left out", print::thousands(now.left_out)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_counts_only_what_was_done_since_the_beginning() {
        let now = Progress { phase: Phase::Storing, done: 52_000, total: 1_096_000, left_out: 3 };
        let state = State { now: Some(now), since: Instant::now(), before: 40_000 };
        let said = sentence(&state, Duration::from_secs(10), 0);
        let left = print::duration(1_044_000.0 / 1200.0);
        assert_eq!(
            said,
            format!(
                "stored 52,000 of 1,096,000 pictures, 1,200 per second, {left} left, 3 left out"
            )
        );
        let listing = State { now: None, ..state };
        assert_eq!(sentence(&listing, LINES, 1234), "listed 1,234 files and folders");
        let nothing = Progress { done: 0, ..now };
        let state = State { now: Some(nothing), since: Instant::now(), before: 0 };
        assert!(!sentence(&state, Duration::ZERO, 0).contains("left,"));
    }
}
