//! A trained network in this process, both halves, for `eval` and `predict`.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use coordinator::checkpoint::Manifest;
use coordinator::run_dir::RunDir;
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::half::Mean;
use gpu_worker::pair::Pair;
use gpu_worker::receive::Minibatch;
use gpu_worker::step::Output;
use model::recipe::Recipe;
use model::shape::Network;

use crate::options::WhichCheckpoint;
use crate::print;

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
    pair: Pair<Cpu>,
}

impl Trained {
    /// The network of a run's checkpoint, for minibatches of at most `batch` pictures.
    ///
    /// # Errors
    /// If the folder is no run, or the checkpoint is damaged or another network's.
    pub(crate) fn load(run: &Path, which: WhichCheckpoint, batch: usize) -> Result<Self> {
        let dir = RunDir::open(run)?;
        let manifest = checkpoint(&dir, which)?;
        let data = dir.data_set()?;
        let (classes, side) = (data.classes.clone(), data.side as usize);
        let network = Network::new(&dir.recipe, classes.len())?;
        let mean = Mean { side, values: dir.mean()? };
        let mut recipe = dir.recipe.clone();
        recipe.batch = batch.clamp(1, recipe.batch); // memory for what is asked, not for training
        let threads = cores() / network.columns;
        let device = || Ok(Cpu::new(threads.max(1)));
        let mut pair = Pair::new(&recipe, &network, dir.record.seed, &mean, false, device)?;
        let names = manifest.shards.iter().map(|shard| shard.file.clone());
        let shards: Vec<(String, Bytes)> = names.zip(shards(&dir, &manifest)?).collect();
        pair.restore(&shards)?;
        Ok(Self { recipe, classes, side, step: manifest.step, pair })
    }

    /// Runs a minibatch forward.
    ///
    /// # Errors
    /// If the minibatch doesn't fit the network.
    pub(crate) fn test(&mut self, minibatch: &Minibatch) -> Result<Output> {
        // Batch and view only tell exchanges apart, of which there is one at a time here.
        Ok(self.pair.test(minibatch, 0, 0)?)
    }
}

/// Numbers of the views that are averaged.
pub(crate) fn views(views: u32) -> std::ops::RangeInclusive<u32> {
    match views {
        1 => 0..=0,
        _ => 1..=10,
    }
}

/// A checkpoint of a run. Damaged checkpoints that were skipped are printed.
///
/// # Errors
/// If there is none, or the one asked for is damaged.
pub(crate) fn checkpoint(dir: &RunDir, which: WhichCheckpoint) -> Result<Manifest> {
    match which {
        WhichCheckpoint::Best | WhichCheckpoint::Last => {
            let (manifest, refused) =
                if which == WhichCheckpoint::Best { dir.best()? } else { dir.newest()? };
            refused.iter().for_each(print::line);
            Ok(manifest)
        }
        WhichCheckpoint::Step(step) => {
            let steps = dir.steps()?;
            if !steps.contains(&step) {
                let there: Vec<String> = steps.iter().map(u64::to_string).collect();
                let there = if there.is_empty() { "none".into() } else { there.join(", ") };
                bail!(
                    "{} has no checkpoint of step {step}; existing steps: {there}",
                    dir.path.display()
                );
            }
            Ok(dir.at(step)?)
        }
    }
}

/// The bytes of a checkpoint's shards, half A first.
///
/// # Errors
/// If one can't be read.
pub(crate) fn shards(dir: &RunDir, manifest: &Manifest) -> Result<Vec<Bytes>> {
    let paths = (0..manifest.shards.len()).filter_map(|i| manifest.shard_path(&dir.path, i));
    let read = |path: std::path::PathBuf| {
        let bytes = std::fs::read(&path);
        bytes.map(Bytes::from).with_context(|| format!("{} can't be read", path.display()))
    };
    paths.map(read).collect()
}

/// A loader's minibatch in the form that a worker receives.
pub(crate) fn received(batch: &loader::batch::Minibatch) -> Minibatch {
    Minibatch::from_wire(batch.into(), vec![batch.pixels.clone()])
        .expect("a loader's minibatch has one label, crop and shift per image")
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
