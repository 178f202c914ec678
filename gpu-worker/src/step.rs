//! A whole step, top to bottom: minibatch → forward ⇄ exchange → backward ⇄ exchange → update.

use std::time::Instant;

use model::recipe::Encoding;
use tracing::debug_span;

use crate::backend::{Backend, Download};
use crate::error::Result;
use crate::exchange::{Direction, Exchange, ExchangeStats, Transfer, ms};
use crate::forward::Mode;
use crate::network::{DeviceNetwork, floats, upload};
use crate::receive::Minibatch;
use crate::timing::{self, INPUT, Pass, SOFTMAX, Timing};
use crate::update::Rates;

/// A loss from which no training recovers: guessing among a million classes costs only 14.
const DIVERGED: f64 = 1e4;

/// The results of a training step, and the times of its phases.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Mean loss of the minibatch, before the update.
    pub loss: f64,
    /// Share of images whose label was not the most probable.
    pub top1_error: f64,
    /// Share of images whose label was not among the five most probable.
    pub top5_error: f64,
    /// Probability of each class and loss of each image, before the update.
    pub output: Output,
    /// Time of the whole step, without the wait for the minibatch.
    pub step_ms: f64,
    /// Device time of forward, backward and update, without stalls.
    pub compute_ms: f64,
    /// Statistics of each exchange point, in the order of the step.
    pub exchange: Vec<ExchangeStats>,
    /// Each received tensor, in order.
    pub received: Vec<Transfer>,
    /// Times layer by layer, if the step was timed.
    pub timing: Option<Timing>,
}

impl Done {
    /// A sum over all exchange points.
    pub fn total(&self, of: impl Fn(&ExchangeStats) -> f64) -> f64 {
        self.exchange.iter().map(of).sum()
    }

    /// Checksums of what was received in one direction, one per exchange point.
    pub fn checksums(&self, direction: Direction) -> Vec<u32> {
        let points = self.exchange.iter().filter(|point| point.direction == direction);
        points.map(|point| point.checksum).collect()
    }
}

/// The network's output for a minibatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Probabilities `[n, classes]`.
    pub probabilities: Vec<f32>,
    /// Losses `[n]`: −ln of the label's probability.
    pub losses: Vec<f32>,
}

impl<B: Backend> DeviceNetwork<B> {
    /// Sets whether the next steps are timed, layer by layer; the results are the same.
    pub fn time(&mut self, timed: bool) {
        self.timed = timed;
    }

    /// Trains on one minibatch.
    ///
    /// `step` counts the steps done before; the minibatch's first image is sample `step · batch`.
    ///
    /// # Errors
    /// The exchange's, the device's, and [`crate::Error::NotFinite`] before the update could
    /// spread NaNs.
    pub fn step(
        &mut self,
        dev: &mut B,
        mut exchange: Exchange<'_>,
        minibatch: &Minibatch,
        step: u64,
        rates: Rates,
    ) -> Result<Done> {
        let started = Instant::now();
        let n = minibatch.n_images();
        let mode = Mode::Train { first_sample: step * self.recipe.batch as u64 };
        if self.timed {
            self.stopwatch.start(dev)?;
        }
        self.take(dev, minibatch)?;
        self.stopwatch.lap(dev, INPUT, Pass::Forward)?;
        let before = dev.mark()?;
        debug_span!("forward").in_scope(|| self.forward(dev, &mut exchange, mode, n))?;
        // Copied while the device computes on; awaited before the update, which would spread a NaN.
        let output = self.output(dev, n)?;
        self.stopwatch.lap(dev, SOFTMAX, Pass::Forward)?;
        debug_span!("backward").in_scope(|| self.backward(dev, &mut exchange, mode, n))?;
        let output = output.wait()?;
        let (loss, top1_error, top5_error) = output.score(&minibatch.labels);
        if !loss.is_finite() || loss > DIVERGED {
            return Err(self.divergence(dev, step, loss, n));
        }
        self.stopwatch.lap(dev, SOFTMAX, Pass::Forward)?;
        debug_span!("update").in_scope(|| self.update(dev, rates))?;
        let after = dev.mark()?;
        let on_device = dev.ms_between(&before, &after)?;
        let (exchange, received) = exchange.into_parts();
        let laps = self.stopwatch.read(dev)?;
        let mut done = Done {
            loss,
            top1_error,
            top5_error,
            output,
            step_ms: ms(started.elapsed()),
            compute_ms: 0.0,
            timing: laps.map(|laps| timing::by_layer(&self.plan, n, laps, &exchange)),
            exchange,
            received,
        };
        done.compute_ms = on_device - done.total(|c| c.wait_ms + c.late_ms);
        Ok(done)
    }

