//! `metrics.jsonl`: a line a step, a line an evaluation; cut back when the run goes back.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Error;
use crate::growing::Growing;

/// Result of the validation images at a step; errors are fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Images looked at.
    pub n_images: u64,
    /// Mean loss; not a number if training diverged.
    #[serde(deserialize_with = "nan_if_null")]
    pub loss: f64,
    /// Fraction whose label is not the most probable.
    pub top1_error: f64,
    /// Fraction whose label is not among the five most probable.
    pub top5_error: f64,
}

/// JSON has no NaN: it is written as null.
fn nan_if_null<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
}

/// What a half says of a step; loss and errors are half A's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct StepReport {
    pub(crate) step: u64,
    pub(crate) loss: f64,
    pub(crate) top1_error: f64,
    pub(crate) top5_error: f64,
    pub(crate) step_ms: f64,
    pub(crate) compute_ms: f64,
    pub(crate) exchange_wait_ms: f64,
    pub(crate) peer_late_ms: f64,
    pub(crate) data_wait_ms: f64,
    /// From first to last byte received, summed over tensors.
    pub(crate) transfer_ms: f64,
    /// Received from the other half.
    pub(crate) exchange_bytes: u64,
}

impl StepReport {
    /// This half's loss with the longer of both halves' times.
    pub(crate) fn with(self, other: &Self) -> Self {
        Self {
            step_ms: self.step_ms.max(other.step_ms),
            compute_ms: self.compute_ms.max(other.compute_ms),
            exchange_wait_ms: self.exchange_wait_ms.max(other.exchange_wait_ms),
            peer_late_ms: self.peer_late_ms.max(other.peer_late_ms),
            data_wait_ms: self.data_wait_ms.max(other.data_wait_ms),
            ..self
        }
    }
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Line {
    Step {
        step: u64,
        epoch: f64,
        loss: f64,
        top1_error: f64,
        top5_error: f64,
        rate: f64,
        images_per_s: f64,
        step_ms: f64,
        compute_ms: f64,
        exchange_wait_ms: f64,
        peer_late_ms: f64,
        data_wait_ms: f64,
    },
    Eval {
        split: &'static str,
        views: u32,
        step: u64,
        epoch: f64,
        loss: f64,
        top1_error: f64,
        top5_error: f64,
    },
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Metrics(Growing);

impl Metrics {
    /// Opens or creates the file and cuts it to `bytes`.
    pub(crate) fn open(path: &Path, bytes: u64) -> Result<Self, Error> {
        Ok(Self(Growing::open(path, bytes)?))
    }

    /// Cuts the file back to `bytes`.
    pub(crate) fn cut(&mut self, bytes: u64) -> Result<(), Error> {
        self.0.cut(bytes)
    }

    /// Appends a line.
    pub(crate) fn write(&mut self, line: &Line) {
        // Numbers, constants and no maps: this can't fail.
        let mut text = serde_json::to_vec(line).unwrap_or_default();
        text.push(b'\n');
        self.0.append(&text);
    }

    /// The file's length with all lines so far.
    pub(crate) fn length(&self) -> u64 {
        self.0.length()
    }

    /// Makes sure that every line is on the disk; the file's length then.
    ///
    /// # Errors
    /// [`Error::Io`] if some line isn't.
    pub(crate) fn sync(&mut self) -> Result<u64, Error> {
        self.0.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> Line {
        Line::Eval {
            split: "val",
            views: 1,
            step,
            epoch: 1.0,
            loss: 0.5,
            top1_error: 0.25,
            top5_error: 0.0,
        }
    }

    #[test]
    fn a_file_cut_back_goes_on_where_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut metrics = Metrics::open(&path, 0).unwrap();
        metrics.write(&line(1));
        let kept = metrics.sync().unwrap();
        metrics.write(&line(2));
        metrics.cut(kept).unwrap();
        metrics.write(&line(3));
        let text = std::fs::read_to_string(&path).unwrap();
        let want = "{\"kind\":\"eval\",\"split\":\"val\",\"views\":1,\"step\":1,\"epoch\":1.0,\
                    \"loss\":0.5,\"top1_error\":0.25,\"top5_error\":0.0}";
        assert_eq!(text.lines().next(), Some(want));
        assert!(text.lines().nth(1).unwrap().contains("\"step\":3"));
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn an_evaluation_that_is_no_number_can_be_read_back() {
        let bad = Evaluation {
            step: 1,
            epoch: 1.0,
            n_images: 10,
            loss: f64::NAN,
            top1_error: 0.9,
            top5_error: 0.5,
        };
        let text = serde_json::to_string(&bad).unwrap();
        let back: Evaluation = serde_json::from_str(&text).unwrap();
        assert!(back.loss.is_nan());
    }
}
