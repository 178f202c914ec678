//! The coordinator of a run: seats workers on the partitions, lets them train from boundary to
//! boundary, has them evaluate and save checkpoints, notices failures and rolls the run back.
//!
//! ```text
//!   serve ──events──▶ run ──actions──▶ drive ──▶ commands to workers, manifest, metrics.jsonl
//!     store ◀── shards, streamed to disk and back
//! ```

mod run; // the run as a state machine: event in, actions out; start here
mod drive; // carries the actions out: timers, calls, files
mod serve; // the gRPC services: messages in become events, commands become messages
mod disk; // what must survive a crash
mod record; // what a run records and shows
mod config; // what an operator chooses
mod error;

pub use config::{Config, Until};
pub use disk::data_set::DataSet;
pub use disk::{checkpoint, format, run_dir};
pub use drive::{Outcome, run};
pub use error::Error;
pub use record::metrics::Evaluation;
pub use record::{metrics, progress, timing};
pub use run::event::Ending;
pub use run::rate::RateState;
pub use run::status::RunStatus;
