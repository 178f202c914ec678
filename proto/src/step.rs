//! The figures of a step, declared once: `schema/worker.proto` has the fields, [`FIGURES`] says how
//! each is combined, recorded and shown.
//!
//! A new figure is a field of `StepDone` in the schema, a row here, and a value that the worker
//! fills in. `metrics.jsonl`, TensorBoard, Prometheus, the status of a run and the line of progress
//! follow from the row.

pub use crate::wire::{LayerTime, Span, StepDone as StepFigures};

/// Unit of a figure; decides how Prometheus presents it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number of the minibatch: a gauge of the run.
    Number,
    /// Milliseconds: per partition, a counter of seconds and a gauge of the last step's.
    Milliseconds,
    /// Bytes: per partition, a counter.
    Bytes,
}

/// One figure of a step.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    /// Name of the field in [`StepFigures`], and key in `metrics.jsonl`.
    pub name: &'static str,
    /// Unit of the value.
    pub unit: Unit,
    /// The run's value, from those of half A and half B.
    pub of_both: fn(f64, f64) -> f64,
    /// Tag in TensorBoard; without one the figure is not in `metrics.jsonl` either.
    pub tag: Option<&'static str>,
    /// Name in Prometheus, without the prefix and the unit.
    pub metric: &'static str,
    /// Description in Prometheus.
    pub help: &'static str,
    /// Text in the line of progress, made from the value.
    pub shown: Option<fn(f64) -> String>,
    /// Reads the value.
    pub of: fn(&StepFigures) -> f64,
    /// Writes the value.
    pub set: fn(&mut StepFigures, f64),
}

/// A row of [`FIGURES`]: field and type; unit, value of both halves; tag, metric, text; help.
macro_rules! figure {
    ($field:ident: $type:ty, $unit:ident, $of_both:expr, $tag:expr, $metric:literal, $shown:expr,
     $help:literal) => {
        Figure {
            name: stringify!($field),
            unit: Unit::$unit,
            of_both: $of_both,
            tag: $tag,
            metric: $metric,
            help: $help,
            shown: $shown,
            of: |figures| figures.$field as f64,
            set: |figures, value| figures.$field = value as $type,
        }
    };
}

/// All figures, in the order in which they are recorded.
#[rustfmt::skip] // one figure per pair of lines
pub const FIGURES: [Figure; 10] = [
    figure!(loss: f64, Number, half_a, Some("loss"), "loss", Some(|v| format!("loss {v:.3}")),
        "Mean loss of the last minibatch"),
    figure!(top1_error: f64, Number, half_a, Some("top1_error"), "top1_error_ratio",
        Some(|v| format!("error {:.1} %", 100.0 * v)),
        "Top-1 error of the last minibatch, as a fraction"),
    figure!(top5_error: f64, Number, half_a, Some("top5_error"), "top5_error_ratio", None,
        "Top-5 error of the last minibatch, as a fraction"),
    figure!(step_ms: f64, Milliseconds, f64::max, Some("speed/step_ms"), "step", None,
        "Duration of steps"),
    figure!(compute_ms: f64, Milliseconds, f64::max, Some("speed/compute_ms"), "compute", None,
        "Time in which the half computed"),
    figure!(exchange_wait_ms: f64, Milliseconds, f64::max, Some("wait/exchange_ms"),
        "exchange_wait", None, "Time blocked on bytes the other half had begun to send"),
    figure!(peer_late_ms: f64, Milliseconds, f64::max, Some("wait/peer_late_ms"), "peer_late", None,
        "Time blocked before the other half began to send"),
    figure!(data_wait_ms: f64, Milliseconds, f64::max, Some("wait/data_ms"), "data_wait", None,
        "Time blocked on minibatches"),
    figure!(transfer_ms: f64, Milliseconds, f64::max, None, "exchange_transfer", None,
        "Time from first to last byte received, summed over tensors"),
    figure!(exchange_bytes: u64, Bytes, std::ops::Add::add, None, "exchange_received", None,
        "Bytes received from the other half"),
];

