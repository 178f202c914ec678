//! Log lines of the coordinator for people: the start, a line of progress every few seconds, each
//! evaluation, the end. `alexnet up` and `alexnet status` print the same lines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::recipe::Recipe;
use net::{FOR_MACHINES, FOR_PEOPLE};
use proto::status::Phase;
use proto::step::{FIGURES, Figure, StepFigures};
use proto::wire;

use super::metrics::{Evaluation, Means};
use crate::disk::data_set::DataSet;
use crate::run::event::Ending;
use crate::run::status::RunStatus;
use crate::serve::status_to_wire;

/// Default time between two lines of progress.
pub const EVERY: Duration = Duration::from_secs(5);

/// Logs a whole sentence for people, without the spans around it.
macro_rules! say {
    ($($sentence:tt)*) => {
        tracing::info!(name: FOR_PEOPLE, parent: None, $($sentence)*)
    };
}

/// Decides when the log gets a line of progress.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Time between two lines; zero turns them off.
    every: Duration,
    batch: usize,
    /// Time of the last line, and the step that it showed.
    shown: (Instant, u64),
}

impl Progress {
    /// Creates the lines of a run whose minibatches have `batch` images.
    pub(crate) fn new(every: Duration, batch: usize, now: Instant) -> Self {
        Self { every, batch, shown: (now, 0) }
    }

    /// Logs the recipe, the data set, the number of steps left and the workers.
    pub(crate) fn begins(&mut self, recipe: &Recipe, data: &DataSet, status: &RunStatus) {
        say!(
            "training {} on {}: {} pictures of {} classes, {} per step",
            recipe.name,
            data.name,
            thousands(data.n_train),
            thousands(data.classes.len() as u64),
            self.batch
        );
        let left = status.steps.saturating_sub(status.step);
        let from = match status.step {
            0 => String::new(),
            step => format!(" of {}, from step {}", thousands(status.steps), thousands(step)),
        };
        let workers: Vec<_> = status.workers.iter().map(ToString::to_string).collect();
        say!("{} steps to do{from}; {}", thousands(left), workers.join(", "));
        self.shown = (Instant::now(), status.step);
    }

    /// Logs the state if it has changed and a line is due.
    pub(crate) fn look(&mut self, status: &RunStatus, now: Instant) {
        let (at, step) = self.shown;
        if self.every.is_zero() || status.step == step || now - at < self.every {
            return;
        }
        self.shown = (now, status.step);
        say!("{}", line(&status_to_wire(status), Some(self.batch)));
        let RunStatus { step, steps, epoch, images_per_s, latest, .. } = status;
        let StepFigures { loss, top1_error, exchange_wait_ms, data_wait_ms, .. } = latest;
        let validation_error = status.last.as_ref().map(|e| e.top1_error);
        let left_s = seconds_left(*step, *steps, self.batch, *images_per_s);
        tracing::info!(name: FOR_MACHINES, step, steps, epoch, loss, top1_error, validation_error,
            images_per_s, exchange_wait_ms, data_wait_ms, left_s, "progress");
    }
}

/// Logs the result of an evaluation.
pub(crate) fn evaluated(found: &Evaluation, classes: usize) {
    let Evaluation { step, epoch, loss, top1_error, top5_error, .. } = found;
    let of_five = match classes {
        // With five classes, every label is among the five most probable.
        0..=5 => String::new(),
        _ => format!(", top-5 error {:.1} %", 100.0 * top5_error),
    };
    say!(
        "validation at step {}, epoch {epoch:.2}: error {:.1} %{of_five}, loss {loss:.3}",
        thousands(*step),
        100.0 * top1_error,
    );
}

/// Logs how large the weights of each layer are, and the last step's changes in relation to them.
pub(crate) fn magnitudes(means: &BTreeMap<String, Means>) {
    if means.is_empty() {
        return;
    }
    let layer = |(layer, Means { weights, updates }): (&String, &Means)| {
        format!("{layer} {weights:.1e} {:.1e}", updates / weights)
    };
    let layers: Vec<_> = means.iter().map(layer).collect();
    say!("mean |w|, and mean |Δw| in relation to it: {}", layers.join(", "));
}

/// Logs how a run ended.
pub(crate) fn ended(ending: &Ending, status: &RunStatus, images_per_s: f64) {
    let step = thousands(status.step);
    match ending {
        Ending::Finished => say!(
            "finished after step {step}, epoch {:.2}, at {images_per_s:.0} images/s{}",
            status.epoch,
            reached(status)
        ),
        Ending::Stopped => say!(
            "stopped after step {} of {}; the same command continues from there",
            thousands(status.checkpoint_step),
            thousands(status.steps)
        ),
        // The command line prints these itself.
        Ending::AlreadyFinished | Ending::Failed { .. } => {}
    }
}