    /// Runs one minibatch forward, in evaluation mode.
    ///
    /// # Errors
    /// The exchange's and the device's.
    pub fn test(
        &mut self,
        dev: &mut B,
        mut exchange: Exchange<'_>,
        minibatch: &Minibatch,
    ) -> Result<Output> {
        let n = minibatch.n_images();
        self.take(dev, minibatch)?;
        self.forward(dev, &mut exchange, Mode::Test, n)?;
        self.output(dev, n)?.wait()
    }

    /// Copies a minibatch to the device.
    fn take(&mut self, dev: &mut B, minibatch: &Minibatch) -> Result<()> {
        minibatch.check(
            self.plan.input,
            self.recipe.batch,
            self.input.picture_side,
            self.plan.classes,
        )?;
        dev.upload_bytes(&minibatch.pixels, &mut self.input.pixels)?;
        let crops = self.input.mean.places(&minibatch.crops);
        upload(dev, crops.as_flattened(), &mut self.input.crops)?;
        let labels: Vec<f32> = minibatch.labels.iter().map(|label| *label as f32).collect();
        upload(dev, &labels, &mut self.input.labels)
    }

    fn output(&mut self, dev: &mut B, n: usize) -> Result<PendingOutput> {
        let numbers = n * self.plan.classes;
        Ok(PendingOutput {
            probabilities: dev.download(&self.output.probabilities, 0..numbers, Encoding::F32)?,
            losses: dev.download(&self.output.loss, 0..n, Encoding::F32)?,
        })
    }
}

/// An [`Output`] on its way from the device.
struct PendingOutput {
    probabilities: Download,
    losses: Download,
}

impl PendingOutput {
    fn wait(self) -> Result<Output> {
        Ok(Output { probabilities: floats(self.probabilities)?, losses: floats(self.losses)? })
    }
}

impl Output {
    /// Mean loss, top-1 and top-5 error.
    pub fn score(&self, labels: &[u32]) -> (f64, f64, f64) {
        let n = labels.len().max(1) as f64;
        let loss = self.losses.iter().map(|l| f64::from(*l)).sum::<f64>() / n;
        let classes = self.probabilities.len() / labels.len().max(1);
        let (mut top1, mut top5) = (0, 0);
        for (p, label) in self.probabilities.chunks(classes.max(1)).zip(labels) {
            let rank = rank(p, *label as usize);
            top1 += usize::from(rank >= 1);
            top5 += usize::from(rank >= 5);
        }
        (loss, top1 as f64 / n, top5 as f64 / n)
    }
}

/// The number of classes that come before the label.
///
/// Of equal probabilities the one of the lower class comes first. A label whose probability is NaN
/// comes last.
pub fn rank(probabilities: &[f32], label: usize) -> usize {
    let own = probabilities[label];
    if !own.is_finite() {
        return probabilities.len();
    }
    let before = |(i, p): (usize, &f32)| *p > own || (*p == own && i < label);
    probabilities.iter().enumerate().filter(|x| before((x.0, x.1))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equals_the_lower_class_comes_first_and_nan_comes_last() {
        assert_eq!(rank(&[0.1, 0.5, 0.4], 1), 0);
        assert_eq!(rank(&[0.25; 4], 2), 2);
        assert_eq!(rank(&[f32::NAN; 10], 3), 10);
        let diverged = Output { probabilities: vec![f32::NAN; 10], losses: vec![f32::NAN] };
        let (loss, top1, top5) = diverged.score(&[3]);
        assert!(loss.is_nan() && top1 == 1.0 && top5 == 1.0);
    }
}
