//! The vocabulary of the state machine: events go in, actions come out.

use bytes::Bytes;
use model::halves::Partition;
use proto::command::Command;
use proto::status::{DeviceKind, Standing, WorkerStatus};
use proto::step::StepFigures;
use proto::wire::Blame;

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
    /// A worker's experience with a loader has changed.
    LoaderJudged {
        worker: WorkerId,
        loader: LoaderId,
        standing: Standing,
        why: String,
    },
    WorkerJoined {
        worker: WorkerId,
        device: String,
        kind: DeviceKind,
        address: String,
    },
    /// A worker was asked to leave. It waits for the command to finish.
    WorkerLeaving {
        worker: WorkerId,
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
    /// The answer to [`Action::FindCheckpoint`].
    CheckpointFound(Found),
    /// Records wait for the disk, and soon there will be no room for more of them.
    RecordsWait,
    /// The run is to end at a step that all partitions have done.
    Stop {
        reason: String,
    },
    /// Time passed.
    Tick,
}

/// The newest whole checkpoint, if there is one, and a sentence for each newer one that isn't used.
/// Or the reason for which the checkpoints can't be read.
pub(crate) type Found = Result<(Option<Box<Manifest>>, Vec<String>), String>;

/// A message of a worker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WorkerMessage {
    Heartbeat,
    /// `begun_anew`: why layers of the weights that the run starts from don't fit.
    Ready {
        step: u64,
        begun_anew: Vec<String>,
    },
    StepDone(StepFigures),
    Evaluated {
        step: u64,
        scores: Scores,
        /// Of this worker's layers.
        magnitudes: Vec<(String, Magnitude)>,
    },
    Saved {
        step: u64,
        result: Result<Shard, String>,
    },
    /// The worker gave up. `retry`: a rollback may help; `shared`: the other half finds the same
    /// failure by itself; `blame`: the machine that it belongs to.
    Failed {
        reason: String,
        retry: bool,
        shared: bool,
        blame: Blame,
    },
    /// The answer to a halt.
    Halted {
        step: u64,
    },
    /// Times of a timed step.
    Timing(Box<Timing>),
}

impl WorkerMessage {
    /// The message in a few words, for a sentence about a worker.
    pub(crate) fn in_words(&self) -> String {
        match self {
            WorkerMessage::Heartbeat => "sent a heartbeat".into(),
            WorkerMessage::Ready { step, .. } => format!("is ready at step {step}"),
            WorkerMessage::StepDone(figures) => format!("reported step {}", figures.step),
            WorkerMessage::Evaluated { step, .. } => {
                format!("reported an evaluation of step {step}")
            }
            WorkerMessage::Saved { step, .. } => format!("reported a shard of step {step}"),
            WorkerMessage::Failed { reason, .. } => format!("reported a failure: {reason}"),
            WorkerMessage::Halted { step } => format!("halted after step {step}"),
            WorkerMessage::Timing(_) => "reported times".into(),
        }
    }
}

/// Sums over the weights of a layer in one half.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Magnitude {
    /// Number of weights.
    pub(crate) n: u64,
    /// Sum of |w|.
    pub(crate) weights: f64,
    /// Sum of |Δw| of the last step.
    pub(crate) updates: f64,
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
    /// Refuses numbers that are no result: an evaluation with them decides nothing.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, error) in [("top-1", self.top1_error), ("top-5", self.top5_error)] {
            if !(0.0..=1.0).contains(&error) {
                return Err(format!("a {name} error of {error}, expected a number from 0 to 1"));
            }
        }
        Ok(())
    }

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
    /// Find the newest whole checkpoint; answer with [`Event::CheckpointFound`]. One that can't be
    /// read is an error; if `whatever_is_readable`, it is passed over.
    FindCheckpoint {
        whatever_is_readable: bool,
    },
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
