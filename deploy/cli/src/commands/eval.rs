//! `alexnet eval`: what a trained network makes of the validation pictures.

mod measure; // every picture once, batch by batch
mod mistakes; // the worst mistakes, as pictures
mod report; // what is printed and kept

use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use coordinator::run_dir::RunDir;
use loader::{Description, Source, Split};

use super::prepare::{self, Asked};
use crate::devices::devices;
use crate::network::{Devices, Trained};
use crate::options::{Call, GpuArgs, TrainedArgs};
use crate::print;
use crate::up::Remembered;

/// Splits that can be measured.
const SPLITS: [Split; 3] = [Split::Val, Split::Train, Split::Test];

/// Arguments of `alexnet eval`.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// The trained network.
    #[command(flatten)]
    trained: TrainedArgs,

    /// Prepared pictures to measure on [default: those of the run]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Measure on these pictures of the data set: val, train (without augmentation), or test if it
    /// has a test split
    #[arg(long, value_name = "SPLIT", default_value = "val", value_parser = split)]
    split: Split,

    /// One device per half, such as cuda:0,cuda:1 or cpu:4,cpu:4; auto takes the GPUs, or all CPU
    /// cores if there is no GPU
    #[arg(long, default_value = "auto", value_name = "DEVICE,DEVICE")]
    devices: String,

    /// Libraries of the GPUs.
    #[command(flatten)]
    gpu: GpuArgs,
}

fn split(text: &str) -> Result<Split, String> {
    let named = SPLITS.into_iter().find(|split| split.name() == text);
    named.ok_or_else(|| "expected val, train or test".into())
}

/// Measures, prints the errors, and writes them to the run directory.
pub(super) fn run(args: &EvalArgs, call: Call<'_>) -> Result<()> {
    let asked = &args.trained;
    let dir = RunDir::open(&asked.run)?;
    let data = args.data.clone().map_or_else(|| pictures_of(&asked.run), Ok)?;
    let source = Source::open(&data.parse()?)?;
    let search = args.gpu.search(call.environment);
    let names = devices(&args.devices, dir.recipe.columns, &search)?.names;
    let halves = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let open = |gpu| args.gpu.open(call.environment, gpu);
    let devices = Devices { halves, open: &open };
    let mut trained = Trained::load(&dir, asked.checkpoint, usize::MAX, &devices)?;
    fits(source.describe(), &trained, &data, args.split)?;
    let result = measure::measure(&mut trained, &source, args.split, asked.views)?;
    let about = report::About {
        data,
        split: args.split,
        devices: names.join(","),
        step: trained.step,
        views: asked.views,
        side: trained.side,
    };
    report::print(&about, &result);
    for file in report::keep(&asked.run, &about, result)? {
        print::line(print::path(&file));
    }
    Ok(())
}

/// The pictures on which a run was trained.
fn pictures_of(run: &Path) -> Result<String> {
    let dir = RunDir::open(run)?;
    let remembered = Remembered::read(run).with_context(|| {
        format!("{} does not record where its pictures are: add --data DIR", print::path(run))
    })?;
    // The run's own pictures, even if their folder has got another name since.
    let asked = Asked { run: Some(run), keep: true, remembered: true };
    prepare::ready(&remembered.data, &dir.recipe, &asked)
}

/// Refuses pictures that do not fit the network.
fn fits(data: &Description, trained: &Trained, name: &str, split: Split) -> Result<()> {
    let (there, here) = (&data.classes, &trained.classes);
    if there.len() != here.len() {
        bail!(
            "{name} has {} classes, but the checkpoint was trained on {}: use pictures of the same \
             classes, or train on these with `{} up --data {}`",
            there.len(),
            here.len(),
            print::program(),
            print::quoted(name)
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
    if data.count(split) == 0 {
        let split = split.name();
        bail!(
            "{name} has no {split} pictures: put some into {split}/<class>/ and prepare them again"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_read_by_its_name_and_others_are_refused_with_those_there_are() {
        assert_eq!((split("val"), split("train")), (Ok(Split::Val), Ok(Split::Train)));
        assert_eq!(split("test"), Ok(Split::Test));
        assert_eq!(split("Val").unwrap_err(), "expected val, train or test");
    }
}
