//! Epochs until the training error is low enough, with a search for the best candidate of each
//! variant.

use anyhow::Result;

use super::Results;
use crate::commands::reproduce::experiment::{Training, Variant};
use crate::commands::reproduce::table::{Cell, Spread, Table};
use crate::commands::reproduce::work::Work;
use crate::draw::runs::Run;
use crate::metrics::{Metrics, Step};
use crate::signals::Asked;

/// Epochs over which the training error is averaged.
const WINDOW: f64 = 0.5;

/// A training as far as it was needed.
struct Reached {
    metrics: Metrics,
    /// Epochs to the error; `None` if it did not get there.
    epochs: Option<f64>,
    /// Epochs trained.
    trained: u64,
}

/// Searches with the first seed, then trains the best candidate of each variant with the others.
pub(super) async fn measure(
    work: &Work,
    error: f64,
    results: &mut Results,
    asked: &mut Asked,
) -> Result<()> {
    let experiment = work.experiment();
    let percent = 100.0 * error;
    results.table =
        Table::new(&["training", "changes", &format!("epochs to {percent:.0} % training error")]);
    let mut best: Vec<(&str, Option<Spread>)> = Vec::new();
    let mut curves = Vec::new();
    for variant in &experiment.variants {
        let Some(found) = search(work, variant, error, results, asked).await? else { continue };
        let mut epochs: Vec<f64> = found.1.epochs.into_iter().collect();
        curves.push(Run { name: variant.name.clone(), metrics: found.1.metrics });
        for training in experiment.trainings(variant, found.0).skip(1) {
            let reached = reach(work, &training, error, experiment.epochs, asked).await?;
            row(results, &training, &reached);
            results.add(work, &training, &reached.metrics)?;
            epochs.extend(reached.epochs);
        }
        best.push((&variant.name, Spread::of(&epochs)));
    }
    results.curves.push(curves);
    results.notes.push(format!(
        "An epoch count is the first moment at which the mean training error of the last half \
         epoch is at most {percent:.0} %. A candidate ends there, or where a faster one had ended."
    ));
    for (name, spread) in &best {
        let there = spread.as_ref().map_or(0, |spread| spread.n);
        let seeds = experiment.variant(name).map_or(0, |variant| experiment.seeds_of(variant));
        if there < seeds {
            results.notes.push(format!(
                "{name}: {there} of {seeds} trainings reached the error; the others are not in its \
                 mean."
            ));
        }
    }
    if let [(first, Some(a)), .., (last, Some(b))] = best.as_slice() {
        results.notes.push(format!(
            "{last} needs {:.1} times as many epochs as {first}: {:.1} against {:.1}.",
            b.mean / a.mean,
            b.mean,
            a.mean
        ));
    }
    Ok(())
}

/// Trains the candidates of a variant with the first seed. Returns the fastest, if there are steps.
async fn search(
    work: &Work,
    variant: &Variant,
    error: f64,
    results: &mut Results,
    asked: &mut Asked,
) -> Result<Option<(Option<usize>, Reached)>> {
    let experiment = work.experiment();
    let candidates: Vec<Option<usize>> = match variant.candidates.len() {
        0 => vec![None],
        n => (0..n).map(Some).collect(),
    };
    let mut limit = experiment.epochs;
    let mut best: Option<(Option<usize>, Reached)> = None;
    for candidate in candidates {
        let Some(training) = experiment.trainings(variant, candidate).next() else { continue };
        let reached = reach(work, &training, error, limit, asked).await?;
        row(results, &training, &reached);
        results.add(work, &training, &reached.metrics)?;
        if let Some(epochs) = reached.epochs {
            limit = limit.min(epochs.ceil() as u64);
        }
        let faster = match (&best, reached.epochs) {
            (None, _) => true,
            (Some((_, best)), Some(epochs)) => best.epochs.is_none_or(|best| epochs < best),
            (Some((_, best)), None) => {
                best.epochs.is_none() && low(&reached.metrics) < low(&best.metrics)
            }
        };
        if faster {
            best = Some((candidate, reached));
        }
    }
    Ok(best)
}

/// Trains epoch by epoch until the error is reached, at most to the end of `limit` epochs.
async fn reach(
    work: &Work,
    training: &Training<'_>,
    error: f64,
    limit: u64,
    asked: &mut Asked,
) -> Result<Reached> {
    if work.dry_run {
        let metrics = work.train(training, limit, asked).await?;
        return Ok(Reached { metrics, epochs: None, trained: limit });
    }
    let mut trained = 0;
    loop {
        trained += 1;
        let metrics = work.train(training, trained, asked).await?;
        let epochs = epochs_to(&metrics.steps, error);
        if epochs.is_some() || trained == limit || low(&metrics).is_nan() {
            return Ok(Reached { metrics, epochs, trained });
        }
    }
}

fn row(results: &mut Results, training: &Training<'_>, reached: &Reached) {
    results.table.rows.push(vec![
        Cell::text(training.name()),
        Cell::text(training.changes().join(", ")),
        match reached.epochs {
            Some(epochs) => Cell::Number(epochs, 2),
            None => Cell::text(format!(
                "not in {} ({:.1} %)",
                reached.trained,
                100.0 * low(&reached.metrics)
            )),
        },
    ]);
}

/// The training error of the last half epoch.
fn low(metrics: &Metrics) -> f64 {
    let steps = &metrics.steps;
    means(steps).last().map_or(f64::NAN, |(_, error)| error)
}

/// The first epoch count at which the mean training error of the last half epoch is low enough.
fn epochs_to(steps: &[Step], error: f64) -> Option<f64> {
    means(steps).find(|(_, mean)| *mean <= error).map(|(epoch, _)| epoch)
}

/// Epochs and the mean training error of the half epoch before, from the first whole one on.
fn means(steps: &[Step]) -> impl Iterator<Item = (f64, f64)> {
    let step = steps.first().map_or(1.0, |step| step.epoch);
    let window = ((WINDOW / step).round() as usize).max(1);
    steps.windows(window).filter_map(|window| {
        let sum: f64 = window.iter().map(|step| step.figures.top1_error).sum();
        Some((window.last()?.epoch, sum / window.len() as f64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(errors: &[f64]) -> Vec<Step> {
        let of = |(i, &error): (usize, &f64)| {
            let mut step = Step { epoch: 0.1 * (i + 1) as f64, ..Step::default() };
            step.figures.top1_error = error;
            step
        };
        errors.iter().enumerate().map(of).collect()
    }

    /// Ten steps per epoch: five are averaged.
    #[test]
    fn one_lucky_batch_does_not_count_and_half_an_epoch_does() {
        let lucky = steps(&[0.5, 0.5, 0.1, 0.5, 0.5, 0.5, 0.5]);
        assert_eq!(epochs_to(&lucky, 0.25), None);
        let falling = steps(&[0.9, 0.3, 0.3, 0.2, 0.2, 0.2, 0.2, 0.1]);
        let epochs = epochs_to(&falling, 0.25).unwrap();
        assert!((epochs - 0.6).abs() < 1e-9, "{epochs}");
        assert!(epochs_to(&steps(&[0.1, 0.1]), 0.25).is_none(), "less than half an epoch");
    }
}
