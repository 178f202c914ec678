//! How a run goes on: one live line on a terminal, a line every few seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use proto::wire::RunStatus;

use crate::say;

/// Between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Shows [`RunStatus`]es as they come.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    batch: usize,
    shown: Option<(Instant, u64, String)>,
    notices: usize,
}

impl Progress {
    /// For minibatches of `batch` images.
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
        let text = line(status, Some(self.batch));
        if let Some(bar) = &self.bar {
            bar.set_length(status.steps.max(1));
            bar.set_position(status.step);
            bar.set_message(text);
            return;
        }
        // Phases that come and go with every epoch are no news of their own.
        let due = self.shown.as_ref().is_none_or(|(at, step, phase)| {
            (*phase != status.phase && status.step == 0)
                || (*step != status.step && at.elapsed() >= BETWEEN_LINES)
        });
        if due {
            say::line(text);
            self.shown = Some((Instant::now(), status.step, status.phase.clone()));
        }
    }

    /// A sentence that stays on the screen.
    pub(crate) fn notice(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say::line(text),
        }
    }

    /// Takes the live line away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The state in one line; with the batch, time left and waits as shares of a step.
pub(crate) fn line(status: &RunStatus, batch: Option<usize>) -> String {
    let mut parts = Vec::new();
    if status.step == 0 || status.phase != "training" {
        parts.push(status.phase.clone());
    }
    if status.step == 0 {
        return parts.join("");
    }
    parts.push(format!("step {}/{}", say::thousands(status.step), say::thousands(status.steps)));
    parts.push(format!("epoch {:.2}", status.epoch));
    if status.images_per_s == 0.0 {
        return parts.join("  "); // resumed: no step of this process yet
    }
    parts.push(format!("loss {:.3}", status.loss));
    parts.push(format!("error {:.1} %", 100.0 * status.top1_error));
    if status.evaluated {
        parts.push(format!("validation {:.1} %", 100.0 * status.eval_top1_error));
    }
    parts.push(format!("{:.0} images/s", status.images_per_s));
    if let Some(batch) = batch.filter(|_| status.images_per_s > 0.0) {
        let step_s = batch as f64 / status.images_per_s;
        let share = |ms: f64| ms / 10.0 / step_s;
        parts.push(format!(
            "waits {:.1} % exchange {:.1} % data",
            share(status.exchange_wait_ms),
            share(status.data_wait_ms)
        ));
        let left = status.steps.saturating_sub(status.step) as f64 * step_s;
        parts.push(format!("{} left", say::duration(left)));
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_step_errors_speed_waits_and_time_left() {
        let status = RunStatus {
            phase: "training".into(),
            step: 100,
            steps: 1100,
            epoch: 1.25,
            loss: 1.5,
            top1_error: 0.456,
            images_per_s: 128.0,
            exchange_wait_ms: 20.0,
            data_wait_ms: 1.0,
            ..RunStatus::default()
        };
        assert_eq!(
            line(&status, Some(128)),
            "step 100/1,100  epoch 1.25  loss 1.500  error 45.6 %  128 images/s  \
             waits 2.0 % exchange 0.1 % data  16 min 40 s left"
        );
    }

    #[test]
    fn a_resumed_run_says_no_loss_before_its_next_step() {
        let phase = "waiting for loaders".into();
        let status = RunStatus { phase, step: 48, steps: 300, epoch: 0.77, ..RunStatus::default() };
        assert_eq!(line(&status, Some(128)), "waiting for loaders  step 48/300  epoch 0.77");
    }

    #[test]
    fn before_the_first_step_a_line_says_what_it_waits_for() {
        let status = RunStatus { phase: "waiting for loaders".into(), ..RunStatus::default() };
        assert_eq!(line(&status, Some(128)), "waiting for loaders");
    }
}
