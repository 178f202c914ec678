//! A trained network in this process, both halves, for every command that looks at pictures.

mod past; // a step of the past, computed again
mod gradients; // gradients, compared with the loss as weights move
mod views; // pictures through the network: the average over test views, and activations

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use coordinator::run_dir::{Loaded, RunDir};
use gpu_worker::backend::Backend;
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::backend::cuda::{Cuda, Gpu, Options};
use gpu_worker::network::Mean;
use gpu_worker::pair::Pair;
use gpu_worker::receive::Minibatch;
use gpu_worker::step::{Done, Output};
use gpu_worker::{Device, Rates};
use model::recipe::{Encoding, Recipe};
use model::shape::Network;

use crate::devices::devices;
use crate::environment::Environment;
use crate::options::{DeviceArgs, WhichCheckpoint};
use crate::print;

pub(crate) use gradients::{Compared, Gradients};
pub(crate) use past::{Again, Past};
pub(crate) use views::Stored;

/// A trained network.
#[derive(Debug)]
pub(crate) struct Trained {
    /// Recipe of the run, with the batch limited to what is asked for.
    pub recipe: Recipe,
    /// Names of the classes, in label order.
    pub classes: Vec<String>,
    /// Side of the stored pictures.
    pub side: usize,
    /// Number of steps that it was trained for.
    pub step: u64,
    /// The devices, one per half, as they were named.
    pub devices: String,
    /// Layers, each with the length of its activations for one picture.
    layers: Vec<(&'static str, usize)>,
    pair: Box<dyn BothHalves>,
}

/// The devices of a network in this process, one per half, and how to open those that are GPUs.
pub(crate) struct Devices<'a> {
    /// One per half.
    pub halves: Vec<Device>,
    /// The options for opening a GPU.
    pub open: &'a dyn Fn(Gpu) -> Options,
}

/// Both halves, on whatever kind of device.
trait BothHalves: std::fmt::Debug {
    fn restore(&mut self, shards: &[(String, Bytes)]) -> gpu_worker::Result<()>;
    fn test(&mut self, minibatch: &Minibatch) -> gpu_worker::Result<Output>;
    fn start_from(
        &mut self,
        name: &str,
        file: &Bytes,
        other_classes: bool,
    ) -> gpu_worker::Result<Vec<String>>;
    fn train(
        &mut self,
        minibatch: &Minibatch,
        step: u64,
        rates: Rates,
    ) -> gpu_worker::Result<Vec<Done>>;
    fn shards(&mut self, step: u64) -> gpu_worker::Result<Vec<Vec<u8>>>;
    fn gradients(&mut self) -> gpu_worker::Result<Vec<BTreeMap<String, Vec<f32>>>>;
    fn activations(&mut self, layer: &str, n: usize) -> gpu_worker::Result<Vec<f32>>;
}

impl<B: Backend> BothHalves for Pair<B>
where
    B: std::fmt::Debug,
    B::Floats: Sync,
    B::Bytes: Sync,
{
    fn restore(&mut self, shards: &[(String, Bytes)]) -> gpu_worker::Result<()> {
        Pair::restore(self, shards)
    }

    fn test(&mut self, minibatch: &Minibatch) -> gpu_worker::Result<Output> {
        // Batch and view only tell exchanges apart, of which there is one at a time here.
        Pair::test(self, minibatch, 0, 0)
    }

    fn start_from(
        &mut self,
        name: &str,
        file: &Bytes,
        other_classes: bool,
    ) -> gpu_worker::Result<Vec<String>> {
        Pair::start_from(self, name, file, other_classes)
    }

    fn train(
        &mut self,
        minibatch: &Minibatch,
        step: u64,
        rates: Rates,
    ) -> gpu_worker::Result<Vec<Done>> {
        Pair::step_of_each(self, minibatch, step, rates)
    }

    fn shards(&mut self, step: u64) -> gpu_worker::Result<Vec<Vec<u8>>> {
        Pair::shards(self, step)
    }

    fn gradients(&mut self) -> gpu_worker::Result<Vec<BTreeMap<String, Vec<f32>>>> {
        Pair::gradients(self)
    }

    fn activations(&mut self, layer: &str, n: usize) -> gpu_worker::Result<Vec<f32>> {
        Pair::activations(self, layer, n)
    }
}

impl Trained {
    /// The network of a run's checkpoint, for minibatches of at most `batch` pictures.
    ///
    /// # Errors
    /// If the checkpoint is damaged or another network's, or a device can't be used.
    pub(crate) fn load(
        dir: &RunDir,
        which: WhichCheckpoint,
        batch: usize,
        devices: &Devices<'_>,
    ) -> Result<Self> {
        let (manifest, shards) = checkpoint(dir, which)?;
        let data = dir.data_set()?;
        let (classes, side) = (data.classes.clone(), data.side as usize);
        let network = Network::new(&dir.recipe, classes.len())?;
        let mean = Mean { side, values: dir.mean()? };
        let mut recipe = dir.recipe.clone();
        recipe.batch = batch.clamp(1, recipe.batch); // memory for what is asked, not for training
        let mut pair = devices.pair(&recipe, &network, dir.record.seed, &mean)?;
        let names = manifest.shards.iter().map(|shard| shard.file.clone());
        pair.restore(&names.zip(shards).collect::<Vec<_>>())?;
        let named = devices.halves.iter().map(ToString::to_string).collect::<Vec<_>>();
        Ok(Self {
            recipe,
            classes,
            side,
            step: manifest.step,
            devices: named.join(","),
            layers: network.layers.iter().map(|layer| (layer.name, layer.output.len())).collect(),
            pair,
        })
    }

