//! The update: momentum and decay on every weight and bias of this half (paper §5).

use crate::backend::Backend;
use crate::error::Result;
use crate::network::DeviceNetwork;
use crate::ops::{Sgd, SgdRates};
use crate::timing::Pass;

/// The rates of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// ε of the weights.
    pub weights: f64,
    /// ε of the biases.
    pub biases: f64,
}

impl<B: Backend> DeviceNetwork<B> {
    /// Takes one step along the gradients.
    pub(crate) fn update(&mut self, dev: &mut B, rates: Rates) -> Result<()> {
        let (recipe, momentum) = (&self.recipe, self.recipe.momentum as f32);
        let last = 2 * self.layers.len() - 2; // the softmax layer's weights; its biases follow
        let stopwatch = &mut self.stopwatch;
        let tensors = self
            .layers
            .iter_mut()
            .flat_map(|layer| [(layer.name, &mut layer.weight), (layer.name, &mut layer.bias)]);
        for (i, (layer, tensor)) in tensors.enumerate() {
            let (name, is_bias) = (&tensor.param.name, tensor.param.is_bias);
            let decays =
                if is_bias { recipe.decay_biases } else { i != last || recipe.decay_softmax };
            let rate = if is_bias { rates.biases } else { rates.weights };
            let rates = SgdRates {
                rate: (rate * recipe.rate_factor_of(name)) as f32,
                momentum,
                decay: if decays { recipe.decay_of(name) as f32 } else { 0.0 },
            };
            let (g, w, v) = (&tensor.gradient, &mut tensor.value, &mut tensor.momentum);
            dev.run(Sgd { rates: &rates, g, w, v })?;
            stopwatch.lap(dev, layer, Pass::Update)?;
        }
        Ok(())
    }
}
