//! `metrics.jsonl` as the coordinator writes it: one line per step, one per evaluation.

use std::path::Path;

use anyhow::{Context, Result};
use coordinator::metrics::Line;
pub(crate) use coordinator::metrics::{Eval, Step};

/// Steps and evaluations of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Metrics {
    /// In order.
    pub steps: Vec<Step>,
    /// In order.
    pub evals: Vec<Eval>,
}

impl Metrics {
    /// Reads a run's `metrics.jsonl`.
    ///
    /// # Errors
    /// If the file is missing or a line other than the last is not readable.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| {
            format!(
                "{} can't be read: a run directory has this file after the first step",
                file.display()
            )
        })?;
        Self::parse(&text).with_context(|| format!("{} is damaged", file.display()))
    }

    /// Reads its text; the last line may be cut off, since the run may be writing it.
    ///
    /// # Errors
    /// Names the line that is not readable.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut metrics = Self::default();
        let mut lines = text.lines().enumerate().peekable();
        while let Some((i, line)) = lines.next() {
            match serde_json::from_str(line) {
                Ok(Line::Step(step)) => metrics.steps.push(step),
                Ok(Line::Eval(eval)) => metrics.evals.push(eval),
                Ok(Line::Other) => {}
                Err(_) if lines.peek().is_none() => {}
                Err(e) => return Err(e).with_context(|| format!("line {}", i + 1)),
            }
        }
        Ok(metrics)
    }

    /// The first steps with a lower learning rate.
    pub(crate) fn rate_drops(&self) -> impl Iterator<Item = &Step> {
        let pairs = self.steps.windows(2).filter(|pair| pair[1].rate < pair[0].rate);
        pairs.map(|pair| &pair[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"kind":"step","step":1,"epoch":0.1,"loss":2.3,"top1_error":0.9,"images_per_s":25.0,"new":1}
{"kind":"eval","split":"val","views":1,"step":1,"epoch":0.1,"loss":2.2,"top1_error":0.8,"top5_error":0.4}
{"kind":"note","text":"of a later version"}
"#;

    #[test]
    fn steps_and_evaluations_are_told_apart() {
        let metrics = Metrics::parse(TEXT).unwrap();
        assert_eq!(metrics.steps.len(), 1);
        assert_eq!(metrics.evals[0].top5_error, 0.4);
    }

    #[test]
    fn a_drop_is_the_first_step_with_the_lower_rate() {
        let steps = [0.01, 0.01, 0.001, 0.001, 0.01].map(|rate| Step { rate, ..Step::default() });
        let metrics = Metrics { steps: steps.to_vec(), evals: Vec::new() };
        let drops: Vec<_> = metrics.rate_drops().collect();
        assert_eq!(drops, [&steps[2]]);
    }

    #[test]
    fn a_line_being_written_is_left_out_but_damage_is_named() {
        let being_written = format!("{TEXT}{{\"kind\":\"ste");
        assert_eq!(Metrics::parse(&being_written).unwrap().steps.len(), 1);
        let damaged = format!("oops\n{TEXT}");
        let error = format!("{:#}", Metrics::parse(&damaged).unwrap_err());
        assert!(error.starts_with("line 1"), "{error}");
    }
}
