//! Times of timed steps, as `timing.jsonl` has them: one line per step and partition.

pub mod table; // timed steps as text

pub use proto::step::LayerTime;

use std::path::{Path, PathBuf};

use proto::step::Span;
use serde::{Deserialize, Serialize};

/// The file of the timed steps before those in `timing.jsonl`; there is one if a run has timed so
/// many that `timing.jsonl` was begun anew.
pub fn earlier(timing: &Path) -> PathBuf {
    timing.with_file_name("timing.earlier.jsonl")
}

/// A timed step of one partition: a line of `timing.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HalfStep {
    /// `half A`, `half B` or `the network`.
    pub half: String,
    /// Steps done.
    pub step: u64,
    /// Milliseconds of the whole step, the wait for data included.
    pub step_ms: f64,
    /// Milliseconds of the step that belong to no layer and no wait.
    pub rest_ms: f64,
    /// Largest possible error of the distance between the worker's clock and the coordinator's;
    /// unknown before the worker's first answer.
    pub clock_uncertainty_ms: Option<f64>,
    /// Layers from top to bottom, pass by pass; those that took no time are left out.
    pub layers: Vec<LayerTime>,
}

/// A worker's times of a timed step. Without the step: only spans that ended after it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timing {
    /// The times of layers; the seat adds the name of the half.
    pub(crate) step: Option<HalfStep>,
    /// Spans on the coordinator's clock.
    pub(crate) spans: Vec<Span>,
}
