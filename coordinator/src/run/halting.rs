//! Halts: all partitions stop at a step that all of them have done, because the run was asked to
//! stop, or a seated worker to leave.
//!
//! The step that is being computed is finished, unless its minibatch is missing: then nobody can do
//! it, and the step before is kept. The first half that answers decides at which step all halt.

use std::time::{Duration, Instant};

use proto::command::{Command, Finish, Halt};

use super::event::{Ending, WorkerId};
use super::{Run, Stage};

impl Run {
    pub(super) fn stop(&mut self, reason: String, now: Instant) {
        if self.stop.is_some() {
            return;
        }
        tracing::info!(reason, step = self.step(), "stopping");
        self.stop = Some(reason);
        self.stop_since = Some(now);
        match self.stage {
            Stage::Gathering | Stage::Starting { .. } => self.end(Ending::Stopped),
            _ => self.halt(),
        }
    }

    /// Ends a run that was asked to stop and has no new checkpoint after its grace period.
    pub(super) fn stop_without_checkpoint(&mut self, grace: Duration) {
        let (step, kept) = (self.step(), self.checkpoint_step());
        let s = grace.as_secs_f64();
        tracing::warn!(step, kept, "no checkpoint within {s} s after the request to stop");
        self.note(format!(
            "no checkpoint of step {step} within {s} s after the request to stop (--grace)"
        ));
        self.give_up_saving();
        self.restore_checkpoint();
        self.end(Ending::Stopped);
    }

    /// A worker was asked to leave: a standby goes at once, a seated one when its steps are kept.
    pub(super) fn worker_leaves(&mut self, worker: WorkerId) {
        self.members.leaves(worker);
        let Some(seat) = self.members.seat_of(worker) else { return self.dismiss(worker) };
        let partition = self.members.seats[seat].partition;
        tracing::info!(%partition, step = self.step(), "its worker is asked to leave");
        match self.stage {
            // It has done nothing that is not kept.
            Stage::Gathering | Stage::Starting { .. } => self.stage = Stage::Gathering,
            _ => self.halt(),
        }
    }

    fn halt(&mut self) {
        if !matches!(self.stage, Stage::Training { .. } | Stage::Evaluating { .. }) {
            return; // all partitions stand at one step already, or are about to
        }
        self.stage = Stage::Halting;
        self.expect_answers();
        let incarnation = self.incarnation;
        self.send_to_all(|_| Command::Halt(Halt { incarnation, at: None }));
    }

    /// Takes a worker's answer to a halt; a sentence if the partitions don't stand at one step.
    pub(super) fn halted(&mut self, seat: usize, step: u64) -> Result<(), String> {
        let is_first = self.members.seats.iter().all(|seat| !seat.answered);
        self.members.seats[seat].answered = true;
        if is_first {
            let others = self.members.seats.iter().filter(|seat| !seat.answered);
            let others: Vec<_> = others.filter_map(|seat| seat.worker).collect();
            for worker in others {
                let halt = Halt { incarnation: self.incarnation, at: Some(step) };
                self.send(worker, Command::Halt(halt));
            }
        }
        if !self.all_answered() {
            return Ok(());
        }
        if !self.all_done(step) {
            let partition = self.members.seats[seat].partition;
            return Err(format!("{partition} halted after step {step}, and not all partitions"));
        }
        self.at_boundary(step);
        Ok(())
    }

    /// Returns true if the run halts at the step that its partitions stand at.
    pub(super) fn is_halted(&self) -> bool {
        self.stop.is_some() || self.members.somebody_leaves()
    }

    /// All that can be kept is kept: the next incarnation begins without those who leave.
    pub(super) fn go_on_without_leaving(&mut self) {
        let step = self.step();
        self.restore_checkpoint();
        self.stage = Stage::Gathering;
        if self.step() < step {
            let kept = self.step();
            self.note(format!("a worker left; rolled back from step {step} to {kept}"));
        }
    }

    /// Tells all workers that were asked to leave that they may: none has steps that are not kept.
    pub(super) fn dismiss_leaving(&mut self) {
        self.members.leaving().into_iter().for_each(|worker| self.dismiss(worker));
    }

    /// Tells a worker that was asked to leave that it may, and forgets it.
    fn dismiss(&mut self, worker: WorkerId) {
        self.members.leave(worker);
        let reason = "it was asked to leave".to_string();
        self.send(worker, Command::Finish(Finish { reason, failed: false }));
    }
}
