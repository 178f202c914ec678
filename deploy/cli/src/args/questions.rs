//! What is asked about a run, and of this machine.

use std::path::PathBuf;

use clap::Args;

use super::DEFAULT_SEED;
use crate::certs::CertsArgs;
use crate::devices::GpuArgs;

/// Which checkpoint of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Lowest validation error.
    Best,
    /// The newest.
    Last,
    /// After so many steps.
    Step(u64),
}

impl std::str::FromStr for Which {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "best" => Ok(Which::Best),
            "last" => Ok(Which::Last),
            number => number
                .parse()
                .map(Which::Step)
                .map_err(|_| format!("{number:?} is not best, last or a step number like 450")),
        }
    }
}

/// `alexnet eval`.
#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// The run directory
    pub run: PathBuf,
    /// Prepared pictures to measure on [default: those of the run]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// 1: the centre; 10: four corners and centre, mirrored too, averaged (the paper's test)
    #[arg(long, default_value_t = 1, value_parser = views)]
    pub views: u32,
    /// best, last or a step
    #[arg(long, default_value = "best", value_name = "WHICH")]
    pub checkpoint: Which,
}

/// `alexnet predict`.
#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// The run directory
    pub run: PathBuf,
    /// Picture files, any format
    #[arg(required = true)]
    pub images: Vec<PathBuf>,
    /// 1: the centre; 10: corners and centre, mirrored too, averaged
    #[arg(long, default_value_t = 1, value_parser = views)]
    pub views: u32,
    /// best, last or a step
    #[arg(long, default_value = "best", value_name = "WHICH")]
    pub checkpoint: Which,
}

/// `alexnet export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The run directory
    pub run: PathBuf,
    /// The file to write, ending in .safetensors
    pub out: PathBuf,
    /// The checkpoint of this step; 0 = the initial weights [default: the best]
    #[arg(long)]
    pub step: Option<u64>,
}

/// `alexnet preview`.
#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// A prepared folder, or synthetic[:SIDE]
    pub data: String,
    /// The contact sheet to write, ending in .png
    pub out: PathBuf,
    /// Crop, flip and colour as in this recipe
    #[arg(long, default_value = "caffe", value_name = "NAME|FILE")]
    pub recipe: String,
    /// Change one value of the recipe
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Seed of the run
    #[arg(long, default_value_t = DEFAULT_SEED)]
    pub seed: u64,
    /// The minibatch of this step, from 0
    #[arg(long, default_value_t = 0)]
    pub step: u64,
    /// Also write the minibatch as tensors: pixels, offset, flip, shift, label, input
    #[arg(long, value_name = "FILE.safetensors")]
    pub tensors: Option<PathBuf>,
}

/// `alexnet plot`.
#[derive(Debug, Args)]
pub(crate) struct PlotArgs {
    /// The run directory
    pub run: PathBuf,
    /// Write OUT.svg and OUT.png [default: RUN/plot]
    #[arg(long, value_name = "OUT")]
    pub out: Option<PathBuf>,
}

/// `alexnet timing`.
#[derive(Debug, Args)]
pub(crate) struct TimingArgs {
    /// The run directory
    pub run: PathBuf,
    /// Also draw a timed step over time: OUT.svg and OUT.png
    #[arg(long, value_name = "OUT")]
    pub picture: Option<PathBuf>,
    /// The step to draw [default: the last one in the trace]
    #[arg(long, requires = "picture")]
    pub step: Option<u64>,
    /// Draw it from this millisecond on
    #[arg(long, requires = "picture", value_name = "MS")]
    pub from: Option<f64>,
    /// Draw it up to this millisecond
    #[arg(long, requires = "picture", value_name = "MS")]
    pub to: Option<f64>,
}

/// `alexnet bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// One device a half
    #[arg(long, default_value = "auto", value_name = "DEVICE,DEVICE")]
    pub devices: String,
    /// The GPUs' libraries.
    #[command(flatten)]
    pub gpu: GpuArgs,
    /// Steps to measure, after two that warm up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: u64,
    /// The network
    #[arg(long, default_value = "caffe", value_name = "NAME|FILE")]
    pub recipe: String,
    /// Change one value of the recipe
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// A prepared folder [default: built-in pictures]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
}

const DOCTOR_NOTES: &str = "\
Each line is `ok`; or `look`, where training works, but slower, on less, or at a risk; or `wrong`,
where training does not work here. Below look and wrong stands what to do. The exit code is 1 if a
line is wrong, else 0. Needs no root, takes less than 10 seconds, leaves no files, and may run
beside a training: for the fractions of a second in which it measures a GPU, it takes there 8 MB
and what the driver takes for every program.

In a bug report, please paste the whole output.";

/// `alexnet doctor`.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_NOTES)]
pub(crate) struct DoctorArgs {
    /// Measure the disk of this run directory, which need not be there yet [default: runs]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// Check these devices, one per half, as `up` takes them; a device that cannot be used is then
    /// reported as wrong
    #[arg(long, default_value = "auto", value_name = "DEVICE,DEVICE")]
    pub devices: String,
    /// The GPUs' libraries.
    #[command(flatten)]
    pub gpu: GpuArgs,
    /// Print one JSON document instead (its keys: docs/doctor.md)
    #[arg(long)]
    pub json: bool,
}

/// `alexnet status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// A run directory, or the coordinator's HOST:PORT [default: the newest run under runs/]
    #[arg(value_name = "RUN|ADDRESS")]
    pub run: Option<String>,
    /// Its own certificate is the operator's.
    #[command(flatten)]
    pub certs: CertsArgs,
}
fn views(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "10" => Ok(10),
        other => Err(format!("{other:?} views: there are 1 (the centre) and 10 (the paper's)")),
    }
}
