//! A step of a run's past, computed again from the checkpoint before it. Every number of a step is
//! a function of the weights before it, the seed and the pictures, so the result has the same bits
//! on the same kind of device.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use coordinator::run_dir::{RunDir, Seated};
use gpu_worker::Rates;
use gpu_worker::network::Mean;
use gpu_worker::receive::Minibatch;
use gpu_worker::step::Done;
use loader::Source;
use loader::batch::Request;
use model::halves::Partition;
use model::recipe::Recipe;
use model::shape::Network;

mod other; // the first thing that a half sent and that is computed otherwise here

use super::{BothHalves, checkpoint, on};
use crate::environment::Environment;
use crate::metrics::Step;
use crate::options::{DeviceArgs, WhichCheckpoint};
use crate::print;

/// A run at a step of its past.
#[derive(Debug)]
pub(crate) struct Past<'a> {
    recipe: Recipe,
    seed: u64,
    source: &'a Source,
    pair: Box<dyn BothHalves>,
    /// Number of steps done.
    done: u64,
    /// The device of each half when the run was trained last.
    seats: Vec<Seated>,
}

/// A step that was computed again.
#[derive(Debug)]
pub(crate) struct Again {
    /// Minibatch, as its loader made it.
    pub(crate) minibatch: loader::batch::Minibatch,
    /// Results, before the update.
    pub(crate) done: Done,
}

impl<'a> Past<'a> {
    /// The newest state of a run before step `step`, counted from 1, that can be loaded: a
    /// checkpoint, or the start.
    ///
    /// # Errors
    /// If the pictures are not those of the run, or a device can't be used.
    pub(crate) fn before(
        dir: &RunDir,
        step: u64,
        source: &'a Source,
        asked: &DeviceArgs,
        environment: &Environment,
    ) -> Result<Self> {
        let (data, there) = (dir.data_set()?, source.describe());
        ensure!(
            data.digest == there.digest,
            "these are other pictures than those that the run was trained on: {:?} with digest \
             {:.12}, and the run has {:?} with digest {:.12}; prepare the run's own pictures, or \
             name their folder with --data",
            there.name,
            there.digest,
            data.name,
            data.digest
        );
        let (side, classes) = (data.side as usize, data.classes.len());
        let network = Network::new(&dir.recipe, classes)?;
        let mean = Mean { side, values: dir.mean()? };
        let mut pair = on(asked, dir.recipe.columns, environment, |devices, _| {
            devices.pair(&dir.recipe, &network, dir.record.seed, &mean)
        })?;
        let kept = dir.steps()?;
        let before = kept.into_iter().rev().filter(|kept| *kept < step);
        let mut done = 0;
        for kept in before {
            match checkpoint(dir, WhichCheckpoint::Step(kept)) {
                Ok((manifest, shards)) => {
                    let names = manifest.shards.iter().map(|shard| shard.file.clone());
                    pair.restore(&names.zip(shards).collect::<Vec<_>>())?;
                    done = kept;
                    break;
                }
                // Imported weights are nowhere else.
                Err(error) if kept == 0 => return Err(error),
                Err(error) => print::note(format_args!("step {kept} is not used: {error:#}")),
            }
        }
        if let (0, Some(start)) = (done, &dir.record.start) {
            let weights = Bytes::from(start.load(&dir.path)?);
            let others = start.are_others(&data.classes);
            pair.start_from(&start.in_words(), &weights, others)?;
        }
        let (recipe, seed) = (dir.recipe.clone(), dir.record.seed);
        let seats = dir.record.seats.clone();
        Ok(Self { recipe, seed, source, pair, done, seats })
    }

    /// Number of steps done.
    pub(crate) fn done(&self) -> u64 {
        self.done
    }

