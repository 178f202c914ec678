//! Refused connections in the log: some lines at once, then one per second.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Refusals told one after another before there is one a second.
const AT_ONCE: f64 = 20.0;

/// Who was refused, in the log: after some lines at once, one a second.
#[derive(Debug)]
pub(super) struct Refusals {
    state: Mutex<Said>,
}

#[derive(Debug)]
struct Said {
    /// Lines that may be said now, as of `since`.
    left: f64,
    since: Instant,
    unsaid: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { state: Mutex::new(Said { left: AT_ONCE, since: Instant::now(), unsaid: 0 }) }
    }
}

impl Refusals {
    pub(super) fn tell(&self, from: SocketAddr, why: &str) {
        let mut said = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        said.left = (said.left + said.since.elapsed().as_secs_f64()).min(AT_ONCE);
        said.since = Instant::now();
        if said.left < 1.0 {
            said.unsaid += 1;
            return;
        }
        said.left -= 1.0;
        let unsaid = std::mem::take(&mut said.unsaid);
        tracing::warn!(%from, unsaid, "a connection is refused: {why}");
    }
}
