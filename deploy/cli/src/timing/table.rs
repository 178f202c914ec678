//! The table: a row a layer, then a row an exchange, medians over the timed steps.

use std::fmt::Write;

use anyhow::{Result, bail};
use coordinator::timing::{HalfStep, LayerTime};

use super::Halves;

/// What is measured of a layer's row.
type Value = fn(&LayerTime) -> f64;

/// A column of the first table: its heading, and what of a layer's row belongs to it.
type Column = (&'static str, fn(&LayerTime) -> f64);

const LAYERS: [Column; 6] = [
    ("forward", |row| of_pass(row, "forward")),
    ("inputs", |row| of_pass(row, "backward_inputs")),
    ("weights", |row| of_pass(row, "backward_weights")),
    ("update", |row| of_pass(row, "update")),
    ("wait", |row| row.wait_ms),
    ("late", |row| row.peer_late_ms),
];

fn of_pass(row: &LayerTime, pass: &str) -> f64 {
    if row.pass == pass { row.compute_ms } else { 0.0 }
}

/// All of the compute stream's time.
fn whole(row: &LayerTime) -> f64 {
    row.compute_ms + row.wait_ms + row.peer_late_ms
}

/// Both tables and what they add up to.
///
/// # Errors
/// If no step is in them.
pub(super) fn of(halves: &Halves) -> Result<String> {
    let halves: Vec<Half> = halves.iter().map(|(name, steps)| Half::new(name, steps)).collect();
    let Some(first) = halves.first().filter(|half| !half.steps.is_empty()) else {
        bail!("no step of this run has been timed yet");
    };
    let mut text = String::new();
    let steps: Vec<u64> = first.steps.iter().map(|step| step.step).collect();
    let _ = writeln!(text, "medians over {}, in ms\n", said(&steps));
    layers(&mut text, &halves);
    exchange(&mut text, &halves);
    let _ = writeln!(text);
    halves.iter().for_each(|half| half.sum(&mut text));
    Ok(text)
}

/// `4 timed steps (2, 3, 4, 50)`; the middle of many is left out.
fn said(steps: &[u64]) -> String {
    let list = |steps: &[u64]| steps.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let names = match steps {
        [a, b, c, d, .., last] if steps.len() > 6 => format!("{}, … {last}", list(&[*a, *b, *c, *d])),
        few => list(few),
    };
    format!("{} timed step{} ({names})", steps.len(), if steps.len() == 1 { "" } else { "s" })
}

/// A half's timed steps.
struct Half<'a> {
    name: &'a str,
    steps: Vec<&'a HalfStep>,
}

impl<'a> Half<'a> {
    fn new(name: &'a str, steps: &'a std::collections::BTreeMap<u64, HalfStep>) -> Self {
        Self { name, steps: steps.values().collect() }
    }

    /// The median over steps of a value summed over the rows that `is` says.
    fn median(&self, is: impl Fn(&LayerTime) -> bool, value: impl Fn(&LayerTime) -> f64) -> f64 {
        median(self.steps.iter().map(|step| {
            step.layers.iter().filter(|row| is(row)).map(&value).sum::<f64>()
        }))
    }

    /// What the layers, waits and the rest are of a step.
    fn sum(&self, text: &mut String) {
        let all = |value: Value| self.median(|_| true, value);
        let step = median(self.steps.iter().map(|step| step.step_ms));
        let rest = median(self.steps.iter().map(|step| step.rest_ms));
        let share = |ms: f64| 100.0 * ms / step;
        let (compute, wait) = (all(|row| row.compute_ms), all(|row| row.wait_ms + row.peer_late_ms));
        let _ = writeln!(
            text,
            "{}: computes {compute:.1} + waits {wait:.1} + rest {rest:.1} = {:.1} of a step of \
             {step:.1} ms (waits {:.2} %, rest {:.2} %)",
            self.name,
            compute + wait + rest,
            share(wait),
            share(rest)
        );
        let transfers = self.steps.iter().map(|step| hidden(step));
        if self.steps.iter().any(|step| step.layers.iter().any(|row| row.bytes > 0)) {
            let _ = writeln!(
                text,
                "{:width$}  hidden under compute: {:.1} % of the exchange (1 − wait / transfer)",
                "",
                100.0 * median(transfers),
                width = self.name.len() - 1
            );
        }
    }
}

/// Share of the exchange that no one waited for, once it had begun.
fn hidden(step: &HalfStep) -> f64 {
    let crossing = step.layers.iter().filter(|row| row.bytes > 0);
    let (wait, transfer) =
        crossing.fold((0.0, 0.0), |(w, t), row| (w + row.wait_ms, t + row.transfer_ms));
    if transfer > 0.0 { (1.0 - wait / transfer).max(0.0) } else { 1.0 }
}

