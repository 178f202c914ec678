//! Tables of timed steps: each layer's computation and exchange, and their sums. Many steps become
//! a table of medians; one step of one half becomes a table that is narrow enough for a log.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{HalfStep, LayerTime};

/// The timed steps of each half, by name and step.
pub type Halves = BTreeMap<String, BTreeMap<u64, HalfStep>>;

/// A choice among the rows of a step's layers.
type Is<'a> = &'a dyn Fn(&LayerTime) -> bool;

/// A column: heading, width, and value.
type Column = (&'static str, usize, fn(&Half, Is) -> f64);

const COMPUTED: [Column; 6] = [
    ("forward", 9, |half, is| half.pass("forward", is)),
    ("inputs", 8, |half, is| half.pass("backward_inputs", is)),
    ("weights", 8, |half, is| half.pass("backward_weights", is)),
    ("update", 8, |half, is| half.pass("update", is)),
    ("all", 8, |half, is| half.sum(is, |row| row.compute_ms)),
    ("GFLOP/s", 9, |half, is| {
        half.per_ms(is, |row| row.gflop_per_s * row.compute_ms, |row| row.compute_ms)
    }),
];

const CROSSED: [Column; 5] = [
    ("MB", 9, |half, is| half.sum(is, |row| row.bytes as f64 / 1e6)),
    ("transfer", 10, |half, is| half.sum(is, |row| row.transfer_ms)),
    ("GB/s", 7, |half, is| half.per_ms(is, |row| row.bytes as f64 / 1e6, |row| row.transfer_ms)),
    ("wait", 8, |half, is| half.sum(is, |row| row.wait_ms)),
    ("late", 8, |half, is| half.sum(is, |row| row.peer_late_ms)),
];

/// The columns of the table in a log. A row has 81 characters, so that it fits a terminal of 100
/// behind the 17 that Compose puts in front of it.
const LOGGED: [Column; 9] = [
    COMPUTED[0],
    COMPUTED[1],
    COMPUTED[2],
    COMPUTED[3],
    COMPUTED[4],
    COMPUTED[5],
    ("wait", 8, CROSSED[3].2),
    ("late", 8, CROSSED[4].2),
    ("MB", 8, CROSSED[0].2),
];

/// A half's timed steps.
struct Half<'a> {
    name: &'a str,
    steps: Vec<&'a HalfStep>,
}

/// The medians of both halves side by side; `None` without any step.
pub fn side_by_side(halves: &Halves) -> Option<String> {
    let halves: Vec<Half> = halves.iter().map(Half::new).collect();
    let first = halves.iter().max_by_key(|half| half.steps.len())?;
    let steps: Vec<u64> = first.steps.iter().map(|step| step.step).collect();
    let mut text = format!("medians over {}, in ms\n\n", said(&steps));
    computed(&mut text, &halves);
    crossed(&mut text, &halves);
    text.push('\n');
    halves.iter().for_each(|half| half.adds_up(&mut text));
    Some(text)
}

/// One step of one half: a heading and one line per layer.
pub(crate) fn of_step(step: &HalfStep) -> String {
    let half = Half { name: &step.half, steps: vec![step] };
    let halves = std::slice::from_ref(&half);
    let (name, at, ms) = (half.name, step.step, step.step_ms);
    let mut text = format!("{name}, step {at}: {ms:.1} ms, by layer in ms");
    let _ = write!(text, "\n{:7}", "layer");
    LOGGED.iter().for_each(|(name, width, _)| {
        let _ = write!(text, "{name:>width$}");
    });
    text.push('\n');
    for layer in names(halves, |_| true) {
        line(&mut text, &format!("{layer:5}"), halves, &LOGGED, &|row| row.layer == layer);
    }
    line(&mut text, "all  ", halves, &LOGGED, &|_| true);
    text.truncate(text.trim_end().len());
    text
}

/// `4 timed steps (2, 3, 4, 50)`; of many steps, most numbers are left out.
fn said(steps: &[u64]) -> String {
    let list = |steps: &[u64]| steps.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let names = match steps {
        [some @ .., last] if steps.len() > 6 => format!("{} … {last}", list(&some[..4])),
        few => list(few),
    };
    format!("{} timed step{} ({names})", steps.len(), if steps.len() == 1 { "" } else { "s" })
}

