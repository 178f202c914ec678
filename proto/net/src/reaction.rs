//! The reaction of a caller to the gRPC code of a failed call.
//!
//! | code                | meaning here                          | the caller                          |
//! |---------------------|---------------------------------------|-------------------------------------|
//! | UNAVAILABLE         | not reachable, or not ready           | tries again, with backoff           |
//! | DEADLINE_EXCEEDED   | too late                              | drops the connection, dials again   |
//! | ABORTED             | from an older incarnation             | waits for its next command          |
//! | FAILED_PRECONDITION | both ends disagree about the run      | stops and says both values          |
//! | DATA_LOSS           | a checksum does not match             | tries again, with backoff (1)       |
//! | INVALID_ARGUMENT    | an invalid message                    | stops: a bug, or another version    |
//! | NOT_FOUND           | no such file or picture               | stops and names it                  |
//! | UNAUTHENTICATED     | the ends don't trust each other       | stops: another attempt can't help   |
//! | PERMISSION_DENIED   | a certificate of another role         | stops and says both                 |
//! | RESOURCE_EXHAUSTED  | a limit is reached, or a disk is full | tries again, with backoff (2)       |
//!
//! (1) A loader whose minibatches stay damaged, however often a worker asks, is not asked again.
//! (2) Only a shard is not sent again: its checkpoint fails, and training continues without.
//!
//! A worker that would have to stop because of a loader asks another one, as long as one is left.
//!
//! Between the halves a worker that stops would stop the run. A broken rule therefore returns both
//! halves to the last checkpoint instead, at most as often as the run may restart: a transient
//! fault does not occur again.

use tonic::{Code, Status};

/// The reaction of a caller to a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Try again after a pause, on a new connection.
    Retry,
    /// Give up this incarnation and wait for the next command.
    Yield,
    /// Stop, and report the reason.
    Stop,
}

/// The reaction to a status, as in the table of this module.
pub fn reaction(status: &Status) -> Reaction {
    match status.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::DataLoss
        | Code::Unknown
        | Code::Cancelled
        | Code::Internal
        | Code::ResourceExhausted => Reaction::Retry,
        Code::Aborted => Reaction::Yield,
        _ => Reaction::Stop,
    }
}
