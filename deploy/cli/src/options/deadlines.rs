//! Deadlines: the time that the processes of a run wait for each other.

use std::time::Duration;

use clap::Args;

/// Limits of the coordinator's patience with workers: shared by `up` and `coordinator`.
#[derive(Debug, Clone, Args)]
pub(crate) struct FailureArgs {
    /// Heartbeat timeout: a worker that sends nothing for this long counts as failed, and the run
    /// returns to its last checkpoint
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = coordinator::Config::HEARTBEAT_TIMEOUT.as_secs_f64(),
        value_parser = seconds
    )]
    silence: f64,

    /// Give up after this many returns to a checkpoint without a new step
    #[arg(long, value_name = "N", default_value_t = coordinator::Config::MAX_RESTARTS)]
    max_restarts: u32,

    /// Give up if a failed worker or loader is not replaced within this time
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = coordinator::Config::REPLACEMENT_DEADLINE.as_secs_f64(),
        value_parser = seconds
    )]
    replacement_deadline: f64,
}

/// Limits of a worker's waiting for the others: shared by `up` and `worker`.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerDeadlineArgs {
    /// Longest wait for the other half's next tensor; after that, the other half counts as failed
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = gpu_worker::Config::PEER_DEADLINE.as_secs_f64(),
        value_parser = seconds
    )]
    peer_deadline: f64,

    /// Longest wait for a minibatch, over all loaders
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = gpu_worker::Config::DATA_DEADLINE.as_secs_f64(),
        value_parser = seconds
    )]
    data_deadline: f64,

    /// Longest time without a coordinator, which may restart in the meantime
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = gpu_worker::Config::COORDINATOR_DEADLINE.as_secs_f64(),
        value_parser = seconds
    )]
    coordinator_deadline: f64,
}

/// The time to stop: shared by `up`, `coordinator` and `worker`.
#[derive(Debug, Clone, Args)]
pub(crate) struct GraceArgs {
    /// Longest time from the request to stop (SIGTERM, Ctrl-C) to the end: meanwhile the
    /// coordinator collects a checkpoint
    ///
    /// Give less than whatever kills processes that don't stop: 30 s in Kubernetes
    /// (terminationGracePeriodSeconds) and Slurm (KillWait), 90 s in systemd (TimeoutStopSec), 10 s
    /// in Docker (stop_grace_period). A second request ends a process at once.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = coordinator::Config::GRACE.as_secs_f64(),
        value_parser = seconds
    )]
    grace: f64,
}

impl GraceArgs {
    /// The time.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs_f64(self.grace)
    }
}

impl FailureArgs {
    /// Writes the values into the coordinator's configuration.
    pub(crate) fn set(&self, config: &mut coordinator::Config) {
        config.heartbeat_timeout = Duration::from_secs_f64(self.silence);
        config.max_restarts = self.max_restarts;
        config.replacement_deadline = Duration::from_secs_f64(self.replacement_deadline);
    }
}

impl WorkerDeadlineArgs {
    /// Writes the values into a worker's configuration.
    pub(crate) fn set(&self, config: &mut gpu_worker::Config) {
        config.peer_deadline = Duration::from_secs_f64(self.peer_deadline);
        config.data_deadline = Duration::from_secs_f64(self.data_deadline);
        config.coordinator_deadline = Duration::from_secs_f64(self.coordinator_deadline);
    }
}

/// Heartbeats come every second: with a shorter time every worker would count as failed.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (2.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err("expected 2 seconds or more, such as 10".into()),
    }
}
