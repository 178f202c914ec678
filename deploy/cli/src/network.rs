//! A trained network in this process, both halves, for `eval` and `predict`.

mod views; // pictures through the network, averaged over test views

use anyhow::{Result, bail};
use bytes::Bytes;
use coordinator::run_dir::{Loaded, RunDir};
use gpu_worker::Device;
use gpu_worker::backend::Backend;
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::backend::cuda::{Cuda, Gpu, Options};
use gpu_worker::network::Mean;
use gpu_worker::pair::Pair;
use gpu_worker::receive::Minibatch;
use gpu_worker::step::Output;
use model::recipe::Recipe;
use model::shape::Network;

use crate::options::WhichCheckpoint;
use crate::print;

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
        Ok(Self { recipe, classes, side, step: manifest.step, pair })
    }
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
            Err(coordinator::Error::NoCheckpoint { .. }) => bail!(
                "{} has no checkpoint of step {step}; existing steps: {}",
                print::path(&dir.path),
                existing(dir)?
            ),
            loaded => (loaded?, Vec::new()),
        },
    };
    for sentence in refused {
        print::note(sentence);
    }
    Ok(loaded)
}

/// The steps that have a checkpoint, in words.
fn existing(dir: &RunDir) -> Result<String> {
    let steps: Vec<String> = dir.steps()?.iter().map(u64::to_string).collect();
    Ok(if steps.is_empty() { "none".into() } else { steps.join(", ") })
}
