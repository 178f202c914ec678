//! What workers log of their exchange points, and the run of its steps.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

const POINTS: [&str; 5] = ["conv3", "fc6", "fc7", "fc8", "logits"];

/// Milliseconds of each step in `metrics.jsonl`.
pub(crate) fn steps(metrics: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(metrics).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["kind"] == "step").filter_map(|l| l["step_ms"].as_f64()).collect()
}

/// The middle one; NaN of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// For each point, what each half waited in each step, both directions together.
#[derive(Debug, Default)]
pub(crate) struct Points {
    waits: BTreeMap<String, Vec<f64>>,
    wait_ms: f64,
    transfer_ms: f64,
}

impl Points {
    /// Takes over one worker's log in JSON, steps from `first` on.
    pub(crate) fn read(&mut self, log: &str, first: u64) {
        let mut waits: BTreeMap<(String, u64), f64> = BTreeMap::new();
        for line in log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let step = line["spans"].as_array().into_iter().flatten();
            let step = step.filter_map(|span| span["step"].as_u64()).next();
            let (Some(step), Some(at)) = (step, line["at"].as_str()) else { continue };
            if line["message"] != "exchange" || step < first {
                continue;
            }
            let ms = |name: &str| line[name].as_f64().unwrap_or(0.0);
            *waits.entry((at.to_owned(), step)).or_default() += ms("wait_ms");
            self.wait_ms += ms("wait_ms");
            self.transfer_ms += ms("transfer_ms");
        }
        for ((at, _), wait) in waits {
            self.waits.entry(at).or_default().push(wait);
        }
    }

    /// Medians of the waits, and the share of all transfers that lay under compute.
    pub(crate) fn row(&mut self) -> String {
        let mut row = String::new();
        for at in POINTS {
            let wait = self.waits.get_mut(at).map_or(f64::NAN, |waits| median(waits));
            row.push_str(&format!("{wait:.1} ms | "));
        }
        let hidden = 100.0 * (1.0 - self.wait_ms / self.transfer_ms);
        format!("{row}{hidden:.0} %")
    }
}
