//! `alexnet predict`: the most probable classes of picture files.

mod bars; // pictures with bars for the most probable classes
mod write; // predictions as text, CSV or JSON

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use coordinator::run_dir::RunDir;
use gpu_worker::backend::cuda::Options;

use super::form::Format;
use super::known::Known;
use super::pictures::{self, Asked};
use crate::network::{Devices, Stored, Trained, batch};
use crate::options::TrainedArgs;
use crate::{devices, files, print};

use bars::Bars;
use write::Predictions;

const HELP: &str = "\
A folder stands for all pictures in it and in the folders below it. Hidden files and those that
systems leave behind (Thumbs.db, @eaDir, …) are passed over. A pattern in quotes, such as
'photos/**/*.jpg', works without a shell.

Examples:
  alexnet predict runs/caffe-my-pictures photo.jpg holiday/
  alexnet predict runs/caffe-my-pictures holiday/ --format csv > holiday.csv
  find . -name '*.jpg' -mtime -1 | alexnet predict runs/caffe-my-pictures --list - --format json

A picture that can't be read is named on standard error; the others are still predicted, and the
exit code is 1.";

/// Arguments of `alexnet predict`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct PredictArgs {
    /// Run directory
    run: PathBuf,

    /// Choice of checkpoint and views.
    #[command(flatten)]
    trained: TrainedArgs,

    /// Pictures: files, folders or quoted patterns
    #[arg(required_unless_present = "list", value_name = "PATH")]
    images: Vec<PathBuf>,

    /// Also take the paths in this file, one per line (or NUL-separated); - is standard input
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,

    /// Choose the form of the predictions: lines for people, CSV with a header, or one JSON object
    /// per line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    /// Print this many of the most probable classes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    top: usize,

    /// Also draw the pictures with bars for their five most probable classes, as in Figure 4 of the
    /// paper; of more than 40 pictures, the first 40
    ///
    /// The class of a picture is known, and marked, if its folder has the name of a class, as in
    /// val/tench/1.jpg.
    #[arg(long, value_name = "FILE.png")]
    plot: Option<PathBuf>,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a number of classes, 1 or more".into()),
    }
}

/// Prints the most probable classes of each picture; names each picture that can't be read.
pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let dir = RunDir::open(&args.run)?;
    if let Some(plot) = &args.plot {
        files::ends_in(plot, "png", "the format of the drawing")?;
    }
    let asked = Asked::find(&args.images, args.list.as_deref())?;
    let batch = batch(&dir.recipe, asked.files().len());
    let halves = vec![devices::cpu(dir.recipe.columns); dir.recipe.columns];
    let devices = Devices { halves, open: &Options::new };
    let mut trained = Trained::load(&dir, args.trained.checkpoint.which, batch, &devices)?;
    let known = Known::new(&args.run, &trained.classes);
    let mut bars = args.plot.as_ref().map(|_| Bars::new(known));
    let unread = match predict(&mut trained, asked.files(), args, bars.as_mut()) {
        // Nobody reads on: `alexnet predict … | head`.
        Err(Stopped::Written(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(Stopped::Written(error)) => Err(error).context("the predictions can't be written")?,
        Err(Stopped::Computed(error)) => return Err(error),
        Ok(unread) => unread,
    };
    if let (Some(plot), Some(bars)) = (&args.plot, bars) {
        bars.write_png(plot, &trained.classes)?;
    }
    asked.all_read(unread)
}

/// A reason to stop before the last picture.
enum Stopped {
    /// Standard output fails.
    Written(io::Error),
    /// The network fails.
    Computed(anyhow::Error),
}

/// Predicts and prints all pictures in order; returns the number of those that can't be read.
fn predict(
    trained: &mut Trained,
    files: &[PathBuf],
    args: &PredictArgs,
    mut bars: Option<&mut Bars>,
) -> Result<u64, Stopped> {
    let mut out = BufWriter::new(io::stdout().lock());
    let form = Predictions::new(args.format, args.top, trained.classes.clone());
    out.write_all(&form.header()).map_err(Stopped::Written)?;
    let mut unread = 0;
    for batch in files.chunks(trained.recipe.batch) {
        let (read, errors) = pictures::read_all(batch, trained.side);
        unread += errors.len() as u64;
        let probabilities = probabilities(trained, &read, args.trained.views)?;
        let each = read.iter().zip(probabilities.chunks(trained.classes.len()));
        for ((path, pixels), probabilities) in each {
            out.write_all(&form.picture(path, probabilities)).map_err(Stopped::Written)?;
            if let Some(bars) = &mut bars {
                bars.add(path, pixels, trained.side, probabilities);
            }
        }
        out.flush().map_err(Stopped::Written)?;
        errors.iter().for_each(print::error);
    }
    Ok(unread)
}

fn probabilities(
    trained: &mut Trained,
    read: &[(&Path, Stored)],
    views: u32,
) -> Result<Vec<f32>, Stopped> {
    if read.is_empty() {
        return Ok(Vec::new());
    }
    let pictures: Vec<&Stored> = read.iter().map(|(_, pixels)| pixels).collect();
    let unknown = vec![0; pictures.len()]; // the loss is not used
    let average = trained.average(&pictures, &unknown, views).map_err(Stopped::Computed)?;
    Ok(average.output().probabilities)
}
