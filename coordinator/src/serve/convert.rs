//! Conversions between wire types and the vocabulary of the state machine.

use proto::command::Command;
use proto::wire::{self, worker_event};

use super::clock::Clock;
use crate::error::Error;
use crate::record::timing::{HalfStep, Timing};
use crate::run::event::{Event, LoaderId, Magnitude, Scores, Shard, WorkerId, WorkerMessage};
use crate::run::status::RunStatus;

/// The event of a worker that joined.
pub(super) fn joined(worker: WorkerId, join: wire::Join) -> Event {
    let kind = join.device_kind();
    Event::WorkerJoined { worker, device: join.device, kind, address: join.exchange }
}

/// The event of a worker whose experience with a loader has changed.
pub(super) fn loader_judged(worker: WorkerId, judged: wire::LoaderJudged) -> Event {
    let standing = judged.standing();
    let wire::LoaderJudged { session, why, .. } = judged;
    Event::LoaderJudged { worker, loader: LoaderId(session), standing, why }
}

/// A worker's message and its incarnation; `clock` is the worker's.
pub(super) fn message(
    event: wire::WorkerEvent,
    clock: &Clock,
) -> Result<(u64, WorkerMessage), Error> {
    use worker_event::Event as E;
    Ok(match event.event.ok_or(Error::Message("a worker's event is empty"))? {
        E::Join(_) => return Err(Error::Message("a worker joins only once")),
        E::LoaderJudged(_) => return Err(Error::Message("a loader is judged elsewhere")),
        E::Pong(_) => return Err(Error::Message("a worker answered a ping that was not sent")),
        E::Timing(e) => (e.incarnation, WorkerMessage::Timing(Box::new(timing(e, clock)))),
        E::Heartbeat(e) => (e.incarnation, WorkerMessage::Heartbeat),
        E::Ready(e) => {
            let wire::Ready { incarnation, step, begun_anew } = e;
            (incarnation, WorkerMessage::Ready { step, begun_anew })
        }
        E::StepDone(figures) => (figures.incarnation, WorkerMessage::StepDone(figures)),
        E::Evaluated(e) => {
            let scores = Scores {
                n_images: e.n_images,
                loss: e.loss,
                top1_error: e.top1_error,
                top5_error: e.top5_error,
            };
            let magnitudes = e.magnitudes.into_iter().map(magnitude).collect();
            (e.incarnation, WorkerMessage::Evaluated { step: e.step, scores, magnitudes })
        }
        E::Saved(e) => {
            let result = match e.error.is_empty() {
                true => Ok(Shard { sha256: e.sha256, bytes: e.bytes }),
                false => Err(e.error),
            };
            (e.incarnation, WorkerMessage::Saved { step: e.step, result })
        }
        E::Halted(e) => (e.incarnation, WorkerMessage::Halted { step: e.step }),
        E::Leaving(_) => return Err(Error::Message("a worker's leaving is no message of its run")),
        E::Failed(e) => {
            let blame = e.blame();
            let wire::Failed { incarnation, reason, retry, shared, .. } = e;
            (incarnation, WorkerMessage::Failed { reason, retry, shared, blame })
        }
    })
}

fn magnitude(of: wire::Magnitude) -> (String, Magnitude) {
    let wire::Magnitude { layer, n, weights, updates } = of;
    (layer, Magnitude { n, weights, updates })
}

fn timing(of: wire::Timing, clock: &Clock) -> Timing {
    let step = (!of.layers.is_empty()).then(|| HalfStep {
        half: String::new(), // the worker's seat tells
        step: of.step,
        step_ms: of.step_ms,
        rest_ms: of.rest_ms,
        clock_uncertainty_ms: clock.uncertainty_ms(),
        layers: of.layers,
    });
    Timing { step, spans: clock.to_ours(of.spans) }
}

/// A command in its envelope.
pub(super) fn command(command: Command) -> wire::WorkerCommand {
    wire::WorkerCommand { command: Some(command) }
}

/// The status in the form of an answer.
pub(crate) fn status_to_wire(status: &RunStatus) -> wire::RunStatus {
    let status = status.clone();
    let mut wire = wire::RunStatus {
        run_id: status.run_id,
        incarnation: status.incarnation,
        step: status.step,
        steps: status.steps,
        epoch: status.epoch,
        images_per_s: status.images_per_s,
        loaders: status.loaders.into_iter().map(Into::into).collect(),
        checkpoint_step: status.checkpoint_step,
        run_dir: status.run_dir,
        eval_top1_error: status.last.as_ref().map_or(0.0, |e| e.top1_error),
        evaluated: status.last.is_some(),
        rate: status.rate,
        notices: status.notices,
        workers: status.workers.into_iter().map(Into::into).collect(),
        latest: Some(status.latest),
        ..wire::RunStatus::default()
    };
    status.phase.put(&mut wire);
    wire
}
