//! `metrics.jsonl`: one line per step and one per evaluation; cut back when the run rolls back.

use std::collections::BTreeMap;
use std::path::Path;

use proto::step::{FIGURES, Figure, StepFigures, Unit};
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::append::{AppendFile, Unsynced};
use crate::error::Error;

/// Result on the validation images at a step; errors are fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Number of images.
    pub n_images: u64,
    /// Mean loss; NaN if training diverged.
    #[serde(deserialize_with = "nan_if_null")]
    pub loss: f64,
    /// Fraction whose label is not the most probable.
    #[serde(deserialize_with = "nan_if_null")]
    pub top1_error: f64,
    /// Fraction whose label is not among the five most probable.
    #[serde(deserialize_with = "nan_if_null")]
    pub top5_error: f64,
}

/// Reads a number; JSON has no NaN, which is written as null.
fn nan_if_null<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(from)?.unwrap_or(f64::NAN))
}

/// A line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    /// One training step.
    Step(Step),
    /// One evaluation.
    Eval(Eval),
    /// A line of a later version of this program.
    #[serde(other, skip_serializing)]
    Other,
}

/// The line of one training step. Keys are the names of the figures that have a tag.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// Epochs done.
    pub epoch: f64,
    /// Learning rate of the weights.
    pub rate: f64,
    /// Speed, in images per second.
    pub images_per_s: f64,
    /// Figures of both halves together, with the number of the step.
    pub figures: StepFigures,
    /// Checksums of what half A and half B sent; `None` if the network is not cut, or an earlier
    /// version recorded the step.
    pub sent: Option<[Sent; 2]>,
}

/// Packed checksums of all tensors that a half sent in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Checksums of the forward pass.
    pub forward: u64,
    /// Checksums of the backward pass.
    pub backward: u64,
}

impl Sent {
    /// The checksums of what a half received in a step: the other half sent it.
    pub fn received_in(figures: &StepFigures) -> Self {
        Self { forward: figures.forward_received, backward: figures.backward_received }
    }

    fn parse(text: &str) -> Option<Self> {
        let (forward, backward) = text.split_at_checked(16)?;
        let number = |hex| u64::from_str_radix(hex, 16).ok();
        Some(Self { forward: number(forward)?, backward: number(backward)? })
    }
}

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.forward, self.backward)
    }
}

/// The line of one evaluation; errors are fractions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Eval {
    /// Pictures that were evaluated: `val`.
    pub split: String,
    /// Number of crops per picture.
    pub views: u32,
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Mean loss over the pictures.
    #[serde(deserialize_with = "nan_if_null")]
    pub loss: f64,
    /// Fraction whose label is not the most probable.
    pub top1_error: f64,
    /// Fraction whose label is not among the five most probable.
    pub top5_error: f64,
    /// Size of the weights of each layer, and of their last changes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub magnitudes: BTreeMap<String, Means>,
}

/// Means over the weights of a layer, both halves together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Means {
    /// Mean |w|.
    pub weights: f64,
    /// Mean |Δw| of the last step.
    pub updates: f64,
}

impl Step {
    /// The recorded figures: those of the minibatch, or the others; each with its tag and value.
    pub(crate) fn recorded(
        &self,
        of_minibatch: bool,
    ) -> impl Iterator<Item = (Figure, &'static str, f64)> {
        let ours = FIGURES.into_iter().filter(move |f| (f.unit == Unit::Number) == of_minibatch);
        ours.filter_map(|figure| Some((figure, figure.tag?, (figure.of)(&self.figures))))
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("step", &self.figures.step)?;
        map.serialize_entry("epoch", &self.epoch)?;
        for (Figure { name, .. }, _, value) in self.recorded(true) {
            map.serialize_entry(name, &value)?;
        }
        map.serialize_entry("rate", &self.rate)?;
        map.serialize_entry("images_per_s", &self.images_per_s)?;
        for (Figure { name, .. }, _, value) in self.recorded(false) {
            map.serialize_entry(name, &value)?;
        }
        if let Some(sent) = &self.sent {
            map.serialize_entry("sent", &sent.map(|half| half.to_string()))?;
        }
        map.end()
    }
}

fn sent(value: &Value) -> Result<[Sent; 2], String> {
    let half = |i: usize| value.get(i).and_then(Value::as_str).and_then(Sent::parse);
    match (half(0), half(1)) {
        (Some(a), Some(b)) => Ok([a, b]),
        _ => Err(format!("sent is {value}, expected two texts of 32 hexadecimal digits")),
    }
}

