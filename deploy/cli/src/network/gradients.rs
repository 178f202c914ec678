//! The gradients of a step, compared with finite differences: the change of its loss as the weights
//! move.
//!
//! A share of a tensor moves along its gradient g, forth to w⁺ and back to w⁻. Of a right gradient,
//! g · (w⁺ − w⁻) is the change of the loss, up to what is curved and what is rounded. An error at a
//! right angle to g would not be found so. Therefore a random half of the numbers moves three times
//! as far as the others, and then the others move three times as far.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use gpu_worker::Rates;
use gpu_worker::network::Mean;
use gpu_worker::receive::Minibatch;
use loader::Source;
use loader::batch::Request;
use model::halves::Partition;
use model::random::{Purpose, Random};
use model::recipe::{Encoding, Init, Recipe};
use model::shape::Network;
use safetensors::SafeTensors;

use super::past::as_received;
use super::{BothHalves, on};
use crate::environment::Environment;
use crate::options::DeviceArgs;

/// Pictures of the step: few, so that it is quick.
const PICTURES: usize = 8;
/// The change of the loss that is aimed at, as a fraction of it.
const FIRST_CHANGE: f64 = 3e-3;
/// Changes that are tried next. During a large one the loss is curved, and crosses kinks of ReLU
/// and pooling; in a small one its rounding shows. A wrong gradient is wrong for all of them.
const OTHER_CHANGES: [f64; 5] = [6e-4, 1.2e-4, 2.4e-5, 6e-6, 1.5e-2];
/// Divisor of the first layer's initial weights, about the standard deviation of a pixel: tanh
/// would be saturated by larger sums.
const PIXELS: f64 = 64.0;
/// Divisor of the last layer's initial weights: among logits of a hundred and more, a small change
/// would be lost to rounding.
const LOGITS: f64 = 3.0;
/// Weights and biases stay as they are.
const NO_UPDATE: Rates = Rates { weights: 0.0, biases: 0.0 };

/// A network whose gradients are compared.
#[derive(Debug)]
pub(crate) struct Gradients {
    /// The recipe with what the comparison changes: few pictures, weights at the scale at which
    /// every layer has a gradient, and halves that exchange f32.
    pub(crate) recipe: Recipe,
    /// Names of the devices.
    pub(crate) devices: String,
    /// Mean loss of the pictures.
    pub(crate) loss: f64,
    pair: Box<dyn BothHalves>,
    minibatch: Minibatch,
    /// The weights of each partition.
    weights: Vec<Bytes>,
    /// Tensors of all partitions, in the order of the network.
    tensors: Vec<Tensor>,
    random: Random,
}

/// One partition's share of a tensor.
#[derive(Debug)]
struct Tensor {
    name: String,
    partition: usize,
    gradient: Vec<f32>,
}

/// A comparison of one partition's share of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compared {
    /// Parameter, such as `conv1.weight`.
    pub(crate) tensor: String,
    /// Partition whose share it is.
    pub(crate) partition: Partition,
    /// Number of weights or biases of the share.
    pub(crate) len: usize,
    /// Change of the loss by the gradient.
    pub(crate) predicted: f64,
    /// Change of the loss.
    pub(crate) measured: f64,
}

impl Compared {
    /// Difference of the changes, as a fraction of the predicted one.
    pub(crate) fn difference(&self) -> f64 {
        (self.measured / self.predicted - 1.0).abs()
    }
}

impl Gradients {
    /// The gradients of a step of the recipe on these pictures.
    ///
    /// # Errors
    /// If a picture can't be read, the recipe does not fit the pictures, or a device can't be used.
    pub(crate) fn new(
        recipe: &Recipe,
        source: &Source,
        seed: u64,
        asked: &DeviceArgs,
        environment: &Environment,
    ) -> Result<Self> {
        let about = source.describe();
        let network = Network::new(recipe, about.classes.len())?;
        let mut recipe = Recipe {
            batch: PICTURES,
            init: Init::FanIn,
            weight_stds: [].into(),
            wire: Encoding::F32,
            ..recipe.clone()
        };
        for (layer, divisor) in [(network.layers.first(), PIXELS), (network.layers.last(), LOGITS)]
        {
            let Some(layer) = layer else { continue };
            let std = recipe.weight_std_of(layer.name, layer.fan_in()) / divisor;
            recipe.weight_stds.insert(layer.name.into(), std);
        }
        let mean = Mean { side: about.side, values: about.mean.clone() };
        let (pair, devices) = on(asked, recipe.columns, environment, |devices, names| {
            Ok((devices.pair(&recipe, &network, seed, &mean)?, names))
        })?;
        let request = Request::of_training(&recipe, seed, 0, about.n_train);
        let minibatch = as_received(&source.minibatch(&request)?)?;
        let layers = network.layers.iter().map(|layer| layer.name);
        let names =
            layers.flat_map(|layer| ["weight", "bias"].map(|kind| format!("{layer}.{kind}")));
        Self::of(recipe, devices, pair, minibatch, &names.collect::<Vec<_>>(), seed)
    }

