//! Why a run can't start or go on, and why a call was refused.

use std::path::{Path, PathBuf};

use proto::chunk::ChunkError;

/// What went wrong, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option that can't work.
    #[error("{0}")]
    Config(String),
    /// Disk trouble.
    #[error("can't {doing} {path}: {source}")]
    Io {
        /// `write`, `read`, …
        doing: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Another coordinator works in the run directory.
    #[error("{path} is in use by another coordinator{by}; stop that one or choose another --run")]
    Locked {
        /// The run directory.
        path: PathBuf,
        /// ` (process 123)`, where known.
        by: String,
    },
    /// A folder that is no run directory.
    #[error("{path} is not a run directory: {why}; train one with `alexnet up --run {path}`")]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// A run directory that belongs to another run.
    #[error(
        "{path} holds another run: {differences}; choose another --run, or go on with the same values"
    )]
    OtherRun {
        /// The run directory.
        path: PathBuf,
        /// Each difference, with both values.
        differences: String,
    },
    /// A file whose content is not what was written.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        why: String,
    },
    /// No checkpoint that can be used.
    #[error("{path} has no checkpoint{which}; train first, or go on training with `alexnet up`")]
    NoCheckpoint {
        /// The run directory.
        path: PathBuf,
        /// ` of step 7`, where one was asked for.
        which: String,
    },
    /// There are checkpoints, but none is whole.
    #[error(
        "no checkpoint in {path} can be used: {refused}; mend the disk, or choose another --run, or remove its checkpoints to begin anew"
    )]
    NoneWhole {
        /// The run directory.
        path: PathBuf,
        /// What is wrong with each.
        refused: String,
    },
    /// A data set that isn't the run's, or doesn't fit its recipe.
    #[error("{0}")]
    DataSet(String),
    /// Both ends run different programs.
    #[error("the {who} is version {theirs}, the coordinator {ours}; run the same on both")]
    Version {
        /// `worker` or `loader`.
        who: &'static str,
        /// Its version.
        theirs: String,
        /// This program's.
        ours: &'static str,
    },
    /// A worker of another run.
    #[error("the worker belongs to run {theirs}, this is run {ours}; start it without a run id")]
    OtherRunId {
        /// What it said.
        theirs: String,
        /// This run.
        ours: String,
    },
    /// A loader that announced itself but can't be called.
    #[error("the loader that announced {address} can't be asked for its data set: {why}")]
    LoaderUnreachable {
        /// What it announced.
        address: String,
        /// What happened.
        why: String,
    },
    /// A message that means nothing here.
    #[error("{0}")]
    Invalid(String),
    /// A file that the run doesn't have.
    #[error("no file {name:?} in the run's checkpoints")]
    NoFile {
        /// As asked for.
        name: String,
    },
    /// A file that nobody ordered.
    #[error("file {name:?} was not ordered; the run now takes {expected}")]
    NotExpected {
        /// As offered.
        name: String,
        /// What it would take.
        expected: String,
    },
    /// Something from before the last recovery.
    #[error("from incarnation {got}, the run is at {now}")]
    Older {
        /// The sender's.
        got: u64,
        /// The run's.
        now: u64,
    },
    /// The same file is being received already.
    #[error("file {name:?} is being received already")]
    Busy {
        /// As offered.
        name: String,
    },
    /// Bytes that were damaged on the way.
    #[error("file {name:?}: {source}")]
    Chunk {
        /// As offered.
        name: String,
        /// Which chunk, and how.
        source: ChunkError,
    },
    /// A file that isn't what its sender hashed.
    #[error("file {name:?}: sha256 {got}, the sender announced {want}")]
    Digest {
        /// As offered.
        name: String,
        /// Of what arrived.
        got: String,
        /// Announced.
        want: String,
    },
    /// A stream that ended too early.
    #[error("file {name:?} ended after {got} of {want} bytes")]
    CutShort {
        /// As offered.
        name: String,
        /// Bytes received.
        got: u64,
        /// Bytes announced.
        want: u64,
    },
    /// The run ended without reaching its end.
    #[error("the run ended at step {step}: {reason}; `alexnet up` again goes on from step {kept}")]
    Failed {
        /// Steps done.
        step: u64,
        /// The step of the last checkpoint.
        kept: u64,
        /// What happened.
        reason: String,
    },
    /// The server couldn't be kept up.
    #[error("the coordinator's server ended: {0}")]
    Server(#[from] tonic::transport::Error),
}

impl Error {
    /// For `map_err`: what was being done to which path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_path_buf(), source }
    }
}
