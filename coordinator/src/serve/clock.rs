//! The distance of another process's clock from ours, measured again and again over its stream.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use proto::step::Span;
use proto::timing::clock_ns;
use proto::wire::{Ping, Pong};
use tokio::time::Interval;
use tonic::{Status, Streaming};

/// Time between two pings.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// Pings in quick succession at the beginning, so that the first timed step has a good answer.
const AT_ONCE: usize = 8;
/// Answers that count. Clocks drift by some ten millionths, which in this many seconds is less than
/// the error of an answer.
const KEPT: usize = 16;

/// Another process's clock.
#[derive(Debug, Default)]
pub(super) struct Clock {
    answers: VecDeque<Answer>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    /// The other clock's time minus ours.
    ahead_ns: i64,
    round_trip_ns: i64,
}

impl Clock {
    /// A ping, stamped now.
    pub(super) fn ping(&self) -> Ping {
        Ping { stamp_ns: clock_ns(Instant::now()) }
    }

    /// Takes an answer; returns whether to send the next ping at once.
    pub(super) fn answered(&mut self, pong: &Pong) -> bool {
        self.take(pong, clock_ns(Instant::now()));
        self.answers.len() < AT_ONCE
    }

    /// The other clock was read during the round trip: most likely in its middle, and certainly no
    /// further from that than half of it.
    fn take(&mut self, pong: &Pong, now_ns: i64) {
        // The other process may send any number.
        let round_trip_ns = now_ns.saturating_sub(pong.stamp_ns);
        let half_way = pong.stamp_ns.saturating_add(round_trip_ns / 2);
        let ahead_ns = pong.at_ns.saturating_sub(half_way);
        self.answers.push_back(Answer { ahead_ns, round_trip_ns });
        if self.answers.len() > KEPT {
            self.answers.pop_front();
        }
    }

    /// The answer with the shortest round trip.
    fn best(&self) -> Option<Answer> {
        self.answers.iter().copied().min_by_key(|answer| answer.round_trip_ns)
    }

    /// Largest possible error of times, in milliseconds; `None` before the first answer.
    pub(super) fn uncertainty_ms(&self) -> Option<f64> {
        self.best().map(|answer| answer.round_trip_ns as f64 / 2e6)
    }

    /// Puts spans on our clock; they are dropped before the first answer.
    pub(super) fn to_ours(&self, mut spans: Vec<Span>) -> Vec<Span> {
        let Some(Answer { ahead_ns, .. }) = self.best() else { return Vec::new() };
        for span in &mut spans {
            span.from_ns = span.from_ns.saturating_sub(ahead_ns);
            span.ns = span.ns.min(i64::MAX as u64);
        }
        spans
    }
}

/// The messages of one stream, and the pings that measure its sender's clock in between.
#[derive(Debug)]
pub(super) struct Timed<E> {
    events: Streaming<E>,
    clock: Clock,
    interval: Interval,
}

impl<E> Timed<E> {
    pub(super) fn new(events: Streaming<E>) -> Self {
        Self { events, clock: Clock::default(), interval: tokio::time::interval(ASK_EVERY) }
    }

    /// The sender's clock.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The next message that is more than an answer to a ping; `None` at the end of the stream.
    ///
    /// `pong` takes the answer out of a message, and returns no message if nothing else is in it.
    /// `ping` sends a ping; one that can't be sent is left out, because a missing heartbeat or the
    /// end of the stream will tell.
    pub(super) async fn next(
        &mut self,
        pong: impl Fn(E) -> (Option<Pong>, Option<E>),
        ping: impl Fn(Ping),
    ) -> Result<Option<E>, Status> {
        loop {
            let event = tokio::select! {
                event = self.events.message() => event?,
                _ = self.interval.tick() => {
                    ping(self.clock.ping());
                    continue;
                }
            };
            let Some(event) = event else { return Ok(None) };
            let (answer, rest) = pong(event);
            if answer.is_some_and(|answer| self.clock.answered(&answer)) {
                ping(self.clock.ping());
            }
            if rest.is_some() {
                return Ok(rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other clock is 5 ms ahead; answers are slow on the way there or back.
    #[test]
    fn the_fastest_answer_gives_the_distance_of_the_clocks() {
        let mut clock = Clock::default();
        assert_eq!(clock.uncertainty_ms(), None);
        for (asked, there, back) in [(0, 900_000, 100_000), (2_000_000, 30_000, 10_000)] {
            let pong = Pong { stamp_ns: asked, at_ns: asked + there + 5_000_000 };
            clock.take(&pong, asked + there + back);
        }
        assert_eq!(clock.uncertainty_ms(), Some(0.02));
        let theirs = Span { from_ns: 25_000_000, ns: 7, ..Span::default() };
        let span = clock.to_ours(vec![theirs]).remove(0);
        assert_eq!((span.from_ns, span.ns), (25_000_000 - 5_010_000, 7));
        // An old answer is forgotten, however fast it was.
        for i in 0..KEPT as i64 {
            let at = 1_000_000_000 + i;
            clock.take(&Pong { stamp_ns: at, at_ns: at + 500 }, at + 1_000_000);
        }
        assert_eq!(clock.uncertainty_ms(), Some(0.5));
    }
}
