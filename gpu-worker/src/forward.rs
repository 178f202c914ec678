//! Forward: input, layers, exchange of activations, softmax.
//!
//! The network falls into segments, each beginning where the other half's activations are needed.
//! Inside a segment micro-batches pass one after the other, and each is sent as soon as it exists.

use std::ops::Range;

use model::layer::After;
use tracing::debug_span;

use crate::backend::Backend;
use crate::error::Result;
use crate::exchange::{Direction, Exchange, LOGITS};
use crate::network::{DeviceNetwork, Input, LayerMemory, Made, Work};
use crate::ops::{
    self, Accumulate, ActivationForward, ConvForward, Dropout, DropoutMask, Epilogue, FcForward,
    Images, LrnForward, LrnPoolForward, PoolForward, Scale, Softmax,
};
use crate::timing::{INPUT, Pass, SOFTMAX};

/// Mode of a forward pass: training or evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// With dropout; the minibatch's first image is this sample of the endless stream.
    Train { first_sample: u64 },
    /// At test time all units are active and scaled by 1 − p (paper §4.2).
    Test,
}

impl<B: Backend> DeviceNetwork<B> {
    /// Runs the first `n` images of the minibatch through the network; probabilities, losses and
    /// the gradient of the logits are there afterwards.
    pub(crate) fn forward(
        &mut self,
        dev: &mut B,
        exchange: &mut Exchange<'_>,
        mode: Mode,
        n: usize,
    ) -> Result<()> {
        for k in 0..self.segments.len() {
            self.forward_segment(dev, exchange, mode, n, k)?;
        }
        self.meet_logits(dev, exchange, n)
    }

    fn forward_segment(
        &mut self,
        dev: &mut B,
        exchange: &mut Exchange<'_>,
        mode: Mode,
        n: usize,
        k: usize,
    ) -> Result<()> {
        let segment = self.segments[k].clone();
        let first = segment.start;
        let micro_batches = self.micro_batches(first, n);
        let exchanges = self.layers[first].peer.is_some();
        if exchanges {
            // Own inputs first: this covers the transfer of the other half's.
            for micro_batch in &micro_batches {
                self.sum_own(dev, first, micro_batch.clone())?;
                self.lap(dev, first, Pass::Forward)?;
            }
        }
        for (number, micro_batch) in micro_batches.iter().enumerate() {
            if exchanges {
                self.take_activations(dev, exchange, first, micro_batch, n)?;
                self.sum_peer(dev, first, micro_batch.clone())?;
            } else {
                if first == 0 {
                    self.read_pixels(dev, micro_batch.clone())?;
                    self.stopwatch.lap(dev, INPUT, Pass::Forward)?;
                }
                self.sum_own(dev, first, micro_batch.clone())?;
            }
            self.follow(dev, first, micro_batch.clone(), mode)?;
            self.lap(dev, first, Pass::Forward)?;
            for layer in first + 1..segment.end {
                self.sum_own(dev, layer, micro_batch.clone())?;
                self.follow(dev, layer, micro_batch.clone(), mode)?;
                self.lap(dev, layer, Pass::Forward)?;
            }
            if let Some(next) = self.segments.get(k + 1).map(|s| self.layers[s.start].name) {
                let last = self.layers[segment.end - 1].last();
                let len = last.shape.len();
                let payload = dev.download(
                    &last.value,
                    micro_batch.start * len..micro_batch.end * len,
                    exchange.encoding(next),
                )?;
                exchange.send(next, Direction::Forward, number, payload)?;
                self.stopwatch.lap(dev, next, Pass::Forward)?;
            }
        }
        Ok(())
    }

    /// Records a lap: the operations queued last belong to this pass of the layer.
    pub(crate) fn lap(&mut self, dev: &mut B, layer: usize, pass: Pass) -> Result<()> {
        self.stopwatch.lap(dev, self.layers[layer].name, pass)
    }

