//! `alexnet features`: the activations of a layer for every stored picture, in one file.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use coordinator::run_dir::RunDir;
use loader::Split;

use super::stored::{StoredPictures, split};
use crate::network::{Trained, batch};
use crate::options::{Call, CheckpointArgs, DeviceArgs};
use crate::rows::Rows;
use crate::{files, print};

const HELP: &str = "\
The file has two tensors: features, F32 [pictures, units], and labels, I32 [pictures]. Features are
what the next layer reads: after ReLU and, in fc6 and fc7, after the factor that replaces dropout.
Half A's units come first. The pictures are looked at in their central view, in stored order; they
need not be of the classes that the network was trained on.

Example:
  alexnet features runs/caffe-my-pictures my-pictures-256 val.safetensors";

/// Arguments of `alexnet features`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct FeaturesArgs {
    /// Run directory
    run: PathBuf,

    /// Prepared pictures
    data: String,

    /// File to write, ending in .safetensors
    out: PathBuf,

    /// Look at these pictures of the data set: val, train, or test if it has a test split
    #[arg(long, value_name = "SPLIT", default_value = "val", value_parser = split)]
    split: Split,

    /// Layer whose activations are written [default: the one before the classes, fc7 in AlexNet]
    #[arg(long)]
    layer: Option<String>,

    /// Choice of the checkpoint.
    #[command(flatten)]
    checkpoint: CheckpointArgs,

    /// Choice of the devices.
    #[command(flatten)]
    devices: DeviceArgs,
}

/// Writes the features of all pictures.
pub(super) fn run(args: &FeaturesArgs, call: Call<'_>) -> Result<()> {
    files::ends_in(&args.out, "safetensors", "the format of the features")?;
    let dir = RunDir::open(&args.run)?;
    let stored = StoredPictures::open(&dir, ("DATA", Some(&args.data)), args.split)?;
    stored.can_be_seen_by(&dir)?;
    let n = stored.count() as usize;
    let (which, at_once) = (args.checkpoint.which, batch(&dir.recipe, n));
    let mut trained = Trained::load_on(&dir, which, at_once, &args.devices, call.environment)?;
    let (layer, len) = trained.layer(args.layer.as_deref())?;
    let about = HashMap::from([
        ("run".to_owned(), dir.record.run_id.clone()),
        ("step".to_owned(), trained.step.to_string()),
        ("layer".to_owned(), layer.to_owned()),
        ("data".to_owned(), args.data.clone()),
        ("split".to_owned(), args.split.name().to_owned()),
        ("classes".to_owned(), serde_json::to_string(stored.classes())?),
    ]);
    let mut rows = Rows::create(&args.out, "features", [n, len], about)?;
    stored.each_batch(trained.recipe.batch, |batch| {
        let pictures: Vec<_> = batch.pictures.iter().collect();
        rows.add(&trained.activations(&pictures, layer)?, &batch.labels)
    })?;
    rows.finish()?;
    print::line(format_args!(
        "{}: {} of {} with {} numbers each, {layer} after step {}, on {}",
        print::path(&args.out),
        print::count(n as u64, "picture", "pictures"),
        args.data,
        print::thousands(len as u64),
        print::thousands(trained.step),
        trained.devices
    ));
    Ok(())
}
