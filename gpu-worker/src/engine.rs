//! The engine thread: carries out the coordinator's commands, one after another, on its device.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use model::halves::{self, Partition, Plan};
use model::recipe::Encoding;
use model::shape::Network;
use net::{FOR_MACHINES, FOR_PEOPLE};
use proto::step::packed;
use proto::timing::is_timed;
use proto::wire::{
    self, BatchRequest, Begin, Checkpoint, Evaluate, Failed, Halt, Halted, Ready, Saved, Split,
    StepDone, Train, WorkerEvent, worker_event::Event,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::backend::Backend;
use crate::checkpoint::store::Store;
use crate::error::{Error, Result};
use crate::exchange::grpc::GrpcPeer;
use crate::exchange::{BatchId, Direction, Exchange, Peer, ms};
use crate::interrupt::Interrupt;
use crate::network::DeviceNetwork;
use crate::receive::check::Pictures;
use crate::receive::{Feed, Loaders, Minibatch};
use crate::step::Done;
use crate::timing::Timing;
use crate::update::Rates;

mod evaluate; // one evaluation
mod timed; // the report of a timed step

use timed::DataWait;

/// Number of minibatches that are requested before they are needed.
const AHEAD: u64 = 2;

/// A command from the network thread.
pub(crate) enum Command {
    /// A new incarnation, with its connection to the other half and to the coordinator's store.
    Begin(Box<Begin>, Option<GrpcPeer>, Store),
    Train(Train),
    Evaluate(Evaluate),
    Checkpoint(Checkpoint),
    Halt(Halt),
}

/// The network thread, as the engine needs it.
pub(crate) struct NetworkThread {
    pub(crate) handle: Handle,
    pub(crate) events: UnboundedSender<WorkerEvent>,
    pub(crate) loaders: Arc<Loaders>,
    pub(crate) peer_deadline: Duration,
    pub(crate) data_deadline: Duration,
    pub(crate) interrupt: Interrupt,
}

/// Carries out commands until the network thread drops its end.
///
/// Returns an error if the device can't be used any more; then the process must end.
pub(crate) fn engine<B: Backend>(
    mut dev: B,
    commands: &Receiver<Command>,
    network: &NetworkThread,
) -> Option<Error> {
    let mut run: Option<Running<B>> = None;
    while let Ok(command) = commands.recv() {
        let incarnation = match &command {
            Command::Begin(begin, ..) => begin.incarnation,
            Command::Train(Train { incarnation, .. })
            | Command::Evaluate(Evaluate { incarnation, .. })
            | Command::Checkpoint(Checkpoint { incarnation, .. })
            | Command::Halt(Halt { incarnation, .. }) => *incarnation,
        };
        let done = match (command, &mut run) {
            (Command::Begin(begin, peer, store), _) => {
                // The old state is dropped first: two at once may not fit the device.
                drop(run.take());
                let new = Running::begin(&mut dev, *begin, peer, store, network);
                new.map(|new| run = Some(new))
            }
            (_, Some(running)) if running.incarnation != incarnation => Ok(()),
            (Command::Train(train), Some(running)) => running.train(&mut dev, &train, network),
            (Command::Evaluate(evaluate), Some(running)) => {
                running.evaluate(&mut dev, &evaluate, network)
            }
            (Command::Checkpoint(checkpoint), Some(running)) => {
                running.checkpoint(&mut dev, &checkpoint, network)
            }
            (Command::Halt(_), Some(running)) => {
                network.send(Event::Halted(Halted { incarnation, step: running.step }));
                Ok(())
            }
            (_, None) => Ok(()), // commands sent before the coordinator learned of a failure
        };
        if let Err(error) = done {
            if let Error::Interrupted = error {
                debug!(incarnation, "interrupted");
                continue;
            }
            warn!(error = %error, incarnation, "this incarnation failed here");
            let (reason, retry) = (error.to_string(), error.can_retry());
            let (shared, blame) = (error.is_shared(), error.blame().into());
            // Before the connection ends, or the other half would report "peer lost" first.
            network.send(Event::Failed(Failed { incarnation, reason, retry, shared, blame }));
            if let Error::DeviceFault { .. } = error {
                return Some(error);
            }
            run = None;
        }
    }
    None
}

impl NetworkThread {
    /// Waits for the network, unless the incarnation is interrupted meanwhile.
    fn wait<T>(&self, incarnation: u64, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.handle.block_on(async {
            tokio::select! {
                biased;
                done = work => done,
                () = self.interrupt.stopped(incarnation) => Err(Error::Interrupted),
            }
        })
    }

    fn send(&self, event: Event) {
        // If the network thread is gone the engine's commands end too.
        let _ = self.events.send(WorkerEvent { event: Some(event) });
    }
}

/// One incarnation, from its command to begin.
struct Running<B: Backend> {
    incarnation: u64,
    half: DeviceNetwork<B>,
    /// `A`, `B` or `whole`, for spans.
    name: &'static str,
    /// Whether this partition logs evaluations: half A and the whole do.
    reports: bool,
    peer: Option<GrpcPeer>,
    store: Store,
    feed: Feed,
    /// The fields that all requests of this run share.
    request: BatchRequest,
    n_val: u64,
    step: u64,
    timing_every: u64,
    encoding: Encoding,
    deadline: Duration,
}

impl<B: Backend> Running<B> {
    fn begin(
        dev: &mut B,
        begin: Begin,
        peer: Option<GrpcPeer>,
        store: Store,
        network: &NetworkThread,
    ) -> Result<Self> {
        let invalid = |e: &dyn std::fmt::Display| Error::Command(e.to_string());
        let partition = proto::convert::partition(begin.partition).map_err(|e| invalid(&e))?;
        let recipe = proto::convert::recipe(&begin.recipe).map_err(|e| invalid(&e))?;
        let sized = Network::new(&recipe, begin.classes as usize).map_err(|e| invalid(&e))?;
        let name = partition.label();
        let span = info_span!("begin", half = name, incarnation = begin.incarnation).entered();
        let pictures = Arc::new(Pictures::of(&begin)?);
        let mean = network.loaders.clone().mean(pictures.clone(), network.data_deadline);
        let mean = network.wait(begin.incarnation, mean)?;
        let working = dev.watch().working();
        let plan = Plan::new(&sized, &recipe, partition);
        let mut half = DeviceNetwork::new(dev, plan, &recipe, begin.seed, &mean)?;
        drop(working);
        let mut begun_anew = Vec::new();
        if begin.shard.is_empty() && begin.start.is_empty() {
            info!(step = begin.step, device = dev.name(), "initial values");
        } else if begin.shard.is_empty() {
            let file = store.get(&begin.start, &begin.start_sha256);
            let file = network.wait(begin.incarnation, file)?;
            let _working = dev.watch().working();
            begun_anew = half.start_from(dev, &begin.start, &file, begin.other_classes)?;
            info!(device = dev.name(), from = begin.start, "weights of another run");
        } else {
            let shard = store.get(&begin.shard, &begin.shard_sha256);
            let shard = network.wait(begin.incarnation, shard)?;
            let _working = dev.watch().working();
            half.restore(dev, &begin.shard, &shard)?;
            info!(step = begin.step, device = dev.name(), shard = begin.shard, "restored");
        }
        drop(span);
        let request = BatchRequest {
            data_set: begin.data_set,
            split: Split::Train.into(),
            step: begin.step,
            n_images: recipe.batch as u32,
            seed: begin.seed,
            crop: recipe.crop as u32,
            crop_offsets: recipe.crop_offsets as u32,
            flip: recipe.flip,
            color_noise: recipe.color_noise,
            view: 0,
            traced: false,
            next_step: None, // chosen for each loader
        };
        let (handle, loaders) = (network.handle.clone(), network.loaders.clone());
        let present = (begin.incarnation, network.interrupt.clone());
        let feed = Feed::new(handle, loaders, pictures, network.data_deadline, present);
        let (incarnation, step) = (begin.incarnation, begin.step);
        network.send(Event::Ready(Ready { incarnation, step, begun_anew }));
        Ok(Self {
            incarnation,
            half,
            name,
            reports: partition != Partition::Half(halves::Half::B),
            peer,
            store,
            feed,
            request,
            n_val: begin.n_val,
            step,
            timing_every: begin.timing_every,
            encoding: recipe.wire,
            deadline: network.peer_deadline,
        })
    }

    fn train(&mut self, dev: &mut B, command: &Train, network: &NetworkThread) -> Result<()> {
        let _worker = info_span!("worker", half = self.name).entered();
        let rates = Rates { weights: command.rate, biases: command.bias_rate };
        while self.step < command.until && !network.interrupt.stops(self.incarnation) {
            let step = self.step;
            let _step = info_span!("step", step).entered();
            for ahead in 0..=AHEAD {
                self.feed.request(self.training_request(step + ahead, command.color_noise));
            }
            let request = self.training_request(step, command.color_noise);
            let began = Instant::now();
            let (minibatch, data_wait) = {
                let _span = tracing::debug_span!("receive").entered();
                self.feed.take(&request)?
            };
            let timed = is_timed(step + 1, self.timing_every);
            let (half, exchange) = self.exchange(BatchId::Train(step), &minibatch);
            half.time(timed);
            let working = dev.watch().working();
            let mut done = half.step(dev, exchange, &minibatch, step, rates)?;
            drop(working);
            self.step += 1;
            network.interrupt.done(self.incarnation, self.step);
            let data_wait_ms = ms(data_wait);
            self.record(&done, data_wait_ms);
            if let Some(timing) = done.timing.take() {
                self.send_timing(timing, &done, DataWait { began, took: data_wait }, network);
            }
            self.send_sent_spans(network);
            network.send(Event::StepDone(self.step_done(&done, data_wait_ms)));
        }
        Ok(())
    }

    fn training_request(&self, step: u64, color_noise: f64) -> BatchRequest {
        let traced = is_timed(step + 1, self.timing_every);
        BatchRequest { step, color_noise, traced, ..self.request.clone() }
    }

    /// The exchange of one minibatch, which borrows the connection, and beside it the half.
    fn exchange(
        &mut self,
        batch: BatchId,
        minibatch: &Minibatch,
    ) -> (&mut DeviceNetwork<B>, Exchange<'_>) {
        let peer = self.peer.as_mut().map(|peer| peer as &mut dyn Peer);
        (&mut self.half, Exchange::new(peer, batch, minibatch.digest, self.encoding, self.deadline))
    }

    fn step_done(&self, done: &Done, data_wait_ms: f64) -> StepDone {
        StepDone {
            incarnation: self.incarnation,
            step: self.step,
            loss: done.loss,
            top1_error: done.top1_error,
            top5_error: done.top5_error,
            step_ms: done.step_ms + data_wait_ms,
            compute_ms: done.compute_ms,
            exchange_wait_ms: done.total(|c| c.wait_ms),
            peer_late_ms: done.total(|c| c.late_ms),
            data_wait_ms,
            transfer_ms: done.total(|c| c.transfer_ms),
            exchange_bytes: done.exchange.iter().map(|c| c.bytes).sum(),
            forward_received: packed(&done.checksums(Direction::Forward)),
            backward_received: packed(&done.checksums(Direction::Backward)),
        }
    }

    /// Logs the step.
    ///
    /// In the JSON log the first and each timed step are at info. In the log for people all steps
    /// are at debug, since the coordinator logs the progress.
    fn record(&self, done: &Done, data_wait_ms: f64) {
        let (step_ms, compute_ms) = (rounded(done.step_ms), rounded(done.compute_ms));
        let exchange_wait_ms = rounded(done.total(|c| c.wait_ms));
        let peer_late_ms = rounded(done.total(|c| c.late_ms));
        let data_wait_ms = rounded(data_wait_ms);
        macro_rules! step_done {
            ($level:ident, $($name:tt)*) => {
                $level!($($name)* step_ms, compute_ms, exchange_wait_ms, peer_late_ms,
                    data_wait_ms, "step done")
            };
        }
        if self.step == 1 || done.timing.is_some() {
            step_done!(info, name: FOR_MACHINES,);
            step_done!(debug, name: FOR_PEOPLE,);
        } else {
            step_done!(debug,);
        }
    }

    /// Logs and sends the times of a timed step.
    fn send_timing(&self, mut timing: Timing, done: &Done, at: DataWait, network: &NetworkThread) {
        timing.waited_for_data(ms(at.took));
        timed::record(&timing.layers);
        let step_ms = done.step_ms + ms(at.took);
        network.send(Event::Timing(wire::Timing {
            incarnation: self.incarnation,
            step: self.step,
            step_ms,
            rest_ms: rounded(timing.rest_ms(step_ms)),
            layers: timed::layers(&timing.layers),
            spans: timed::spans(self.name, self.step, at, done, &timing),
        }));
    }

    /// Sends the spans of tensors that were sent in timed steps.
    ///
    /// The last ones may be in transit when their step ends, so this is called again after the next
    /// step, and before an evaluation or checkpoint.
    fn send_sent_spans(&mut self, network: &NetworkThread) {
        let Some(peer) = &mut self.peer else { return };
        let (incarnation, step, every) = (self.incarnation, self.step, self.timing_every);
        let spans = timed::sent(self.name, peer.sent(), |step| is_timed(step, every));
        if !spans.is_empty() {
            network.send(Event::Timing(wire::Timing {
                incarnation,
                step,
                spans,
                ..wire::Timing::default()
            }));
        }
    }

    /// Checks that a command at a boundary names the step that this half has reached.
    fn check_at(&self, step: u64) -> Result<()> {
        if step == self.step {
            return Ok(());
        }
        Err(Error::Command(format!("for step {step}, but this half is at step {}", self.step)))
    }

    fn checkpoint(
        &mut self,
        dev: &mut B,
        command: &Checkpoint,
        network: &NetworkThread,
    ) -> Result<()> {
        let _worker = info_span!("worker", half = self.name).entered();
        let _span = info_span!("checkpoint", step = command.step).entered();
        self.check_at(command.step)?;
        self.send_sent_spans(network);
        let working = dev.watch().working();
        let shard = self.half.shard(dev, self.step)?;
        drop(working);
        // The upload overlaps with the next steps.
        let store = self.store.clone();
        let (events, incarnation) = (network.events.clone(), self.incarnation);
        let Checkpoint { step, shard: name, .. } = command.clone();
        let sent = async move {
            let bytes = shard.len() as u64;
            let put = store.put(&name, incarnation, shard.into()).await;
            // A checkpoint that can't be stored doesn't end training: earlier ones are intact.
            let (sha256, error) = match put {
                Ok(sha256) => (sha256, String::new()),
                Err(error) => {
                    warn!(error = %error, step, "this checkpoint was not kept; training continues");
                    (String::new(), error.to_string())
                }
            };
            let saved = Saved { incarnation, step, sha256, bytes, error };
            let _ = events.send(WorkerEvent { event: Some(Event::Saved(saved)) });
        };
        network.handle.spawn(sent.in_current_span());
        Ok(())
    }
}

/// Rounds to three decimals, which is enough for logs and records.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
