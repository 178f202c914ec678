//! The command line: what people type, and the help that teaches it.

mod questions; // about a run: eval, predict, export, plot, …
mod roles; // one process of a run each

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::certs::{CertsArgs, CertsToMake};
use crate::devices::GpuArgs;
use crate::patience::{LossArgs, WaitArgs};

pub(crate) use questions::{
    BenchArgs, DoctorArgs, EvalArgs, ExportArgs, PlotArgs, PredictArgs, PreviewArgs, StatusArgs,
    TimingArgs, Which,
};
pub(crate) use roles::{CoordinatorArgs, ListenArgs, LoaderArgs, ProductRateArgs, WorkerArgs};

const EXAMPLES: &str = "\
First steps:
  alexnet doctor                            see whether this machine is fit for training
  alexnet up                                train a small network on built-in pictures (a minute)
  alexnet up --data my-pictures             train AlexNet on my-pictures/{train,val}/<class>/*
  alexnet predict runs/caffe-my-pictures photo.jpg
  alexnet plot runs/caffe-my-pictures       loss and errors as SVG and PNG

ImageNet, from the archives as distributed:
  alexnet prepare ilsvrc2012/ data/imagenet
  alexnet up --recipe paper --data data/imagenet

`alexnet COMMAND --help` explains each command. RUST_LOG (info, gpu_worker=debug, …) filters logs.";

const UP_EXAMPLES: &str = "\
Examples:
  alexnet up                                     recipe `demo` on built-in pictures
  alexnet up --data my-pictures --epochs 20      recipe `caffe`; my-pictures is prepared first
  alexnet up --data my-pictures --epochs 40      again: goes on where the run stopped
  alexnet up --data my-pictures --set dropout=0 --set rate=0.005 --run runs/no-dropout
  alexnet up --run runs/no-dropout               resumes; recipe and data are in the run directory

Ctrl-C writes a checkpoint of the last step both halves finished, then ends.";

const PREPARE_EXAMPLES: &str = "\
SRC may be
  a folder with train/<class>/* and val/<class>/*  (any picture format, any size)
  a folder with ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the development kit
  Kaggle's copy of it, with LOC_val_solution.csv
  a folder with CIFAR-10 binaries (data_batch_1.bin …), or with WebDataset tars

Examples:
  alexnet prepare my-pictures data/my-pictures
  alexnet prepare ilsvrc2012/ data/imagenet";

pub(crate) const CERTS_EXAMPLES: &str = "\
Examples:
  alexnet certs certs                          an authority, and a certificate for each role
  alexnet certs certs --renew --roles worker   a new one for workers, from the same authority

Each machine gets authority.pem and the .pem and -key.pem of its roles; authority-key.pem stays.
Certificates name roles, not addresses: one worker.pem serves all workers of a run.";

/// Trains AlexNet as in 2012: in two halves, each a process of its own.
#[derive(Debug, Parser)]
#[command(name = "alexnet", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value = "compact")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people, with room.
    Pretty,
    /// One short line an event.
    Compact,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// As it is typed.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            LogFormat::Pretty => "pretty",
            LogFormat::Compact => "compact",
            LogFormat::Json => "json",
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train on this machine: starts all processes; again = resume
    Up(UpArgs),
    /// Turn a folder of pictures, ImageNet's archives or CIFAR-10 into shards
    Prepare(PrepareArgs),
    /// Measure a trained network: top-1 and top-5 error, loss, confusion matrix
    Eval(EvalArgs),
    /// Name what is in pictures: the five most probable labels
    Predict(PredictArgs),
    /// Write the whole network as one safetensors file, PyTorch's names and layout
    Export(ExportArgs),
    /// Draw an augmented minibatch as the network is given it
    Preview(PreviewArgs),
    /// Draw loss, errors and speed of a run as SVG and PNG
    Plot(PlotArgs),
    /// Say where a run's steps went: layer by layer, both halves side by side
    Timing(TimingArgs),
    /// Measure this machine: images/s, where the time goes, memory
    Bench(BenchArgs),
    /// Look at this machine: what a run needs, what is missing, and what to do about it
    Doctor(DoctorArgs),
    /// Print how a run stands: ask its coordinator, or read its run directory
    Status(StatusArgs),
    /// Make a run's certificates: who has one of them may take part
    Certs(CertsToMake),
    /// One role: seats workers, owns the run directory
    Coordinator(CoordinatorArgs),
    /// One role: trains one half of the network
    Worker(WorkerArgs),
    /// One role: serves minibatches
    Loader(LoaderArgs),
    /// Measures the matrix product on one core; `bench` runs one of these a worker
    #[command(hide = true)]
    ProductRate(ProductRateArgs),
}

/// What is trained, and how long: shared by `up` and `coordinator`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RecipeArgs {
    /// A built-in recipe (see README) or a TOML file [default: caffe with --data, else demo]
    #[arg(long, value_name = "NAME|FILE")]
    pub recipe: Option<String>,

    /// Change one value of the recipe: --set dropout=0 --set lrn=none
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,

    /// How tensors travel between the halves: f32, or f16 for half the bytes (--set wire=f16)
    #[arg(long, value_name = "f32|f16")]
    pub wire: Option<String>,

    /// Seed of every random number
    #[arg(long)]
    pub seed: Option<u64>,

    /// Stop after this many epochs [default: the recipe's]
    #[arg(long, conflicts_with = "steps")]
    pub epochs: Option<u64>,

    /// Stop after this many steps
    #[arg(long)]
    pub steps: Option<u64>,

    /// Write a checkpoint every so many steps; the best and the end have one too [default: 200]
    #[arg(long, value_name = "STEPS")]
    pub checkpoint_every: Option<u64>,

    /// Time every so many steps layer by layer, and steps 2 to 4; 0: none [default: 50]
    #[arg(long, value_name = "STEPS")]
    pub timing_every: Option<u64>,

    /// Checkpoints to keep besides the best one
    #[arg(long, value_name = "N")]
    pub keep: Option<usize>,
}

impl RecipeArgs {
    /// Turns the options that are short for a `--set` into one.
    pub(crate) fn settle(&mut self) {
        self.sets.extend(self.wire.take().map(|wire| format!("wire={wire}")));
    }
}

/// Watching a run from elsewhere: shared by `up` and `coordinator`.
#[derive(Debug, Clone, Args)]
pub(crate) struct WatchArgs {
    /// Answer Prometheus at http://HOST:PORT/metrics; a port alone is this machine's loopback, port
    /// 0 takes a free one, the line `metrics http://…` says which [default: no endpoint]
    #[arg(long, value_name = "[HOST:]PORT")]
    pub metrics: Option<String>,
}

/// `alexnet up`.
#[derive(Debug, Args)]
#[command(after_help = UP_EXAMPLES)]
pub(crate) struct UpArgs {
    /// What to train.
    #[command(flatten)]
    pub recipe: RecipeArgs,

    /// Pictures: a prepared folder, a folder with train/ and val/, or synthetic[:SIDE]
    /// [default: built-in pictures]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,

    /// The run directory [default: runs/<recipe>-<data set>]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,

    /// One device a half: cuda:0,cuda:1 or cpu,cpu or cpu:4,cpu:4 (threads) or auto (GPUs if
    /// there are any, else all cores)
    #[arg(long, default_value = "auto", value_name = "DEVICE,DEVICE")]
    pub devices: String,

    /// The GPUs' libraries.
    #[command(flatten)]
    pub gpu: GpuArgs,

    /// For TLS between the processes; without, they talk in the clear on this machine alone.
    #[command(flatten)]
    pub certs: CertsArgs,

    /// Loader processes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub loaders: u16,

    /// Who may watch.
    #[command(flatten)]
    pub watch: WatchArgs,

    /// When who counts as lost.
    #[command(flatten)]
    pub loss: LossArgs,

    /// How long workers wait.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `alexnet prepare`.
#[derive(Debug, Args)]
#[command(after_help = PREPARE_EXAMPLES)]
pub(crate) struct PrepareArgs {
    /// What there is
    pub src: PathBuf,
    /// The prepared folder to write
    pub dst: PathBuf,
    /// Side of the stored pictures; crops are taken from these (CIFAR-10 stays 32×32)
    #[arg(long, default_value_t = 256)]
    pub side: u32,
    /// Share of the training pictures to set aside where there are none to measure with
    /// [default: 0.1]
    #[arg(long, value_name = "0..0.9")]
    pub val_share: Option<f64>,
    /// The data set's name [default: the source's]
    #[arg(long)]
    pub name: Option<String>,
}
/// The seed where none is given: the year of the paper.
pub(crate) const DEFAULT_SEED: u64 = 2012;
#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn up_takes_what_the_readme_says() {
        let cli = parse(
            "alexnet up --recipe paper --data d --run r --devices cpu,cpu --loaders 3 --epochs 2 \
             --seed 7 --set dropout=0 --set lrn=none --log-format json",
        )
        .unwrap();
        assert_eq!(cli.log_format, LogFormat::Json);
        let Command::Up(up) = cli.command else { panic!("not up") };
        assert_eq!(up.recipe.sets, ["dropout=0", "lrn=none"]);
        assert_eq!((up.recipe.epochs, up.loaders, up.recipe.seed), (Some(2), 3, Some(7)));
    }

    #[test]
    fn epochs_and_steps_exclude_each_other() {
        assert!(parse("alexnet up --epochs 1 --steps 1").is_err());
    }

    #[test]
    fn checkpoints_are_best_last_or_a_step() {
        assert_eq!("best".parse(), Ok(Which::Best));
        assert_eq!("last".parse(), Ok(Which::Last));
        assert_eq!("450".parse(), Ok(Which::Step(450)));
        let refused = "newest".parse::<Which>().unwrap_err();
        assert!(refused.contains("newest") && refused.contains("best"), "{refused}");
    }

    #[test]
    fn views_are_one_or_ten() {
        assert!(parse("alexnet eval run --views 10").is_ok());
        let refused = parse("alexnet eval run --views 5").unwrap_err().to_string();
        assert!(refused.contains("the paper's"), "{refused}");
    }

    #[test]
    fn every_command_explains_itself() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
        }
    }
}
