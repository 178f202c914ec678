//! How far another process's clock is from ours: asked over its own stream, again and again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proto::timing::clock_ns;
use proto::wire::{Ping, Pong, Span as Said};

use crate::timing::Span;

/// Between two questions.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(1);
/// Asked at once, so that the first timed step finds a good answer.
const AT_ONCE: usize = 8;
/// Answers that count: clocks drift by some ten millionths, in so many seconds less than answers err.
const KEPT: usize = 16;

/// Another process's clock.
#[derive(Debug, Default)]
pub(super) struct Clock {
    answers: VecDeque<Answer>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    /// Theirs less ours.
    ahead_ns: i64,
    round_trip_ns: i64,
}

impl Clock {
    /// A question, stamped now.
    pub(super) fn ask(&self) -> Ping {
        Ping { stamp_ns: clock_ns(Instant::now()) }
    }

    /// Takes an answer; whether to ask again at once.
    pub(super) fn answered(&mut self, pong: &Pong) -> bool {
        self.take(pong, clock_ns(Instant::now()));
        self.answers.len() < AT_ONCE
    }

    /// The other clock was read somewhere on the way there and back: most likely half way, and for
    /// certain no further from that than half the round trip.
    fn take(&mut self, pong: &Pong, now_ns: i64) {
        // What the other says may be any number.
        let round_trip_ns = now_ns.saturating_sub(pong.stamp_ns);
        let half_way = pong.stamp_ns.saturating_add(round_trip_ns / 2);
        let ahead_ns = pong.at_ns.saturating_sub(half_way);
        self.answers.push_back(Answer { ahead_ns, round_trip_ns });
        if self.answers.len() > KEPT {
            self.answers.pop_front();
        }
    }

    /// The answer that came fastest.
    fn best(&self) -> Option<Answer> {
        self.answers.iter().copied().min_by_key(|answer| answer.round_trip_ns)
    }

    /// The most by which times can be wrong, in milliseconds; none before the first answer.
    pub(super) fn uncertainty_ms(&self) -> Option<f64> {
        self.best().map(|answer| answer.round_trip_ns as f64 / 2e6)
    }

    /// Spans on our clock; none before the first answer.
    pub(super) fn ours(&self, spans: Vec<Said>) -> Vec<Span> {
        let Some(Answer { ahead_ns, .. }) = self.best() else { return Vec::new() };
        let ours = |said: Said| Span {
            row: said.row,
            name: said.name,
            from_ns: said.from_ns.saturating_sub(ahead_ns),
            ns: said.ns.min(i64::MAX as u64) as i64,
            step: said.step,
            bytes: said.bytes,
            flow: said.flow,
        };
        spans.into_iter().map(ours).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Their clock is 5 ms ahead; answers take their time on the way there or back.
    #[test]
    fn the_fastest_answer_tells_how_far_the_clocks_are_apart() {
        let mut clock = Clock::default();
        assert_eq!(clock.uncertainty_ms(), None);
        for (asked, there, back) in [(0, 900_000, 100_000), (2_000_000, 30_000, 10_000)] {
            let pong = Pong { stamp_ns: asked, at_ns: asked + there + 5_000_000 };
            clock.take(&pong, asked + there + back);
        }
        assert_eq!(clock.uncertainty_ms(), Some(0.02));
        let said = Said { from_ns: 25_000_000, ns: 7, ..Said::default() };
        let span = clock.ours(vec![said]).remove(0);
        assert_eq!((span.from_ns, span.ns), (25_000_000 - 5_010_000, 7));
        // An old answer is forgotten, however fast it was.
        for i in 0..KEPT as i64 {
            let at = 1_000_000_000 + i;
            clock.take(&Pong { stamp_ns: at, at_ns: at + 500 }, at + 1_000_000);
        }
        assert_eq!(clock.uncertainty_ms(), Some(0.5));
    }
}
