//! The validation error of each variant, and its difference to that of the first one, seed by seed.

use anyhow::{Context, Result};

use super::Results;
use crate::commands::reproduce::table::{Cell, Spread, Table};
use crate::commands::reproduce::work::Work;
use crate::draw::runs::Run;
use crate::signals::Asked;

/// Most runs in one drawing.
const TOGETHER: usize = 7;

/// Trains every variant with every seed, seed by seed, so that an early look compares all variants.
pub(super) async fn measure(work: &Work, results: &mut Results, asked: &mut Asked) -> Result<()> {
    let experiment = work.experiment();
    let mut errors: Vec<Vec<f64>> = vec![Vec::new(); experiment.variants.len()];
    let mut curves = Vec::new();
    for i in 0..experiment.seeds.len() {
        for (variant, errors) in experiment.variants.iter().zip(&mut errors) {
            let Some(training) = experiment.trainings(variant, None).nth(i) else { continue };
            let metrics = work.train(&training, experiment.epochs, asked).await?;
            if work.dry_run {
                continue;
            }
            let last = metrics.evals.last().with_context(|| {
                format!(
                    "{} has no validation error: the pictures of --data need a validation split",
                    training.name()
                )
            })?;
            errors.push(100.0 * last.top1_error);
            results.add(work, &training, &metrics)?;
            if i == 0 {
                curves.push(Run { name: variant.name.clone(), metrics });
            }
        }
    }
    results.curves = in_groups(curves);
    results.table = Table::new(&[
        "variant",
        "validation error, %",
        "difference, points",
        "paper",
        "authors' logs",
        "sign",
    ]);
    for (variant, errors_of) in experiment.variants.iter().zip(&errors) {
        let differences: Vec<f64> =
            errors_of.iter().zip(&errors[0]).map(|(one, first)| one - first).collect();
        let is_first = variant.name == experiment.variants[0].name;
        let claim = match (variant.paper, variant.authors) {
            (Some(points), _) => Some(("as in the paper", points)),
            (None, authors) => authors.map(|points| ("as in the logs", points)),
        };
        results.table.rows.push(vec![
            Cell::text(&variant.name),
            Cell::several(errors_of),
            if is_first { Cell::Nothing } else { Cell::several(&differences) },
            Cell::tenths(variant.paper),
            variant.authors.map_or(Cell::Nothing, |points| Cell::Number(points, 2)),
            if is_first { Cell::Nothing } else { Cell::text(sign(&differences, claim)) },
        ]);
    }
    results.notes.push(format!(
        "± is the standard deviation over {} seeds. Differences are taken seed by seed. A sign is \
         called undecided where the mean difference is below two standard errors, in which the \
         choice of the validation pictures is not included.",
        experiment.seeds.len()
    ));
    Ok(())
}

/// Compares the sign of the differences with that of a claim.
fn sign(differences: &[f64], claim: Option<(&'static str, f64)>) -> &'static str {
    let Some(spread) = Spread::of(differences) else { return "" };
    match (spread.error(), claim) {
        (None, _) => "one seed",
        (Some(error), _) if spread.mean.abs() <= 2.0 * error => "undecided",
        (_, None) if spread.mean > 0.0 => "worse without",
        (_, None) => "better without",
        (_, Some((same, points))) if (points > 0.0) == (spread.mean > 0.0) => same,
        _ => "opposite",
    }
}

/// Groups of runs that one drawing can show, the first run in each.
fn in_groups(mut runs: Vec<Run>) -> Vec<Vec<Run>> {
    if runs.len() <= TOGETHER {
        return vec![runs];
    }
    let first = runs.remove(0);
    let mut groups = Vec::new();
    while !runs.is_empty() {
        let rest = runs.split_off(runs.len().min(TOGETHER - 1));
        let first = Run { name: first.name.clone(), metrics: first.metrics.clone() };
        groups.push([first].into_iter().chain(runs).collect());
        runs = rest;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    const PAPER: Option<(&str, f64)> = Some(("as in the paper", 1.4));

    #[test]
    fn a_sign_needs_more_than_noise() {
        assert_eq!(sign(&[0.0, 0.0], PAPER), "undecided");
        assert_eq!(sign(&[2.0, 1.5, 2.5], PAPER), "as in the paper");
        assert_eq!(sign(&[-2.0, -1.5, -2.5], PAPER), "opposite");
        assert_eq!(sign(&[2.0, -1.5, 0.5], PAPER), "undecided");
        assert_eq!(sign(&[2.0, 1.5, 2.5], None), "worse without");
        assert_eq!(sign(&[2.0], PAPER), "one seed");
    }

    #[test]
    fn many_runs_are_drawn_in_groups_that_all_have_the_first() {
        let runs = |n: usize| {
            (0..n).map(|i| Run { name: i.to_string(), metrics: Metrics::default() }).collect()
        };
        assert_eq!(in_groups(runs(7)).len(), 1);
        let groups = in_groups(runs(12));
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [7, 6]);
        assert!(groups.iter().all(|group: &Vec<Run>| group[0].name == "0"));
    }
}
