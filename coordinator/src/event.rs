//! The words of the state machine: what can happen, and what is then to be done.

use bytes::Bytes;
use model::halves::Partition;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Manifest;
use crate::metrics::{Evaluation, Line, StepReport};
use crate::timing::Timing;

/// One worker's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WorkerId(pub(crate) u64);

/// One loader's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LoaderId(pub(crate) u64);

/// What a run knows of its pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataSet {
    /// Its name.
    pub name: String,
    /// Tells two data sets apart.
    pub digest: String,
    /// Stored pictures are `side × side`.
    pub side: u32,
    /// Class names in label order.
    pub classes: Vec<String>,
    /// Training images.
    pub n_train: u64,
    /// Validation images.
    pub n_val: u64,
    /// `[3][3]`: the principal colour components, each times its standard deviation.
    pub colors: [f32; 9],
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// A loader is there, and this is what it serves; `mean` is `[3, side, side]` f32.
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
        exchange: String,
    },
    /// Its stream ended.
    WorkerLeft {
        worker: WorkerId,
        why: String,
    },
    /// Something a worker said.
    Worker {
        worker: WorkerId,
        incarnation: u64,
        said: Said,
    },
    /// The answer to [`Command::Keep`].
    Kept {
        step: u64,
        result: Result<Box<Manifest>, String>,
    },
    /// The run is to end at the next step both halves have done.
    Stop {
        reason: String,
    },
    /// Time passed.
    Tick,
}

/// What a worker can say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    Heartbeat,
    Ready {
        step: u64,
    },
    StepDone(StepReport),
    Evaluated {
        step: u64,
        scores: Scores,
    },
    Saved {
        step: u64,
        result: Result<Shard, String>,
    },
    /// `retry`: going back may help; `shared`: the other half finds the same by itself.
    Failed {
        reason: String,
        retry: bool,
        shared: bool,
    },
    /// Of a timed step.
    Timing(Box<Timing>),
}

/// What half A found on the validation images; errors are fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scores {
    pub(crate) n_images: u64,
    pub(crate) loss: f64,
    pub(crate) top1_error: f64,
    pub(crate) top5_error: f64,
}

/// A shard as its worker hashed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
}

/// Something to be done, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    Order {
        worker: WorkerId,
        incarnation: u64,
        order: Order,
    },
    /// Close the stream of a worker that counts as lost.
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
    /// Write down that a new incarnation begins, and with which devices.
    RecordStart {
        incarnation: u64,
        devices: Vec<String>,
    },
    /// Cut `metrics.jsonl` back to this length.
    CutMetrics {
        bytes: u64,
    },
    /// Append a line to it.
    Write(Line),
    /// Write down what a part said of a timed step.
    Timing {
        part: Partition,
        timing: Box<Timing>,
    },
    /// From now on take these shard files, of this incarnation, and no others.
    Expect {
        incarnation: u64,
        shards: Vec<String>,
    },
    /// Remember how far `metrics.jsonl` goes: the next manifest says so.
    Mark,
    /// Write the manifest; answer with [`Event::Kept`].
    Keep(Box<Manifest>),
    /// Remove an unfinished checkpoint.
    Discard {
        step: u64,
    },
    /// Tell every loader that the run is over.
    FinishLoaders {
        reason: String,
    },
    /// The run is over.
    End(Ending),
}

/// What a worker can be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Order {
    Begin(Box<Begin>),
    Train { until: u64, rate: f64, bias_rate: f64, color_noise: f64 },
    Evaluate { step: u64, views: u32 },
    Checkpoint { step: u64, shard: String },
    Loaders(Vec<String>),
    Finish { reason: String, failed: bool },
}

/// Take this part, in this state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Begin {
    pub(crate) run_id: String,
    pub(crate) part: Partition,
    pub(crate) recipe: String,
    pub(crate) classes: usize,
    pub(crate) seed: u64,
    pub(crate) step: u64,
    /// File and SHA-256; `None`: initial values.
    pub(crate) shard: Option<(String, String)>,
    pub(crate) peer: String,
    pub(crate) loaders: Vec<String>,
    pub(crate) data_set: String,
    pub(crate) n_train: u64,
    pub(crate) n_val: u64,
    pub(crate) timing_every: u64,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// All steps done, evaluated and kept.
    Finished,
    /// There was nothing left to do when it started.
    AlreadyFinished,
    /// It was asked to stop; started again, it goes on.
    Stopped,
    /// It could not go on.
    Failed {
        /// Why.
        reason: String,
    },
}

/// The file name of a part's shard.
pub(crate) fn shard_file(part: Partition) -> &'static str {
    use model::halves::Half;
    match part {
        Partition::Whole => "whole.safetensors",
        Partition::Half(Half::A) => "half-a.safetensors",
        Partition::Half(Half::B) => "half-b.safetensors",
    }
}

/// `half A`, `half B` or `the network`, for people.
pub(crate) fn part_name(part: Partition) -> String {
    match part {
        Partition::Whole => "the network".to_string(),
        Partition::Half(half) => format!("half {half}"),
    }
}

impl Scores {
    /// As an evaluation of this step.
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
