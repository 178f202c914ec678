//! Commands of the coordinator to a worker, declared once in `schema/worker.proto`: the run's state
//! machine makes them, the worker's engine obeys them.

pub use crate::wire::worker_command::Command;
pub use crate::wire::{Begin, Checkpoint, Evaluate, Finish, Halt, KnownLoader, Loaders, Train};
