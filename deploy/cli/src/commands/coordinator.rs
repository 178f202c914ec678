//! `alexnet coordinator`: the role that owns the run directory and directs the workers.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use coordinator::{Config, Ending};
use net::Role;

use super::start;
use crate::options::{
    Call, DEFAULT_SEED, FailureArgs, GraceArgs, LingerArgs, ListenArgs, MetricsArgs, TrainingArgs,
};
use crate::role::{self, Around, in_this_process};
use crate::{BUILD, print, recipe};

/// Arguments of `alexnet coordinator`.
#[derive(Debug, Args)]
#[command(after_help = super::ROLES_EXAMPLES)]
pub(super) struct CoordinatorArgs {
    /// Address for workers, loaders and questions.
    #[command(flatten)]
    listen: ListenArgs,

    /// Run directory
    #[arg(long, value_name = "DIR")]
    run: PathBuf,

    /// Time after the end.
    #[command(flatten)]
    linger: LingerArgs,

    /// Log progress (step, loss, errors, speed, time left) at this interval; 0 turns it off
    #[arg(
        long,
        default_value_t = coordinator::progress::EVERY.as_secs_f64(),
        value_name = "SECONDS",
        value_parser = seconds
    )]
    progress_every: f64,

    /// Built-in recipe (`alexnet recipes` lists them) or TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "caffe")]
    recipe: String,

    /// Seed of every random number
    #[arg(long, default_value_t = DEFAULT_SEED)]
    seed: u64,

    /// Changes of the recipe, and the course of the run.
    #[command(flatten)]
    training: TrainingArgs,

    /// Metrics over HTTP.
    #[command(flatten)]
    metrics: MetricsArgs,

    /// Limits of the coordinator.
    #[command(flatten)]
    failure: FailureArgs,

    /// Time to stop.
    #[command(flatten)]
    grace: GraceArgs,
}

/// Runs a coordinator.
pub(super) fn run(args: &CoordinatorArgs, call: Call<'_>) -> Result<()> {
    let recipe = recipe::load(&args.recipe, &args.training.changes())?;
    let mut config = Config::new(&args.run, recipe, args.seed);
    args.training.set(&mut config);
    if let Some(from) = &args.training.from {
        config.start = start::ready(&args.run, from)?;
    }
    args.failure.set(&mut config);
    config.grace = args.grace.time();
    let listen = |address| role::listen_for(address, "--metrics", role::METRICS, "/metrics");
    config.metrics = args.metrics.metrics.as_deref().map(listen).transpose()?;
    config.progress_every = Duration::from_secs_f64(args.progress_every);
    config.linger = args.linger.linger;
    config.version = BUILD;
    config.trust = args.listen.trust(Role::Coordinator, call.environment)?;
    let around = Around::new(&args.listen, &config.trust, &config.health, args.linger.stopped);
    in_this_process(around, async move |listener, stop| {
        let outcome = coordinator::run(config, listener, stop).await?;
        if let Ending::Failed { reason } = outcome.ending {
            bail!("{reason}");
        }
        role::last_line(&outcome.ending).into_iter().for_each(print::line);
        Ok(match outcome.ending {
            Ending::Stopped => role::End::Stopped,
            _ => role::End::Finished,
        })
    })
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds, such as 5 or 0.5".into()),
    }
}
