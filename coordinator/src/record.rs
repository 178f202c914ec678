//! Everything that a run records and shows of its steps. None of it is needed to resume a run.

pub mod metrics; // `metrics.jsonl`: one line per step and per evaluation
pub mod timing; // a line of `timing.jsonl`, and tables of them
pub mod progress; // sentences for the log, `alexnet up` and `alexnet status`
pub(crate) mod append; // append-only files
pub(crate) mod prometheus; // the endpoint that Prometheus scrapes
pub(crate) mod tensorboard; // the metrics in TensorBoard's format
pub(crate) mod recorder; // timed steps into `timing.jsonl`, the trace and the log
pub(crate) mod trace; // timed steps as a picture over time, for Perfetto
