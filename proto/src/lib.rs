//! What the processes agree on: the bytes (`schema/`) and how they are handled.
//!
//! ```text
//!   loader ──Serve──▶ coordinator ◀──Work── gpu-worker A ══Exchange══▶ gpu-worker B
//!     ▲                  Store ◀──Put/Get──────┘  └──Batch──▶ loader       (and back)
//! ```

pub mod convert; // wire ⇄ model, both ways, checked
pub mod tensor; // long runs of bytes ⇄ chunks below the message limit
pub mod status; // error → gRPC code → what the caller then does
pub mod trust; // who may talk to whom: mutual TLS, roles, dialling, listening, in words people understand
pub mod timing; // which steps are timed; a clock each process
pub mod process; // what every process does at start and stop: tracing, signals, settings

/// The messages and services of `schema/`, generated at build time.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod wire {
    tonic::include_proto!("alexnet.v1");
}
