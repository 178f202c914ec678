//! `alexnet loader`: the role that serves minibatches.

use anyhow::Result;
use clap::Args;
use loader::Config;
use net::{Health, Role};

use crate::BUILD;
use crate::options::{AdvertiseArgs, Call, ListenArgs, RejoinArgs};
use crate::role::{self, Around, in_this_process};
use crate::threads;

/// Arguments of `alexnet loader`.
#[derive(Debug, Args)]
#[command(after_help = super::ROLES_EXAMPLES)]
pub(super) struct LoaderArgs {
    /// Address for workers.
    #[command(flatten)]
    listen: ListenArgs,

    /// Address of the coordinator; without one, serve minibatches until stopped
    #[arg(long, value_name = "HOST:PORT")]
    coordinator: Option<String>,

    /// Prepared folder, or synthetic[:SIDE]
    #[arg(long, value_name = "DIR")]
    data: String,

    /// Address that workers are given.
    #[command(flatten)]
    advertise: AdvertiseArgs,

    /// Threads that decode pictures [default: a quarter of the machine's cores, 1 to 8; `up`
    /// chooses by its devices]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// The end of the run.
    #[command(flatten)]
    rejoin: RejoinArgs,
}

/// Runs a loader.
pub(super) fn run(args: &LoaderArgs, call: Call<'_>) -> Result<()> {
    let config = Config {
        data: args.data.parse()?,
        coordinator: args.coordinator.clone(),
        advertise: args.advertise.advertise.clone(),
        trust: args.listen.trust(Role::Loader, call.environment)?,
        version: BUILD,
        threads: args.threads.map_or_else(|| threads::by_hand(threads::cores()), usize::from),
        rejoins: args.rejoin.rejoin,
        health: Health::default(),
    };
    let around = Around::new(&args.listen, &config.trust, &config.health, args.rejoin.stopped);
    in_this_process(around, async move |listener, stop| {
        loader::run(config, listener, stop).await?;
        Ok(role::End::AsAsked)
    })
}
