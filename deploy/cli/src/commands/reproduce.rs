//! `alexnet reproduce`: an experiment of the paper, from its trainings to a report.
//!
//! Every training and measurement is a command of this program that anybody could type; the report
//! lists them.

mod experiment; // what is trained and measured, and what the paper says
mod work; // the folder of a reproduction, and the commands that fill it
mod measure; // numbers of finished trainings
mod table; // results, for people and for programs
mod report; // Markdown, JSON and drawings

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use loader::{Source, Split};

use super::prepare;
use crate::options::{Call, DeviceArgs, GpuArgs, forward};
use crate::runtime::one_thread;
use crate::signals::Asked;
use crate::{print, recipe};

use experiment::{Experiment, Measure};
use work::{Begun, Work};

const HELP: &str = "\
Without an experiment, or with `list`, the experiments are listed. The report is written into the
folder of the reproduction, beside the runs. The same command resumes what was interrupted.

Examples:
  alexnet reproduce list
  alexnet reproduce figure-1 --data cifar-10-batches-bin
  alexnet reproduce ablations --data my-pictures --seeds 5
  alexnet reproduce figure-3 --run runs/caffe-my-pictures    of a run that there is already
  alexnet reproduce table-2 --data imagenet-256 --pretraining fall-2011-256 --dry-run";

/// Arguments of `alexnet reproduce`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct ReproduceArgs {
    /// Experiment: one of the list, or a TOML file of your own
    #[arg(value_name = "EXPERIMENT|FILE", default_value = "list")]
    experiment: String,

    /// Pictures, as for `up` [default: built-in pictures]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Pictures of more classes for the pre-training of table-2
    #[arg(long, value_name = "DIR")]
    pretraining: Option<String>,

    /// Draw these pictures in figure-4
    #[arg(long, value_name = "IMAGE", num_args = 1..)]
    pictures: Vec<PathBuf>,

    /// Draw from an existing run instead of training one (figure-3, figure-4)
    #[arg(long, value_name = "RUN")]
    run: Option<String>,

    /// Folder of the report and the runs [default: reproductions/EXPERIMENT]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Recipe instead of the experiment's, for variants that name none
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,

    /// Change one value of every recipe, unless a variant sets it; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,

    /// Epochs per training (in figure-1, the maximum) instead of the experiment's
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: Option<u64>,

    /// Train each variant with this many seeds instead of the experiment's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    seeds: Option<u16>,

    /// Print the commands instead of executing them
    #[arg(long)]
    dry_run: bool,

    /// Devices of trainings and measurements.
    #[command(flatten)]
    devices: DeviceArgs,
}

/// Lists the experiments, or carries one out.
pub(super) fn run(args: &ReproduceArgs, call: Call<'_>) -> Result<()> {
    if args.experiment == "list" {
        return list();
    }
    let (name, mut experiment) = Experiment::load(&args.experiment)?;
    args.change(&mut experiment)?;
    let out = args.out.clone().unwrap_or_else(|| Path::new("reproductions").join(&name));
    let begun = Begun {
        experiment,
        data: absolute(args.data.as_deref())?,
        pretraining: absolute(args.pretraining.as_deref())?,
        run: absolute(args.run.as_deref())?,
    };
    let work = Work {
        name,
        begun,
        out,
        pictures: args.pictures.clone(),
        devices: args.devices.devices.clone(),
        gpu: forward::<GpuArgs>(call.typed),
        dry_run: args.dry_run,
        digests: RefCell::default(),
    };
    work.begin()?;
    if !args.dry_run {
        pictures_suffice(&work)?;
    }
    let asked = Asked::take_over();
    let results = one_thread()?.block_on(measure::measure(&work, asked))?;
    if args.dry_run {
        return Ok(());
    }
    for file in report::write(&work, &results)? {
        print::line(print::path(&file));
    }
    Ok(())
}

impl ReproduceArgs {
    /// Applies the options that change an experiment, and refuses what it can't do.
    fn change(&self, experiment: &mut Experiment) -> Result<()> {
        if let Some(recipe) = &self.recipe {
            ensure!(
                experiment.variants.iter().any(|variant| variant.recipe.is_none()),
                "each variant of this experiment names its own recipe: leave out --recipe"
            );
            experiment.recipe = recipe.clone();
        }
        // A change for all counts less than what a variant is about.
        experiment.set.extend(self.sets.iter().cloned());
        experiment.epochs = self.epochs.unwrap_or(experiment.epochs);
        if let Some(n) = self.seeds {
            experiment.with_seeds(n.into());
        }
        experiment.check()?;
        ensure!(
            experiment.pretrains() == self.pretraining.is_some(),
            if experiment.pretrains() {
                "this experiment pre-trains: name the pictures for that with --pretraining"
            } else {
                "this experiment doesn't pre-train: leave out --pretraining"
            }
        );
        ensure!(
            experiment.takes_pictures() != self.pictures.is_empty(),
            if experiment.takes_pictures() {
                "this experiment draws pictures: name some with --pictures"
            } else {
                "this experiment draws no pictures: leave out --pictures"
            }
        );
        let draws = experiment.measure == Measure::Drawings;
        ensure!(draws || self.run.is_none(), "--run is for experiments that only draw");
        Ok(())
    }
}

/// Prepares the pictures if need be, and refuses them if they lack the split that is measured after
/// all trainings.
fn pictures_suffice(work: &Work) -> Result<()> {
    let experiment = work.experiment();
    let split = match experiment.measure {
        Measure::Differences => Split::Val,
        Measure::Errors if experiment.split == "test" => Split::Test,
        Measure::Errors if experiment.split == "train" => Split::Train,
        Measure::Errors => Split::Val,
        Measure::EpochsToError(_) | Measure::Drawings => return Ok(()),
    };
    let trained = experiment.variants.iter().find(|variant| !variant.pretraining);
    let (Some(data), Some(variant)) = (&work.begun.data, trained) else { return Ok(()) };
    let data = prepare::ready(data, &work.recipe(variant, &[])?, &prepare::Asked::default())?;
    let source = Source::open(&data.parse()?)?;
    ensure!(
        source.describe().count(split) > 0,
        "{data} has no {} pictures, on which this experiment measures",
        match split {
            Split::Val => "validation",
            split => split.name(),
        }
    );
    Ok(())
}

/// A folder as a path that stays right elsewhere.
fn absolute(data: Option<&str>) -> Result<Option<String>> {
    let Some(data) = data else { return Ok(None) };
    if data == "synthetic" || data.starts_with("synthetic:") {
        return Ok(Some(data.to_owned()));
    }
    let path = recipe::resolved(data).with_context(|| format!("{data:?} is no path"))?;
    Ok(Some(path.to_string_lossy().into_owned()))
}

fn list() -> Result<()> {
    for (name, experiment) in Experiment::built_in() {
        let experiment = experiment?;
        print::line(format_args!("{name}: {} ({})", experiment.title, experiment.part));
        print::line(format_args!("    pictures: {}", experiment.pictures));
        print::line(format_args!("    time: {}", experiment.cost));
    }
    print::line("");
    print::line("`alexnet reproduce EXPERIMENT --dry-run` prints the commands of one.");
    Ok(())
}
