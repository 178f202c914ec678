//! Who does what, and when: seats workers on the halves, lets them train from boundary to boundary,
//! orders evaluations and checkpoints, notices who is gone and brings the run back.
//!
//! ```text
//!   serve ──events──▶ run ──commands──▶ drive ──▶ orders, manifest, metrics.jsonl
//!     store ◀── shards, streamed to disk and back
//! ```

mod run; // the run as a state machine: event in, commands out; start here
mod event;
mod members;
mod plan;
mod rate;
pub mod checkpoint;
pub mod run_dir;
mod metrics; // `metrics.jsonl`
mod tensorboard; // the same for TensorBoard
mod growing; // files that both append to
mod prometheus; // how the run stands, for Prometheus
pub mod timing; // timed steps, a line a half
mod trace; // the same as a picture over time, for Perfetto
mod durable;
mod drive;
mod serve;
mod store;
mod status;
pub mod progress; // the same as sentences, for the log, `up` and `status`
mod config;
mod error;

pub use config::{Config, Until};
pub use drive::{Outcome, run};
pub use error::Error;
pub use event::{DataSet, Ending};
pub use metrics::Evaluation;
pub use rate::RateState;
pub use status::RunStatus;
