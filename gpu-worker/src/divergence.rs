//! The first tensor with a number that isn't finite: searched only once the loss has diverged.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::network::{DeviceNetwork, download};

/// A tensor to search.
struct Tensor<'a, F> {
    values: &'a F,
    len: usize,
    what: String,
}

impl<B: Backend> DeviceNetwork<B> {
    /// The error for a loss that has diverged.
    ///
    /// Names the first tensor of this half, from the pictures on, with a number that isn't finite;
    /// `n` images went through last.
    pub(crate) fn divergence(&self, dev: &mut B, step: u64, loss: f64, n: usize) -> Error {
        match self.first_not_finite(dev, n) {
            Ok(first) => Error::NotFinite { step, loss, first },
            Err(error) => error,
        }
    }

    fn first_not_finite(&self, dev: &mut B, n: usize) -> Result<String> {
        let mut largest = (0.0, String::new());
        for Tensor { values, len, what } in self.tensors_in_order(n) {
            let values = download(dev, values, 0..len)?;
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Ok(format!(
                    "{what} are the first with a number that isn't finite ({value})"
                ));
            }
            let value = values.iter().map(|value| value.abs()).max_by(f32::total_cmp);
            if let Some(value) = value.filter(|value| *value > largest.0) {
                largest = (value, what);
            }
        }
        let (value, what) = largest;
        Ok(format!("every number is finite here; the largest are {what} ({value:e})"))
    }

    /// All tensors of a forward pass over `n` images, in the order of the computation.
    fn tensors_in_order(&self, n: usize) -> Vec<Tensor<'_, B::Floats>> {
        let pictures = n * self.plan.input.len();
        let mut list = vec![tensor(&self.input.x, pictures, "the pictures".into())];
        for layer in &self.layers {
            let name = layer.name;
            if let Some(peer) = &layer.peer {
                let what = format!("{name}'s inputs from the other half");
                list.push(tensor(&peer.value, n * peer.len, what));
            }
            for (param, what) in [(&layer.weight, "weights"), (&layer.bias, "biases")] {
                list.push(tensor(&param.value, param.param.len(), format!("{name}'s {what}")));
            }
            for stage in &layer.stages {
                let what = format!("{name}'s activations");
                list.push(tensor(&stage.value, n * stage.shape.len(), what));
            }
        }
        if let Some(peer) = &self.output.peer {
            let others = self.plan.classes - self.output.classes.own.len();
            list.push(tensor(peer, n * others, "the other half's logits".into()));
        }
        list
    }
}

fn tensor<F>(values: &F, len: usize, what: String) -> Tensor<'_, F> {
    Tensor { values, len, what }
}
