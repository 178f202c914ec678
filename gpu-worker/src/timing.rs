//! The time of each layer in a step, from marks on the compute stream that are read at its end.
//!
//! Between two marks lies an operation, or a stall of the stream that waits for the other half.
//! Measuring never waits; the marks of a GPU are events, those of the CPU are points in time.
//! Deferred weight gradients count for their own layer, whichever operation they follow.

use std::time::{Duration, Instant};

use model::halves::Plan;

use crate::backend::Backend;
use crate::error::Result;
use crate::exchange::{Direction, ExchangeStats, LOGITS, ms};

pub use model::pass::Pass;

/// The row for the copy of the minibatch to the device and its conversion to numbers.
pub(crate) const INPUT: &str = "input";
/// The row for probabilities, losses and their gradient.
pub(crate) const SOFTMAX: &str = "softmax";
/// The row for the wait for the minibatch.
pub(crate) const DATA: &str = "data";

/// The pass that reads the tensors exchanged in this direction.
impl From<Direction> for Pass {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Forward => Pass::Forward,
            Direction::Backward => Pass::Inputs,
        }
    }
}

/// The time between two marks on the compute stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lap {
    /// A layer, or `input`, `logits`, `softmax`.
    pub layer: &'static str,
    /// The pass that was computed, or that waited for the other half.
    pub pass: Pass,
    /// Some for a stall: the share in which the other half had not begun to send.
    pub late: Option<f64>,
    /// Beginning of the lap.
    pub from: Instant,
    /// Length of the lap.
    pub took: Duration,
}

/// The time of one pass of a layer in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerTime {
    /// A layer, or `data`, `input`, `logits`, `softmax`.
    pub layer: &'static str,
    /// The pass of that layer.
    pub pass: Pass,
    /// Time on the compute stream, with copies to and from the exchange.
    pub compute_ms: f64,
    /// Time from first to last byte received, summed over micro-batches.
    pub transfer_ms: f64,
    /// Stall while the other half was sending.
    pub wait_ms: f64,
    /// Stall while the other half had not begun to send.
    pub late_ms: f64,
    /// Bytes received.
    pub bytes: u64,
    /// Floating-point operations of the matrix products, in billions.
    pub gflop: f64,
}

impl LayerTime {
    fn new(layer: &'static str, pass: Pass) -> Self {
        let (compute_ms, transfer_ms, wait_ms, late_ms) = (0.0, 0.0, 0.0, 0.0);
        Self { layer, pass, compute_ms, transfer_ms, wait_ms, late_ms, bytes: 0, gflop: 0.0 }
    }

    /// GB received per second of transfer.
    pub fn gb_per_s(&self) -> f64 {
        per_ms(self.bytes as f64 / 1e6, self.transfer_ms)
    }

    /// GFLOP per second of computation.
    pub fn gflop_per_s(&self) -> f64 {
        1e3 * per_ms(self.gflop, self.compute_ms)
    }

    /// Total time on the compute stream, with stalls.
    pub fn ms(&self) -> f64 {
        self.compute_ms + self.wait_ms + self.late_ms
    }
}

/// A rate, or 0 for the shortest transfers, which take no time that a clock can measure.
fn per_ms(what: f64, ms: f64) -> f64 {
    if ms > 0.0 { what / ms } else { 0.0 }
}

/// The times of a timed step.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// Layers from input to softmax, pass by pass, without those that took no time.
    pub layers: Vec<LayerTime>,
    /// Laps in the order of the compute stream.
    pub laps: Vec<Lap>,
}

/// Takes marks while a step is timed, and does nothing otherwise.
#[derive(Debug)]
pub(crate) struct Stopwatch<B: Backend> {
    start: Option<B::Mark>,
    laps: Vec<Marked<B::Mark>>,
}

#[derive(Debug)]
struct Marked<M> {
    end: M,
    layer: &'static str,
    pass: Pass,
    late: Option<f64>,
}

impl<B: Backend> Default for Stopwatch<B> {
    fn default() -> Self {
        Self { start: None, laps: Vec::new() }
    }
}

impl<B: Backend> Stopwatch<B> {
    /// Starts the first lap of a step.
    pub(crate) fn start(&mut self, dev: &mut B) -> Result<()> {
        self.laps.clear();
        self.start = Some(dev.mark()?);
        Ok(())
    }

