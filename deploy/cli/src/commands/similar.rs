//! `alexnet similar`: the stored pictures that a network finds most like others, as in Figure 4
//! (right) of the paper.

mod nearest; // the few pictures with the smallest distance
mod write; // what was found as text, CSV or JSON

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use coordinator::run_dir::RunDir;
use image::RgbImage;
use loader::Split;
use rayon::prelude::*;

use super::form::Format;
use super::known::Known;
use super::pictures::{self, Asked};
use super::stored::{StoredPictures, split};
use crate::draw::similar::{self, Row, Tile};
use crate::network::{Stored, Trained, batch};
use crate::options::{Call, CheckpointArgs, DeviceArgs};
use crate::{files, print};

use nearest::Nearest;

/// Most pictures whose nearest ones are drawn.
const MOST_ROWS: usize = 40;

const HELP: &str = "\
Two pictures are alike if the activations of fc7, the last layer before the classes, have a small
Euclidean distance. A stored picture is named by its split and its number there, from 0: train
picture 12 is 00000012.jpg in one of the files train-*.tar of the data set.

Examples:
  alexnet similar runs/caffe-my-pictures photo.jpg --out similar.png
  alexnet similar runs/caffe-my-pictures holiday/ --among other-pictures-256 --split val

A picture that can't be read is named on standard error; those like the others are still looked
for, and the exit code is 1.";

/// Arguments of `alexnet similar`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct SimilarArgs {
    /// Run directory
    run: PathBuf,

    /// Pictures: files, folders or quoted patterns
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,

    /// Look among these prepared pictures, of whatever classes [default: those of the run]
    #[arg(long, value_name = "DATA")]
    among: Option<String>,

    /// Look among these pictures of the data set: train, val, or test if it has a test split
    #[arg(long, value_name = "SPLIT", default_value = "train", value_parser = split)]
    split: Split,

    /// Find this many pictures
    #[arg(short = 'n', long, value_name = "N", default_value_t = 6,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    nearest: usize,

    /// Layer whose activations are compared [default: the one before the classes, fc7 in AlexNet]
    #[arg(long)]
    layer: Option<String>,

    /// Choose the form of the answer: lines for people, CSV with a header, or one JSON object per
    /// line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    /// Also draw each picture and those like it; of more than 40 pictures, the first 40
    #[arg(long, value_name = "FILE.png")]
    out: Option<PathBuf>,

    /// Choice of the checkpoint.
    #[command(flatten)]
    checkpoint: CheckpointArgs,

    /// Choice of the devices.
    #[command(flatten)]
    devices: DeviceArgs,
}

/// A picture that others are compared with.
struct Query<'a> {
    path: &'a Path,
    pixels: Stored,
    features: Vec<f32>,
    nearest: Nearest,
}

/// Prints the nearest pictures of each picture, and draws them.
pub(super) fn run(args: &SimilarArgs, call: Call<'_>) -> Result<()> {
    if let Some(out) = &args.out {
        files::ends_in(out, "png", "the format of the drawing")?;
    }
    let dir = RunDir::open(&args.run)?;
    let stored = StoredPictures::open(&dir, ("--among", args.among.as_deref()), args.split)?;
    stored.can_be_seen_by(&dir)?;
    let asked = Asked::find(&args.images, None)?;
    let (which, at_once) = (args.checkpoint.which, batch(&dir.recipe, usize::MAX));
    let mut trained = Trained::load_on(&dir, which, at_once, &args.devices, call.environment)?;
    let (layer, _) = trained.layer(args.layer.as_deref())?;

    let (read, errors) = pictures::read_all(asked.files(), trained.side);
    errors.iter().for_each(print::error);
    let mut queries = queries(&mut trained, read, layer, args)?;
    if !queries.is_empty() {
        look(&mut trained, &stored, layer, &mut queries)?;
        let about = About { args, stored: &stored, layer };
        match about.print(&queries) {
            // Nobody reads on: `alexnet similar … | head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            printed => printed.context("the answer can't be written")?,
        }
        if let Some(out) = &args.out {
            about.draw(out, queries, &Known::new(&args.run, &trained.classes), &trained)?;
        }
    } else if let Some(out) = &args.out {
        bail!("no picture could be read, so {} is not written", print::path(out));
    }
    asked.all_read(errors.len() as u64)
}

