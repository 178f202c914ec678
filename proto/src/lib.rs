//! Everything that the processes agree on: the bytes (`schema/`) and how they are handled.
//!
//! ```text
//!   loader ──Serve──▶ coordinator ◀──Work── gpu-worker A ══Exchange══▶ gpu-worker B
//!     ▲                  Store ◀──Put/Get──────┘  └──Batch──▶ loader       (and back)
//! ```

pub mod convert; // wire ⇄ model, both ways, checked
pub mod chunk; // long runs of bytes ⇄ chunks below the message limit
pub mod digest; // SHA-256 as text
pub mod step; // the figures of a step, and how each is recorded and shown
pub mod status; // how a run and its workers stand
pub mod command; // what the coordinator tells a worker
pub mod timing; // which steps are timed; each process's clock

/// Version of the program. Both ends of every connection must be the same build, which the program
/// names in more detail than this.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Largest message that a service accepts: one chunk and its header, with room to spare.
pub const MESSAGE_LIMIT: usize = 4 << 20;

/// Largest description of a data set: a mean image of side 2,048 has 50 MB.
pub const DESCRIPTION_LIMIT: usize = 64 << 20;

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