/// The value of half A, which alone knows it.
fn half_a(a: f64, _: f64) -> f64 {
    a
}

impl StepFigures {
    /// The figures of the run, from these of half A and those of half B.
    pub fn with(mut self, half_b: &Self) -> Self {
        for Figure { of, set, of_both, .. } in FIGURES {
            let value = of_both(of(&self), of(half_b));
            set(&mut self, value);
        }
        self
    }

    /// Adds times and bytes of a step to a total.
    pub fn add(&mut self, step: &Self) {
        for Figure { of, set, .. } in FIGURES.iter().filter(|f| f.unit != Unit::Number) {
            let sum = of(self) + of(step);
            set(self, sum);
        }
    }
}

/// Packs checksums into one number: of each the lowest `64 / n` bits, at most 32, that of the first
/// one lowest.
pub fn packed(checksums: &[u32]) -> u64 {
    let bits = bits_of(checksums.len());
    let place = |(i, checksum): (usize, &u32)| (u64::from(*checksum) & mask(bits)) << (i * bits);
    checksums.iter().enumerate().map(place).fold(0, std::ops::BitOr::bitor)
}

/// The first of `n` packed checksums in which two numbers differ.
pub fn first_difference(a: u64, b: u64, n: usize) -> Option<usize> {
    let bits = bits_of(n);
    (0..n).find(|i| (a ^ b) >> (i * bits) & mask(bits) != 0)
}

fn bits_of(n: usize) -> usize {
    (64 / n.max(1)).min(32)
}

fn mask(bits: usize) -> u64 {
    (1 << bits) - 1
}

/// Whether a field of [`LayerTime`] is left out of `timing.jsonl`.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_the_loss_of_half_a_and_the_longer_times() {
        let a = StepFigures { step: 7, loss: 2.0, step_ms: 10.0, data_wait_ms: 3.0, ..both() };
        let b = StepFigures { step: 7, loss: 0.0, step_ms: 20.0, data_wait_ms: 1.0, ..both() };
        let run = a.with(&b);
        assert_eq!((run.step, run.loss, run.step_ms, run.data_wait_ms), (7, 2.0, 20.0, 3.0));
    }

    fn both() -> StepFigures {
        StepFigures { exchange_bytes: 8, ..StepFigures::default() }
    }

    #[test]
    fn times_and_bytes_add_up_and_losses_do_not() {
        let mut total = StepFigures::default();
        for _ in 0..3 {
            total.add(&StepFigures { loss: 2.0, step_ms: 1.5, exchange_bytes: 8, ..both() });
        }
        assert_eq!((total.loss, total.step_ms, total.exchange_bytes), (0.0, 4.5, 24));
    }

    #[test]
    fn every_row_reads_and_writes_its_own_field() {
        let mut figures = StepFigures::default();
        for (value, Figure { set, .. }) in (1..).zip(FIGURES) {
            set(&mut figures, f64::from(value));
        }
        for (value, Figure { of, name, .. }) in (1..).zip(FIGURES) {
            assert_eq!(of(&figures), f64::from(value), "{name}");
        }
        let names = FIGURES.map(|figure| figure.name);
        let text = format!("{figures:?}");
        let fields = text.matches(": ").count();
        let others = ["incarnation", "step", "forward_received", "backward_received"];
        assert_eq!(fields, names.len() + others.len(), "one row per figure: {text}");
    }

    #[test]
    fn the_first_of_packed_checksums_that_differs_is_found() {
        let all = [0xdead_beef, 7, 0, u32::MAX, 0x1234_5678];
        for n in 1..=all.len() {
            let checksums = &all[..n];
            assert_eq!(first_difference(packed(checksums), packed(checksums), n), None);
            for i in 0..n {
                let mut other = checksums.to_vec();
                other[i..].iter_mut().for_each(|checksum| *checksum ^= 0x0800);
                assert_eq!(first_difference(packed(checksums), packed(&other), n), Some(i));
            }
        }
    }
}
