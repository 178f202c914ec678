//! Reasons to end the engine's work early: another incarnation, or the coordinator's halt.
//!
//! The network thread sets them; the engine looks between steps and batches, and while it waits.

use std::sync::Arc;

use proto::wire::{Begin, Halt};
use tokio::sync::watch;

/// The incarnation whose work is wanted, and how far it may still go.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<watch::Sender<State>>);

#[derive(Debug, Default)]
struct State {
    /// `None` while there is no coordinator that wants any work.
    incarnation: Option<u64>,
    /// No further step may begin.
    halts: bool,
    /// Steps after which the other half has halted.
    peer_halted_at: Option<u64>,
    /// Steps done.
    done: u64,
}

impl State {
    fn stops(&self, incarnation: u64) -> bool {
        self.incarnation != Some(incarnation) || self.halts
    }
}

impl Interrupt {
    /// No incarnation yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// From now on only this incarnation's work is wanted.
    pub(crate) fn begin(&self, begin: &Begin) {
        let (incarnation, done) = (Some(begin.incarnation), begin.step);
        self.0.send_replace(State { incarnation, done, ..State::default() });
    }

    /// From now on no work is wanted.
    pub(crate) fn end(&self) {
        self.0.send_replace(State::default());
    }

    /// Takes the coordinator's halt.
    pub(crate) fn halt(&self, halt: &Halt) {
        self.0.send_if_modified(|state| {
            let present = state.incarnation == Some(halt.incarnation);
            if present {
                state.halts = true;
                state.peer_halted_at = halt.at.or(state.peer_halted_at);
            }
            present
        });
    }

    /// Notes the steps that the engine has done.
    pub(crate) fn done(&self, incarnation: u64, step: u64) {
        self.0.send_if_modified(|state| {
            if state.incarnation == Some(incarnation) {
                state.done = step;
            }
            false // nobody waits for this
        });
    }

    /// The present incarnation; 0 if there is none.
    pub(crate) fn incarnation(&self) -> u64 {
        self.0.borrow().incarnation.unwrap_or(0)
    }

    /// Returns true if an incarnation must begin no further step or batch, and wait for no data.
    pub(crate) fn stops(&self, incarnation: u64) -> bool {
        self.0.borrow().stops(incarnation)
    }

    /// Returns true if waiting for the other half is in vain, because it halted before this step.
    pub(crate) fn stops_exchange(&self, incarnation: u64) -> bool {
        let state = self.0.borrow();
        state.incarnation != Some(incarnation)
            || state.peer_halted_at.is_some_and(|at| state.done >= at)
    }

    /// Resolves once [`Self::stops`] is true.
    pub(crate) async fn stopped(&self, incarnation: u64) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(|state| state.stops(incarnation)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A half that computes the step that the other half has finished must finish it, too.
    #[test]
    fn a_halt_abandons_the_step_that_the_other_half_did_not_do_and_no_other() {
        let interrupt = Interrupt::new();
        assert!(interrupt.stops(1) && interrupt.stops_exchange(1), "nothing has begun");
        interrupt.begin(&Begin { incarnation: 1, step: 6, ..Begin::default() });
        assert!(!interrupt.stops(1) && !interrupt.stops_exchange(1));
        interrupt.halt(&Halt { incarnation: 1, at: None });
        assert!(interrupt.stops(1) && !interrupt.stops_exchange(1));
        interrupt.halt(&Halt { incarnation: 1, at: Some(7) });
        assert!(!interrupt.stops_exchange(1), "the other half has done step 7");
        interrupt.done(1, 7);
        assert!(interrupt.stops_exchange(1));
    }

    #[test]
    fn a_later_incarnation_stops_the_earlier_one_and_is_not_halted_by_its_commands() {
        let interrupt = Interrupt::new();
        interrupt.begin(&Begin { incarnation: 1, ..Begin::default() });
        interrupt.begin(&Begin { incarnation: 2, ..Begin::default() });
        interrupt.halt(&Halt { incarnation: 1, at: Some(0) });
        assert!(interrupt.stops(1) && interrupt.stops_exchange(1));
        assert!(!interrupt.stops(2) && !interrupt.stops_exchange(2));
        interrupt.end();
        assert!(interrupt.stops(2) && interrupt.stops_exchange(2));
    }
}
