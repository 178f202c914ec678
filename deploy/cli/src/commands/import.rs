//! `alexnet import`: a run directory at step 0 out of weights that another program trained, or that
//! `alexnet export` wrote.

mod found; // tensors of a file under this program's names, and what the file says about them
mod check; // every tensor that is missing, misshapen or unknown
mod pytorch; // safetensors files with PyTorch's names
mod caffe; // Caffe's .caffemodel, and its mean image
mod about; // classes, data set and mean image of the new run

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use coordinator::run_dir::{Beginning, RunDir};
use gpu_worker::checkpoint::first_shard;
use model::halves::{Partition, Plan};
use model::recipe::Recipe;
use model::shape::Network;

use crate::files::is_there;
use crate::options::DEFAULT_SEED;
use crate::up::Remembered;
use crate::{print, recipe};
use about::{About, AboutArgs};
use found::{Found, Origin};

const HELP: &str = "\
FILE is one of
  a .safetensors file with PyTorch's names, as `alexnet export` writes it, or the folder that
  `alexnet export --hub` writes;
  a .caffemodel with the layers of Caffe's bvlc_alexnet.

The run stands at step 0. It can be used like any other run: `eval`, `predict`, `export`, and `up --run`
to train further on the pictures of --data.

Examples:
  alexnet import alexnet.safetensors runs/again --data my-pictures
  alexnet import bvlc_alexnet.caffemodel runs/caffe --classes synset_words.txt \\
      --mean imagenet_mean.binaryproto
  alexnet predict runs/caffe photo.jpg";

/// Arguments of `alexnet import`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct ImportArgs {
    /// Weights: a .safetensors or .caffemodel file, or the folder of a model hub
    file: PathBuf,

    /// Run directory to make
    run: PathBuf,

    /// Classes, data set and mean image.
    #[command(flatten)]
    about: AboutArgs,

    /// Built-in recipe or TOML file [default: that in the file; for a .caffemodel, `caffe` with
    /// crops of 227]
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,

    /// Change one value of the recipe; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

/// Makes the run directory.
pub(super) fn run(args: &ImportArgs) -> Result<()> {
    if is_there(&args.run.join("run.json"))? {
        return Err(coordinator::Error::Taken { path: args.run.clone() }.into());
    }
    let (mut found, layers) = read(&args.file)?;
    let recipe = recipe_of(args, &mut found)?;
    let about = about::about(&args.about, &args.file, &recipe, &mut found)?;
    let network = Network::new(&recipe, about.data_set.classes.len())?;
    let whole = Plan::new(&network, &recipe, Partition::Whole);
    let mut problems = caffe::differences(&layers, &whole, &recipe);
    problems.extend(check::problems(&found, &whole));
    refuse(&args.file, problems)?;
    if found.origin == Origin::Caffe {
        caffe::adapt(&mut found, &whole, &recipe);
    }
    create(args, &recipe, about, &found, &Plan::all(&network, &recipe))?;
    found.notes.iter().for_each(print::note);
    tell(args, &whole);
    Ok(())
}

/// Reads a file by its kind: its tensors and, if it describes them, its layers.
fn read(path: &Path) -> Result<(Found, Vec<caffe::Layer>)> {
    if path.is_dir() {
        return Ok((pytorch::read(&path.join("model.safetensors"))?, Vec::new()));
    }
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match ending.as_str() {
        "safetensors" => Ok((pytorch::read(path)?, Vec::new())),
        "caffemodel" => caffe::read(path),
        "pt" | "pth" | "bin" | "ckpt" => bail!(
            "{} is a Python pickle, which is not read here: in PyTorch, save its state_dict with \
             `safetensors.torch.save_file(net.state_dict(), \"net.safetensors\")` and import that",
            print::path(path)
        ),
        _ => bail!(
            "{} is not a form of weights that is known: expected a .safetensors or .caffemodel \
             file, or a folder with a model.safetensors",
            print::path(path)
        ),
    }
}

/// The recipe of the new run.
fn recipe_of(args: &ImportArgs, found: &mut Found) -> Result<Recipe> {
    let mut recipe = match (&args.recipe, found.recipe.take()) {
        (Some(name), _) => recipe::load(name, &[])?,
        (None, Some(recipe)) => recipe,
        (None, None) => bail!(
            "{} does not say with which recipe its network was trained (its metadata have no \
             recipe_toml): name it with --recipe",
            print::path(&args.file)
        ),
    };
    recipe.set_all(&args.sets)?;
    Ok(recipe)
}

/// Fails with every problem, one per line.
fn refuse(file: &Path, problems: Vec<String>) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(anyhow!(
        "{} does not hold the weights of this network; nothing was written:\n  {}",
        print::path(file),
        problems.join("\n  ")
    ))
}

/// Writes the run directory: one shard after the other, each with its rows of every tensor.
fn create(
    args: &ImportArgs,
    recipe: &Recipe,
    about: About,
    found: &Found,
    plans: &[Plan],
) -> Result<()> {
    let beginning = Beginning {
        recipe: recipe.clone(),
        seed: DEFAULT_SEED,
        data_set: about.data_set,
        mean: about.mean,
    };
    let shards = plans.iter().map(|plan| -> Result<_> {
        let shard = first_shard(plan, &recipe.name, |param| found.rows(param))?;
        Ok((plan.partition, shard))
    });
    RunDir::create(&args.run, &beginning, shards)?;
    if let Some(data) = about.pictures {
        let remembered = Remembered { data, coordinator: None };
        remembered.write(&args.run).context("the run does not remember its pictures")?;
    }
    Ok(())
}

/// Says what was made, and what can be done with it.
fn tell(args: &ImportArgs, whole: &Plan) {
    let parameters = whole.params().map(model::params::Param::len).sum::<usize>();
    let (run, program) = (print::quoted(&args.run), print::program());
    print::line(format_args!(
        "{}: {} parameters at step 0",
        print::path(&args.run),
        print::thousands(parameters as u64)
    ));
    print::line(format_args!("name what is in pictures: {program} predict {run} PICTURE"));
    if args.about.data.is_some() {
        print::line(format_args!("measure it: {program} eval {run}"));
        print::line(format_args!("train it further: {program} up --run {run}"));
    } else {
        print::line(format_args!("measure it: {program} eval {run} --data DIR"));
    }
}
