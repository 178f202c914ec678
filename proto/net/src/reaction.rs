//! Error → gRPC code → what the caller then does.
//!
//! | code                | meaning here                          | the caller                          |
//! |---------------------|---------------------------------------|-------------------------------------|
//! | UNAVAILABLE         | nobody there, or not ready            | tries again, with backoff           |
//! | DEADLINE_EXCEEDED   | too late                              | drops the connection, dials again   |
//! | ABORTED             | from an older incarnation             | waits for its next order            |
//! | FAILED_PRECONDITION | both ends disagree about the run      | stops and says both values          |
//! | DATA_LOSS           | a checksum does not match             | asks again; if again, stops         |
//! | INVALID_ARGUMENT    | a message that means nothing here     | stops: a bug, or another version    |
//! | NOT_FOUND           | no such file or picture               | stops and names it                  |
//! | UNAUTHENTICATED     | the ends don't trust each other       | stops: certificates don't heal      |
//! | PERMISSION_DENIED   | a certificate of another role         | stops and says both                 |
//! | RESOURCE_EXHAUSTED  | the run is full, or the disk is       | waits, or goes on without           |
//!
//! Between the halves, where one that stops stops the run, rules that are broken send both back to
//! the last checkpoint instead, at most as often as the run may restart: a fault on the way is gone
//! then.

use tonic::{Code, Status};

/// What a caller does after a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Tries again after a pause, on a fresh connection.
    Retry,
    /// Gives up this incarnation and waits for orders.
    Yield,
    /// Stops, and says why.
    Stop,
}

/// The table above.
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