    /// The network of a run's checkpoint on the devices that the command line names.
    ///
    /// # Errors
    /// As [`Trained::load`].
    pub(crate) fn load_on(
        dir: &RunDir,
        which: WhichCheckpoint,
        batch: usize,
        asked: &DeviceArgs,
        environment: &Environment,
    ) -> Result<Self> {
        on(asked, dir.recipe.columns, environment, |devices, names| {
            Ok(Self { devices: names, ..Self::load(dir, which, batch, devices)? })
        })
    }

    /// A layer and the length of its activations; without a name the layer before the classes,
    /// which is fc7 in AlexNet.
    ///
    /// # Errors
    /// If no layer has this name.
    pub(crate) fn layer(&self, asked: Option<&str>) -> Result<(&'static str, usize)> {
        let before_the_last = self.layers.len().saturating_sub(2);
        let found = match asked {
            None => self.layers.get(before_the_last),
            Some(name) => self.layers.iter().find(|layer| layer.0 == name),
        };
        let names = || self.layers.iter().map(|layer| layer.0).collect::<Vec<_>>().join(", ");
        found.copied().with_context(|| {
            format!("there is no layer {}: this network has {}", asked.unwrap_or("fc7"), names())
        })
    }
}

/// Pictures at a time: as many as the run's batch, or one if the halves exchange f16.
///
/// An f16 tensor travels with a power of two that follows from its largest number, so a picture's
/// result would depend on its neighbors in the batch.
pub(crate) fn batch(recipe: &Recipe, pictures: usize) -> usize {
    match recipe.wire {
        Encoding::F32 => pictures.min(recipe.batch),
        Encoding::F16 => 1,
    }
}

/// Hands out the devices that were asked for, one per half, and their names.
fn on<T>(
    asked: &DeviceArgs,
    columns: usize,
    environment: &Environment,
    load: impl FnOnce(&Devices<'_>, String) -> Result<T>,
) -> Result<T> {
    let names = devices(&asked.devices, columns, &asked.gpu.search(environment))?.names;
    let halves = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    let open = |gpu| asked.gpu.open(environment, gpu);
    load(&Devices { halves, open: &open }, names.join(","))
}

impl Devices<'_> {
    fn pair(
        &self,
        recipe: &Recipe,
        network: &Network,
        seed: u64,
        mean: &Mean,
    ) -> Result<Box<dyn BothHalves>> {
        let cpus = self.halves.iter().filter_map(|device| match device {
            Device::Cpu { threads } => Some(*threads),
            Device::Cuda(_) => None,
        });
        let gpus = self.halves.iter().filter_map(|device| match device {
            Device::Cpu { .. } => None,
            Device::Cuda(gpu) => Some(gpu.clone()),
        });
        if cpus.clone().count() == self.halves.len() {
            let mut cpus = cpus.cycle();
            let device = || Ok(Cpu::new(cpus.next().unwrap_or(1)));
            return Ok(Box::new(Pair::new(recipe, network, seed, mean, false, device)?));
        }
        let mut gpus: Vec<Gpu> = gpus.collect();
        if gpus.len() < self.halves.len() {
            bail!("the halves need devices of one kind here: two GPUs, one GPU twice, or the CPU");
        }
        let device = || Cuda::new(&(self.open)(gpus.remove(0)));
        Ok(Box::new(Pair::new(recipe, network, seed, mean, false, device)?))
    }
}

/// A checkpoint of a run with the bytes of its shards. Damaged checkpoints that were skipped are
/// printed.
///
/// A running training may replace a checkpoint at any moment; then the newer one is taken.
///
/// # Errors
/// If there is none, or the one asked for is damaged.
pub(crate) fn checkpoint(dir: &RunDir, which: WhichCheckpoint) -> Result<Loaded> {
    let (loaded, refused) = match which {
        WhichCheckpoint::Best => dir.load_best()?,
        WhichCheckpoint::Last => dir.load_newest()?,
        WhichCheckpoint::Step(step) => match dir.load_at(step) {
            Err(coordinator::Error::NoCheckpoint { .. }) => return Err(no_such(dir, step)?),
            loaded => (loaded?, Vec::new()),
        },
    };
    for sentence in refused {
        print::note(sentence);
    }
    Ok(loaded)
}

/// Refuses a run that has no such checkpoint, without reading one.
///
/// # Errors
/// If there is none.
pub(crate) fn expect_checkpoint(dir: &RunDir, which: WhichCheckpoint) -> Result<()> {
    let steps = dir.steps()?;
    match which {
        WhichCheckpoint::Step(step) if !steps.contains(&step) => Err(no_such(dir, step)?),
        _ if steps.is_empty() => {
            let (path, which) = (dir.path.clone(), String::new());
            Err(coordinator::Error::NoCheckpoint { path, which })?
        }
        _ => Ok(()),
    }
}

/// A step without a checkpoint, with the steps that have one.
fn no_such(dir: &RunDir, step: u64) -> Result<anyhow::Error> {
    let steps: Vec<String> = dir.steps()?.iter().map(u64::to_string).collect();
    let existing = if steps.is_empty() { "none".into() } else { steps.join(", ") };
    let path = print::path(&dir.path);
    Ok(anyhow!("{path} has no checkpoint of step {step}; existing steps: {existing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_pictures_at_a_time_than_the_run_or_the_call_has() {
        let recipe = Recipe { batch: 128, ..Recipe::default() };
        assert_eq!((batch(&recipe, 3), batch(&recipe, 1000)), (3, 128));
        let f16 = Recipe { wire: Encoding::F16, ..recipe };
        assert_eq!(batch(&f16, 1000), 1, "f16 depends on the neighbors");
    }
}