    /// Ends the lap of an operation: everything queued since the last mark.
    pub(crate) fn lap(&mut self, dev: &mut B, layer: &'static str, pass: Pass) -> Result<()> {
        self.mark(dev, layer, pass, None)
    }

    /// Ends the lap of a stall: nothing was queued since the last mark, since a tensor was missing.
    pub(crate) fn waited(
        &mut self,
        dev: &mut B,
        layer: &'static str,
        direction: Direction,
        late: f64,
    ) -> Result<()> {
        self.mark(dev, layer, direction.into(), Some(late))
    }

    fn mark(
        &mut self,
        dev: &mut B,
        layer: &'static str,
        pass: Pass,
        late: Option<f64>,
    ) -> Result<()> {
        dev.watch().mark();
        if self.start.is_some() {
            self.laps.push(Marked { end: dev.mark()?, layer, pass, late });
        }
        Ok(())
    }

    /// The laps since the start, if the step was timed; waits for the last one.
    pub(crate) fn read(&mut self, dev: &mut B) -> Result<Option<Vec<Lap>>> {
        let (Some(start), laps) = (self.start.take(), std::mem::take(&mut self.laps)) else {
            return Ok(None);
        };
        let Some(last) = laps.last() else { return Ok(Some(Vec::new())) };
        // The stream's clock can be compared with ours only after a wait for the stream.
        let whole = dev.ms_between(&start, &last.end)?;
        let end = Instant::now();
        let moment =
            |since_start: f64| end - Duration::from_secs_f64((whole - since_start).max(0.0) / 1e3);
        let (mut from_ms, mut from) = (0.0, moment(0.0));
        let mut read = Vec::with_capacity(laps.len());
        for Marked { end, layer, pass, late } in &laps {
            // Always from the start: the rounding of a GPU's clock would add up.
            from_ms = dev.ms_between(&start, end)?.max(from_ms);
            let to = moment(from_ms);
            let took = to.saturating_duration_since(from);
            read.push(Lap { layer, pass: *pass, late: *late, from, took });
            from = to;
        }
        Ok(Some(read))
    }
}

/// Sums up laps and the exchange's statistics by layer and pass.
pub(crate) fn by_layer(
    plan: &Plan,
    n_images: usize,
    laps: Vec<Lap>,
    exchange: &[ExchangeStats],
) -> Timing {
    let mut layers = rows(plan, n_images);
    let mut of = |layer: &str, pass: Pass, add: &mut dyn FnMut(&mut LayerTime)| {
        layers.iter_mut().filter(|row| row.layer == layer && row.pass == pass).for_each(add);
    };
    for lap in &laps {
        let took = ms(lap.took);
        of(lap.layer, lap.pass, &mut |row| match lap.late {
            None => row.compute_ms += took,
            Some(late) => {
                row.late_ms += took * late;
                row.wait_ms += took * (1.0 - late);
            }
        });
    }
    for stats in exchange {
        of(stats.at, stats.direction.into(), &mut |row| {
            (row.bytes, row.transfer_ms) = (stats.bytes, stats.transfer_ms);
        });
    }
    layers.retain(|row| row.ms() > 0.0 || row.bytes > 0);
    Timing { layers, laps }
}

impl Timing {
    /// Adds the wait for the minibatch, before all other rows.
    pub(crate) fn waited_for_data(&mut self, wait_ms: f64) {
        let row = LayerTime { wait_ms, ..LayerTime::new(DATA, Pass::Forward) };
        self.layers.insert(0, row);
    }

    /// Time that a step of `step_ms` spent outside of all layers and waits.
    pub fn rest_ms(&self, step_ms: f64) -> f64 {
        step_ms - self.layers.iter().map(LayerTime::ms).sum::<f64>()
    }
}

/// One row for each layer and pass that can take time, with its floating-point operations.
fn rows(plan: &Plan, n_images: usize) -> Vec<LayerTime> {
    let mut rows = vec![LayerTime::new(INPUT, Pass::Forward)];
    for (i, layer) in plan.layers.iter().enumerate() {
        let products = 2.0 * (n_images * layer.pre_activation.len() * layer.fan_in()) as f64 / 1e9;
        for pass in Pass::ALL {
            let gflop = if pass.multiplies(i == 0) { products } else { 0.0 };
            rows.push(LayerTime { gflop, ..LayerTime::new(layer.name, pass) });
        }
    }
    rows.extend([LOGITS, SOFTMAX].map(|name| LayerTime::new(name, Pass::Forward)));
    rows
}