fn reached(status: &RunStatus) -> String {
    let percent = |e: &Evaluation| format!("{:.1} %", 100.0 * e.top1_error);
    match (&status.last, &status.best) {
        (Some(last), Some(best)) if best.top1_error < last.top1_error => format!(
            "; validation error {}, the best was {} at step {}",
            percent(last),
            percent(best),
            thousands(best.step)
        ),
        (Some(last), _) => format!("; validation error {}", percent(last)),
        (None, _) => String::new(),
    }
}

fn seconds_left(step: u64, steps: u64, batch: usize, images_per_s: f64) -> f64 {
    steps.saturating_sub(step) as f64 * batch as f64 / images_per_s
}

/// The state of a run in one line; with the images per step, also the time left and the waits as
/// shares of a step.
pub fn line(status: &wire::RunStatus, batch: Option<usize>) -> String {
    let numbers = (status.step > 0).then(|| numbers(status, batch));
    let phase = Phase::of(status).filter(|phase| status.step == 0 || *phase != Phase::Training);
    phase.map(|phase| phase.to_string()).into_iter().chain(numbers).collect::<Vec<_>>().join("  ")
}

/// The numbers of [`line()`], without the phase.
pub fn numbers(status: &wire::RunStatus, batch: Option<usize>) -> String {
    let mut parts = Vec::new();
    parts.push(format!("step {}/{}", thousands(status.step), thousands(status.steps)));
    parts.push(format!("epoch {:.2}", status.epoch));
    if status.images_per_s == 0.0 {
        return parts.join("  "); // resumed: no step of this process yet
    }
    let latest = status.latest.unwrap_or_default();
    for Figure { shown, of, .. } in FIGURES {
        parts.extend(shown.map(|shown| shown(of(&latest))));
    }
    if status.evaluated {
        parts.push(format!("validation {:.1} %", 100.0 * status.eval_top1_error));
    }
    parts.push(format!("{:.0} images/s", status.images_per_s));
    if let Some(batch) = batch.filter(|_| status.images_per_s > 0.0) {
        let step_s = batch as f64 / status.images_per_s;
        let share = |ms: f64| ms / 10.0 / step_s;
        parts.push(format!(
            "waits {:.1} % exchange {:.1} % data",
            share(latest.exchange_wait_ms),
            share(latest.data_wait_ms)
        ));
        let left = seconds_left(status.step, status.steps, batch, status.images_per_s);
        parts.push(format!("{} left", duration(left)));
    }
    parts.join("  ")
}

/// `12,345`: a number with its thousands apart.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 h 05 min`, `3 min 20 s`, `12 s`: a time in the two units that matter.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".to_owned();
    }
    let s = seconds.round() as u64;
    match (s / 86_400, s / 3600 % 24, s / 60 % 60, s % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s:02} s"),
        (0, h, m, _) => format!("{h} h {m:02} min"),
        (d, h, _, _) => format!("{d} d {h:02} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_step_errors_speed_waits_and_time_left() {
        let latest = StepFigures {
            loss: 1.5,
            top1_error: 0.456,
            exchange_wait_ms: 20.0,
            data_wait_ms: 1.0,
            ..StepFigures::default()
        };
        let status = wire::RunStatus {
            phase: wire::Phase::Training.into(),
            step: 100,
            steps: 1100,
            epoch: 1.25,
            images_per_s: 128.0,
            latest: Some(latest),
            ..wire::RunStatus::default()
        };
        assert_eq!(
            line(&status, Some(128)),
            "step 100/1,100  epoch 1.25  loss 1.500  error 45.6 %  128 images/s  \
             waits 2.0 % exchange 0.1 % data  16 min 40 s left"
        );
    }

    #[test]
    fn numbers_and_times_are_readable() {
        assert_eq!(thousands(60_965_224), "60,965,224");
        assert_eq!(thousands(12), "12");
        assert_eq!(duration(12.4), "12 s");
        assert_eq!(duration(200.0), "3 min 20 s");
        assert_eq!(duration(3900.0), "1 h 05 min");
        assert_eq!(duration(f64::INFINITY), "unknown");
    }

    #[test]
    fn a_resumed_run_says_no_loss_before_its_next_step() {
        let status = wire::RunStatus {
            phase: wire::Phase::WaitingForLoaders.into(),
            step: 48,
            steps: 300,
            epoch: 0.77,
            ..wire::RunStatus::default()
        };
        assert_eq!(line(&status, Some(128)), "waiting for loaders  step 48/300  epoch 0.77");
    }

    #[test]
    fn before_the_first_step_a_line_says_what_it_waits_for() {
        let phase = wire::Phase::WaitingForLoaders.into();
        let status = wire::RunStatus { phase, ..wire::RunStatus::default() };
        assert_eq!(line(&status, Some(128)), "waiting for loaders");
    }
}