fn layers(text: &mut String, halves: &[Half]) {
    heading(text, halves, 8 * (LAYERS.len() + 1) + 9);
    let _ = write!(text, "{:8}", "layer");
    for _ in halves {
        LAYERS.iter().for_each(|(name, _)| drop(write!(text, "{name:>8}")));
        let _ = write!(text, "{:>8}{:>9}", "all", "GFLOP/s");
    }
    text.push('\n');
    let of = |name: &'static str| move |row: &LayerTime| row.layer == name;
    for name in names(halves, |row| &row.layer) {
        let _ = write!(text, "{name:8}");
        for half in halves {
            let is = |row: &LayerTime| row.layer == name;
            LAYERS.iter().for_each(|(_, value)| text.push_str(&cell(half.median(is, value), 8)));
            text.push_str(&cell(half.median(is, whole), 8));
            text.push_str(&cell(rate(half, is), 9));
        }
        text.push('\n');
    }
    let _ = of;
    let _ = write!(text, "{:8}", "all");
    for half in halves {
        LAYERS.iter().for_each(|(_, value)| text.push_str(&cell(half.median(|_| true, value), 8)));
        text.push_str(&cell(half.median(|_| true, whole), 8));
        text.push_str(&cell(rate(half, |_| true), 9));
    }
    text.push('\n');
}

/// Median over steps of operations a second of compute time, in billions.
fn rate(half: &Half, is: impl Fn(&LayerTime) -> bool) -> f64 {
    median(half.steps.iter().map(|step| {
        let rows = step.layers.iter().filter(|row| is(row));
        let (gflop, ms) = rows.fold((0.0, 0.0), |(gflop, ms), row| {
            (gflop + row.gflop_per_s * row.compute_ms / 1e3, ms + row.compute_ms)
        });
        if ms > 0.0 { 1e3 * gflop / ms } else { 0.0 }
    }))
}

fn exchange(text: &mut String, halves: &[Half]) {
    const COLUMNS: [(&str, Value, usize); 5] = [
        ("MB", |row| row.bytes as f64 / 1e6, 8),
        ("transfer", |row| row.transfer_ms, 10),
        ("GB/s", |row| row.gb_per_s, 7),
        ("wait", |row| row.wait_ms, 8),
        ("late", |row| row.peer_late_ms, 8),
    ];
    let crossing = |row: &LayerTime| row.bytes > 0;
    let points = names(halves, |row| if crossing(row) { &row.layer } else { "" });
    if points.is_empty() {
        return;
    }
    text.push('\n');
    let wide = COLUMNS.iter().map(|(.., width)| width).sum();
    let _ = write!(text, "{:12}", "");
    heading_from(text, halves, wide);
    let _ = write!(text, "{:20}", "received");
    for _ in halves {
        COLUMNS.iter().for_each(|(name, _, width)| drop(write!(text, "{name:>width$}")));
    }
    text.push('\n');
    for point in points {
        for (pass, what) in [("forward", "activations"), ("backward_inputs", "gradient")] {
            let is = |row: &LayerTime| row.layer == point && row.pass == pass && crossing(row);
            if !halves.iter().any(|half| half.median(is, |row| row.bytes as f64) > 0.0) {
                continue;
            }
            let _ = write!(text, "{point:7}{what:13}");
            for half in halves {
                for (_, value, width) in COLUMNS {
                    text.push_str(&cell(half.median(is, value), width));
                }
            }
            text.push('\n');
        }
    }
}

fn heading(text: &mut String, halves: &[Half], wide: usize) {
    heading_from(text, halves, wide);
}

fn heading_from(text: &mut String, halves: &[Half], wide: usize) {
    let _ = write!(text, "{:8}", "");
    halves.iter().for_each(|half| drop(write!(text, "{:>wide$}", half.name)));
    text.push('\n');
}

/// Every name that some step has, in the order of the first step that has all of the others.
fn names<'a>(halves: &[Half<'a>], name: impl Fn(&'a LayerTime) -> &'a str) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    let rows = halves.iter().flat_map(|half| &half.steps).flat_map(|step| &step.layers);
    for name in rows.map(name).filter(|name| !name.is_empty()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A number with as many digits as tell something; nothing for nothing.
fn cell(value: f64, width: usize) -> String {
    match value {
        v if v < 5e-4 => format!("{:>width$}", "·"),
        v if v < 10.0 => format!("{v:>width$.2}"),
        v => format!("{v:>width$.1}"),
    }
}

/// The middle; the mean of the two in the middle of an even number.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
