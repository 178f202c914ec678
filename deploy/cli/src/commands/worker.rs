//! `alexnet worker`: the role that trains one half of the network.

use anyhow::Result;
use clap::Args;
use gpu_worker::Config;
use net::Role;

use crate::BUILD;
use crate::options::{
    AdvertiseArgs, Call, GpuArgs, GraceArgs, ListenArgs, RejoinArgs, WorkerDeadlineArgs,
};
use crate::role::{self, Around, in_this_process};

/// Arguments of `alexnet worker`.
#[derive(Debug, Args)]
#[command(after_help = super::ROLES_EXAMPLES)]
pub(super) struct WorkerArgs {
    /// Address for the other half.
    #[command(flatten)]
    listen: ListenArgs,

    /// Address of the coordinator
    #[arg(long, value_name = "HOST:PORT")]
    coordinator: String,

    /// Device: cuda:N (GPU number N), cuda:GPU-… (GPU by UUID), cpu (one thread) or cpu:N (N
    /// threads)
    #[arg(long, default_value = "cpu")]
    device: String,

    /// Libraries of the GPU.
    #[command(flatten)]
    gpu: GpuArgs,

    /// Address that the other half is given.
    #[command(flatten)]
    advertise: AdvertiseArgs,

    /// Limits of the worker.
    #[command(flatten)]
    deadlines: WorkerDeadlineArgs,

    /// Time to stop.
    #[command(flatten)]
    grace: GraceArgs,

    /// The end of the run.
    #[command(flatten)]
    rejoin: RejoinArgs,
}

/// Runs a worker.
pub(super) fn run(args: &WorkerArgs, call: Call<'_>) -> Result<()> {
    let mut config = Config::new(args.coordinator.clone(), args.device.parse()?);
    config.advertise = args.advertise.advertise.clone();
    args.gpu.set(call.environment, &mut config);
    args.deadlines.set(&mut config);
    config.version = BUILD;
    config.grace = args.grace.time();
    config.rejoins = args.rejoin.rejoin;
    config.trust = args.listen.trust(Role::Worker, call.environment)?;
    let around = Around::new(&args.listen, &config.trust, &config.health, args.rejoin.stopped);
    in_this_process(around, async move |listener, stop| {
        gpu_worker::run(config, listener, stop).await?;
        Ok(role::End::AsAsked)
    })
}
