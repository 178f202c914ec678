//! `alexnet predict`: the most probable classes of picture files.

mod find; // paths, folders, globs and lists → picture files
mod glob; // patterns that no shell expanded
mod passed; // files in folders that are no pictures
mod read; // a picture file → its pixels
mod write; // predictions as text, CSV or JSON

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use coordinator::run_dir::RunDir;
use gpu_worker::backend::cuda::Options;
use model::recipe::{Encoding, Recipe};
use rayon::prelude::*;

use crate::devices;
use crate::network::{Devices, Stored, Trained};
use crate::options::TrainedArgs;
use crate::print;

use find::Found;
use write::{Format, Predictions};

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
    /// The trained network.
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
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(n),
        _ => Err("expected a number of classes, 1 or more".into()),
    }
}

/// Prints the most probable classes of each picture; names each picture that can't be read.
pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let dir = RunDir::open(&args.trained.run)?;
    let found = find::find(&args.images, args.list.as_deref())?;
    report(&found);
    if found.pictures.is_empty() {
        bail!("there is no picture to predict: {}", lost(&found, 0).join("; "));
    }
    let batch = batch(&dir.recipe, found.pictures.len());
    let halves = vec![devices::cpu(dir.recipe.columns); dir.recipe.columns];
    let devices = Devices { halves, open: &Options::new };
    let mut trained = Trained::load(&dir, args.trained.checkpoint, batch, &devices)?;
    let unread = match predict(&mut trained, &found.pictures, args) {
        // Nobody reads on: `alexnet predict … | head`.
        Err(Stopped::Written(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(Stopped::Written(error)) => Err(error).context("the predictions can't be written")?,
        Err(Stopped::Computed(error)) => return Err(error),
        Ok(unread) => unread,
    };
    let lost = lost(&found, unread);
    if !lost.is_empty() {
        bail!("{}: see above", lost.join("; "));
    }
    Ok(())
}

/// Pictures at a time: as many as the run's batch, or one if the halves exchange f16.
///
/// An f16 tensor travels with a power of two that follows from its largest number, so a picture's
/// result would depend on its neighbors in the batch.
fn batch(recipe: &Recipe, pictures: usize) -> usize {
    match recipe.wire {
        Encoding::F32 => pictures.min(recipe.batch),
        Encoding::F16 => 1,
    }
}

/// Prints what can't be found and what is passed over.
fn report(found: &Found) {
    found.problems.iter().for_each(|problem| print::error(&anyhow!("{problem}")));
    found.passed.sentences().iter().for_each(print::note);
}

/// Things that were asked for and can't be answered, in words.
fn lost(found: &Found, unread: u64) -> Vec<String> {
    let all = print::count(found.pictures.len() as u64, "picture", "pictures");
    let problems = found.problems.len() as u64;
    let mut lost = Vec::new();
    if unread > 0 {
        lost.push(format!("{} of {all} can't be read", print::thousands(unread)));
    }
    if problems > 0 {
        let problems = print::count(problems, "path", "paths");
        lost.push(format!("{problems} can't be read or lead to no picture"));
    }
    lost
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
    pictures: &[PathBuf],
    args: &PredictArgs,
) -> Result<u64, Stopped> {
    let mut out = BufWriter::new(io::stdout().lock());
    let form = Predictions::new(args.format, args.top, trained.classes.clone());
    out.write_all(&form.header()).map_err(Stopped::Written)?;
    let mut unread = 0;
    for batch in pictures.chunks(trained.recipe.batch) {
        let (read, errors) = read_all(batch, trained.side);
        unread += errors.len() as u64;
        let probabilities = probabilities(trained, &read, args.trained.views)?;
        for ((path, _), probabilities) in
            read.iter().zip(probabilities.chunks(trained.classes.len()))
        {
            out.write_all(&form.picture(path, probabilities)).map_err(Stopped::Written)?;
        }
        out.flush().map_err(Stopped::Written)?;
        errors.iter().for_each(print::error);
    }
    Ok(unread)
}

/// Pictures with their pixels, and an error for each that can't be read; on all cores.
fn read_all(paths: &[PathBuf], side: usize) -> (Vec<(&Path, Stored)>, Vec<anyhow::Error>) {
    let results: Vec<_> = paths.par_iter().map(|path| read::picture(path, side)).collect();
    let (mut pictures, mut errors) = (Vec::new(), Vec::new());
    for (path, result) in paths.iter().zip(results) {
        match result {
            Ok(pixels) => pictures.push((path.as_path(), pixels)),
            Err(why) => errors.push(anyhow!("{}: {why}", print::path(path))),
        }
    }
    (pictures, errors)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_pictures_at_a_time_than_the_run_or_the_call_has() {
        let recipe = Recipe { batch: 128, ..Recipe::default() };
        assert_eq!((batch(&recipe, 3), batch(&recipe, 1000)), (3, 128));
        let f16 = Recipe { wire: Encoding::F16, ..recipe };
        assert_eq!(batch(&f16, 1000), 1, "f16 depends on the neighbors");
    }
}
