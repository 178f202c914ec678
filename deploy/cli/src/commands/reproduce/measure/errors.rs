//! Errors of single networks and of several together, in one view or in ten.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Results;
use crate::commands::reproduce::experiment::{Experiment, Row};
use crate::commands::reproduce::table::{Cell, Table};
use crate::commands::reproduce::work::Work;
use crate::draw::runs::Run;
use crate::signals::Asked;

/// The result that `eval` writes.
#[derive(Debug, Deserialize)]
struct Measured {
    top1_error: f64,
    top5_error: f64,
    #[serde(default)]
    runs: Vec<OfRun>,
}

/// One of several runs.
#[derive(Debug, Deserialize)]
struct OfRun {
    top1_error: f64,
    top5_error: f64,
}

/// Trains all variants, then measures row by row.
pub(super) async fn measure(work: &Work, results: &mut Results, asked: &mut Asked) -> Result<()> {
    let experiment = work.experiment();
    let mut curves = Vec::new();
    for variant in &experiment.variants {
        for (i, training) in experiment.trainings(variant, None).enumerate() {
            let metrics = work.train(&training, experiment.epochs, asked).await?;
            if work.dry_run {
                continue;
            }
            results.add(work, &training, &metrics)?;
            if i == 0 {
                curves.push(Run { name: variant.name.clone(), metrics });
            }
        }
    }
    results.curves = vec![curves];
    results.table = Table::new(&[
        "networks",
        "top-1 error, %",
        "top-5 error, %",
        "paper: top-1 / top-5",
        "authors' logs",
    ]);
    for (i, row) in experiment.rows.iter().enumerate() {
        let folder = work.out.join("eval").join((i + 1).to_string());
        if written(&folder)?.is_none() {
            work.execute(&command(work, row, &folder)?, asked).await?;
        }
        if work.dry_run {
            continue;
        }
        let file = written(&folder)?
            .with_context(|| format!("eval wrote no result into {}", folder.display()))?;
        let [top1, top5] = cells(&read(&file)?, row.together);
        let paper = Cell::text(&row.paper);
        results.table.rows.push(vec![
            Cell::text(&row.name),
            top1,
            top5,
            paper,
            Cell::text(&row.authors),
        ]);
    }
    let split = match &*experiment.split {
        "val" => "validation",
        split => split,
    };
    results.notes.push(format!(
        "Measured on the {split} pictures with the weights after the last epoch. ± is the standard \
         deviation over networks."
    ));
    Ok(())
}

/// The command that measures a row.
fn command(work: &Work, row: &Row, folder: &Path) -> Result<Vec<OsString>> {
    let experiment: &Experiment = work.experiment();
    let mut words: Vec<OsString> = vec!["eval".into()];
    for networks in &row.of {
        let variant = experiment.variant(&networks.variant)?;
        let trainings = experiment.trainings(variant, None).take(networks.seeds);
        words.extend(trainings.map(|training| work.run_dir(&training).into_os_string()));
    }
    let views = row.views.to_string();
    for word in ["--checkpoint", "last", "--views", &views, "--split", &experiment.split, "--out"] {
        words.push(word.into());
    }
    words.push(folder.into());
    let first = row.of.first().context("a row has networks")?;
    let columns = work.recipe(experiment.variant(&first.variant)?, &[])?.columns;
    words.extend(work.devices(columns));
    Ok(words)
}

/// The result in the folder of a row, if it is there.
fn written(folder: &Path) -> Result<Option<PathBuf>> {
    let cant = || format!("{} can't be read", folder.display());
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(cant),
    };
    for entry in entries {
        let path = entry.with_context(cant)?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn read(file: &Path) -> Result<Measured> {
    let bytes = std::fs::read(file).with_context(|| format!("{} can't be read", file.display()))?;
    serde_json::from_slice(&bytes)
        .with_context(|| format!("{} is damaged: remove it, and try again", file.display()))
}

/// Errors in percent: of the networks together, or of each.
fn cells(measured: &Measured, together: bool) -> [Cell; 2] {
    let own = OfRun { top1_error: measured.top1_error, top5_error: measured.top5_error };
    let each: Vec<&OfRun> = match measured.runs.as_slice() {
        several if !together && !several.is_empty() => several.iter().collect(),
        _ => vec![&own],
    };
    [|run: &OfRun| run.top1_error, |run: &OfRun| run.top5_error]
        .map(|of| Cell::several(&each.iter().map(|run| 100.0 * of(run)).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_count_together_or_each() {
        let text = r#"{"top1_error": 0.4, "top5_error": 0.1, "views": 10,
            "runs": [{"top1_error": 0.5, "top5_error": 0.2}, {"top1_error": 0.6, "top5_error": 0.2}]}"#;
        let measured: Measured = serde_json::from_str(text).unwrap();
        assert_eq!(cells(&measured, true)[0], Cell::several(&[40.0]));
        assert_eq!(cells(&measured, false)[0], Cell::several(&[50.0, 60.0]));
        let alone: Measured =
            serde_json::from_str(r#"{"top1_error":0.4,"top5_error":0.1}"#).unwrap();
        assert_eq!(cells(&alone, false)[1], Cell::several(&[10.0]));
    }
}
