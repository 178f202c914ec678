//! Backward: gradients of activations, the other half's first; weight gradients while waiting.
//!
//! A layer at an exchange point first computes the gradient of the *other* half's inputs,
//! micro_batch by micro_batch, and sends it; then that of its own; then adds what the other half
//! sends. Weight gradients go on a list that is worked off whenever a receive is outstanding,
//! unless the device prefers them right after those of the inputs. The list is first in, first out
//! and each tensor's sums are added micro_batch by micro_batch, so no rounding depends on arrivals.

use std::collections::VecDeque;

use model::layer::After;
use tracing::debug_span;

use crate::backend::Backend;
use crate::error::Result;
use crate::exchange::{Direction, Exchange};
use crate::forward::Mode;
use crate::network::{DeviceNetwork, LayerMemory, Made, Work};
use crate::ops::{
    Accumulate, ActivationBackward, Add, BiasBackward, ConvBackwardInputs, ConvBackwardWeights,
    Dropout, FcBackwardInputs, FcBackwardWeights, Images, LrnBackward, LrnPoolBackward,
    PoolBackward,
};
use crate::timing::Pass;

/// A weight or bias gradient that can be computed at any time before the update.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pending {
    layer: usize,
    images: Images,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    OwnWeights,
    PeerWeights,
    Bias,
}

impl<B: Backend> DeviceNetwork<B> {
    /// Computes all gradients of the first `n` images from the gradient of the logits.
    pub(crate) fn backward(
        &mut self,
        dev: &mut B,
        exchange: &mut Exchange<'_>,
        mode: Mode,
        n: usize,
    ) -> Result<()> {
        let mut pending = VecDeque::new();
        for k in (0..self.segments.len()).rev() {
            self.backward_segment(dev, exchange, mode, n, k, &mut pending)?;
        }
        while self.work_off(dev, &mut pending)? {}
        Ok(())
    }

    fn backward_segment(
        &mut self,
        dev: &mut B,
        exchange: &mut Exchange<'_>,
        mode: Mode,
        n: usize,
        k: usize,
        pending: &mut VecDeque<Pending>,
    ) -> Result<()> {
        let segment = self.segments[k].clone();
        let first = segment.start;
        let micro_batches = self.micro_batches(first, n);
        for (number, micro_batch) in micro_batches.iter().enumerate() {
            for layer in segment.clone().rev() {
                self.back_through(dev, layer, micro_batch.clone(), mode)?;
                if layer > first {
                    self.gradient_of_own_inputs(dev, layer, micro_batch.clone())?;
                }
                self.lap(dev, layer, Pass::Inputs)?;
                let of_weights = self.of_weights(layer, micro_batch);
                let is_conv = matches!(self.layers[layer].work, Work::Conv(_));
                if layer > first && is_conv && B::WEIGHTS_FOLLOW_INPUTS {
                    of_weights.into_iter().try_for_each(|one| self.compute(dev, one))?;
                } else {
                    pending.extend(of_weights);
                }
            }
            self.send_gradient(dev, exchange, first, number, micro_batch.clone())?;
        }
        if first > 0 {
            for micro_batch in &micro_batches {
                self.gradient_of_own_inputs(dev, first, micro_batch.clone())?;
                self.lap(dev, first, Pass::Inputs)?;
            }
            for (number, micro_batch) in micro_batches.iter().enumerate() {
                self.take_gradient(dev, exchange, first, number, micro_batch.clone(), pending)?;
            }
        }
        Ok(())
    }

