//! The vocabulary of the state machine: events go in, actions come out.

use bytes::Bytes;
use model::halves::Partition;
use proto::command::Command;
use proto::status::{DeviceKind, WorkerStatus};
use proto::step::StepFigures;

use crate::disk::checkpoint::Manifest;
use crate::disk::data_set::DataSet;
use crate::record::metrics::{Evaluation, Line};
use crate::record::timing::Timing;

/// One worker's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WorkerId(pub(crate) u64);

/// One loader's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LoaderId(pub(crate) u64);

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// A loader joined and described its data set; `mean` is `[3, side, side]` f32.
    LoaderJoined {
        loader: LoaderId,
        address: String,
        data: Box<DataSet>,
        mean: Bytes,
    },
    LoaderLeft {
        loader: LoaderId,
    },
    WorkerJoined {
        worker: WorkerId,
        device: String,
        kind: DeviceKind,
        address: String,
    },
    /// A worker's stream ended.
    WorkerLeft {
        worker: WorkerId,
        why: String,
    },
    /// A worker sent a message, of the incarnation that it belongs to.
    Message {
        worker: WorkerId,
        incarnation: u64,
        message: WorkerMessage,
    },
    /// The answer to [`Action::WriteManifest`].
    ManifestWritten {
        step: u64,
        result: Result<Box<Manifest>, String>,
    },
    /// The run is to end at the next step that all partitions have done.
    Stop {
        reason: String,
    },
    /// Time passed.
    Tick,
}

/// A message of a worker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WorkerMessage {
    Heartbeat,
    Ready {
        step: u64,
    },
    StepDone(StepFigures),
    Evaluated {
        step: u64,
        scores: Scores,
    },
    Saved {
        step: u64,
        result: Result<Shard, String>,
    },
    /// The worker gave up. `retry`: a rollback may help; `shared`: the other half finds the same
    /// failure by itself.
    Failed {
        reason: String,
        retry: bool,
        shared: bool,
    },
    /// Times of a timed step.
    Timing(Box<Timing>),
}

impl WorkerMessage {
    /// The message in a few words, for a sentence about a worker.
    pub(crate) fn in_words(&self) -> String {
        match self {
            WorkerMessage::Heartbeat => "sent a heartbeat".into(),
            WorkerMessage::Ready { step } => format!("is ready at step {step}"),
            WorkerMessage::StepDone(figures) => format!("reported step {}", figures.step),
            WorkerMessage::Evaluated { step, .. } => {
                format!("reported an evaluation of step {step}")
            }
            WorkerMessage::Saved { step, .. } => format!("reported a shard of step {step}"),
            WorkerMessage::Failed { reason, .. } => format!("reported a failure: {reason}"),
            WorkerMessage::Timing(_) => "reported times".into(),
        }
    }
}

/// Results of half A, or of the whole network, on the validation images; errors are fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scores {
    pub(crate) n_images: u64,
    pub(crate) loss: f64,
    pub(crate) top1_error: f64,
    pub(crate) top5_error: f64,
}

impl Scores {
    /// The evaluation of a step.
    pub(crate) fn at(self, step: u64, epoch: f64) -> Evaluation {
        Evaluation {
            step,
            epoch,
            n_images: self.n_images,
            loss: self.loss,
            top1_error: self.top1_error,
            top5_error: self.top5_error,
        }
    }
}

/// A shard as its worker hashed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
}

/// Something to be done; actions are carried out in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Send a command to a worker.
    Send {
        worker: WorkerId,
        command: Box<Command>,
    },
    /// Close the stream of a worker that counts as failed.
    Disconnect {
        worker: WorkerId,
        reason: String,
    },
    RefuseLoader {
        loader: LoaderId,
        reason: String,
    },
    /// Write the data set and its mean image into the run directory.
    RecordData {
        data: Box<DataSet>,
        mean: Bytes,
    },
    /// Record the beginning of an incarnation and its workers.
    RecordStart {
        incarnation: u64,
        workers: Vec<WorkerStatus>,
    },
    /// Cut `metrics.jsonl` back to this length.
    CutMetrics {
        bytes: u64,
    },
    /// Append a line to `metrics.jsonl`.
    AppendMetrics(Line),
    /// Record a partition's times of a timed step.
    RecordTiming {
        partition: Partition,
        timing: Box<Timing>,
    },
    /// From now on accept these shard files, of this incarnation, and no others.
    AcceptShards {
        incarnation: u64,
        shards: Vec<String>,
    },
    /// Remember the present length of `metrics.jsonl` for the next manifest.
    MarkMetrics,
    /// Write the manifest; answer with [`Event::ManifestWritten`].
    WriteManifest(Box<Manifest>),
    /// Remove an unfinished checkpoint.
    DiscardCheckpoint {
        step: u64,
    },
    /// Tell every loader that the run is over.
    FinishLoaders {
        reason: String,
    },
    /// The run is over.
    End(Ending),
}

/// The ending of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// All steps are done, evaluated and saved.
    Finished,
    /// Nothing was left to do when the run started.
    AlreadyFinished,
    /// The run was asked to stop; the next start resumes it.
    Stopped,
    /// The run could not continue.
    Failed {
        /// Reason of the failure.
        reason: String,
    },
}
