//! The whole network in one process: both halves on two threads, or an uncut network on one.
//!
//! `eval`, `predict` and fast tests get the same bits as a run of two processes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use model::halves::{Partition, Plan};
use model::recipe::Recipe;
use model::shape::Network;

use crate::backend::Backend;
use crate::error::Result;
use crate::exchange::in_process::{InProcessPeer, pair};
use crate::exchange::{BatchId, Exchange, Peer};
use crate::network::{DeviceNetwork, Mean};
use crate::receive::Minibatch;
use crate::step::{Done, Output};
use crate::update::Rates;

/// Longer than any step: a thread of this process can only be slow, not gone.
const DEADLINE: Duration = Duration::from_secs(3600);

/// The partitions of one network, each on its own device.
#[derive(Debug)]
pub struct Pair<B: Backend> {
    partitions: Vec<OnDevice<B>>,
    recipe: Recipe,
}

/// One partition, with its device and its end of the exchange.
#[derive(Debug)]
struct OnDevice<B: Backend> {
    dev: B,
    half: DeviceNetwork<B>,
    peer: Option<InProcessPeer>,
}

impl<B: Backend> Pair<B>
where
    B::Floats: Sync,
    B::Bytes: Sync,
{
    /// A network with its initial values: cut in two, or uncut if `whole` (the reference).
    ///
    /// `device` makes a device for each partition.
    ///
    /// # Errors
    /// The device's.
    pub fn new(
        recipe: &Recipe,
        network: &Network,
        seed: u64,
        mean: &Mean,
        whole: bool,
        mut device: impl FnMut() -> Result<B>,
    ) -> Result<Self> {
        let cut = Partition::of(if whole { 1 } else { network.columns });
        let (to_b, to_a) = pair();
        let mut ends = [to_b, to_a].into_iter();
        let mut partitions = Vec::new();
        for partition in cut {
            let mut dev = device()?;
            let plan = Plan::new(network, recipe, *partition);
            let half = DeviceNetwork::new(&mut dev, plan, recipe, seed, mean)?;
            let peer = if *partition == Partition::Whole { None } else { ends.next() };
            partitions.push(OnDevice { dev, half, peer });
        }
        Ok(Self { partitions, recipe: recipe.clone() })
    }

    /// Restores the state of a checkpoint: one shard per partition, half A first.
    ///
    /// # Errors
    /// [`crate::Error::Shard`] if one doesn't fit.
    pub fn restore(&mut self, shards: &[(String, Bytes)]) -> Result<()> {
        for (partition, (name, shard)) in self.partitions.iter_mut().zip(shards) {
            partition.half.restore(&mut partition.dev, name, shard)?;
        }
        Ok(())
    }

    /// Starts from the weights of a whole network; returns the layers that don't fit, each with the
    /// reason.
    ///
    /// # Errors
    /// [`crate::Error::Shard`] if the file can't be read or no layer fits, and the device's.
    pub fn start_from(
        &mut self,
        name: &str,
        file: &Bytes,
        other_classes: bool,
    ) -> Result<Vec<String>> {
        let mut anew = Vec::new();
        for OnDevice { dev, half, .. } in &mut self.partitions {
            anew = half.start_from(dev, name, file, other_classes)?;
        }
        Ok(anew)
    }

    /// Runs a minibatch forward in evaluation mode; `batch` and `view` are its number.
    ///
    /// # Errors
    /// The device's, or a minibatch that doesn't fit the plan.
    pub fn test(&mut self, minibatch: &Minibatch, batch: u64, view: u32) -> Result<Output> {
        let id = BatchId::Eval { batch, view };
        let mut outputs = self.each(id, minibatch.digest, |on, exchange| {
            on.half.test(&mut on.dev, exchange, minibatch)
        })?;
        Ok(outputs.swap_remove(0))
    }

    /// Activations of a layer for the `n` images of the last [`Pair::test`], `[n, len]`: in each
    /// image half A's maps or units come first, as the next layer reads them.
    ///
    /// # Errors
    /// [`crate::Error::NoLayer`], or the device's.
    pub fn activations(&mut self, layer: &str, n: usize) -> Result<Vec<f32>> {
        let of = |on: &mut OnDevice<B>| on.half.activations(&mut on.dev, layer, n);
        let parts: Vec<Vec<f32>> = self.partitions.iter_mut().map(of).collect::<Result<_>>()?;
        let mut joined = Vec::with_capacity(parts.iter().map(Vec::len).sum());
        for image in 0..n {
            for part in &parts {
                let len = part.len() / n;
                joined.extend_from_slice(&part[image * len..][..len]);
            }
        }
        Ok(joined)
    }

    /// Sets whether the next steps are timed.
    pub fn time(&mut self, timed: bool) {
        self.partitions.iter_mut().for_each(|on| on.half.time(timed));
    }

    /// Trains all partitions on one minibatch; the result is half A's.
    ///
    /// # Errors
    /// Those of a worker's step.
    pub fn step(&mut self, minibatch: &Minibatch, step: u64, rates: Rates) -> Result<Done> {
        Ok(self.step_of_each(minibatch, step, rates)?.swap_remove(0))
    }

    /// Trains all partitions on one minibatch; there is a result for each, half A first.
    ///
    /// # Errors
    /// The same errors as a worker's step.
    pub fn step_of_each(
        &mut self,
        minibatch: &Minibatch,
        step: u64,
        rates: Rates,
    ) -> Result<Vec<Done>> {
        self.each(BatchId::Train(step), minibatch.digest, |on, exchange| {
            on.half.step(&mut on.dev, exchange, minibatch, step, rates)
        })
    }

    /// The shard of each partition, half A first.
    ///
    /// # Errors
    /// The device's.
    pub fn shards(&mut self, step: u64) -> Result<Vec<Vec<u8>>> {
        self.partitions.iter_mut().map(|on| on.half.shard(&mut on.dev, step)).collect()
    }

    /// The gradients of each partition by parameter name, half A first.
    ///
    /// # Errors
    /// The device's.
    pub fn gradients(&mut self) -> Result<Vec<BTreeMap<String, Vec<f32>>>> {
        self.partitions.iter_mut().map(|on| on.half.gradients(&mut on.dev)).collect()
    }

    fn each<T: Send>(
        &mut self,
        batch: BatchId,
        digest: u64,
        work: impl Fn(&mut OnDevice<B>, Exchange<'_>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let encoding = self.recipe.wire;
        let work = &work;
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .partitions
                .iter_mut()
                .map(|on| {
                    scope.spawn(move || {
                        let mut peer = on.peer.take();
                        let as_peer = peer.as_mut().map(|p| p as &mut dyn Peer);
                        let exchange = Exchange::new(as_peer, batch, digest, encoding, DEADLINE);
                        let result = work(on, exchange);
                        // A failed partition drops its end, so that the other one does not wait.
                        if result.is_ok() {
                            on.peer = peer;
                        }
                        result
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        })
    }
}
