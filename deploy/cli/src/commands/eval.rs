//! `alexnet eval`: what a trained network, or several together, make of the validation pictures.

mod ensemble; // several runs: whether they fit together, and their mean
mod measure; // every picture once, batch by batch
mod mistakes; // the worst mistakes, as pictures
mod report; // what is printed and kept

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use coordinator::run_dir::RunDir;
use loader::Split;

use super::stored::{StoredPictures, split};
use crate::network::{self, Trained};
use crate::options::{Call, DeviceArgs, TrainedArgs};
use crate::rows::Rows;
use crate::{files, print};

use measure::Measuring;

const HELP: &str = "\
Of several runs, the probabilities of each class are averaged, as in the paper's ensembles of 5 and
7 networks. Their recipes may differ; their classes and pictures may not.

Examples:
  alexnet eval runs/caffe-my-pictures --views 10
  alexnet eval runs/a runs/b runs/c --views 10 --save together.safetensors";

/// Arguments of `alexnet eval`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct EvalArgs {
    /// Run directories; several are measured one by one and together
    #[arg(id = "run", required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,

    /// Choice of checkpoints and views.
    #[command(flatten)]
    trained: TrainedArgs,

    /// Prepared pictures to measure on [default: those of the run]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Measure on these pictures of the data set: val, train (without augmentation), or test if it
    /// has a test split
    #[arg(long, value_name = "SPLIT", default_value = "val", value_parser = split)]
    split: Split,

    /// Also write the probability of each class for every picture, and the labels
    ///
    /// The file has the tensors probabilities, F32 [pictures, classes], and labels, I32
    /// [pictures]. Probabilities of several views or runs are their mean.
    #[arg(long, value_name = "FILE.safetensors")]
    save: Option<PathBuf>,

    /// Write errors, confusion matrix and mistakes into this folder [default: RUN/eval; nowhere
    /// for several runs]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Choice of the devices.
    #[command(flatten)]
    devices: DeviceArgs,
}

/// Measures, prints the errors, and writes them to the run directory.
pub(super) fn run(args: &EvalArgs, call: Call<'_>) -> Result<()> {
    if let Some(save) = &args.save {
        files::ends_in(save, "safetensors", "the format of the probabilities")?;
    }
    let open = |run: &PathBuf| RunDir::open(run);
    let dirs: Vec<RunDir> = args.runs.iter().map(open).collect::<Result<_, _>>()?;
    ensemble::check(&dirs, args.data.is_some())?;
    let stored = StoredPictures::open(&dirs[0], ("--data", args.data.as_deref()), args.split)?;
    let which = args.trained.checkpoint.which;
    // A run that can't be measured is named before the others are measured for hours.
    for dir in &dirs {
        stored.fit(dir)?;
        network::expect_checkpoint(dir, which)?;
    }
    let load =
        |dir: &RunDir| Trained::load_on(dir, which, usize::MAX, &args.devices, call.environment);
    let save = args.save.as_ref().map(|save| rows(save, args, &dirs, &stored)).transpose()?;
    let measuring = Measuring { stored: &stored, views: args.trained.views };
    let result = measuring.measure(&dirs, load, save)?;
    let about = report::About {
        data: stored.name.clone(),
        split: args.split,
        views: args.trained.views,
        side: dirs[0].data_set()?.side as usize,
    };
    report::print(&about, &result);
    let alone = (dirs.len() == 1).then(|| args.runs[0].join("eval"));
    if let Some(folder) = args.out.clone().or(alone) {
        for file in report::keep(&folder, &about, result)? {
            print::line(print::path(&file));
        }
    }
    if let Some(save) = &args.save {
        print::line(print::path(save));
    }
    Ok(())
}

/// The file for the probabilities.
fn rows(save: &Path, args: &EvalArgs, dirs: &[RunDir], stored: &StoredPictures) -> Result<Rows> {
    let runs: Vec<&String> = dirs.iter().map(|dir| &dir.record.run_id).collect();
    let about = HashMap::from([
        ("runs".to_owned(), serde_json::to_string(&runs)?),
        ("views".to_owned(), args.trained.views.to_string()),
        ("data".to_owned(), stored.name.clone()),
        ("split".to_owned(), args.split.name().to_owned()),
        ("classes".to_owned(), serde_json::to_string(stored.classes())?),
    ]);
    let size = [stored.count() as usize, stored.classes().len()];
    Rows::create(save, "probabilities", size, about)
}