/// The layers of these rows, each once, in order.
fn names<'a>(halves: &[Half<'a>], is: impl Fn(&LayerTime) -> bool) -> Vec<&'a str> {
    let mut layers: Vec<&str> = Vec::new();
    let rows = halves.iter().flat_map(|half| &half.steps).flat_map(|step| &step.layers);
    for row in rows.filter(|row| is(row)) {
        if !layers.contains(&row.layer.as_str()) {
            layers.push(&row.layer);
        }
    }
    layers
}

fn computed(text: &mut String, halves: &[Half]) {
    let layers = names(halves, |row| row.compute_ms > 0.0);
    heading(text, "computed", 10, halves, &COMPUTED);
    for layer in layers {
        line(text, &format!("{layer:10}"), halves, &COMPUTED, &|row| row.layer == layer);
    }
    line(text, &format!("{:10}", "all"), halves, &COMPUTED, &|_| true);
}

fn crossed(text: &mut String, halves: &[Half]) {
    let waits = |row: &LayerTime| row.bytes > 0 || row.wait_ms + row.peer_late_ms > 0.0;
    let mut points: Vec<(&str, &str)> = Vec::new();
    let rows = halves.iter().flat_map(|half| &half.steps).flat_map(|step| &step.layers);
    for row in rows.filter(|row| waits(row)) {
        if !points.contains(&(&row.layer, &row.pass)) {
            points.push((&row.layer, &row.pass));
        }
    }
    text.push('\n');
    heading(text, "received", 20, halves, &CROSSED);
    for (layer, pass) in points {
        let what = match (layer, pass) {
            ("data", _) => "pictures",
            (_, "forward") => "activations",
            _ => "gradient",
        };
        let is = |row: &LayerTime| row.layer == layer && row.pass == pass;
        line(text, &format!("{layer:7}{what:13}"), halves, &CROSSED, &is);
    }
    line(text, &format!("{:20}", "all"), halves, &CROSSED, &|_| true);
}

fn heading(text: &mut String, what: &str, width: usize, halves: &[Half], columns: &[Column]) {
    let wide = columns.iter().map(|(_, width, _)| width).sum();
    let _ = write!(text, "{:width$}", "");
    for half in halves {
        let _ = write!(text, "  {:─^wide$}", format!(" {} ", half.name));
    }
    let _ = write!(text, "\n{what:width$}");
    for _ in halves {
        text.push_str("  ");
        for (name, width, _) in columns {
            let _ = write!(text, "{name:>width$}");
        }
    }
    text.push('\n');
}

fn line(text: &mut String, label: &str, halves: &[Half], columns: &[Column], is: Is) {
    text.push_str(label);
    for half in halves {
        text.push_str("  ");
        columns.iter().for_each(|(_, width, value)| text.push_str(&cell(value(half, is), *width)));
    }
    text.push('\n');
}

impl<'a> Half<'a> {
    fn new((name, steps): (&'a String, &'a BTreeMap<u64, HalfStep>)) -> Self {
        Self { name, steps: steps.values().collect() }
    }

    /// The median over steps of a sum over rows.
    fn sum(&self, is: Is, value: impl Fn(&LayerTime) -> f64) -> f64 {
        median(self.steps.iter().map(|step| sum(step, is, &value)))
    }

    fn pass(&self, pass: &str, is: Is) -> f64 {
        self.sum(&|row| row.pass == pass && is(row), |row| row.compute_ms)
    }

    /// The median over steps of a sum over rows divided by another.
    fn per_ms(
        &self,
        is: Is,
        what: impl Fn(&LayerTime) -> f64,
        ms: impl Fn(&LayerTime) -> f64,
    ) -> f64 {
        median(self.steps.iter().map(|step| match sum(step, is, &ms) {
            ms if ms > 0.0 => sum(step, is, &what) / ms,
            _ => 0.0,
        }))
    }

    /// Writes how a step divides into computation, waits and the rest.
    fn adds_up(&self, text: &mut String) {
        let step = median(self.steps.iter().map(|step| step.step_ms));
        let rest = median(self.steps.iter().map(|step| step.rest_ms));
        let compute = self.sum(&|_| true, |row| row.compute_ms);
        let waits = self.sum(&|_| true, |row| row.wait_ms + row.peer_late_ms);
        let share = |ms: f64| 100.0 * ms / step.max(1e-9);
        let _ = writeln!(
            text,
            "{}: computes {compute:.1} + waits {waits:.1} ({:.2} %) + rest {rest:.1} ({:.2} %) = \
             {:.1}; a step takes {step:.1} ms",
            self.name,
            share(waits),
            share(rest),
            compute + waits + rest,
        );
        let crosses = |row: &LayerTime| row.bytes > 0;
        if self.steps.iter().any(|step| step.layers.iter().any(crosses)) {
            let hidden = 1.0 - self.per_ms(&crosses, |row| row.wait_ms, |row| row.transfer_ms);
            let _ = writeln!(
                text,
                "{:width$}  {:.1} % of the exchange lies under compute (1 − wait / transfer)",
                "",
                100.0 * hidden,
                width = self.name.len(),
            );
        }
    }
}

