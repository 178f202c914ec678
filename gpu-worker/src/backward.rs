//! Backward: gradients of activations, the other half's first; weight gradients while waiting.
//!
//! A layer at an exchange point first computes the gradient of the *other* half's inputs, slice by
//! slice, and sends it; then that of its own; then adds what the other half sends. Weight gradients
//! go on a list that is worked off whenever a receive is outstanding. The list is first in, first
//! out and each tensor's sums are added slice by slice, so no rounding depends on arrivals.

use std::collections::VecDeque;

use model::layer::After;
use tracing::debug_span;

use crate::backend::{Backend, Images, Sum};
use crate::error::Result;
use crate::exchange::{Direction, Exchange};
use crate::forward::Mode;
use crate::half::{Half, LayerMemory, Made, Work};
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

impl<B: Backend> Half<B> {
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
        let slices = self.slices(first, n);
        for (number, slice) in slices.iter().enumerate() {
            for layer in segment.clone().rev() {
                self.back_through(dev, layer, slice.clone(), mode)?;
                self.list(layer, slice, pending);
                if layer > first {
                    self.gradient_of_own_inputs(dev, layer, slice.clone())?;
                }
                self.lap(dev, layer, Pass::Inputs)?;
            }
            self.send_gradient(dev, exchange, first, number, slice.clone())?;
        }
        if first > 0 {
            for slice in &slices {
                self.gradient_of_own_inputs(dev, first, slice.clone())?;
                self.lap(dev, first, Pass::Inputs)?;
            }
            for (number, slice) in slices.iter().enumerate() {
                self.take_gradient(dev, exchange, first, number, slice.clone(), pending)?;
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
        let dropout = self.dropout(layer, mode);
        let activation = self.recipe.activation;
        let links = &mut self.layers[layer].links;
        for i in (0..links.len()).rev() {
            let (before, rest) = links.split_at_mut(i);
            let link = &mut rest[0];
            let len = link.shape.len();
            for op in link.in_place.iter().rev() {
                match (op, dropout) {
                    (After::Dropout, Some(mask)) => {
                        dev.dropout(&mask, images.clone(), &mut link.gradient)?;
                    }
                    (After::Activation, _) => {
                        let (y, dy) = (&link.value, &mut link.gradient);
                        dev.activation_backward(activation, len, images.clone(), y, dy)?;
                    }
                    _ => {}
                }
            }
            match (&link.made, before.last_mut()) {
                (Made::Lrn { lrn, scale }, Some(x)) => dev.lrn_backward(
                    lrn,
                    images.clone(),
                    &x.value,
                    scale,
                    &link.value,
                    &link.gradient,
                    &mut x.gradient,
                )?,
                (Made::Pool { pool, taken }, Some(x)) => {
                    let (dy, dx) = (&link.gradient, &mut x.gradient);
                    dev.pool_backward(pool, images.clone(), taken, dy, dx)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts a layer's weight and bias gradients for one slice on the list.
    fn list(&self, layer: usize, images: &Images, pending: &mut VecDeque<Pending>) {
        let mut add = |what| pending.push_back(Pending { layer, images: images.clone(), what });
        add(What::OwnWeights);
        if self.layers[layer].peer.is_some() {
            add(What::PeerWeights);
        }
        add(What::Bias);
    }

    /// Does the first of the list; false if it is empty.
    fn work_off(&mut self, dev: &mut B, pending: &mut VecDeque<Pending>) -> Result<bool> {
        let Some(Pending { layer, images, what }) = pending.pop_front() else { return Ok(false) };
        // The parts own different columns of the weights, so each starts its own sum.
        let sum = if images.start == 0 { Sum::Start } else { Sum::Add };
        let (below, rest) = self.layers.split_at_mut(layer);
        let own_x = below.last().map_or(&self.input.x, |l| &l.last().value);
        let LayerMemory { work, own, peer, weight, bias, links, .. } = &mut rest[0];
        let dy = &links[0].gradient;
        let dw = &mut weight.gradient;
        match (what, peer) {
            (What::Bias, _) => {
                let shape = links[0].shape;
                let pixels = shape.side * shape.side;
                dev.bias_backward(shape.maps, pixels, images, dy, sum, &mut bias.gradient)?;
            }
            (What::PeerWeights, Some(peer)) => {
                weights(dev, work, images, &peer.value, &peer.part, dy, sum, dw)?;
            }
            (What::OwnWeights | What::PeerWeights, _) => {
                weights(dev, work, images, own_x, own, dy, sum, dw)?;
            }
        }
        self.lap(dev, layer, Pass::Weights)?;
        Ok(true)
    }

    fn gradient_of_own_inputs(&mut self, dev: &mut B, layer: usize, images: Images) -> Result<()> {
        let (below, rest) = self.layers.split_at_mut(layer);
        let Some(dx) = below.last_mut().map(|l| &mut l.last_mut().gradient) else { return Ok(()) };
        let LayerMemory { work, own, weight, links, .. } = &rest[0];
        let dy = &links[0].gradient;
        match work {
            Work::Conv(conv) => dev.conv_backward_inputs(conv, images, dy, &weight.value, own, dx),
            Work::Full(full) => dev.full_backward_inputs(full, images, dy, &weight.value, own, dx),
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
        let LayerMemory { name, work, peer, weight, links, .. } = &mut self.layers[layer];
        let Some(peer) = peer else { return Ok(()) };
        let dy = &links[0].gradient;
        let (part, dx) = (&peer.part, &mut peer.gradient);
        match work {
            Work::Conv(conv) => {
                dev.conv_backward_inputs(conv, images.clone(), dy, &weight.value, part, dx)?;
            }
            Work::Full(full) => {
                dev.full_backward_inputs(full, images.clone(), dy, &weight.value, part, dx)?;
            }
        }
        let range = images.start * peer.len..images.end * peer.len;
        let payload = dev.download(&peer.gradient, range, exchange.encoding(name))?;
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
        dev.add(len, images, &peer.arriving, &mut made.last_mut().gradient)?;
        self.stopwatch.lap(dev, name, Pass::Inputs)
    }
}

#[expect(clippy::too_many_arguments, reason = "a launch's list, conv or full")]
fn weights<B: Backend>(
    dev: &mut B,
    work: &Work,
    images: Images,
    x: &B::Floats,
    part: &crate::backend::Part,
    dy: &B::Floats,
    sum: Sum,
    dw: &mut B::Floats,
) -> Result<()> {
    match work {
        Work::Conv(conv) => dev.conv_backward_weights(conv, images, x, part, dy, sum, dw),
        Work::Full(full) => dev.full_backward_weights(full, images, x, part, dy, sum, dw),
    }
}
