//! The state of a run, read from its directory, for runs that have no coordinator now.

use std::path::Path;

use anyhow::Result;
use coordinator::checkpoint::{self, Manifest};
use coordinator::run_dir::RunDir;
use proto::wire::RunStatus;

use crate::metrics::Metrics;
use crate::print;
use crate::up::Remembered;

/// State of a run, from its directory.
#[derive(Debug)]
pub(super) struct OnDisk {
    /// The state, in the form of a coordinator's answer.
    pub(super) status: RunStatus,
    /// The phase in one word: `running`, `finished` or `stopped`.
    pub(super) label: &'static str,
    /// The phase in words, as far as the directory tells it.
    pub(super) phase: String,
    /// The best evaluation, in a sentence.
    pub(super) best: Option<String>,
    /// Top-1 error of that evaluation.
    pub(super) best_error: Option<f64>,
    /// A command or a hint to continue the run.
    pub(super) next: String,
}

impl OnDisk {
    /// Reads the directory, also while a coordinator writes to it.
    ///
    /// # Errors
    /// If the folder is no run directory, or its record is damaged.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let dir = RunDir::open(path)?;
        let (newest, notices) = checkpoint::newest(path)?;
        let metrics = match dir.metrics_path() {
            file if file.is_file() => Metrics::read(&file)?,
            _ => Metrics::default(),
        };
        let finished = newest.as_ref().is_some_and(|kept| is_finished(kept, dir.end()));
        let label = match (dir.is_in_use(), finished) {
            (true, _) => "running",
            (false, true) => "finished",
            (false, false) => "stopped",
        };
        let phase = phase(&dir, newest.as_ref(), label);
        let best = newest.as_ref().and_then(|kept| kept.best.as_ref());
        let best_error = best.map(|best| best.top1_error);
        let best = best.map(|best| {
            let step = print::thousands(best.step);
            format!("validation {:.1} % at step {step}", 100.0 * best.top1_error)
        });
        let epoch = newest.as_ref().map_or(0.0, |kept| kept.epoch);
        let status = RunStatus { notices, ..status(&dir, &metrics, newest) };
        Ok(Self { next: next(&dir, finished, epoch), status, label, phase, best, best_error })
    }
}

/// Whether a coordinator that is started again would find nothing left to do.
fn is_finished(kept: &Manifest, end: Option<u64>) -> bool {
    kept.rate.ended || end.is_some_and(|end| kept.step >= end)
}

fn phase(dir: &RunDir, kept: Option<&Manifest>, label: &str) -> String {
    let step = kept.map_or(0, |kept| kept.step);
    let at = match (step, dir.end()) {
        (0, _) => "no checkpoint yet".to_owned(),
        (step, Some(end)) => {
            format!("step {} of {}", print::thousands(step), print::thousands(end))
        }
        (step, None) => format!("step {}", print::thousands(step)),
    };
    match label {
        "running" => format!(
            "running ({at}, from the run directory); `{} status HOST:PORT` asks its coordinator",
            print::program()
        ),
        "stopped" if step == 0 => format!("stopped, {at}"),
        "stopped" => format!("stopped at {at}"),
        label => label.to_owned(),
    }
}

/// Numbers of the last recorded step, which may be later than the newest checkpoint.
fn status(dir: &RunDir, metrics: &Metrics, kept: Option<Manifest>) -> RunStatus {
    let step = metrics.steps.last().cloned().unwrap_or_default();
    let evaluation = metrics.evals.last();
    RunStatus {
        run_id: dir.record.run_id.clone(),
        incarnation: dir.record.incarnation,
        run_dir: dir.path.display().to_string(),
        step: step.figures.step,
        steps: dir.end().unwrap_or_default(),
        epoch: step.epoch,
        latest: Some(step.figures),
        images_per_s: step.images_per_s,
        eval_top1_error: evaluation.map_or(0.0, |e| e.top1_error),
        evaluated: evaluation.is_some(),
        checkpoint_step: kept.as_ref().map_or(0, |kept| kept.step),
        rate: kept.map_or(dir.recipe.rate, |kept| dir.recipe.rate_after(kept.rate.drops)),
        ..RunStatus::default()
    }
}

fn next(dir: &RunDir, finished: bool, epoch: f64) -> String {
    let by_up = Remembered::file(&dir.path).is_file();
    let run = print::quoted(&dir.path);
    match (by_up, finished) {
        (true, false) => format!("{} up --run {run}", print::program()),
        (true, true) => format!(
            "{} up --run {run} --epochs {}",
            print::program(),
            (2.0 * epoch).ceil().max(1.0)
        ),
        (false, false) => "start it again with the same settings".to_owned(),
        (false, true) => {
            "start it again with more --epochs or --steps (containers: EPOCHS, STEPS)".to_owned()
        }
    }
}
