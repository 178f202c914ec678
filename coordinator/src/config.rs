//! What an operator chooses about a run; what the paper fixes is the recipe.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use model::recipe::Recipe;
use net::Trust;
use tokio::sync::watch;

use crate::error::Error;
use crate::status::RunStatus;

/// How far to train.
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
    /// The run directory; created if it isn't there, resumed if it is.
    pub run_dir: PathBuf,
    /// The recipe; a run directory of another one is refused.
    pub recipe: Recipe,
    /// Seed of every random number of the run.
    pub seed: u64,
    /// Where to stop; `None`: after the recipe's epochs.
    pub until: Option<Until>,
    /// Steps between two checkpoints; the end and each new best evaluation have one too.
    pub checkpoint_every: u64,
    /// Steps between two that are timed layer by layer; the second to fourth are too. 0: none.
    pub timing_every: u64,
    /// Checkpoints kept, besides the best.
    pub keep: usize,
    /// A worker that says nothing for so long is lost; heartbeats come every second.
    pub silence: Duration,
    /// Losses without any new step after which the run gives up.
    pub max_restarts: u32,
    /// How long a run that had started waits for a replacement.
    pub wait_for_workers: Duration,
    /// How long a worker may take to take up its half: to fetch its shard, to fill its device.
    pub wait_for_ready: Duration,
    /// Time between two lines of progress in the log; zero turns them off.
    pub progress_every: Duration,
    /// Where to answer Prometheus.
    pub metrics: Option<TcpListener>,
    /// Whom it talks to.
    pub trust: Trust,
    /// How long a run that is finished still answers, so that workers and loaders that come late
    /// are told so instead of looking for it for ever.
    pub linger: Duration,
    /// Where to publish progress, e.g. for a live line.
    pub progress: Option<watch::Sender<RunStatus>>,
}

impl Config {
    /// Default of [`Self::silence`].
    pub const SILENCE: Duration = Duration::from_secs(10);
    /// Default of [`Self::max_restarts`].
    pub const MAX_RESTARTS: u32 = 10;
    /// Default of [`Self::wait_for_workers`].
    pub const WAIT_FOR_WORKERS: Duration = Duration::from_secs(60);

    /// The defaults, for this directory, recipe and seed.
    pub fn new(run_dir: impl Into<PathBuf>, recipe: Recipe, seed: u64) -> Self {
        Self {
            run_dir: run_dir.into(),
            recipe,
            seed,
            until: None,
            // 17 minutes of the full network on two CPU cores, seconds on GPUs.
            checkpoint_every: 200,
            timing_every: proto::timing::EVERY,
            keep: 3,
            silence: Self::SILENCE,
            max_restarts: Self::MAX_RESTARTS,
            wait_for_workers: Self::WAIT_FOR_WORKERS,
            wait_for_ready: Duration::from_secs(180),
            progress_every: crate::progress::EVERY,
            metrics: None,
            trust: Trust::default(),
            linger: Duration::ZERO,
            progress: None,
        }
    }

    /// Refuses what can't work.
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
        if self.silence < Duration::from_millis(10) {
            return refuse("silence is below 10 ms, every worker would count as lost");
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
