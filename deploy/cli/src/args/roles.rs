//! Roles by themselves, as `up`, containers and people with several machines start them.

use std::path::PathBuf;

use clap::Args;

use super::{RecipeArgs, WatchArgs};
use crate::certs::CertsArgs;
use crate::devices::GpuArgs;
use crate::patience::{LossArgs, WaitArgs};

const ROLES_EXAMPLES: &str = "\
One run on two machines, 10.0.0.1 (coordinator, half A) and 10.0.0.2 (half B); ALEXNET_CERTS may
stand for --certs:
  1$ alexnet certs certs                       copy authority.pem and worker*.pem to machine 2
  1$ alexnet coordinator --certs certs --listen 10.0.0.1:4000 --run runs/two --recipe caffe
  1$ alexnet loader --certs certs --coordinator 10.0.0.1:4000 --listen 10.0.0.1:4001 --data DIR
  1$ alexnet worker --certs certs --coordinator 10.0.0.1:4000 --listen 10.0.0.1:4002
  2$ alexnet worker --certs certs --coordinator 10.0.0.1:4000 --listen 10.0.0.2:4002";
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
    /// Log a line of progress every so many seconds: step, loss, errors, speed, time left; 0: none
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    pub progress_every: f64,
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

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err(format!("{text:?} is not a number of seconds like 5 or 0.5")),
    }
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