/// Reads the keys that are there; those of a later version are ignored.
impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(from)?;
        let number = |key: &str| match fields.get(key) {
            None => Ok(0.0),
            Some(Value::Null) => Ok(f64::NAN),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| D::Error::custom(format!("{key} is {value}, expected a number"))),
        };
        let step = fields.get("step").and_then(Value::as_u64).unwrap_or_default();
        let mut figures = StepFigures { step, ..StepFigures::default() };
        for Figure { name, set, .. } in FIGURES.iter().filter(|figure| figure.tag.is_some()) {
            set(&mut figures, number(name)?);
        }
        Ok(Self {
            epoch: number("epoch")?,
            rate: number("rate")?,
            images_per_s: number("images_per_s")?,
            figures,
            sent: fields.get("sent").map(sent).transpose().map_err(D::Error::custom)?,
        })
    }
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Metrics(AppendFile);

impl Metrics {
    /// Opens or creates the file.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self(AppendFile::open(path)?))
    }

    /// Cuts the file back to `bytes`.
    pub(crate) fn cut(&mut self, bytes: u64) {
        self.0.cut(bytes);
    }

    /// Appends a line.
    pub(crate) fn append(&mut self, line: &Line) {
        // Numbers, constants and keys of our own: this can't fail.
        let mut text = serde_json::to_vec(line).unwrap_or_default();
        text.push(b'\n');
        self.0.append(&text);
    }

    /// Length of the file with all lines so far.
    pub(crate) fn length(&self) -> u64 {
        self.0.length()
    }

    /// Returns true if the memory for lines that wait for the disk is nearly full.
    pub(crate) fn is_crowded(&self) -> bool {
        self.0.is_crowded()
    }

    /// Writes every line; returns the file, to be synced.
    ///
    /// # Errors
    /// [`Error::Io`] if some line can't be written.
    pub(crate) fn written(&mut self) -> Result<Option<Unsynced>, Error> {
        self.0.written()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> Line {
        Line::Eval(Eval {
            split: "val".into(),
            views: 1,
            step,
            epoch: 1.0,
            loss: 0.5,
            top1_error: 0.25,
            top5_error: 0.0,
            magnitudes: BTreeMap::new(),
        })
    }

    #[test]
    fn a_file_that_was_cut_back_continues_where_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut metrics = Metrics::open(&path).unwrap();
        metrics.append(&line(1));
        let kept = metrics.0.sync().unwrap();
        metrics.append(&line(2));
        metrics.cut(kept);
        metrics.append(&line(3));
        let text = std::fs::read_to_string(&path).unwrap();
        let want = "{\"kind\":\"eval\",\"split\":\"val\",\"views\":1,\"step\":1,\"epoch\":1.0,\
                    \"loss\":0.5,\"top1_error\":0.25,\"top5_error\":0.0}";
        assert_eq!(text.lines().next(), Some(want));
        assert!(text.lines().nth(1).unwrap().contains("\"step\":3"));
        assert_eq!(text.lines().count(), 2);
    }

    /// Scripts read these keys; their order is that of every version so far.
    #[test]
    fn the_line_of_a_step_has_its_keys_in_their_order_and_can_be_read_back() {
        let mut figures = StepFigures { step: 7, ..StepFigures::default() };
        for (value, Figure { set, .. }) in (1..).zip(FIGURES) {
            set(&mut figures, f64::from(value) / 4.0);
        }
        let sent = Some([Sent { forward: 1, backward: u64::MAX }, Sent::default()]);
        let step = Step { epoch: 0.5, rate: 0.01, images_per_s: 25.0, figures, sent };
        let text = serde_json::to_string(&Line::Step(step.clone())).unwrap();
        assert_eq!(
            text,
            "{\"kind\":\"step\",\"step\":7,\"epoch\":0.5,\"loss\":0.25,\"top1_error\":0.5,\
             \"top5_error\":0.75,\"rate\":0.01,\"images_per_s\":25.0,\"step_ms\":1.0,\
             \"compute_ms\":1.25,\"exchange_wait_ms\":1.5,\"peer_late_ms\":1.75,\
             \"data_wait_ms\":2.0,\"sent\":[\"0000000000000001ffffffffffffffff\",\
             \"00000000000000000000000000000000\"]}"
        );
        let back: Line = serde_json::from_str(&text).unwrap();
        let recorded = StepFigures { transfer_ms: 0.0, exchange_bytes: 0, ..step.figures };
        assert_eq!(back, Line::Step(Step { figures: recorded, ..step }));
        let later = r#"{"kind":"note","text":"of a later version"}"#;
        assert_eq!(serde_json::from_str::<Line>(later).unwrap(), Line::Other);
    }

    #[test]
    fn an_evaluation_that_is_not_a_number_can_be_read_back() {
        let bad = Evaluation {
            step: 1,
            epoch: 1.0,
            n_images: 10,
            loss: f64::NAN,
            top1_error: f64::NAN,
            top5_error: 0.5,
        };
        let text = serde_json::to_string(&bad).unwrap();
        let back: Evaluation = serde_json::from_str(&text).unwrap();
        assert!(back.loss.is_nan() && back.top1_error.is_nan());
    }
}
