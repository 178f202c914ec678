//! Euclidean norms of weights, gradients and updates, layer by layer, both halves together.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use gpu_worker::checkpoint::MOMENTUM;
use safetensors::SafeTensors;

/// The norms of one parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Norm {
    /// Norm of the values before the step.
    pub(super) value: f64,
    /// Norm of the gradient.
    pub(super) gradient: f64,
    /// Norm of the update, which is the momentum after the step.
    pub(super) update: f64,
}

/// The norms of all parameters, in the order of their names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Norms(pub(super) BTreeMap<String, Norm>);

impl Norms {
    /// Norms from the shards before and after a step, and the gradients of the step.
    pub(super) fn of(
        before: &[Vec<u8>],
        gradients: &[BTreeMap<String, Vec<f32>>],
        after: &[Vec<u8>],
    ) -> Result<Self> {
        let mut squares: BTreeMap<String, Norm> = BTreeMap::new();
        for ((before, gradients), after) in before.iter().zip(gradients).zip(after) {
            let before = SafeTensors::deserialize(before).context("weights before the step")?;
            let after = SafeTensors::deserialize(after).context("weights after the step")?;
            for (name, gradient) in gradients {
                let sum = squares.entry(name.clone()).or_default();
                sum.value += of_bytes(before.tensor(name)?.data());
                sum.gradient += gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
                sum.update += of_bytes(after.tensor(&format!("{name}{MOMENTUM}"))?.data());
            }
        }
        for Norm { value, gradient, update } in squares.values_mut() {
            [value, gradient, update].into_iter().for_each(|sum| *sum = sum.sqrt());
        }
        Ok(Self(squares))
    }
}

/// Sum of the squares of little-endian floats.
fn of_bytes(floats: &[u8]) -> f64 {
    floats.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b)).powi(2)).sum()
}

impl fmt::Display for Norms {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "norms by parameter:\n{:14}{:>12}{:>12}{:>12}{:>16}",
            "", "before", "gradient", "update", "update / before"
        )?;
        for (name, norm) in &self.0 {
            let ratio = match norm.value > 0.0 {
                true => format!("{:.2e}", norm.update / norm.value),
                false => "·".into(),
            };
            let Norm { value, gradient, update } = norm;
            write!(to, "\n{name:14}{value:>12.4e}{gradient:>12.3e}{update:>12.3e}{ratio:>16}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    #[test]
    fn norms_are_over_both_halves() {
        let shard = |values: [f32; 2]| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let view = || TensorView::new(Dtype::F32, vec![2], &bytes).unwrap();
            let all = [("fc8.bias", view()), ("fc8.bias.momentum", view())];
            safetensors::serialize(all, None).unwrap()
        };
        let (a, b) = (shard([1.0, 2.0]), shard([2.0, 4.0]));
        let gradient = |values: [f32; 2]| BTreeMap::from([("fc8.bias".into(), values.to_vec())]);
        let gradients = [gradient([3.0, 0.0]), gradient([0.0, 4.0])];
        let norms = Norms::of(&[a.clone(), b], &gradients, &[a.clone(), a]).unwrap();
        let expected = Norm { value: 5.0, gradient: 5.0, update: 10_f64.sqrt() };
        assert_eq!(norms.0["fc8.bias"], expected);
        assert!(norms.to_string().contains("fc8.bias"), "{norms}");
    }
}