    /// Computes the next step again, and compares it with the record.
    ///
    /// # Errors
    /// If a device fails, a picture can't be read, or a half sent something else than on record, or
    /// the loss has other bits.
    pub(crate) fn next(&mut self, recorded: &Step) -> Result<Again> {
        let number = recorded.figures.step;
        ensure!(number == self.done + 1, "step {number} is not the one after step {}", self.done);
        let n_train = self.source.describe().n_train;
        let request = Request::of_training(&self.recipe, self.seed, self.done, n_train);
        let minibatch = self.source.minibatch(&request)?;
        let rates = rates(&self.recipe, recorded)?;
        let mut of_each = self.pair.train(&as_received(&minibatch)?, self.done, rates)?;
        self.done += 1;
        if let (Some(sent), [a, b]) = (&recorded.sent, of_each.as_slice())
            && let Some(other) = other::first(sent, [a, b])
        {
            bail!("{}", other.in_words(number, &self.seats));
        }
        let done = of_each.swap_remove(0);
        let loss = recorded.figures.loss;
        ensure!(
            done.loss.to_bits() == loss.to_bits(),
            "step {number}: the loss is {} here, and {loss} on record. {}",
            done.loss,
            other::PROMISE
        );
        Ok(Again { minibatch, done })
    }

    /// Compares weights and momentum after the last step with the run's checkpoint of that step;
    /// returns false if there is none, or none that is undamaged.
    ///
    /// # Errors
    /// If a half has other bits there, the checkpoint can't be read, or a device fails.
    pub(crate) fn equals_checkpoint(&mut self, dir: &RunDir) -> Result<bool> {
        let step = self.done;
        let shards = match dir.load_at(step) {
            Err(coordinator::Error::NoCheckpoint { .. }) => return Ok(false),
            Err(error @ coordinator::Error::Damaged { .. }) => {
                print::note(format_args!(
                    "step {step} is not compared with its checkpoint: {error}"
                ));
                return Ok(false);
            }
            loaded => loaded?.1,
        };
        let here = self.shards()?;
        ensure!(shards.len() == here.len(), "the checkpoint of step {step} is another network's");
        let cut = Partition::of(self.recipe.columns);
        let differ = cut.iter().zip(shards.iter().zip(&here)).filter(|(_, (a, b))| *a != *b);
        let differ: Vec<Partition> = differ.map(|(partition, _)| *partition).collect();
        if !differ.is_empty() {
            bail!("{}", other::weights_in_words(&differ, step, &self.seats));
        }
        Ok(true)
    }

    /// The shard of each partition after the last step, half A first.
    ///
    /// # Errors
    /// The device's.
    pub(crate) fn shards(&mut self) -> Result<Vec<Vec<u8>>> {
        Ok(self.pair.shards(self.done)?)
    }

    /// The gradients of each partition in the last step, half A first.
    ///
    /// # Errors
    /// The device's.
    pub(crate) fn gradients(&mut self) -> Result<Vec<BTreeMap<String, Vec<f32>>>> {
        Ok(self.pair.gradients()?)
    }
}

/// A minibatch as a worker receives it.
pub(super) fn as_received(minibatch: &loader::batch::Minibatch) -> Result<Minibatch> {
    Minibatch::from_wire(minibatch.into(), vec![minibatch.pixels.clone()])
        .map_err(anyhow::Error::msg)
        .context("a minibatch that the loader made can't be used")
}

/// The rates of a recorded step; the record has that of the weights.
fn rates(recipe: &Recipe, recorded: &Step) -> Result<Rates> {
    let most = recorded.epoch.max(0.0) as u32 + recipe.rate_drops + 1;
    let Some(drops) = (0..=most).find(|drops| recipe.rate_after(*drops) == recorded.rate) else {
        bail!(
            "step {} was trained at rate {}, which the run's recipe never reaches",
            recorded.figures.step,
            recorded.rate
        );
    };
    Ok(Rates { weights: recorded.rate, biases: recipe.bias_rate_after(drops) })
}

#[cfg(test)]
mod tests {
    use proto::step::StepFigures;

    use super::*;

    #[test]
    fn the_rate_of_the_biases_follows_from_that_of_the_weights() {
        let recipe = Recipe::builtin("original").unwrap();
        let at = |rate| Step {
            rate,
            epoch: 60.0,
            figures: StepFigures { step: 7, ..StepFigures::default() },
            ..Step::default()
        };
        let found = rates(&recipe, &at(recipe.rate_after(2))).unwrap();
        assert_eq!(found, Rates { weights: recipe.rate_after(2), biases: 0.02 });
        assert!(rates(&recipe, &at(0.123)).unwrap_err().to_string().contains("never reaches"));
    }
}
