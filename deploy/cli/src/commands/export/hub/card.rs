//! The model card: what the network is, how good, and how to load it.

use std::fmt::Write;

use anyhow::{Context, Result};
use model::recipe::{Recipe, summary};
use serde::Deserialize;

use super::super::weights::Weights;
use crate::{print, recipe};

/// A measurement in `RUN/eval/*.json`, as far as the card shows it.
#[derive(Debug, Deserialize)]
struct Measurement {
    data: String,
    split: String,
    /// None for several runs together.
    step: Option<u64>,
    views: u32,
    n_images: u64,
    top1_error: f64,
    top5_error: f64,
}

/// The text of the model card.
pub(super) fn card(weights: &Weights) -> Result<String> {
    let (recipe, data) = (&weights.run.recipe, &weights.data);
    let mut text = String::from(
        "---\nlibrary_name: pytorch\npipeline_tag: image-classification\ntags:\n- alexnet\n---\n\n",
    );
    let (name, program) = (&recipe.name, crate::BUILD);
    let of = match recipe.columns {
        1 => "the half-width network in one column that the paper compares with",
        _ => "two halves that read each other's maps at few layers",
    };
    write!(
        text,
        "# AlexNet, recipe `{name}`, {} classes\n\n\
         The network of Krizhevsky, Sutskever and Hinton (NIPS 2012) in the form of {of}: {} \
         parameters. Written by alexnet {program}, run `{}`, after {}.\n\n",
        print::thousands(data.classes.len() as u64),
        print::thousands(weights.parameters()),
        weights.run.record.run_id,
        print::count(weights.step, "training step", "training steps"),
    )?;
    write!(
        text,
        "## Data\n\n\
         {} training and {} validation pictures named \"{}\", stored as {side} × {side} pixels; the \
         network reads {crop} × {crop} of them. Pixels are RGB, 0 to 255; the mean image is part of \
         the weights and is subtracted by the module.\n\n",
        print::thousands(data.n_train),
        print::thousands(data.n_val),
        print::visible(&data.name),
        side = data.side,
        crop = recipe.crop,
    )?;
    errors(&mut text, weights)?;
    write!(text, "## Recipe\n\n{}```toml\n{}```\n\n", about(recipe), recipe.to_toml())?;
    text.push_str(
        "## Use\n\n\
         ```python\n\
         from modeling_alexnet import AlexNet      # this folder's file; needs PyTorch only\n\
         net = AlexNet.load(\".\")\n\
         probabilities = net(pixels).softmax(1)    # uint8 [n, 3, crop, crop], the middle of a\n\
         \x20                                         # picture scaled to `side` (config.json)\n\
         ```\n\n\
         `alexnet import . runs/again` makes a run of this folder, to measure or train further.\n",
    );
    Ok(text)
}

/// One line on a built-in recipe.
fn about(recipe: &Recipe) -> String {
    let text = Recipe::builtin_text(&recipe.name).ok().map(summary);
    text.map_or_else(String::new, |line| format!("{line}.\n\n"))
}

/// The errors that were measured at this step: in training, and by `alexnet eval`.
fn errors(text: &mut String, weights: &Weights) -> Result<()> {
    text.push_str("## Errors\n\n");
    let mut rows = Vec::new();
    if let Some(e) = &weights.measured {
        rows.push(("val".to_owned(), 1, e.n_images, e.top1_error, e.top5_error));
    }
    for m in measurements(weights)? {
        let data = recipe::data_name(&m.data, weights.data.side as usize);
        let split = format!("{} of {}", m.split, print::visible(&data));
        rows.push((split, m.views, m.n_images, m.top1_error, m.top5_error));
    }
    if rows.is_empty() {
        text.push_str("None was measured at this step.\n\n");
        return Ok(());
    }
    text.push_str(
        "| pictures | number | views | top-1 error | top-5 error |\n|---|---|---|---|---|\n",
    );
    for (split, views, n, top1, top5) in rows {
        let (n, top1, top5) = (print::thousands(n), 100.0 * top1, 100.0 * top5);
        writeln!(text, "| {split} | {n} | {views} | {top1:.1} % | {top5:.1} % |")?;
    }
    text.push('\n');
    Ok(())
}

/// The measurements of `alexnet eval` at this step, by file name.
fn measurements(weights: &Weights) -> Result<Vec<Measurement>> {
    let folder = weights.run.path.join("eval");
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("{} can't be read", folder.display()))?,
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = paths.with_context(|| format!("{} can't be read", folder.display()))?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let read = || format!("{} can't be read", path.display());
        let text = std::fs::read(&path).with_context(read)?;
        found.push(serde_json::from_slice::<Measurement>(&text).with_context(read)?);
    }
    found.retain(|measurement| measurement.step == Some(weights.step));
    Ok(found)
}
