//! The command line: what people type, and the help that teaches it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::certs::{CertsArgs, CertsToMake};
use crate::devices::GpuArgs;
use crate::patience::{LossArgs, WaitArgs};

const EXAMPLES: &str = "\
First steps:
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

const ROLES_EXAMPLES: &str = "\
One run on two machines, 10.0.0.1 (coordinator, half A) and 10.0.0.2 (half B); ALEXNET_CERTS may
stand for --certs:
  1$ alexnet certs certs                       copy authority.pem and worker*.pem to machine 2
  1$ alexnet coordinator --certs certs --listen 10.0.0.1:4000 --run runs/two --recipe caffe
  1$ alexnet loader --certs certs --coordinator 10.0.0.1:4000 --listen 10.0.0.1:4001 --data DIR
  1$ alexnet worker --certs certs --coordinator 10.0.0.1:4000 --listen 10.0.0.1:4002
  2$ alexnet worker --certs certs --coordinator 10.0.0.1:4000 --listen 10.0.0.2:4002";

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
    /// Say what a running coordinator is doing
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

/// `alexnet status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The coordinator's address [default: that of the newest run under runs/]
    #[arg(value_name = "ADDRESS")]
    pub address: Option<String>,
    /// Its own certificate is the operator's.
    #[command(flatten)]
    pub certs: CertsArgs,
}

/// Where a role listens, and how it ends.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListenArgs {
    /// Address to listen on; port 0 takes a free one, the line `ready HOST:PORT` says which
    #[arg(long, default_value = "127.0.0.1:0", value_name = "HOST:PORT")]
    pub listen: String,

    /// Listens beyond this machine without --certs: everyone on that network can read and steer it
    #[arg(long)]
    pub insecure: bool,

    /// TLS.
    #[command(flatten)]
    pub certs: CertsArgs,

    /// Ends when standard input closes: set by `up`, so that its children never outlive it
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

/// `alexnet coordinator`.
#[derive(Debug, Args)]
#[command(after_help = ROLES_EXAMPLES)]
pub(crate) struct CoordinatorArgs {
    /// Where it listens.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// The run directory
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// After the run's end, tell workers and loaders that come late so, for this long: where
    /// something else starts them, such as Docker, they would look for it for ever
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub linger: u64,
    /// What to train.
    #[command(flatten)]
    pub recipe: RecipeArgs,
    /// Who may watch.
    #[command(flatten)]
    pub watch: WatchArgs,
    /// When who counts as lost.
    #[command(flatten)]
    pub loss: LossArgs,
}

/// `alexnet worker`.
#[derive(Debug, Args)]
#[command(after_help = ROLES_EXAMPLES)]
pub(crate) struct WorkerArgs {
    /// Where the other half reaches it.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// The coordinator
    #[arg(long, value_name = "HOST:PORT")]
    pub coordinator: String,
    /// cuda:N (the GPU with number N), cuda:GPU-… (its UUID), cpu (one thread), or cpu:N (N threads)
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// The GPU's libraries.
    #[command(flatten)]
    pub gpu: GpuArgs,
    /// Address others reach it at, where that is not the one it listens on (NAT, 0.0.0.0); without
    /// a port, the listener's
    #[arg(long, value_name = "HOST[:PORT]")]
    pub advertise: Option<String>,
    /// How long it waits.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `alexnet loader`.
#[derive(Debug, Args)]
#[command(after_help = ROLES_EXAMPLES)]
pub(crate) struct LoaderArgs {
    /// Where workers reach it.
    #[command(flatten)]
    pub listen: ListenArgs,
    /// The coordinator; without one it just serves
    #[arg(long, value_name = "HOST:PORT")]
    pub coordinator: Option<String>,
    /// A prepared folder, or synthetic[:SIDE]
    #[arg(long, value_name = "DIR")]
    pub data: String,
    /// Address others reach it at, where that is not the one it listens on (NAT, 0.0.0.0); without
    /// a port, the listener's
    #[arg(long, value_name = "HOST[:PORT]")]
    pub advertise: Option<String>,
    /// Threads that decode
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: u16,
}

/// `alexnet product-rate`.
#[derive(Debug, Args)]
pub(crate) struct ProductRateArgs {
    /// As a worker's
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// As a worker's.
    #[command(flatten)]
    pub gpu: GpuArgs,
}

/// The seed where none is given: the year of the paper.
pub(crate) const DEFAULT_SEED: u64 = 2012;

fn views(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "10" => Ok(10),
        other => Err(format!("{other:?} views: there are 1 (the centre) and 10 (the paper's)")),
    }
}

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
