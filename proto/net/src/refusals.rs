//! Refused connections in the log: some lines at once, then one per second.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Number of refusals that are logged at once, before the rate is limited to one per second.
const BURST: f64 = 20.0;

/// A rate-limited log of refused connections.
#[derive(Debug)]
pub(super) struct Refusals {
    state: Mutex<Budget>,
}

#[derive(Debug)]
struct Budget {
    /// Number of lines that could be logged at `since`.
    left: f64,
    since: Instant,
    suppressed: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { state: Mutex::new(Budget { left: BURST, since: Instant::now(), suppressed: 0 }) }
    }
}

impl Refusals {
    /// Logs that a connection from `from` was refused, unless there were too many just before.
    pub(super) fn log(&self, from: SocketAddr, why: &str) {
        let mut budget = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        budget.left = (budget.left + budget.since.elapsed().as_secs_f64()).min(BURST);
        budget.since = Instant::now();
        if budget.left < 1.0 {
            budget.suppressed += 1;
            return;
        }
        budget.left -= 1.0;
        let suppressed = std::mem::take(&mut budget.suppressed);
        tracing::warn!(%from, unsaid = suppressed, "a connection is refused: {why}");
    }
}
