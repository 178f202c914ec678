//! The measurement of an experiment: trains the networks, and makes a table of the results.

mod differences; // a validation error per variant, against that of the first
mod drawings; // pictures of one trained network
mod epochs; // epochs to a training error, with a search for the best candidates
mod errors; // of single networks and of several together

use anyhow::Result;

use super::experiment::{Measure, Training};
use super::table::Table;
use super::work::{Work, typed};
use crate::draw::runs::Run;
use crate::metrics::{Metrics, Step};
use crate::signals::Asked;

/// Results of an experiment.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// Results beside the paper's numbers.
    pub table: Table,
    /// Sentences about the meaning of the numbers.
    pub notes: Vec<String>,
    /// All trainings.
    pub trainings: Vec<Trained>,
    /// Runs to be drawn together, at most seven each.
    pub curves: Vec<Vec<Run>>,
    /// Drawings that are there: name of the file and caption.
    pub drawings: Vec<(String, String)>,
}

/// A training that has been done.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(super) struct Trained {
    /// Name of the run directory.
    pub name: String,
    /// The command that trains it, with the epochs that it reached; none for a run of `--run`.
    pub command: Option<String>,
    /// Epochs done.
    pub epochs: f64,
    /// Seconds in training steps.
    pub seconds: f64,
    /// Mean training error over the last epoch, in percent.
    pub training_error: Option<f64>,
    /// The last validation error, in percent.
    pub validation_error: Option<f64>,
}

/// Trains and measures what the experiment asks for.
///
/// # Errors
/// If a command fails, or this process is asked to stop.
pub(super) async fn measure(work: &Work, mut asked: Asked) -> Result<Results> {
    let mut results = Results::default();
    match work.experiment().measure {
        Measure::EpochsToError(error) => {
            epochs::measure(work, error, &mut results, &mut asked).await?;
        }
        Measure::Differences => differences::measure(work, &mut results, &mut asked).await?,
        Measure::Errors => errors::measure(work, &mut results, &mut asked).await?,
        Measure::Drawings => drawings::measure(work, &mut results, &mut asked).await?,
    }
    Ok(results)
}

impl Results {
    /// Keeps what a finished training has reached.
    fn add(&mut self, work: &Work, training: &Training<'_>, metrics: &Metrics) -> Result<()> {
        let epochs = metrics.steps.last().map_or(0.0, |step| step.epoch);
        let command = match &work.begun.run {
            Some(_) => None,
            None => Some(typed(&work.up(training, epochs.floor() as u64)?)),
        };
        self.trainings.push(Trained {
            name: training.name(),
            command,
            epochs,
            seconds: seconds(work, training, &metrics.steps),
            training_error: last_epoch_error(&metrics.steps).map(|error| 100.0 * error),
            validation_error: metrics.evals.last().map(|eval| 100.0 * eval.top1_error),
        });
        Ok(())
    }
}

/// Seconds in training steps, from the speed of each.
fn seconds(work: &Work, training: &Training<'_>, steps: &[Step]) -> f64 {
    let dir = coordinator::run_dir::RunDir::open(&work.run_dir(training));
    let batch = dir.map_or(0, |dir| dir.recipe.batch) as f64;
    let speeds = steps.iter().map(|step| step.images_per_s).filter(|speed| *speed > 0.0);
    speeds.map(|speed| batch / speed).sum()
}

/// Mean training error of the steps of the last epoch; `None` without steps.
fn last_epoch_error(steps: &[Step]) -> Option<f64> {
    let last = steps.last()?;
    let begin = last.epoch - 1.0 + 1e-9;
    let errors: Vec<f64> =
        steps.iter().filter(|s| s.epoch > begin).map(|s| s.figures.top1_error).collect();
    Some(errors.iter().sum::<f64>() / errors.len() as f64)
}
