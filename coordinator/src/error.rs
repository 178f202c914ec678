//! Errors of a run that can't start or continue, and of calls that are refused.

use std::path::{Path, PathBuf};

use proto::chunk::ChunkError;

/// A failure, with advice in its message where there is any.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option has an impossible value.
    #[error("{0}")]
    Config(String),
    /// The disk failed.
    #[error("can't {doing} {path}: {source}")]
    Io {
        /// Operation: `write`, `read`, …
        doing: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// Another coordinator works in the run directory.
    #[error("{path} is in use by another coordinator{by}; stop that one or choose another --run")]
    Locked {
        /// The run directory.
        path: PathBuf,
        /// ` (process 123 on n1)`, where known.
        by: String,
    },
    /// The place of a new run directory is not free.
    #[error("{path} is there already: choose another name, or remove it first")]
    Taken {
        /// The place.
        path: PathBuf,
    },
    /// The folder is no run directory.
    #[error(
        "{path} is not a run directory: {why}; train one with `alexnet up --run {}`",
        net::quoted(path)
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// Missing part.
        why: String,
    },
    /// The run directory belongs to another run.
    #[error(
        "{path} holds another run: {differences}; choose another --run, or resume with the same \
         values"
    )]
    OtherRun {
        /// The run directory.
        path: PathBuf,
        /// Each difference, with both values.
        differences: String,
    },
    /// The content of a file is not what was written.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Content found and content expected.
        why: String,
    },
    /// The file was written by a later version of this program.
    #[error(
        "{path} was written by a newer version of this program (format {format}, this version \
         reads up to {reads}): use that version"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Format of the file.
        format: u64,
        /// The latest format that this version reads.
        reads: u32,
    },
    /// There is no usable checkpoint.
    #[error("{path} has no checkpoint{which}; train it first with `alexnet up`")]
    NoCheckpoint {
        /// The run directory.
        path: PathBuf,
        /// ` of step 7`, where one was asked for.
        which: String,
    },
    /// Checkpoints come and go faster than one can be read.
    #[error(
        "each checkpoint in {path} was removed while it was being read: try again when the \
         training is less busy, or keep more of them with --keep"
    )]
    Vanishing {
        /// The run directory.
        path: PathBuf,
    },
    /// There are checkpoints, but each is damaged.
    #[error(
        "no checkpoint in {path} can be used: {refused}; repair the disk, choose another --run, or \
         begin this run anew with --from-start, which sets aside what is there"
    )]
    NoneWhole {
        /// The run directory.
        path: PathBuf,
        /// Damage of each checkpoint.
        refused: String,
    },
    /// The run had checkpoints, and there are none.
    #[error(
        "{path} holds a run that had checkpoints, and {missing}; if they are on another disk, \
         mount it; to begin the run anew, from step 0, add --from-start"
    )]
    Lost {
        /// The run directory.
        path: PathBuf,
        /// Absent things that were expected, in words.
        missing: String,
    },
    /// The data set isn't the run's, or does not fit the recipe.
    #[error("{0}")]
    DataSet(String),
    /// The two ends are different builds of the program.
    #[error(
        "the {role} is version {theirs}, the coordinator {ours}: both must be built from the same \
         sources"
    )]
    Version {
        /// `worker` or `loader`.
        role: &'static str,
        /// Version of the other program.
        theirs: String,
        /// Version of this program.
        ours: &'static str,
    },
    /// The worker belongs to another run.
    #[error("the worker belongs to run {theirs}, this is run {ours}; start it without a run id")]
    OtherRunId {
        /// Run id of the worker.
        theirs: String,
        /// Id of this run.
        ours: String,
    },
    /// A loader announced itself but can't be called.
    #[error("the loader that announced {address} can't be asked for its data set: {why}")]
    LoaderUnreachable {
        /// Announced address.
        address: String,
        /// Reason of the failure.
        why: String,
    },
    /// A message breaks the protocol.
    #[error("{0}")]
    Message(&'static str),
    /// The coordinator ends, and with it the store.
    #[error("the coordinator is ending and stores no more shards")]
    StoreClosed,
    /// The server ended before the run did.
    #[error("the coordinator's server ended before the run; start the coordinator again")]
    ServerEnded,
    /// The run does not have this file.
    #[error("no file {name:?} in the run's checkpoints")]
    NoFile {
        /// Requested name.
        name: String,
    },
    /// The file was not asked for.
    #[error("file {name:?} was not asked for; the run now accepts {expected}")]
    NotExpected {
        /// Offered name.
        name: String,
        /// Files that would be accepted.
        expected: String,
    },
    /// The sender belongs to an incarnation before the last rollback.
    #[error("from incarnation {got}, the run is at {now}")]
    Older {
        /// The sender's incarnation.
        got: u64,
        /// The run's incarnation.
        now: u64,
    },
    /// The file is being received already.
    #[error("file {name:?} is being received already")]
    Busy {
        /// Offered name.
        name: String,
    },
    /// Bytes were damaged on the way.
    #[error("file {name:?}: {source}")]
    Chunk {
        /// Offered name.
        name: String,
        /// The chunk and its damage.
        source: ChunkError,
    },
    /// The file isn't what its sender hashed.
    #[error("file {name:?}: sha256 {got}, the sender announced {want}")]
    Digest {
        /// Offered name.
        name: String,
        /// Digest of the bytes received.
        got: String,
        /// Digest announced.
        want: String,
    },
    /// The stream ended too early.
    #[error("file {name:?} ended after {got} of {want} bytes")]
    CutShort {
        /// Offered name.
        name: String,
        /// Bytes received.
        got: u64,
        /// Bytes announced.
        want: u64,
    },
    /// The run failed before a worker began, because its members don't fit together.
    #[error("{0}")]
    NotBegun(String),
    /// The run failed.
    #[error("the run ended at step {step}: {reason}; `alexnet up` resumes from step {kept}")]
    Failed {
        /// Steps done.
        step: u64,
        /// The step of the last checkpoint.
        kept: u64,
        /// Reason of the failure.
        reason: String,
    },
    /// The server failed.
    #[error("the coordinator's server failed: {0}")]
    Server(#[from] tonic::transport::Error),
}

impl Error {
    /// Returns true if a file or checkpoint isn't there, in contrast to one that is there but can't
    /// be read.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            Self::NoCheckpoint { .. } => true,
            _ => false,
        }
    }

    /// Returns true if a new process with the same settings would fail in the same way: somebody
    /// must change a setting, or the run directory.
    pub fn is_for_good(&self) -> bool {
        matches!(
            self,
            Self::Config(_)
                | Self::Locked { .. }
                | Self::NotARun { .. }
                | Self::OtherRun { .. }
                | Self::Damaged { .. }
                | Self::Newer { .. }
                | Self::NoneWhole { .. }
                | Self::Lost { .. }
        )
    }

    /// For `map_err`: names the operation and the path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_path_buf(), source }
    }
}
