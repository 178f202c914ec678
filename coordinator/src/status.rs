//! How the run stands, for people and for the live line.

use crate::metrics::Evaluation;

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
    /// Where the run is kept.
    pub run_dir: String,
    /// The last evaluation.
    pub last: Option<Evaluation>,
    /// The one with the lowest error.
    pub best: Option<Evaluation>,
    /// What was out of the ordinary: a damaged checkpoint, a full disk, a recovery.
    pub notices: Vec<String>,
}