    /// Turns the gradient of a layer's output into that of its sum.
    fn back_through(
        &mut self,
        dev: &mut B,
        layer: usize,
        images: Images,
        mode: Mode,
    ) -> Result<()> {
        let mask = self.dropout_mask(layer, mode);
        let activation = self.recipe.activation;
        let stages = &mut self.layers[layer].stages;
        // How many operations in place, from the last, the stage above has already differentiated.
        let mut done = 0;
        for i in (0..stages.len()).rev() {
            let (before, rest) = stages.split_at_mut(i);
            let stage = &mut rest[0];
            let len = stage.shape.len();
            for op in stage.in_place.iter().rev().skip(std::mem::take(&mut done)) {
                let (images, y, dy) = (images.clone(), &stage.value, &mut stage.gradient);
                match (op, &mask) {
                    (After::Dropout, Some(mask)) => dev.run(Dropout { mask, images, y: dy })?,
                    (After::Activation, _) => {
                        dev.run(ActivationBackward { activation, len, images, y, dy })?;
                    }
                    _ => {}
                }
            }
            let (images, y, dy) = (images.clone(), &stage.value, &stage.gradient);
            match (&mut stage.made, before.last_mut()) {
                (Made::Lrn { lrn, scale }, Some(before)) => {
                    let (x, dx) = (&before.value, &mut before.gradient);
                    dev.run(LrnBackward { lrn, images, x, scale, y, dy, dx })?;
                }
                (Made::Pool { pool, argmax }, Some(before)) => {
                    let dx = &mut before.gradient;
                    dev.run(PoolBackward { pool, images, argmax, dy, dx })?;
                }
                (Made::LrnPool { lrn, pool, between, argmax }, Some(before)) => {
                    let is_last = before.in_place.last() == Some(&After::Activation);
                    let (lrn, pool, activation) = (&*lrn, &*pool, is_last.then_some(activation));
                    let (x, dx) = (&before.value, &mut before.gradient);
                    done = usize::from(is_last);
                    dev.run(LrnPoolBackward {
                        lrn,
                        pool,
                        activation,
                        images,
                        x,
                        between,
                        argmax,
                        dy,
                        dx,
                    })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The gradients of a layer's weights and biases for one micro-batch.
    fn of_weights(&self, layer: usize, images: &Images) -> Vec<Pending> {
        let mut parts = vec![What::OwnWeights];
        if self.layers[layer].peer.is_some() {
            parts.push(What::PeerWeights);
        }
        parts.push(What::Bias);
        parts.into_iter().map(|what| Pending { layer, images: images.clone(), what }).collect()
    }

    /// Does the first of the list; false if it is empty.
    fn work_off(&mut self, dev: &mut B, pending: &mut VecDeque<Pending>) -> Result<bool> {
        let Some(first) = pending.pop_front() else { return Ok(false) };
        self.compute(dev, first)?;
        Ok(true)
    }

    fn compute(&mut self, dev: &mut B, pending: Pending) -> Result<()> {
        let Pending { layer, images, what } = pending;
        // The parts own different columns of the weights, so each starts its own sum.
        let accumulate = if images.start == 0 { Accumulate::Overwrite } else { Accumulate::Add };
        let (below, rest) = self.layers.split_at_mut(layer);
        let own_x = below.last().map_or(&self.input.x, |l| &l.last().value);
        let LayerMemory { work, own, peer, weight, bias, stages, .. } = &mut rest[0];
        let dy = &stages[0].gradient;
        let (x, range) = match (what, peer) {
            (What::Bias, _) => {
                let shape = stages[0].shape;
                let (maps, pixels) = (shape.maps, shape.side * shape.side);
                let db = &mut bias.gradient;
                dev.run(BiasBackward { maps, pixels, images, dy, accumulate, db })?;
                return self.lap(dev, layer, Pass::Weights);
            }
            (What::PeerWeights, Some(peer)) => (&peer.value, &peer.range),
            (What::OwnWeights | What::PeerWeights, _) => (own_x, &*own),
        };
        let dw = &mut weight.gradient;
        match work {
            Work::Conv(conv) => {
                dev.run(ConvBackwardWeights { conv, images, x, range, dy, accumulate, dw })?;
            }
            Work::Fc(fc) => {
                dev.run(FcBackwardWeights { fc, images, x, range, dy, accumulate, dw })?;
            }
        }
        self.lap(dev, layer, Pass::Weights)
    }

    fn gradient_of_own_inputs(&mut self, dev: &mut B, layer: usize, images: Images) -> Result<()> {
        let (below, rest) = self.layers.split_at_mut(layer);
        let Some(dx) = below.last_mut().map(|l| &mut l.last_mut().gradient) else { return Ok(()) };
        let LayerMemory { work, own, weight, stages, .. } = &rest[0];
        let (dy, w, range) = (&stages[0].gradient, &weight.value, own);
        match work {
            Work::Conv(conv) => dev.run(ConvBackwardInputs { conv, images, dy, w, range, dx }),
            Work::Fc(fc) => dev.run(FcBackwardInputs { fc, images, dy, w, range, dx }),
        }
    }

    /// The gradient of the other half's maps goes first: it has the longest way.
    fn send_gradient(
        &mut self,
        dev: &mut B,
        exchange: &mut Exchange<'_>,
        layer: usize,
        number: usize,
        images: Images,
    ) -> Result<()> {
        let LayerMemory { name, work, peer, weight, stages, .. } = &mut self.layers[layer];
        let Some(peer) = peer else { return Ok(()) };
        let sent = images.start * peer.len..images.end * peer.len;
        let (dy, w) = (&stages[0].gradient, &weight.value);
        let (range, dx) = (&peer.range, &mut peer.gradient);
        match work {
            Work::Conv(conv) => {
                dev.run(ConvBackwardInputs { conv, images, dy, w, range, dx })?;
            }
            Work::Fc(fc) => dev.run(FcBackwardInputs { fc, images, dy, w, range, dx })?,
        }
        let payload = dev.download(&peer.gradient, sent, exchange.encoding(name))?;
        exchange.send(name, Direction::Backward, number, payload)?;
        self.stopwatch.lap(dev, name, Pass::Inputs)
    }

    /// Adds what the other half sends for this half's own maps.
    fn take_gradient(
        &mut self,
        dev: &mut B,
        exchange: &mut Exchange<'_>,
        layer: usize,
        number: usize,
        images: Images,
        pending: &mut VecDeque<Pending>,
    ) -> Result<()> {
        if self.layers[layer].peer.is_none() {
            return Ok(());
        }
        let name = self.layers[layer].name;
        let _span = debug_span!("exchange", at = name, direction = "backward").entered();
        let received = exchange
            .receive(dev, name, Direction::Backward, number, |dev| self.work_off(dev, pending))?;
        self.stopwatch.waited(dev, name, Direction::Backward, received.late)?;
        let (below, rest) = self.layers.split_at_mut(layer);
        let (Some(made), Some(peer)) = (below.last_mut(), &mut rest[0].peer) else { return Ok(()) };
        let len = peer.own_len;
        received.upload(dev, &mut peer.arriving, images.start * len, images.len() * len)?;
        dev.run(Add { len, images, from: &peer.arriving, to: &mut made.last_mut().gradient })?;
        self.stopwatch.lap(dev, name, Pass::Inputs)
    }
}