/// The pictures with their features.
fn queries<'a>(
    trained: &mut Trained,
    read: Vec<(&'a Path, Stored)>,
    layer: &str,
    args: &SimilarArgs,
) -> Result<Vec<Query<'a>>> {
    let mut features = Vec::with_capacity(read.len());
    for batch in read.chunks(trained.recipe.batch) {
        let pictures: Vec<&Stored> = batch.iter().map(|(_, pixels)| pixels).collect();
        let rows = trained.activations(&pictures, layer)?;
        features.extend(rows.chunks(rows.len() / batch.len()).map(<[f32]>::to_vec));
    }
    let query = |((path, pixels), features)| {
        let nearest = Nearest::new(args.nearest, args.out.is_some());
        Query { path, pixels, features, nearest }
    };
    Ok(read.into_iter().zip(features).map(query).collect())
}

/// Compares all stored pictures with each query.
fn look(
    trained: &mut Trained,
    stored: &StoredPictures,
    layer: &str,
    queries: &mut [Query<'_>],
) -> Result<()> {
    let side = trained.side;
    stored.each_batch(trained.recipe.batch, |batch| {
        let pictures: Vec<&Stored> = batch.pictures.iter().collect();
        let rows = trained.activations(&pictures, layer)?;
        queries.par_iter_mut().for_each(|query| {
            let rows = rows.chunks(query.features.len()).zip(&batch.pictures).zip(&batch.labels);
            for (number, ((row, pixels), label)) in (batch.first..).zip(rows) {
                let distance = nearest::distance(&query.features, row);
                query.nearest.offer(distance, number, *label, pixels, side);
            }
        });
        Ok(())
    })
}

/// All that is said about the pictures that were found.
struct About<'a> {
    args: &'a SimilarArgs,
    stored: &'a StoredPictures,
    layer: &'a str,
}

impl About<'_> {
    fn print(&self, queries: &[Query<'_>]) -> io::Result<()> {
        let form = write::Form {
            format: self.args.format,
            split: self.stored.split.name(),
            classes: self.stored.classes(),
        };
        let mut out = io::stdout().lock();
        out.write_all(&form.header())?;
        for query in queries {
            out.write_all(&form.picture(query.path, query.nearest.found()))?;
        }
        out.flush()
    }

    fn draw(
        &self,
        out: &Path,
        queries: Vec<Query<'_>>,
        known: &Known,
        trained: &Trained,
    ) -> Result<()> {
        let n = queries.len();
        let class = |label: usize| {
            self.stored.classes().get(label).map_or("?".into(), |name| print::visible(name))
        };
        let row = |query: Query<'_>| {
            let side = trained.side as u32;
            let name = query.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let known = known.of(query.path).and_then(|label| trained.classes.get(label));
            let known = known.map(|name| print::visible(name));
            let picture = RgbImage::from_raw(side, side, query.pixels).unwrap_or_default();
            let tile = |found: nearest::Found| Tile {
                same: known.as_deref() == Some(class(found.label as usize).as_str()),
                caption: class(found.label as usize),
                below: format!("{:.1}", found.distance),
                picture: found.picture.unwrap_or_default(),
            };
            let query_tile = Tile {
                picture: similar::scaled(&picture),
                same: known.is_some(),
                below: if known.is_some() { print::visible(&name) } else { String::new() },
                caption: known.clone().unwrap_or_else(|| print::visible(&name)),
            };
            Row { query: query_tile, found: query.nearest.take().into_iter().map(tile).collect() }
        };
        let rows: Vec<Row> = queries.into_iter().take(MOST_ROWS).map(row).collect();
        let title = format!(
            "The nearest of {} {} pictures, with their distance in {}",
            print::thousands(self.stored.count()),
            match self.stored.split {
                Split::Train => "training",
                Split::Val => "validation",
                Split::Test => "test",
            },
            self.layer
        );
        similar::write_png(out, &title, rows)?;
        let left_out = match n.saturating_sub(MOST_ROWS) {
            0 => String::new(),
            more => format!(" with the first {MOST_ROWS} pictures; {more} left out"),
        };
        print::note(format_args!("{}{left_out}", print::path(out)));
        Ok(())
    }
}