    /// The gradients of a network's step, for the tensors of these names.
    fn of(
        recipe: Recipe,
        devices: String,
        mut pair: Box<dyn BothHalves>,
        minibatch: Minibatch,
        names: &[String],
        seed: u64,
    ) -> Result<Self> {
        let weights = pair.shards(0)?.into_iter().map(Bytes::from).collect();
        let loss = loss(&mut *pair, &minibatch)?;
        ensure!(loss > 0.0, "the loss is {loss}, so that no change of it can be measured");
        let gradients = pair.gradients()?;
        let mut tensors = Vec::new();
        for name in names {
            for (partition, gradients) in gradients.iter().enumerate() {
                let gradient = gradients.get(name).cloned();
                let gradient =
                    gradient.with_context(|| format!("there is no gradient of {name}"))?;
                tensors.push(Tensor { name: name.clone(), partition, gradient });
            }
        }
        let random = Random::new(seed, Purpose::Synthetic);
        Ok(Self { recipe, devices, loss, pair, minibatch, weights, tensors, random })
    }

    /// Number of shares.
    pub(crate) fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Compares a share: along the worse of two directions, with the better of the changes of the
    /// loss that are tried until the difference is at most `within`.
    ///
    /// # Errors
    /// If the gradient is zero everywhere, or a device fails.
    pub(crate) fn compare(&mut self, share: usize, within: f64) -> Result<Compared> {
        let [one, other] = [1.0, -1.0].map(|sign| self.along(share, sign, within));
        let (one, other) = (one?, other?);
        let is_worse = other.difference().total_cmp(&one.difference()).is_gt();
        Ok(if is_worse { other } else { one })
    }

    fn partition(&self, index: usize) -> Partition {
        Partition::of(self.recipe.columns)[index]
    }

    /// Compares a share along one direction.
    fn along(&mut self, share: usize, sign: f32, within: f64) -> Result<Compared> {
        let Tensor { name, partition, gradient } = &self.tensors[share];
        let is_longer = |i: usize| self.random.below(share as u32, i as u64, 2) == 1;
        let direction: Vec<f32> = gradient
            .iter()
            .enumerate()
            .map(|(i, g)| g * if is_longer(i) { 1.0 + sign / 2.0 } else { 1.0 - sign / 2.0 })
            .collect();
        let slope: f64 =
            direction.iter().zip(gradient).map(|(d, g)| f64::from(*d) * f64::from(*g)).sum();
        ensure!(
            slope != 0.0,
            "the gradient of {name} of {} is zero everywhere",
            self.partition(*partition)
        );
        let (partition, len) = (*partition, gradient.len());
        let (tensor, of) = (name.clone(), self.partition(partition));
        let mut compare = |change: f64| -> Result<Compared> {
            let length = change * self.loss / slope / 2.0;
            let (forth, up) = self.moved(share, &direction, length)?;
            let (back, down) = self.moved(share, &direction, -length)?;
            Ok(Compared {
                tensor: tensor.clone(),
                partition: of,
                len,
                predicted: up - down,
                measured: self.loss_with(partition, forth)? - self.loss_with(partition, back)?,
            })
        };
        let mut best = compare(FIRST_CHANGE)?;
        for change in OTHER_CHANGES {
            if best.difference() <= within {
                break;
            }
            let found = compare(change)?;
            if found.difference() < best.difference() {
                best = found;
            }
        }
        Ok(best)
    }

    /// The weights of a share's partition after a move along a direction, and the change of the
    /// loss that the gradient predicts for the move that the rounded weights have really made.
    fn moved(&self, share: usize, direction: &[f32], length: f64) -> Result<(Bytes, f64)> {
        let Tensor { name, partition, gradient } = &self.tensors[share];
        let mut shard = self.weights[*partition].to_vec();
        let (header, about) = SafeTensors::read_metadata(&shard)?;
        let info = about.info(name).with_context(|| format!("there are no weights {name}"))?;
        let start = 8 + header + info.data_offsets.0; // after the length of the header, and it
        let (numbers, _) = shard[start..][..4 * gradient.len()].as_chunks_mut::<4>();
        let mut change = 0.0;
        for ((number, along), g) in numbers.iter_mut().zip(direction).zip(gradient) {
            let before = f32::from_le_bytes(*number);
            let after = (f64::from(before) + length * f64::from(*along)) as f32;
            change += f64::from(*g) * (f64::from(after) - f64::from(before));
            *number = after.to_le_bytes();
        }
        Ok((shard.into(), change))
    }

    /// Loss of the same step with other weights of one partition.
    fn loss_with(&mut self, partition: usize, shard: Bytes) -> Result<f64> {
        let mut weights = self.weights.clone();
        weights[partition] = shard;
        let named = Partition::of(self.recipe.columns).iter().map(ToString::to_string);
        self.pair.restore(&named.zip(weights).collect::<Vec<_>>())?;
        loss(&mut *self.pair, &self.minibatch)
    }
}

