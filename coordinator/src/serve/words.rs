//! Wire ⇄ the words of the state machine.

use model::halves::Partition;
use proto::wire::{self, worker_event};

use super::clock::Clock;
use crate::error::Error;
use crate::event::{Order, Said, Scores, Shard};
use crate::metrics::StepReport;
use crate::status::RunStatus;
use crate::timing::{HalfStep, LayerTime, Timing};

/// A worker's event and the incarnation it belongs to; `clock` is the worker's.
pub(super) fn said(event: wire::WorkerEvent, clock: &Clock) -> Result<(u64, Said), Error> {
    use worker_event::Event as E;
    let event = event.event.ok_or_else(|| Error::Invalid("a worker's empty event".into()))?;
    Ok(match event {
        E::Join(_) => return Err(Error::Invalid("a worker joins only once".into())),
        E::Pong(_) => return Err(Error::Invalid("an answer nobody asked for".into())),
        E::Timing(e) => (e.incarnation, Said::Timing(Box::new(timing(e, clock)))),
        E::Heartbeat(e) => (e.incarnation, Said::Heartbeat),
        E::Ready(e) => (e.incarnation, Said::Ready { step: e.step }),
        E::StepDone(e) => (e.incarnation, Said::StepDone(report(&e))),
        E::Evaluated(e) => {
            let scores = Scores {
                n_images: e.n_images,
                loss: e.loss,
                top1_error: e.top1_error,
                top5_error: e.top5_error,
            };
            (e.incarnation, Said::Evaluated { step: e.step, scores })
        }
        E::Saved(e) => {
            let result = match e.error.is_empty() {
                true => Ok(Shard { sha256: e.sha256, bytes: e.bytes }),
                false => Err(e.error),
            };
            (e.incarnation, Said::Saved { step: e.step, result })
        }
        E::Failed(e) => {
            (e.incarnation, Said::Failed { reason: e.reason, retry: e.retry, shared: e.shared })
        }
    })
}

fn timing(said: wire::Timing, clock: &Clock) -> Timing {
    let layer = |said: wire::LayerTime| LayerTime {
        layer: said.layer,
        pass: said.pass,
        compute_ms: said.compute_ms,
        transfer_ms: said.transfer_ms,
        wait_ms: said.wait_ms,
        peer_late_ms: said.peer_late_ms,
        bytes: said.bytes,
        gb_per_s: said.gb_per_s,
        gflop_per_s: said.gflop_per_s,
    };
    let step = (!said.layers.is_empty()).then(|| HalfStep {
        half: String::new(), // its seat says which
        step: said.step,
        step_ms: said.step_ms,
        rest_ms: said.rest_ms,
        clock_uncertainty_ms: clock.uncertainty_ms(),
        layers: said.layers.into_iter().map(layer).collect(),
    });
    Timing { step, spans: clock.ours(said.spans) }
}

/// Asks for the time.
pub(super) fn ping(ping: wire::Ping) -> wire::WorkerCommand {
    wire::WorkerCommand { command: Some(wire::worker_command::Command::Ping(ping)) }
}

fn report(done: &wire::StepDone) -> StepReport {
    StepReport {
        step: done.step,
        loss: done.loss,
        top1_error: done.top1_error,
        top5_error: done.top5_error,
        step_ms: done.step_ms,
        compute_ms: done.compute_ms,
        exchange_wait_ms: done.exchange_wait_ms,
        peer_late_ms: done.peer_late_ms,
        data_wait_ms: done.data_wait_ms,
        transfer_ms: done.transfer_ms,
        exchange_bytes: done.exchange_bytes,
    }
}

/// What a worker is told that comes after the end.
pub(super) fn finished() -> wire::WorkerCommand {
    order_to_wire(0, Order::Finish { reason: "finished".into(), failed: false })
}

pub(super) fn order_to_wire(incarnation: u64, order: Order) -> wire::WorkerCommand {
    use wire::worker_command::Command as O;
    let order = match order {
        Order::Begin(begin) => {
            let (shard, shard_sha256) = begin.shard.unwrap_or_default();
            let part: Partition = begin.part;
            O::Begin(wire::Begin {
                run_id: begin.run_id,
                incarnation,
                partition: wire::Partition::from(part).into(),
                recipe: begin.recipe,
                classes: begin.classes as u32,
                seed: begin.seed,
                step: begin.step,
                shard,
                shard_sha256,
                peer: begin.peer,
                loaders: begin.loaders,
                data_set: begin.data_set,
                n_train: begin.n_train,
                n_val: begin.n_val,
                timing_every: begin.timing_every,
                token: bytes::Bytes::new(), // its link's: it goes to no log and no file
            })
        }
        Order::Train { until, rate, bias_rate, color_noise } => {
            O::Train(wire::Train { incarnation, until, rate, bias_rate, color_noise })
        }
        Order::Evaluate { step, views } => O::Evaluate(wire::Evaluate { incarnation, step, views }),
        Order::Checkpoint { step, shard } => {
            O::Checkpoint(wire::Checkpoint { incarnation, step, shard })
        }
        Order::Loaders(addresses) => O::Loaders(wire::Loaders { addresses }),
        Order::Finish { reason, failed } => O::Finish(wire::Finish { reason, failed }),
    };
    wire::WorkerCommand { command: Some(order) }
}

pub(crate) fn status_to_wire(status: &RunStatus) -> wire::RunStatus {
    let status = status.clone();
    wire::RunStatus {
        run_id: status.run_id,
        phase: status.phase,
        incarnation: status.incarnation,
        step: status.step,
        steps: status.steps,
        epoch: status.epoch,
        loss: status.loss,
        top1_error: status.top1_error,
        images_per_s: status.images_per_s,
        workers: status.workers,
        loaders: status.loaders,
        checkpoint_step: status.checkpoint_step,
        run_dir: status.run_dir,
        exchange_wait_ms: status.exchange_wait_ms,
        data_wait_ms: status.data_wait_ms,
        eval_top1_error: status.last.as_ref().map_or(0.0, |e| e.top1_error),
        evaluated: status.last.is_some(),
        rate: status.rate,
        notices: status.notices,
    }
}
