//! Faults that belong to one worker's machine. They are forgotten after a while.

use std::time::{Duration, Instant};

/// Time for which a worker with a fault is seated only if there is no other.
const EXCLUDED_FOR: Duration = Duration::from_secs(300);

/// Faults that belong to one worker's machine, by the worker's address.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    excluded: Vec<(String, Instant)>,
    /// Pairs of which the first could not reach the second.
    unreached: Vec<(String, String, Instant)>,
}

impl Faults {
    pub(crate) fn has(&self, address: &str, now: Instant) -> bool {
        let recent = |at: Instant| now.saturating_duration_since(at) < EXCLUDED_FOR;
        self.excluded.iter().any(|(of, at)| of == address && recent(*at))
    }

    pub(crate) fn add(&mut self, address: String, now: Instant) {
        self.excluded.retain(|(of, at)| *of != address && *at + EXCLUDED_FOR > now);
        self.excluded.push((address, now));
    }

    /// The worker at fault when one can't reach another: the other one, unless it is the second
    /// that the first can't reach.
    pub(crate) fn of_two(&mut self, from: &str, to: &str, now: Instant) -> String {
        self.unreached.retain(|(_, _, at)| *at + EXCLUDED_FOR > now);
        let mut others = self.unreached.iter().filter(|(f, t, _)| f == from && t != to).peekable();
        let at_fault = if others.peek().is_some() { from } else { to };
        for (_, accused, _) in others {
            self.excluded.retain(|(of, _)| of != accused); // it was not its fault
        }
        self.unreached.push((from.to_string(), to.to_string(), now));
        at_fault.to_string()
    }
}
