//! Drawings of one trained network, each made by another command.

use std::ffi::OsString;

use anyhow::{Context, Result};

use super::Results;
use crate::commands::reproduce::table::{Cell, Table};
use crate::commands::reproduce::work::Work;
use crate::signals::Asked;

/// Trains the first variant, unless there is a run, and draws.
pub(super) async fn measure(work: &Work, results: &mut Results, asked: &mut Asked) -> Result<()> {
    let experiment = work.experiment();
    let mut trainings = experiment.trainings(&experiment.variants[0], None);
    let training = trainings.next().context("an experiment has a seed")?;
    let metrics = work.train(&training, experiment.epochs, asked).await?;
    let columns = work.recipe(training.variant, &[])?.columns;
    for drawing in &experiment.drawings {
        let file = work.out.join(&drawing.file);
        let mut words: Vec<OsString> = Vec::new();
        for word in drawing.command.split_whitespace() {
            match word {
                "{run}" => words.push(work.run_dir(&training).into()),
                "{file}" => words.push(file.clone().into()),
                "{devices}" => words.extend(work.devices(columns)),
                "{pictures}" => words.extend(work.pictures.iter().map(OsString::from)),
                word => words.push(word.into()),
            }
        }
        work.execute(&words, asked).await?;
        results.drawings.push((drawing.file.clone(), drawing.caption.clone()));
    }
    if work.dry_run {
        return Ok(());
    }
    results.add(work, &training, &metrics)?;
    results.table = Table::new(&["epochs", "validation error, % (last epoch)"]);
    let trained = results.trainings.last();
    results.table.rows.push(vec![
        Cell::tenths(trained.map(|trained| trained.epochs)),
        Cell::tenths(trained.and_then(|trained| trained.validation_error)),
    ]);
    Ok(())
}
