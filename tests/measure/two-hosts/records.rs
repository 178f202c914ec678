//! Reads a run's records of steps and exchanges.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

const POINTS: [&str; 5] = ["conv3", "fc6", "fc7", "fc8", "logits"];

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Milliseconds of each step in `metrics.jsonl`.
pub(crate) fn steps(metrics: &Path) -> Vec<f64> {
    let steps = lines(metrics).into_iter().filter(|line| line["kind"] == "step");
    steps.filter_map(|line| line["step_ms"].as_f64()).collect()
}

/// The median; NaN if there are no values.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Reads `timing.jsonl` after step `warm_up`. For each exchange point: the medians per step of the
/// exchange wait and of the time in which the peer was late, both directions together. Then the
/// share of all transfers that was hidden by computation.
pub(crate) fn row(timing: &Path, warm_up: u64) -> String {
    let mut waits: BTreeMap<&str, Vec<[f64; 2]>> = BTreeMap::new();
    let (mut waited, mut transferred) = (0.0, 0.0);
    for half in lines(timing) {
        if half["step"].as_u64().is_none_or(|step| step <= warm_up) {
            continue;
        }
        let layers = half["layers"].as_array().into_iter().flatten();
        let mut of_step: BTreeMap<&str, [f64; 2]> = BTreeMap::new();
        for layer in layers {
            let Some(at) = POINTS.into_iter().find(|point| layer["layer"] == *point) else {
                continue;
            };
            let ms = |name: &str| layer[name].as_f64().unwrap_or(0.0);
            let sums = of_step.entry(at).or_default();
            sums[0] += ms("wait_ms");
            sums[1] += ms("peer_late_ms");
            waited += ms("wait_ms");
            transferred += ms("transfer_ms");
        }
        of_step.into_iter().for_each(|(at, sums)| waits.entry(at).or_default().push(sums));
    }
    let mut row = String::new();
    for at in POINTS {
        let of = |i: usize| {
            let mut values: Vec<f64> = waits.get(at).into_iter().flatten().map(|w| w[i]).collect();
            median(&mut values)
        };
        row.push_str(&format!("{:.1} + {:.1} | ", of(0), of(1)));
    }
    format!("{row}{:.0} %", 100.0 * (1.0 - waited / transferred))
}
