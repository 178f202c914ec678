//! `alexnet export`: a trained network in forms that other programs read.

mod weights; // the weights of a run, by half and whole
mod tensors; // one safetensors file with PyTorch's names
mod onnx; // the network itself, the two columns apart
mod hub; // a folder as model hubs want it, with a module that loads it

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use coordinator::run_dir::RunDir;

use crate::options::WhichCheckpoint;
use crate::print;
pub(super) use tensors::MEAN;
use weights::Weights;
pub(super) use weights::Whole;

const HELP: &str = "\
The ending of OUT chooses the format:
  .safetensors   weights with PyTorch's names and layout, and the mean image
  .onnx          the network as a graph, its two halves apart, joined at conv3, fc6, fc7 and fc8
A folder for --hub gets config.json, model.safetensors, a model card (README.md, unless there is
one) and modeling_alexnet.py, a module that needs PyTorch only.

Examples:
  alexnet export runs/caffe-my-pictures alexnet.onnx
  alexnet export runs/caffe-my-pictures --hub my-alexnet
  alexnet import my-alexnet runs/again        make a run of it again";

/// Arguments of `alexnet export`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct ExportArgs {
    /// Run directory
    run: PathBuf,

    /// File to write, ending in .safetensors or .onnx
    #[arg(required_unless_present = "hub", conflicts_with = "hub")]
    out: Option<PathBuf>,

    /// Write a folder for a model hub
    #[arg(long, value_name = "DIR")]
    hub: Option<PathBuf>,

    /// Checkpoint of this step; 0 for the initial weights [default: the best]
    #[arg(long)]
    step: Option<u64>,
}

/// The form in which a network is written.
enum Form {
    Tensors,
    Onnx,
    Hub,
}

/// Writes the whole network.
pub(super) fn run(args: &ExportArgs) -> Result<()> {
    let (out, form) = form(args)?;
    let dir = RunDir::open(&args.run)?;
    let which = args.step.map_or(WhichCheckpoint::Best, WhichCheckpoint::Step);
    let weights = Weights::load(dir, which)?;
    match form {
        Form::Tensors => tensors::write(&weights, out)?,
        Form::Onnx => onnx::write(&weights, out)?,
        Form::Hub => hub::write(&weights, out)?,
    }
    print::line(format_args!(
        "{}: {} parameters after step {}",
        out.display(),
        print::thousands(weights.parameters()),
        print::thousands(weights.step)
    ));
    Ok(())
}

/// Every parameter of a run's whole network, and its step; of step 0, the first weights.
///
/// # Errors
/// If there is no such checkpoint, or it doesn't fit the recipe.
pub(super) fn whole(dir: RunDir, which: WhichCheckpoint) -> Result<(u64, Vec<Whole>)> {
    let weights = Weights::load(dir, which)?;
    Ok((weights.step, weights.whole()?))
}

/// The best checkpoint of a run as a safetensors file of the whole network, and its step.
///
/// # Errors
/// If there is no whole checkpoint, or it isn't one of the run's recipe.
pub(super) fn best(dir: RunDir) -> Result<(u64, Vec<u8>)> {
    let weights = Weights::load(dir, WhichCheckpoint::Best)?;
    Ok((weights.step, tensors::file(&weights)?))
}

/// The place to write to, and the form that was asked for.
fn form(args: &ExportArgs) -> Result<(&Path, Form)> {
    if let Some(folder) = &args.hub {
        return Ok((folder, Form::Hub));
    }
    let out = args.out.as_deref().unwrap_or(Path::new(""));
    match out.extension().and_then(|ending| ending.to_str()) {
        Some("safetensors") => Ok((out, Form::Tensors)),
        Some("onnx") => Ok((out, Form::Onnx)),
        _ => bail!(
            "{} must end in .safetensors or .onnx, the formats that export writes; for a folder, \
             use --hub DIR",
            print::path(out)
        ),
    }
}
