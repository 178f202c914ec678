//! The command line: a file per verb, each with its arguments, its help and what it does.

mod up; // train on this machine
mod prepare;
mod inspect; // what a prepared data set holds
mod eval;
mod predict;
mod similar; // Figure 4 of the paper: the nearest pictures
mod features;
mod filters; // Figure 3 of the paper: the kernels of conv1
mod pictures; // picture files that a command line names
mod stored; // pictures of a prepared data set
mod known; // the class of a picture file, by its folder
mod form; // text, CSV or JSON
mod export;
mod import; // weights of other programs
mod replay; // a step of the past again, bit for bit
mod audit; // random steps of the past, compared with the record
mod check_gradients; // gradients against finite differences
mod reproduce; // the paper's experiments
mod preview;
mod plot;
mod timing;
mod bench;
mod doctor; // what this machine has, and what a run would miss
mod status;
mod recipes; // the built-in recipes, listed and printed
mod certs; // a run's authority and certificates
mod start; // the weights that `--from` names
mod coordinator;
mod worker;
mod loader;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use net::start_tracing;

use crate::environment::Environment;
use crate::options::{Call, LogArgs};
use crate::signals;

pub(crate) use certs::AUTHORITY_KEY;
pub use certs::CertificateRequest;

const EXAMPLES: &str = "\
First steps:
  alexnet doctor                            check whether this machine can train
  alexnet up                                train a small network on built-in pictures (a minute)
  alexnet up --data my-pictures             train AlexNet on my-pictures/{train,val}/<class>/*
  alexnet predict runs/caffe-my-pictures photo.jpg
  alexnet plot runs/caffe-my-pictures       draw loss and errors as SVG and PNG

ImageNet, from the archives as distributed:
  alexnet prepare ilsvrc2012/ data/imagenet
  alexnet up --recipe paper --data data/imagenet

`alexnet COMMAND --help` explains each command. RUST_LOG (info, gpu_worker=debug, …) filters logs.";

/// Example of a run on two machines, in the help of each role.
const ROLES_EXAMPLES: &str = "\
One run on two machines, 10.0.0.1 (coordinator, half A) and 10.0.0.2 (half B). The environment
variable ALEXNET_CERTS may replace --certs:
  1$ alexnet certs certs                       copy authority.pem and worker*.pem to machine 2
  1$ alexnet coordinator --certs certs --listen 10.0.0.1:4000 --run runs/two --recipe caffe
  1$ alexnet loader --certs certs --coordinator 10.0.0.1:4000 --listen 10.0.0.1:4001 --data DIR
  1$ alexnet worker --certs certs --coordinator 10.0.0.1:4000 --listen 10.0.0.1:4002
  2$ alexnet worker --certs certs --coordinator 10.0.0.1:4000 --listen 10.0.0.2:4002";

/// Train AlexNet as in 2012: in two halves, each in a process of its own
#[derive(Debug, Parser)]
#[command(name = "alexnet", version = crate::BUILD, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// The command.
    #[command(subcommand)]
    command: Command,

    /// Log options of every command.
    #[command(flatten)]
    log: LogArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Train on this machine: start all processes, or resume a run
    Up(up::UpArgs),
    /// Turn a folder of pictures, ImageNet's archives or CIFAR-10 into shards
    Prepare(prepare::PrepareArgs),
    /// Show what a prepared data set holds, where it came from, and what was left out
    Inspect(inspect::InspectArgs),
    /// Measure a trained network, or several together: errors, loss, confusion matrix
    Eval(eval::EvalArgs),
    /// Name what is in pictures: the most probable classes
    Predict(predict::PredictArgs),
    /// Find the stored pictures that a trained network considers most similar to yours
    Similar(similar::SimilarArgs),
    /// Write the activations of a layer for all pictures of a data set
    Features(features::FeaturesArgs),
    /// Draw the kernels of the first convolution
    Filters(filters::FiltersArgs),
    /// Write the whole network for other programs: safetensors, ONNX, or a folder for a model hub
    Export(export::ExportArgs),
    /// Create a run from an exported file or folder, or from Caffe's bvlc_alexnet
    Import(import::ImportArgs),
    /// Compute a step of a run's past again, bit for bit: its pictures, losses, gradients
    Replay(replay::ReplayArgs),
    /// Recompute random past steps of a run and compare them with the record
    Audit(audit::AuditArgs),
    /// Compare a recipe's gradients with the change of its loss as the weights move
    CheckGradients(check_gradients::CheckGradientsArgs),
    /// Repeat an experiment of the paper: a figure, a table, the ablations
    Reproduce(reproduce::ReproduceArgs),
    /// Draw an augmented minibatch as the network sees it
    Preview(preview::PreviewArgs),
    /// Draw loss, errors and speed of a run, or compare several, as SVG and PNG
    Plot(plot::PlotArgs),
    /// Show where the time of a run's steps went, per layer and half
    Timing(timing::TimingArgs),
    /// Measure this machine's limits and the share of each that training reaches
    Bench(bench::BenchArgs),
    /// Check this machine: what a run needs, what is missing, and what to do about it
    Doctor(doctor::DoctorArgs),
    /// Show the state of a run: ask its coordinator, or read its run directory
    Status(status::StatusArgs),
    /// List the built-in recipes, or print one as a file to change
    Recipes(recipes::RecipesArgs),
    /// Make the certificates that the processes of a run show each other
    Certs(certs::CertsArgs),
    /// Run one role: own the run directory and direct the workers
    Coordinator(coordinator::CoordinatorArgs),
    /// Run one role: train one half of the network
    Worker(worker::WorkerArgs),
    /// Run one role: serve minibatches
    Loader(loader::LoaderArgs),
    /// Measure matrix products or memory on one device; `bench` starts one of these per worker
    #[command(hide = true, alias = "product-rate")]
    DeviceRate(bench::DeviceRateArgs),
}

/// Reads a command line: as arguments of its command, and as it was typed.
///
/// # Errors
/// Help, the version, or what is wrong with the command line, to be printed.
pub(crate) fn parse(
    args: impl IntoIterator<Item = OsString>,
) -> Result<(Cli, ArgMatches), clap::Error> {
    let typed = Cli::command().try_get_matches_from(args)?;
    let cli = Cli::from_arg_matches(&typed).map_err(|error| error.format(&mut Cli::command()))?;
    Ok((cli, typed))
}

/// Runs the command.
///
/// # Errors
/// If the command fails.
pub(crate) fn run(cli: &Cli, typed: &ArgMatches, environment: &Environment) -> Result<ExitCode> {
    start_logging(cli, environment)?;
    signals::start()?;
    let typed = typed.subcommand().map_or(typed, |(_, typed)| typed);
    let call = Call { typed, environment };
    match &cli.command {
        Command::Doctor(args) => return doctor::run(args, call),
        Command::Up(args) => up::run(args, call),
        Command::Prepare(args) => prepare::run(args),
        Command::Inspect(args) => return inspect::run(args),
        Command::Eval(args) => eval::run(args, call),
        Command::Predict(args) => predict::run(args),
        Command::Similar(args) => similar::run(args, call),
        Command::Features(args) => features::run(args, call),
        Command::Filters(args) => filters::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
        Command::Replay(args) => replay::run(args, call),
        Command::Audit(args) => audit::run(args, call),
        Command::CheckGradients(args) => check_gradients::run(args, call),
        Command::Reproduce(args) => reproduce::run(args, call),
        Command::Preview(args) => preview::run(args),
        Command::Plot(args) => plot::run(args),
        Command::Timing(args) => timing::run(args),
        Command::Bench(args) => bench::run(args, call),
        Command::Status(args) => status::run(args, call),
        Command::Recipes(args) => recipes::run(args),
        Command::Certs(args) => certs::run(args),
        Command::Coordinator(args) => coordinator::run(args, call),
        Command::Worker(args) => worker::run(args, call),
        Command::Loader(args) => loader::run(args, call),
        Command::DeviceRate(args) => bench::device_rate(args, call),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Starts logging. Roles log their work. Other commands log only warnings and errors, so that the
/// lines of results stay readable.
fn start_logging(cli: &Cli, environment: &Environment) -> Result<()> {
    let is_role =
        matches!(cli.command, Command::Coordinator(_) | Command::Worker(_) | Command::Loader(_));
    let default = if is_role { "info" } else { "warn" };
    let filter = environment.rust_log.as_deref().unwrap_or(default);
    start_tracing(cli.log.log_format.into(), filter)
        .map_err(|why| anyhow!(why))
        .context("logs can't be written")
}

#[cfg(test)]
mod tests;
