//! The report of a reproduction: `report.md` with drawings, and `report.json`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use coordinator::run_dir::RunDir;
use serde::Serialize;

use super::measure::{Results, Trained};
use super::table::Table;
use super::work::{Begun, Work};
use crate::draw::runs;
use crate::files::write_whole;
use crate::{print, recipe};

/// The content of `report.json`.
#[derive(Debug, Serialize)]
struct Written<'a> {
    name: &'a str,
    program: &'a str,
    pictures: &'a str,
    devices: &'a str,
    recipe: &'a str,
    seeds: &'a str,
    table: &'a Table,
    notes: &'a [String],
    drawings: Vec<&'a str>,
    trainings: &'a [Trained],
    begun: &'a Begun,
}

/// Writes the report and its drawings, and returns the files.
///
/// # Errors
/// If a file can't be written.
pub(super) fn write(work: &Work, results: &Results) -> Result<Vec<PathBuf>> {
    let mut drawings = results.drawings.clone();
    let mut files = Vec::new();
    let groups = results.curves.iter().filter(|runs| !runs.is_empty());
    for (i, group) in groups.enumerate() {
        let number = if results.curves.len() > 1 { format!("-{}", i + 1) } else { String::new() };
        let file = work.out.join(format!("curves{number}.svg"));
        files.extend(runs::draw(group, &file)?);
        let caption = "The runs of the first seed. Pale: training; dark: validation.";
        drawings.push((format!("curves{number}.svg"), caption.into()));
    }
    let Made { pictures, devices, recipe, seeds } = made_of(work, results)?;
    let written = Written {
        name: &work.name,
        program: crate::BUILD,
        pictures: &pictures,
        devices: &devices,
        recipe: &recipe,
        seeds: &seeds,
        table: &results.table,
        notes: &results.notes,
        drawings: drawings.iter().map(|(file, _)| file.as_str()).collect(),
        trainings: &results.trainings,
        begun: &work.begun,
    };
    let (json, markdown) = (work.out.join("report.json"), work.out.join("report.md"));
    write_whole(&json, &serde_json::to_vec_pretty(&written)?)?;
    write_whole(&markdown, page(&written, &drawings).as_bytes())?;
    files.extend([json, markdown]);
    Ok(files)
}

/// Pictures, devices, recipe and seeds of the trainings, in words.
struct Made {
    pictures: String,
    devices: String,
    recipe: String,
    seeds: String,
}

/// Describes the first training; with `--run`, that run.
fn made_of(work: &Work, results: &Results) -> Result<Made> {
    let first = results.trainings.first().context("an experiment has a training")?;
    let dir = RunDir::open(&work.dir_of(&first.name))?;
    let set = dir.data_set()?;
    let name = recipe::data_name(&set.name, recipe::stored_side(&dir.recipe));
    let pictures = format!(
        "{name}: {} of {} for training, {} for validation, {} × {}",
        print::count(set.n_train, "picture", "pictures"),
        print::count(set.classes.len() as u64, "class", "classes"),
        print::thousands(set.n_val),
        set.side,
        set.side
    );
    let experiment = work.experiment();
    let (recipe, seeds) = match &work.begun.run {
        Some(run) => (format!("{}, as in {run}", dir.recipe.name), vec![dir.record.seed]),
        None => {
            let sets = experiment.set.iter().map(|set| format!(", {set}")).collect::<String>();
            (format!("{}{sets}", experiment.recipe), experiment.seeds.clone())
        }
    };
    let seeds = seeds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Ok(Made { pictures, devices: dir.record.devices.join(", "), recipe, seeds })
}

fn page(written: &Written<'_>, drawings: &[(String, String)]) -> String {
    let experiment = &written.begun.experiment;
    let mut text =
        format!("# {}\n\n**{}.** {}\n", experiment.title, experiment.part, experiment.paper);
    if let Some(authors) = &experiment.authors {
        text.push_str(&format!("\n**The authors' logs.** {authors}\n"));
    }
    text.push_str(&format!("\n## Here\n\n{}", written.table.markdown()));
    for note in written.notes {
        text.push_str(&format!("\n{note}\n"));
    }
    for (file, caption) in drawings {
        text.push_str(&format!("\n![{caption}]({file})\n\n{caption}\n"));
    }
    let seconds: f64 = written.trainings.iter().map(|training| training.seconds).sum();
    text.push_str(&format!(
        "\n## How\n\n- Pictures: {}\n- Recipe: {}\n- Seeds: {}\n- Devices: {}\n- Time in training \
         steps: {}\n- Program: {}\n",
        written.pictures,
        written.recipe,
        written.seeds,
        written.devices,
        print::duration(seconds),
        written.program
    ));
    text.push_str("\n| training | epochs | training error, % | validation error, % | time |\n");
    text.push_str("|---|---|---|---|---|\n");
    for training in written.trainings {
        let tenths = |error: Option<f64>| error.map_or(String::new(), |e| format!("{e:.1}"));
        text.push_str(&format!(
            "| {} | {:.1} | {} | {} | {} |\n",
            training.name,
            training.epochs,
            tenths(training.training_error),
            tenths(training.validation_error),
            print::duration(training.seconds)
        ));
    }
    let commands: Vec<_> = written.trainings.iter().filter_map(|t| t.command.as_deref()).collect();
    if commands.is_empty() {
        return text;
    }
    text + &format!("\nThe commands:\n\n```sh\n{}\n```\n", commands.join("\n"))
}
