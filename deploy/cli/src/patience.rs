//! How long whoever says nothing is waited for, as typed.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

/// When the coordinator gives up a worker, and when the run: shared by `up` and `coordinator`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LossArgs {
    /// A worker that says nothing for so long is lost: the run returns to its last checkpoint
    #[arg(long, default_value_t = Self::default().silence, value_name = "SECONDS", value_parser = seconds)]
    pub silence: f64,

    /// Returns to a checkpoint, without a new step between them, after which the run gives up
    #[arg(long, default_value_t = Self::default().max_restarts, value_name = "N")]
    pub max_restarts: u32,

    /// How long a run that has begun waits for a new worker, or loader, before it gives up
    #[arg(long, default_value_t = Self::default().replacement_deadline, value_name = "SECONDS", value_parser = seconds)]
    pub replacement_deadline: f64,
}

/// When a worker gives up the others: shared by `up` and `worker`.
#[derive(Debug, Clone, Args)]
pub(crate) struct WaitArgs {
    /// Longest wait for the other half's next tensor: slower than that, it counts as lost
    #[arg(long, default_value_t = Self::default().peer_deadline, value_name = "SECONDS", value_parser = seconds)]
    pub peer_deadline: f64,

    /// Longest wait for a minibatch, from all loaders together
    #[arg(long, default_value_t = Self::default().data_deadline, value_name = "SECONDS", value_parser = seconds)]
    pub data_deadline: f64,

    /// Longest time without a coordinator, which may be started again meanwhile
    #[arg(long, default_value_t = Self::default().coordinator_deadline, value_name = "SECONDS", value_parser = seconds)]
    pub coordinator_deadline: f64,
}

impl Default for LossArgs {
    fn default() -> Self {
        Self { silence: 10.0, max_restarts: 10, replacement_deadline: 60.0 }
    }
}

impl Default for WaitArgs {
    fn default() -> Self {
        Self { peer_deadline: 60.0, data_deadline: 60.0, coordinator_deadline: 60.0 }
    }
}

impl LossArgs {
    /// Into the coordinator's settings.
    pub(crate) fn set(&self, config: &mut coordinator::Config) {
        config.silence = Duration::from_secs_f64(self.silence);
        config.max_restarts = self.max_restarts;
        config.wait_for_workers = Duration::from_secs_f64(self.replacement_deadline);
    }

    /// For a coordinator's command line.
    pub(crate) fn typed(&self) -> Vec<OsString> {
        typed(&[
            ("--silence", self.silence.to_string()),
            ("--max-restarts", self.max_restarts.to_string()),
            ("--replacement-deadline", self.replacement_deadline.to_string()),
        ])
    }
}

impl WaitArgs {
    /// Into a worker's settings.
    pub(crate) fn set(&self, config: &mut gpu_worker::Config) {
        config.peer_deadline = Duration::from_secs_f64(self.peer_deadline);
        config.data_deadline = Duration::from_secs_f64(self.data_deadline);
        config.coordinator_deadline = Duration::from_secs_f64(self.coordinator_deadline);
    }

    /// For a worker's command line.
    pub(crate) fn typed(&self) -> Vec<OsString> {
        typed(&[
            ("--peer-deadline", self.peer_deadline.to_string()),
            ("--data-deadline", self.data_deadline.to_string()),
            ("--coordinator-deadline", self.coordinator_deadline.to_string()),
        ])
    }
}

fn typed(options: &[(&str, String)]) -> Vec<OsString> {
    options.iter().flat_map(|(name, value)| [(*name).into(), value.into()]).collect()
}

/// Heartbeats come every second: less would count everyone as lost.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (2.0..=1e6).contains(&seconds) => Ok(seconds),
        _ => Err(format!("{text:?} is not a time of 2 seconds or more, such as 10")),
    }
}
