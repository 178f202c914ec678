//! Refusals in the log: some lines at once, then one per second. A client that is refused again and
//! again must not fill the disk.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Number of refusals that are logged at once, before the rate is limited to one per second.
const BURST: f64 = 20.0;

/// A rate-limited log of refusals.
#[derive(Debug)]
pub struct Refusals {
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
    /// Permission to log one more refusal, with the number of those that were not logged just
    /// before; None if there were too many.
    pub fn permit(&self) -> Option<u64> {
        let mut budget = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        budget.left = (budget.left + budget.since.elapsed().as_secs_f64()).min(BURST);
        budget.since = Instant::now();
        if budget.left < 1.0 {
            budget.suppressed += 1;
            return None;
        }
        budget.left -= 1.0;
        Some(std::mem::take(&mut budget.suppressed))
    }

    /// Logs that a connection from `from`, or a call on it, was refused.
    pub(super) fn log(&self, from: SocketAddr, why: &str) {
        if let Some(unsaid) = self.permit() {
            tracing::warn!(%from, unsaid, "a connection is refused: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_leaves_few_lines_and_the_number_of_the_others() {
        let refusals = Refusals::default();
        let logged = (0..100_000).filter_map(|_| refusals.permit()).count();
        assert!((20..25).contains(&logged), "{logged}");
        refusals.state.lock().unwrap().since -= std::time::Duration::from_secs(2);
        let unsaid = refusals.permit().expect("a second has passed");
        assert!(unsaid > 99_000, "{unsaid}");
    }
}
