//! `alexnet replay`: a step of a run's past, computed again from the checkpoint before it.

mod norms; // how long weights, gradients and updates were, layer by layer
mod tensors; // all of it as a file

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use coordinator::run_dir::RunDir;
use loader::Source;
use loader::batch::Minibatch;

use super::preview;
use super::stored::pictures_of;
use crate::draw::sheet::{Tile, thumbnail, write_png};
use crate::metrics::{Metrics, Step};
use crate::network::{Again, Past};
use crate::options::{Call, DeviceArgs};
use crate::print;
use norms::Norms;

const EXAMPLES: &str = "\
Examples:
  alexnet replay runs/caffe-my-pictures --step 4711
  alexnet replay runs/caffe-my-pictures --step 4711 --sheet spike.png --tensors spike.safetensors

The loss of every step that is computed again, and the checksums of what the halves sent, are
compared with the record. Any difference is an error: it means another kind of device, another build
of the program, or a device that computes wrongly.";

/// Pictures that are listed.
const LISTED: usize = 10;

/// Arguments of `alexnet replay`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ReplayArgs {
    /// Run directory
    run: PathBuf,

    /// Step to compute again, counted from 1, as in metrics.jsonl
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    step: u64,

    /// Prepared pictures of the run [default: where the run had them]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Draw the step's pictures, those with the highest loss first
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,

    /// Write weights before the step, gradients, updates, losses and the pictures' numbers
    #[arg(long, value_name = "FILE.safetensors")]
    tensors: Option<PathBuf>,

    /// Choice of the devices.
    #[command(flatten)]
    devices: DeviceArgs,
}

/// Computes the steps from the checkpoint before to the one asked for, and shows that one.
pub(super) fn run(args: &ReplayArgs, call: Call<'_>) -> Result<()> {
    let ends = |file: &Option<PathBuf>, ending| {
        file.as_ref().is_none_or(|file| file.extension().is_some_and(|e| e == ending))
    };
    if !ends(&args.sheet, "png") || !ends(&args.tensors, "safetensors") {
        bail!("--sheet must end in .png, and --tensors in .safetensors");
    }
    let dir = RunDir::open(&args.run)?;
    let metrics = Metrics::read(&dir.metrics_path())?;
    let recorded = recorded(&metrics, args.step, &args.run)?;
    let data = args.data.clone().map_or_else(|| pictures_of(&dir, "--data"), Ok)?;
    let source = Source::open(&data.parse()?)?;
    let mut past = Past::before(&dir, args.step, &source, &args.devices, call.environment)?;
    let from = past.done();
    let bar = indicatif::ProgressBar::new(args.step - from);
    for step in &recorded[from as usize..args.step as usize - 1] {
        past.next(step)?;
        bar.inc(1);
    }
    let before = past.shards()?;
    let again = past.next(&recorded[args.step as usize - 1])?;
    bar.finish_and_clear();
    let (after, gradients) = (past.shards()?, past.gradients()?);
    let norms = Norms::of(&before, &gradients, &after)?;
    let classes = &source.describe().classes;
    report(args.step, from, &again, &norms, classes);
    if past.equals_checkpoint(&dir)? {
        print::line(
            "after it, weights and momentum equal the checkpoint of this step, bit for bit",
        );
    }
    if let Some(file) = &args.sheet {
        sheet(file, args.step, &again, classes)?;
        print::line(file.display());
    }
    if let Some(file) = &args.tensors {
        tensors::write(file, &before, &gradients, &after, &again)?;
        print::line(file.display());
    }
    Ok(())
}

/// The record of all steps up to this one, in order and without a gap.
pub(super) fn recorded<'a>(metrics: &'a Metrics, step: u64, run: &Path) -> Result<&'a [Step]> {
    let last = metrics.steps.last().map_or(0, |step| step.figures.step);
    if step > last {
        bail!("step {step} is not on record: the last one in {} is {last}", run.display());
    }
    let numbers = metrics.steps.iter().map(|step| step.figures.step);
    if let Some((expected, found)) = (1..=step).zip(numbers).find(|(a, b)| a != b) {
        bail!("the record in {} has step {found} where step {expected} belongs", run.display());
    }
    Ok(&metrics.steps)
}

/// Prints the step: what it was computed from, its pictures, and its norms by layer.
fn report(step: u64, from: u64, again: &Again, norms: &Norms, classes: &[String]) {
    let start = match from {
        0 => "the start".to_owned(),
        from => format!("the checkpoint of step {}", print::thousands(from)),
    };
    print::line(format_args!(
        "step {}, computed again from {start}: loss {:.6}, the same bits as on record",
        print::thousands(step),
        again.done.loss
    ));
    print::line(format_args!("the {LISTED} pictures with the highest loss:"));
    print::line("    loss  class, taken for                            number in train/");
    for i in by_loss(again).into_iter().take(LISTED) {
        let names = format!("{}, {}", label(again, i, classes), taken_for(again, i, classes));
        let number = again.minibatch.images[i];
        print::line(format_args!("{:>8.3}  {names:<42}  {number}", again.done.output.losses[i]));
    }
    print::line(norms);
}

/// Numbers of the minibatch's pictures, highest loss first.
fn by_loss(again: &Again) -> Vec<usize> {
    let losses = &again.done.output.losses;
    let mut order: Vec<usize> = (0..losses.len()).collect();
    order.sort_by(|a, b| losses[*b].total_cmp(&losses[*a]));
    order
}

fn label(again: &Again, i: usize, classes: &[String]) -> String {
    let label = again.minibatch.labels[i] as usize;
    print::visible(classes.get(label).map_or("?", String::as_str))
}

/// Name of the most probable class.
fn taken_for(again: &Again, i: usize, classes: &[String]) -> String {
    let all = &again.done.output.probabilities;
    let p = &all[i * classes.len()..][..classes.len()];
    let first = (0..p.len()).max_by(|a, b| p[*a].total_cmp(&p[*b]).then(b.cmp(a)));
    print::visible(first.and_then(|first| classes.get(first)).map_or("?", String::as_str))
}

/// The step's pictures as the network saw them, highest loss first.
fn sheet(out: &Path, step: u64, again: &Again, classes: &[String]) -> Result<()> {
    let minibatch: &Minibatch = &again.minibatch;
    let tile = |i: usize| Tile {
        picture: thumbnail(&preview::as_seen(minibatch, i)),
        captions: vec![
            label(again, i, classes),
            format!("→ {}", taken_for(again, i, classes)),
            format!("loss {:.2}", again.done.output.losses[i]),
        ],
    };
    let title = format!("step {step}: {} pictures, mean loss {:.3}", minibatch.n, again.done.loss);
    write_png(out, &title, by_loss(again).into_iter().map(tile).collect())
        .with_context(|| format!("{} can't be drawn", out.display()))
}