    fn read_pixels(&mut self, dev: &mut B, images: Images) -> Result<()> {
        let crop = self.plan.input.side;
        let Input { mean, pixels, crops, x, .. } = &mut self.input;
        let (side, mean) = (mean.side, &mean.values);
        dev.run(ops::Input { images, crop, side, pixels, crops, mean, y: x })
    }

    /// The sum over own inputs: all of it, unless the other half's follow.
    fn sum_own(&mut self, dev: &mut B, layer: usize, images: Images) -> Result<()> {
        let (below, rest) = self.layers.split_at_mut(layer);
        let x = below.last().map_or(&self.input.x, |l| &l.last().value);
        let LayerMemory { work, own, peer, weight, bias, stages, .. } = &mut rest[0];
        let stage = &mut stages[0];
        let epilogue = peer.is_none().then(|| epilogue(&bias.value, &stage.in_place, &self.recipe));
        let (w, y) = (&weight.value, &mut stage.value);
        let (range, accumulate) = (&*own, Accumulate::Overwrite);
        match work {
            Work::Conv(conv) => {
                dev.run(ConvForward { conv, images, x, range, w, accumulate, epilogue, y })
            }
            Work::Fc(fc) => dev.run(FcForward { fc, images, x, range, w, accumulate, epilogue, y }),
        }
    }

    /// Adds the sum over the other half's inputs: own first, peer second, always.
    fn sum_peer(&mut self, dev: &mut B, layer: usize, images: Images) -> Result<()> {
        let LayerMemory { work, peer, weight, bias, stages, .. } = &mut self.layers[layer];
        let Some(peer) = peer else { return Ok(()) };
        let stage = &mut stages[0];
        let epilogue = Some(epilogue(&bias.value, &stage.in_place, &self.recipe));
        let (x, w, y) = (&peer.value, &weight.value, &mut stage.value);
        let (range, accumulate) = (&peer.range, Accumulate::Add);
        match work {
            Work::Conv(conv) => {
                dev.run(ConvForward { conv, images, x, range, w, accumulate, epilogue, y })
            }
            Work::Fc(fc) => dev.run(FcForward { fc, images, x, range, w, accumulate, epilogue, y }),
        }
    }

    /// Runs the operations behind a layer's pre-activation, stage by stage; the first activation
    /// was part of the epilogue.
    fn follow(&mut self, dev: &mut B, layer: usize, images: Images, mode: Mode) -> Result<()> {
        let mask = self.dropout_mask(layer, mode);
        let keep = 1.0 - self.recipe.dropout as f32;
        let stages = &mut self.layers[layer].stages;
        for i in 0..stages.len() {
            let (before, rest) = stages.split_at_mut(i);
            let stage = &mut rest[0];
            match (&mut stage.made, before.last()) {
                (Made::Lrn { lrn, scale }, Some(before)) => {
                    let (images, x, y) = (images.clone(), &before.value, &mut stage.value);
                    dev.run(LrnForward { lrn, images, x, scale, y })?;
                }
                (Made::Pool { pool, argmax }, Some(before)) => {
                    let (images, x, y) = (images.clone(), &before.value, &mut stage.value);
                    dev.run(PoolForward { pool, images, x, argmax, y })?;
                }
                (Made::LrnPool { lrn, pool, between, argmax }, Some(before)) => {
                    let (images, x, y) = (images.clone(), &before.value, &mut stage.value);
                    dev.run(LrnPoolForward { lrn, pool, images, x, between, argmax, y })?;
                }
                _ => {}
            }
            let len = stage.shape.len();
            let with_sum =
                usize::from(i == 0 && stage.in_place.first() == Some(&After::Activation));
            for op in &stage.in_place[with_sum..] {
                let (images, y) = (images.clone(), &mut stage.value);
                match (op, &mask) {
                    (After::Activation, _) => {
                        let activation = self.recipe.activation;
                        dev.run(ActivationForward { activation, len, images, y })?;
                    }
                    (After::Dropout, Some(mask)) => dev.run(Dropout { mask, images, y })?,
                    (After::Dropout, None) => dev.run(Scale { factor: keep, len, images, y })?,
                    (After::Lrn | After::Pool, _) => {}
                }
            }
        }
        Ok(())
    }

