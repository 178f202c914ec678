//! How the run stands, for people and for the live line.

use std::time::SystemTime;

use crate::metrics::{Evaluation, StepReport};

/// A snapshot of the run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunStatus {
    /// The run.
    pub run_id: String,
    /// `waiting for loaders`, `training`, …
    pub phase: String,
    /// Times that work has begun, recoveries included.
    pub incarnation: u64,
    /// Steps done by all parts.
    pub step: u64,
    /// Steps to do in all; 0 while the data set is unknown.
    pub steps: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss of the last minibatch.
    pub loss: f64,
    /// Fraction of the last minibatch whose label was not the most probable.
    pub top1_error: f64,
    /// Fraction of the last minibatch whose label was not among the five most probable.
    pub top5_error: f64,
    /// The last step's speed.
    pub images_per_s: f64,
    /// How long the last step took.
    pub step_ms: f64,
    /// How long the slower half waited for bytes already on their way.
    pub exchange_wait_ms: f64,
    /// How long the slower half waited for a minibatch.
    pub data_wait_ms: f64,
    /// Rate of the weights.
    pub rate: f64,
    /// `half A: cpu at 127.0.0.1:4001`.
    pub workers: Vec<String>,
    /// Addresses.
    pub loaders: Vec<String>,
    /// Step of the last checkpoint; 0: none yet.
    pub checkpoint_step: u64,
    /// When it was made.
    pub checkpoint_at: Option<SystemTime>,
    /// Where the run is kept.
    pub run_dir: String,
    /// The last evaluation.
    pub last: Option<Evaluation>,
    /// The one with the lowest error.
    pub best: Option<Evaluation>,
    /// What was out of the ordinary: a damaged checkpoint, a full disk, a recovery.
    pub notices: Vec<String>,
    /// Returns to a checkpoint since this program started.
    pub restarts: u64,
    /// Images trained on since this program started.
    pub images: u64,
    /// Half A, then half B; or the whole network.
    pub(crate) parts: Vec<PartStatus>,
}

/// How a part stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PartStatus {
    /// `A`, `B`, or `whole`.
    pub(crate) name: String,
    /// Whether a worker sits on it.
    pub(crate) seated: bool,
    pub(crate) work: Work,
}

/// What a part has done since this program started, steps that had to be done again included.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Work {
    pub(crate) steps: u64,
    pub(crate) latest: StepReport,
    /// The sums of its times and bytes.
    pub(crate) total: StepReport,
}

impl Work {
    /// Counts a step.
    pub(crate) fn add(&mut self, report: StepReport) {
        self.steps += 1;
        self.latest = report;
        let total = &mut self.total;
        total.step_ms += report.step_ms;
        total.compute_ms += report.compute_ms;
        total.exchange_wait_ms += report.exchange_wait_ms;
        total.peer_late_ms += report.peer_late_ms;
        total.data_wait_ms += report.data_wait_ms;
        total.transfer_ms += report.transfer_ms;
        total.exchange_bytes += report.exchange_bytes;
    }
}
