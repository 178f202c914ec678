//! `alexnet eval`: errors, loss and confusion matrix on the validation pictures.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use coordinator::run_dir::RunDir;
use gpu_worker::step::rank;
use gpu_worker::views::Average;
use loader::Source;
use loader::Split;
use loader::batch::Request;
use serde::Serialize;

use super::prepare::{self, Asked};
use crate::draw::confusion::Confusion;
use crate::network::{self, Trained};
use crate::options::TrainedArgs;
use crate::up::Remembered;
use crate::{print, recipe};

/// Arguments of `alexnet eval`.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// The trained network.
    #[command(flatten)]
    trained: TrainedArgs,

    /// Prepared pictures to measure on [default: those of the run]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
}

/// Errors and loss on the validation pictures; written to `RUN/eval/*.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Measured {
    data: String,
    step: u64,
    views: u32,
    n_images: u64,
    loss: f64,
    top1_error: f64,
    top5_error: f64,
}

/// Measures, prints the errors, and writes them to the run directory.
pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let asked = &args.trained;
    let data = args.data.clone().map_or_else(|| pictures_of(&asked.run), Ok)?;
    let source = Source::open(&data.parse()?)?;
    let mut trained = Trained::load(&asked.run, asked.checkpoint, usize::MAX)?;
    fits(source.describe(), &trained, &data)?;
    let (measured, confusion) = measure(&mut trained, &source, asked.views, &data)?;
    print::line(format_args!(
        "{} validation pictures of {data}, step {}, {}",
        print::thousands(measured.n_images),
        print::thousands(measured.step),
        print::count(asked.views.into(), "view", "views"),
    ));
    print::line(format_args!(
        "top-1 error {:.2} %   top-5 error {:.2} %   loss {:.4}   (chance {:.1} %)",
        100.0 * measured.top1_error,
        100.0 * measured.top5_error,
        measured.loss,
        100.0 * (1.0 - 1.0 / trained.classes.len() as f64)
    ));
    for (class, predicted, times) in confusion.worst(5) {
        print::line(format_args!("  {times:>5} × {class} predicted as {predicted}"));
    }
    for file in keep(&asked.run, &measured, &confusion, trained.side)? {
        print::line(file.display());
    }
    Ok(())
}

/// The pictures on which a run was trained.
fn pictures_of(run: &Path) -> Result<String> {
    let dir = RunDir::open(run)?;
    let remembered = Remembered::read(run).with_context(|| {
        format!("{} does not record where its pictures are: add --data DIR", run.display())
    })?;
    // The run's own pictures, even if their folder has got another name since.
    let asked = Asked { run: Some(run), keep: true, remembered: true };
    prepare::ready(&remembered.data, &dir.recipe, &asked)
}

/// Refuses pictures that do not fit the network.
fn fits(data: &loader::Description, trained: &Trained, name: &str) -> Result<()> {
    let (there, here) = (&data.classes, &trained.classes);
    if there.len() != here.len() {
        bail!(
            "{name} has {} classes, but the checkpoint was trained on {}: use pictures of the same \
             classes, or train on these with `{} up --data {name}`",
            there.len(),
            here.len(),
            print::program()
        );
    }
    if let Some(i) = (0..here.len()).find(|i| there[*i] != here[*i]) {
        bail!(
            "class {i} is {:?} in {name}, but {:?} in the checkpoint: use pictures of the same \
             classes",
            there[i],
            here[i]
        );
    }
    if data.side != trained.side {
        bail!(
            "{name} holds pictures of side {}, but the checkpoint needs {}: prepare them again \
             with --side {}",
            data.side,
            trained.side,
            trained.side
        );
    }
    if data.n_val == 0 {
        bail!(
            "{name} has no validation pictures: put some into val/<class>/ and prepare them again"
        );
    }
    Ok(())
}

fn measure(
    trained: &mut Trained,
    source: &Source,
    views: u32,
    data: &str,
) -> Result<(Measured, Confusion)> {
    let n_images = source.describe().n_val;
    let mut confusion = Confusion::new(trained.classes.clone());
    let (mut loss, mut top1, mut top5) = (0.0, 0.0, 0.0);
    let batches = n_images.div_ceil(trained.recipe.batch as u64);
    let bar = indicatif::ProgressBar::new(batches);
    for batch in 0..batches {
        let average = averaged(trained, source, views, batch)?;
        let (output, n) = (average.output(), average.n_images() as f64);
        let (batch_loss, batch_top1, batch_top5) = output.score(average.labels());
        loss += n * batch_loss;
        top1 += n * batch_top1;
        top5 += n * batch_top5;
        let each = output.probabilities.chunks(trained.classes.len());
        for (label, p) in average.labels().iter().zip(each) {
            confusion.add(*label as usize, most_probable(p));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let share = |n: f64| n / n_images as f64;
    let measured = Measured {
        data: data.to_owned(),
        step: trained.step,
        views,
        n_images,
        loss: share(loss),
        top1_error: share(top1),
        top5_error: share(top5),
    };
    Ok((measured, confusion))
}

/// A validation batch, averaged over the views after softmax.
fn averaged(trained: &mut Trained, source: &Source, views: u32, batch: u64) -> Result<Average> {
    let mut average = Average::default();
    for view in network::views(views) {
        let minibatch = source.minibatch(&request(&trained.recipe, batch, view))?;
        let output = trained.test(&network::received(&minibatch))?;
        average.add(output, &minibatch.labels);
    }
    Ok(average)
}

fn request(recipe: &model::recipe::Recipe, batch: u64, view: u32) -> Request {
    Request {
        split: Split::Val,
        step: batch,
        n_images: recipe.batch,
        seed: 0, // nothing is random in an evaluation
        crop: recipe.crop,
        crop_offsets: 0,
        flip: false,
        color_noise: 0.0,
        view,
    }
}

/// The most probable class; the first of several that are equally probable.
fn most_probable(p: &[f32]) -> usize {
    (0..p.len()).find(|i| rank(p, *i) == 0).unwrap_or(0)
}

/// Writes errors and confusion matrix under `RUN/eval`; only the coordinator writes
/// `metrics.jsonl`.
fn keep(
    run: &Path,
    measured: &Measured,
    confusion: &Confusion,
    side: usize,
) -> Result<[PathBuf; 3]> {
    let folder = run.join("eval");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("the folder {} can't be made", folder.display()))?;
    let name = format!(
        "{}-step-{:08}-views-{}",
        recipe::data_name(&measured.data, side),
        measured.step,
        measured.views
    );
    let file = |ending: &str| folder.join(format!("{name}{ending}"));
    let files = [file(".json"), file("-confusion.csv"), file("-confusion.png")];
    std::fs::write(&files[0], serde_json::to_vec_pretty(measured)?)
        .with_context(|| format!("{} can't be written", files[0].display()))?;
    confusion.write_csv(&files[1])?;
    confusion.write_png(&files[2])?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_is_the_most_probable() {
        assert_eq!(most_probable(&[0.1, 0.45, 0.45]), 1);
    }
}
