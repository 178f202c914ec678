//! The choices of an operator about a run; the recipe holds everything that the paper fixes.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use model::recipe::Recipe;
use net::{Health, Trust};
use tokio::sync::watch;

use crate::disk::run_dir::Start;
use crate::error::Error;
use crate::run::status::RunStatus;

/// The end of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Passes over the training images.
    Epochs(u64),
    /// Minibatches.
    Steps(u64),
}

/// Everything [`crate::run`] needs besides its socket.
#[derive(Debug)]
pub struct Config {
    /// The run directory; created if it does not exist, resumed if it does.
    pub run_dir: PathBuf,
    /// The recipe; a run directory with another one is refused.
    pub recipe: Recipe,
    /// Seed of every random number of the run.
    pub seed: u64,
    /// Weights that a new run starts from; `None`: initial values.
    pub start: Option<Start>,
    /// True to begin anew although the run had checkpoints, if none of them can be used. The old
    /// files are set aside.
    pub from_start: bool,
    /// The end of training; `None`: the recipe's epochs.
    pub until: Option<Until>,
    /// Steps between two checkpoints; the end and each new best evaluation have one too.
    pub checkpoint_every: u64,
    /// Steps between two that are timed layer by layer, besides the second to fourth; 0: none.
    pub timing_every: u64,
    /// Checkpoints kept, besides the best.
    pub keep: usize,
    /// Time without a heartbeat after which a worker counts as failed; they come every second.
    pub heartbeat_timeout: Duration,
    /// Worker failures without a new step after which the run gives up.
    pub max_restarts: u32,
    /// Time for which a run that had started waits for a replacement.
    pub replacement_deadline: Duration,
    /// Time that a worker has to get ready: to fetch its shard and to fill its device.
    pub ready_deadline: Duration,
    /// Longest time from the request to stop to the end, whether or not there is a checkpoint.
    pub grace: Duration,
    /// Time between two lines of progress in the log; zero turns them off.
    pub progress_every: Duration,
    /// Socket on which Prometheus is answered.
    pub metrics: Option<TcpListener>,
    /// Certificates and the roles they admit.
    pub trust: Trust,
    /// Name of this build of the program: workers and loaders of others are refused.
    pub version: &'static str,
    /// Time for which a finished run still answers. Workers and loaders that come late then learn
    /// that the run is finished, and end, instead of dialing in vain.
    pub linger: Duration,
    /// Told whether this coordinator serves its run, and that it moves.
    pub health: Health,
    /// Channel on which the status is published, for example for a live line.
    pub progress: Option<watch::Sender<RunStatus>>,
}

impl Config {
    /// Default of [`Self::heartbeat_timeout`].
    pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
    /// Default of [`Self::max_restarts`].
    pub const MAX_RESTARTS: u32 = 10;
    /// Default of [`Self::replacement_deadline`].
    pub const REPLACEMENT_DEADLINE: Duration = Duration::from_secs(60);

    /// Default of [`Self::grace`]: less than the 30 s that Kubernetes and Slurm give.
    pub const GRACE: Duration = Duration::from_secs(25);

    /// The defaults for a directory, recipe and seed.
    pub fn new(run_dir: impl Into<PathBuf>, recipe: Recipe, seed: u64) -> Self {
        Self {
            run_dir: run_dir.into(),
            recipe,
            seed,
            start: None,
            from_start: false,
            until: None,
            // 17 minutes of the full network on two CPU cores, seconds on GPUs.
            checkpoint_every: 200,
            timing_every: proto::timing::EVERY,
            keep: 3,
            heartbeat_timeout: Self::HEARTBEAT_TIMEOUT,
            max_restarts: Self::MAX_RESTARTS,
            replacement_deadline: Self::REPLACEMENT_DEADLINE,
            ready_deadline: Duration::from_secs(180),
            grace: Self::GRACE,
            progress_every: crate::record::progress::EVERY,
            metrics: None,
            trust: Trust::default(),
            version: proto::VERSION,
            linger: Duration::ZERO,
            health: Health::default(),
            progress: None,
        }
    }

    /// Refuses values that can't work.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |why: &str| Err(Error::Config(why.to_string()));
        if self.checkpoint_every == 0 {
            return refuse("checkpoint_every is 0, it must be at least 1 step");
        }
        if self.keep == 0 {
            return refuse("keep is 0, at least 1 checkpoint must be kept");
        }
        if self.heartbeat_timeout < Duration::from_millis(10) {
            return refuse("heartbeat_timeout is below 10 ms, every worker would count as failed");
        }
        if self.recipe.batch == 0 {
            return refuse("the recipe's batch is 0, it must be at least 1 image");
        }
        if !(1..=2).contains(&self.recipe.columns) {
            return refuse("the recipe's columns must be 1 or 2");
        }
        Ok(())
    }
}
