//! Progress of a run: one live line on a terminal, and otherwise a line every few seconds.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use coordinator::progress;
use indicatif::{ProgressBar, ProgressStyle};
use proto::status::Phase;
use proto::wire::RunStatus;

use crate::print;

/// Shows each [`RunStatus`] that arrives.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    batch: usize,
    shown: Option<(Instant, u64, Option<Phase>)>,
    notices: usize,
}

impl Progress {
    /// Progress of a run with minibatches of `batch` images.
    pub(crate) fn new(batch: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {bar:24} {msg}");
            let bar = ProgressBar::new(1);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, batch, shown: None, notices: 0 }
    }

    /// Shows the newest state.
    pub(crate) fn update(&mut self, status: &RunStatus) {
        for notice in status.notices.iter().skip(self.notices) {
            self.notice(notice);
        }
        self.notices = status.notices.len();
        let text = progress::line(status, Some(self.batch));
        if let Some(bar) = &self.bar {
            bar.set_length(status.steps.max(1));
            bar.set_position(status.step);
            bar.set_message(text);
            return;
        }
        // Phases that come and go with every epoch are no news of their own.
        let due = self.shown.as_ref().is_none_or(|(at, step, phase)| {
            (*phase != Phase::of(status) && status.step == 0)
                || (*step != status.step && at.elapsed() >= progress::EVERY)
        });
        if due {
            print::line(text);
            self.shown = Some((Instant::now(), status.step, Phase::of(status)));
        }
    }

    /// Prints a sentence that stays on the screen.
    pub(crate) fn notice(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => print::line(text),
        }
    }

    /// Removes the live line.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
