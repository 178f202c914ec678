//! The event loop of this process.

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

/// A runtime of one thread, which shares nothing with the threads that compute.
///
/// # Errors
/// If the system has no event queue left.
pub(crate) fn one_thread() -> Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the system has no event queue left: close other programs, or raise their limit")
}
