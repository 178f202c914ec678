//! `metrics.jsonl`: one line per step and one per evaluation; cut back when the run rolls back.

use std::path::Path;

use proto::step::{FIGURES, Figure, StepFigures, Unit};
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::append::AppendFile;
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
    pub top1_error: f64,
    /// Fraction whose label is not among the five most probable.
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
        map.end()
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
        })
    }
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Metrics(AppendFile);

impl Metrics {
    /// Opens or creates the file and cuts it to `bytes`.
    pub(crate) fn open(path: &Path, bytes: u64) -> Result<Self, Error> {
        Ok(Self(AppendFile::open(path, bytes)?))
    }

    /// Cuts the file back to `bytes`.
    pub(crate) fn cut(&mut self, bytes: u64) -> Result<(), Error> {
        self.0.cut(bytes)
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

    /// Makes sure that every line is on the disk; returns the length of the file.
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
        Line::Eval(Eval {
            split: "val".into(),
            views: 1,
            step,
            epoch: 1.0,
            loss: 0.5,
            top1_error: 0.25,
            top5_error: 0.0,
        })
    }

    #[test]
    fn a_file_that_was_cut_back_continues_where_it_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut metrics = Metrics::open(&path, 0).unwrap();
        metrics.append(&line(1));
        let kept = metrics.sync().unwrap();
        metrics.append(&line(2));
        metrics.cut(kept).unwrap();
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
        let step = Step { epoch: 0.5, rate: 0.01, images_per_s: 25.0, figures };
        let text = serde_json::to_string(&Line::Step(step.clone())).unwrap();
        assert_eq!(
            text,
            "{\"kind\":\"step\",\"step\":7,\"epoch\":0.5,\"loss\":0.25,\"top1_error\":0.5,\
             \"top5_error\":0.75,\"rate\":0.01,\"images_per_s\":25.0,\"step_ms\":1.0,\
             \"compute_ms\":1.25,\"exchange_wait_ms\":1.5,\"peer_late_ms\":1.75,\
             \"data_wait_ms\":2.0}"
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
            top1_error: 0.9,
            top5_error: 0.5,
        };
        let text = serde_json::to_string(&bad).unwrap();
        let back: Evaluation = serde_json::from_str(&text).unwrap();
        assert!(back.loss.is_nan());
    }
}