/// Mean loss of the minibatch in training, dropout included.
fn loss(pair: &mut dyn BothHalves, minibatch: &Minibatch) -> Result<f64> {
    let done = pair.train(minibatch, 0, NO_UPDATE)?;
    Ok(done.first().context("a network without a partition")?.loss)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gpu_worker::step::{Done, Output};
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    const N: usize = 16;

    /// A loss of one tensor that is known: ½ Σ (1 + i) w². Its gradient may be made wrong.
    #[derive(Debug)]
    struct Known {
        weights: Vec<f32>,
        wrong: fn(Vec<f32>) -> Vec<f32>,
    }

    fn shard(weights: &[f32]) -> Vec<u8> {
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, vec![weights.len()], &bytes).unwrap();
        safetensors::serialize([("conv1.weight", view)], None).unwrap()
    }

    impl BothHalves for Known {
        fn restore(&mut self, shards: &[(String, Bytes)]) -> gpu_worker::Result<()> {
            let file = SafeTensors::deserialize(&shards[0].1).unwrap();
            let bytes = file.tensor("conv1.weight").unwrap().data();
            self.weights = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
            Ok(())
        }

        fn train(&mut self, _: &Minibatch, _: u64, _: Rates) -> gpu_worker::Result<Vec<Done>> {
            let term = |(i, w): (usize, &f32)| (1.0 + i as f64) * f64::from(*w).powi(2) / 2.0;
            let loss = self.weights.iter().enumerate().map(term).sum::<f64>() as f32;
            Ok(vec![Done {
                loss: loss.into(),
                top1_error: 0.0,
                top5_error: 0.0,
                output: Output { probabilities: Vec::new(), losses: Vec::new() },
                step_ms: 0.0,
                compute_ms: 0.0,
                exchange: Vec::new(),
                received: Vec::new(),
                timing: None,
            }])
        }

        fn gradients(&mut self) -> gpu_worker::Result<Vec<BTreeMap<String, Vec<f32>>>> {
            let right = self.weights.iter().enumerate().map(|(i, w)| (1.0 + i as f32) * w);
            let gradient = (self.wrong)(right.collect());
            Ok(vec![BTreeMap::from([("conv1.weight".into(), gradient)])])
        }

        fn shards(&mut self, _: u64) -> gpu_worker::Result<Vec<Vec<u8>>> {
            Ok(vec![shard(&self.weights)])
        }

        fn test(&mut self, _: &Minibatch) -> gpu_worker::Result<Output> {
            unreachable!("no comparison evaluates")
        }

        fn start_from(&mut self, _: &str, _: &Bytes, _: bool) -> gpu_worker::Result<Vec<String>> {
            unreachable!("no comparison starts from other weights")
        }

        fn activations(&mut self, _: &str, _: usize) -> gpu_worker::Result<Vec<f32>> {
            unreachable!("no comparison reads activations")
        }
    }

    /// The comparison of the known loss with a gradient.
    fn compared(wrong: fn(Vec<f32>) -> Vec<f32>) -> Result<Compared> {
        let recipe =
            Recipe { columns: 1, batch: 1, crop: 16, crop_offsets: 1, ..Recipe::default() };
        let source = Source::open(&"synthetic:16:10:10".parse().unwrap()).unwrap();
        let request = Request::of_training(&recipe, 1, 0, 10);
        let minibatch = as_received(&source.minibatch(&request).unwrap()).unwrap();
        let weights = (0..N).map(|i| (i as f32 - 7.3) / 10.0).collect();
        let pair = Box::new(Known { weights, wrong });
        let names = ["conv1.weight".to_owned()];
        let mut all = Gradients::of(recipe, "cpu".into(), pair, minibatch, &names, 1)?;
        all.compare(0, 1e-3)
    }
    #[test]
    fn a_right_gradient_fits() {
        let right = compared(|right| right).unwrap();
        assert_eq!((right.tensor.as_str(), right.len), ("conv1.weight", N));
        assert!(right.difference() < 1e-3, "{right:?}");
    }

    #[test]
    fn an_error_of_ten_percent_is_found() {
        let wrong = compared(|right| right.iter().map(|g| 1.1 * g).collect()).unwrap();
        assert!((0.08..0.11).contains(&wrong.difference()), "{wrong:?}");
    }

    /// An error at a right angle to the gradient leaves the slope along the gradient as it is.
    #[test]
    fn an_error_at_a_right_angle_is_found() {
        let wrong = compared(|right| {
            let turned = right.chunks(2).flat_map(|pair| [-0.3 * pair[1], 0.3 * pair[0]]);
            right.iter().zip(turned).map(|(g, wrong)| g + wrong).collect()
        });
        assert!(wrong.unwrap().difference() > 0.05);
    }

    #[test]
    fn a_gradient_of_zero_or_nan_never_fits() {
        let zero = compared(|right| vec![0.0; right.len()]).unwrap_err();
        assert!(zero.to_string().contains("conv1.weight of the network is zero"), "{zero}");
        let nan = compared(|right| vec![f32::NAN; right.len()]).unwrap();
        assert!(nan.difference().is_nan(), "{nan:?}");
    }
}