    /// The layer's dropout mask in training.
    pub(crate) fn dropout_mask(&self, layer: usize, mode: Mode) -> Option<DropoutMask> {
        let Mode::Train { first_sample } = mode else { return None };
        let planned = &self.plan.layers[layer];
        let a_map = planned.output.side * planned.output.side;
        Some(DropoutMask {
            rate: self.recipe.dropout as f32,
            seed: self.seed,
            stream: self.layers[layer].number,
            first_sample,
            units: planned.maps.len() * a_map,
            first_unit: planned.maps.start * a_map,
            of_units: planned.params[0].of_rows * a_map,
        })
    }

    /// Receives the micro-batches of the other half's activations that `images` needs.
    fn take_activations(
        &mut self,
        dev: &mut B,
        exchange: &mut Exchange<'_>,
        layer: usize,
        images: &Images,
        n: usize,
    ) -> Result<()> {
        // As they passed the segment before, which may end with fully-connected layers.
        let before = self.segments.iter().find(|segment| segment.end == layer);
        let sent_in = self.micro_batches(before.map_or(0, |segment| segment.start), n);
        let LayerMemory { name, peer, .. } = &mut self.layers[layer];
        let Some(peer) = peer else { return Ok(()) };
        let _span = debug_span!("exchange", at = name, direction = "forward").entered();
        for (number, micro_batch) in sent_in.iter().enumerate().filter(|(_, s)| within(s, images)) {
            let received =
                exchange.receive(dev, name, Direction::Forward, number, |_| Ok(false))?;
            self.stopwatch.waited(dev, name, Direction::Forward, received.late)?;
            received.upload(
                dev,
                &mut peer.value,
                micro_batch.start * peer.len,
                micro_batch.len() * peer.len,
            )?;
            self.stopwatch.lap(dev, name, Pass::Forward)?;
        }
        Ok(())
    }

    /// Sends own logits, takes the other half's; both take the full softmax in the same order.
    fn meet_logits(&mut self, dev: &mut B, exchange: &mut Exchange<'_>, n: usize) -> Result<()> {
        let Some(last) = self.layers.last_mut() else { return Ok(()) };
        let stage = last.last_mut();
        let output = &mut self.output;
        if let Some(peer) = &mut output.peer {
            let own = stage.shape.len();
            let others = output.classes.classes - own;
            let _span = debug_span!("exchange", at = LOGITS).entered();
            let payload = dev.download(&stage.value, 0..n * own, exchange.encoding(LOGITS))?;
            exchange.send(LOGITS, Direction::Forward, 0, payload)?;
            self.stopwatch.lap(dev, LOGITS, Pass::Forward)?;
            let received = exchange.receive(dev, LOGITS, Direction::Forward, 0, |_| Ok(false))?;
            self.stopwatch.waited(dev, LOGITS, Direction::Forward, received.late)?;
            received.upload(dev, peer, 0, n * others)?;
            self.stopwatch.lap(dev, LOGITS, Pass::Forward)?;
        }
        dev.run(Softmax {
            classes: &output.classes,
            images: 0..n,
            own: &stage.value,
            peer: output.peer.as_ref(),
            labels: &self.input.labels,
            probabilities: &mut output.probabilities,
            loss: &mut output.loss,
            dlogits: &mut stage.gradient,
        })?;
        self.stopwatch.lap(dev, SOFTMAX, Pass::Forward)
    }
}

/// Whether a micro_batch lies inside a range.
pub(crate) fn within(micro_batch: &Range<usize>, range: &Range<usize>) -> bool {
    range.start <= micro_batch.start && micro_batch.end <= range.end
}

fn epilogue<'a, F>(
    bias: &'a F,
    in_place: &[After],
    recipe: &model::recipe::Recipe,
) -> Epilogue<'a, F> {
    let first = in_place.first() == Some(&After::Activation);
    Epilogue { bias, activation: first.then_some(recipe.activation) }
}