fn sum(step: &HalfStep, is: Is, value: impl Fn(&LayerTime) -> f64) -> f64 {
    step.layers.iter().filter(|row| is(row)).map(value).sum()
}

/// A number with as many digits as matter; `·` for almost nothing.
fn cell(value: f64, width: usize) -> String {
    match value {
        v if v < 5e-4 => format!("{:>width$}", "·"),
        v if v < 10.0 => format!("{v:>width$.2}"),
        v => format!("{v:>width$.1}"),
    }
}

/// The median; of an even number of values, the mean of the two in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(layer: &str, pass: &str, compute_ms: f64) -> LayerTime {
        LayerTime { layer: layer.into(), pass: pass.into(), compute_ms, ..LayerTime::default() }
    }

    /// A step whose layers compute `ms` longer than those of another.
    fn step(half: &str, step: u64, ms: f64) -> HalfStep {
        let crossing = LayerTime {
            bytes: 8_000_000,
            transfer_ms: 4.0,
            wait_ms: 1.0,
            peer_late_ms: 2.0,
            gflop_per_s: 100.0,
            ..row("conv3", "forward", 20.0 + ms)
        };
        let layers = vec![row("conv1", "forward", 50.0), crossing, row("conv3", "update", 5.0)];
        let (half, step_ms) = (half.to_string(), 79.5 + ms);
        HalfStep { half, step, step_ms, rest_ms: 1.5, clock_uncertainty_ms: Some(0.1), layers }
    }

    #[test]
    fn medians_totals_and_what_is_hidden_are_those_of_the_steps() {
        let mut halves = Halves::new();
        for half in ["half A", "half B"] {
            let steps = [(2, 0.0), (3, 9.0), (4, 2.0)].map(|(s, ms)| (s, step(half, s, ms)));
            halves.insert(half.to_string(), steps.into());
        }
        let text = side_by_side(&halves).unwrap();
        let numbers = |label: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(label)).expect(label);
            line[label.len()..].split_whitespace().map(String::from).collect()
        };
        assert!(text.starts_with("medians over 3 timed steps (2, 3, 4), in ms"), "{text}");
        let conv3 = ["22.0", "·", "·", "5.00", "27.0", "81.5"];
        assert_eq!(numbers("conv3 "), [conv3, conv3].concat());
        let crossed = ["8.00", "4.00", "2.00", "1.00", "2.00"];
        assert_eq!(numbers("conv3  activations"), [crossed, crossed].concat());
        assert_eq!(numbers("all")[4], "77.0");
        let adds_up = "half B: computes 77.0 + waits 3.0 (3.68 %) + rest 1.5 (1.84 %) = 81.5; \
                       a step takes 81.5 ms";
        assert!(text.contains(adds_up), "{text}");
        assert!(text.contains("75.0 % of the exchange"), "{text}");
    }

    #[test]
    fn a_step_of_one_half_is_a_table_of_aligned_lines_that_fit_beside_a_service_name() {
        let text = of_step(&step("half B", 50, 0.0));
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("half B, step 50: 79.5 ms, by layer in ms"));
        let table: Vec<&str> = lines.collect();
        let labels: Vec<&str> =
            table.iter().map(|line| line.split_whitespace().next().unwrap()).collect();
        assert_eq!(labels, ["layer", "conv1", "conv3", "all"]);
        for line in &table {
            assert_eq!(line.chars().count(), 81, "{text}");
        }
        let conv3: Vec<&str> = table[2].split_whitespace().skip(1).collect();
        assert_eq!(conv3, ["20.0", "·", "·", "5.00", "25.0", "80.0", "1.00", "2.00", "8.00"]);
        assert!(side_by_side(&Halves::new()).is_none());
    }

    #[test]
    fn of_many_steps_a_few_are_named() {
        assert_eq!(said(&[7]), "1 timed step (7)");
        assert_eq!(said(&[2, 3, 4, 50, 100, 150, 200]), "7 timed steps (2, 3, 4, 50 … 200)");
    }
}
