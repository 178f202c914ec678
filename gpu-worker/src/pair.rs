//! The whole network in one process: both halves on two threads with a peer in memory, or the one
//! part of a network that isn't cut. `eval`, `predict` and fast tests run the same bits as two
//! processes do.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use model::halves::{Half as Side, Partition, Plan};
use model::recipe::Recipe;
use model::shape::Network;

use crate::backend::Backend;
use crate::error::Result;
use crate::exchange::in_process::{InProcessPeer, pair};
use crate::exchange::{BatchId, Exchange, Peer};
use crate::half::{Half, Mean};
use crate::receive::Minibatch;
use crate::step::{Done, Output};
use crate::update::Rates;

/// Longer than any step: a thread of this process can only be slow, not gone.
const DEADLINE: Duration = Duration::from_secs(3600);

/// The parts of one network, each on its own device.
#[derive(Debug)]
pub struct Pair<B: Backend> {
    parts: Vec<Place<B>>,
    recipe: Recipe,
}

#[derive(Debug)]
struct Place<B: Backend> {
    dev: B,
    half: Half<B>,
    peer: Option<InProcessPeer>,
}

impl<B: Backend> Pair<B>
where
    B::Floats: Sync,
    B::Bytes: Sync,
{
    /// A network with its initial values: cut in two, or as `whole` (the uncut reference).
    ///
    /// `device` makes a device for each part.
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
        let partitions: &[Partition] = if whole || network.columns == 1 {
            &[Partition::Whole]
        } else {
            &[Partition::Half(Side::A), Partition::Half(Side::B)]
        };
        let (to_b, to_a) = pair();
        let mut ends = [to_b, to_a].into_iter();
        let mut parts = Vec::new();
        for partition in partitions {
            let mut dev = device()?;
            let plan = Plan::new(network, recipe, *partition);
            let half = Half::new(&mut dev, plan, recipe, seed, mean)?;
            let peer = if *partition == Partition::Whole { None } else { ends.next() };
            parts.push(Place { dev, half, peer });
        }
        Ok(Self { parts, recipe: recipe.clone() })
    }

    /// Takes the state of a checkpoint: one shard a part, half A's first.
    ///
    /// # Errors
    /// [`crate::Error::Shard`] if one doesn't fit.
    pub fn restore(&mut self, shards: &[(String, Bytes)]) -> Result<()> {
        for (part, (name, shard)) in self.parts.iter_mut().zip(shards) {
            part.half.restore(&mut part.dev, name, shard)?;
        }
        Ok(())
    }

    /// What the network makes of a minibatch, as at test; `batch` and `view` are its number.
    ///
    /// # Errors
    /// The device's, or a minibatch that doesn't fit the plan.
    pub fn test(&mut self, minibatch: &Minibatch, batch: u64, view: u32) -> Result<Output> {
        let id = BatchId::Eval { batch, view };
        let mut outputs = self.each(id, minibatch.digest, |place, exchange| {
            place.half.test(&mut place.dev, exchange, minibatch)
        })?;
        Ok(outputs.swap_remove(0))
    }

    /// Whether the next steps are timed.
    pub fn time(&mut self, timed: bool) {
        self.parts.iter_mut().for_each(|part| part.half.time(timed));
    }

    /// Trains every part on one minibatch; the result is half A's.
    ///
    /// # Errors
    /// As a worker's step.
    pub fn step(&mut self, minibatch: &Minibatch, step: u64, rates: Rates) -> Result<Done> {
        let mut done = self.each(BatchId::Train(step), minibatch.digest, |place, exchange| {
            place.half.step(&mut place.dev, exchange, minibatch, step, rates)
        })?;
        Ok(done.swap_remove(0))
    }

    /// Each part's shard, half A's first.
    ///
    /// # Errors
    /// The device's.
    pub fn shards(&mut self, step: u64) -> Result<Vec<Vec<u8>>> {
        self.parts.iter_mut().map(|p| p.half.shard(&mut p.dev, step)).collect()
    }

    /// Each part's gradients by parameter name, half A's first.
    ///
    /// # Errors
    /// The device's.
    pub fn gradients(&mut self) -> Result<Vec<BTreeMap<String, Vec<f32>>>> {
        self.parts.iter_mut().map(|p| p.half.gradients(&mut p.dev)).collect()
    }

    fn each<T: Send>(
        &mut self,
        batch: BatchId,
        digest: u64,
        work: impl Fn(&mut Place<B>, Exchange<'_>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let encoding = self.recipe.wire;
        let work = &work;
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .parts
                .iter_mut()
                .map(|place| {
                    scope.spawn(move || {
                        let mut peer = place.peer.take();
                        let as_peer = peer.as_mut().map(|p| p as &mut dyn Peer);
                        let exchange = Exchange::new(as_peer, batch, digest, encoding, DEADLINE);
                        let result = work(place, exchange);
                        // A part that failed must not leave the other waiting: its end is dropped.
                        if result.is_ok() {
                            place.peer = peer;
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
