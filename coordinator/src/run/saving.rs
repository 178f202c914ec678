//! Checkpoints: taken at a boundary, tried again where work would be lost.

use std::time::{Duration, Instant};

use proto::command::{Checkpoint, Command};

use super::event::{Action, Shard};
use super::{Run, Stage};
use crate::disk::checkpoint::{Manifest, ShardEntry, shard_name};

/// Checkpoints that fail in a row before training pauses: each further step could be lost.
const PAUSES_AFTER: u32 = 3;
/// Time before a checkpoint is tried again while the run waits for it; doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// Time for the last checkpoint of a run.
pub(super) const LAST_WITHIN: Duration = Duration::from_secs(600);

/// The checkpoints that have failed since the last one that was kept.
#[derive(Debug, Clone)]
pub(super) struct Failures {
    /// Step of the latest.
    step: u64,
    in_a_row: u32,
    /// Time before which a run that waits does not try again.
    retry_at: Instant,
    /// Time of the first failure of the run's last checkpoint.
    last_since: Option<Instant>,
}

impl Run {
    /// Returns true if the newest checkpoint is of this step and includes its evaluation.
    pub(super) fn has_checkpoint(&self, step: u64) -> bool {
        self.checkpoint.as_ref().is_some_and(|m| {
            m.step == step && m.rate == self.rate && same_step(&m.last, &self.last)
        })
    }

    pub(super) fn checkpoint_failed_at(&self, step: u64) -> bool {
        self.failed.as_ref().is_some_and(|failed| failed.step == step)
    }

    /// Returns true if training is paused until a checkpoint is kept.
    pub(crate) fn is_paused(&self) -> bool {
        self.failed.as_ref().is_some_and(|failed| failed.in_a_row >= PAUSES_AFTER)
    }

    /// Saves a checkpoint without which the run does not continue: its last one, or the one that
    /// ends a pause. After a failure it is tried again a little later.
    pub(super) fn save_and_wait(&mut self, step: u64) {
        self.stage = Stage::WaitingForDisk;
        let later = |at: Instant| self.now.is_some_and(|now| now < at);
        let waits = self.failed.as_ref().is_some_and(|failed| later(failed.retry_at));
        if self.saving.is_none() && !waits {
            self.save(step);
        }
    }

    /// Tries a checkpoint again that the run waits for.
    pub(super) fn retry_checkpoint(&mut self, now: Instant) {
        let is_due = self.failed.as_ref().is_some_and(|failed| now >= failed.retry_at);
        if self.stage == Stage::WaitingForDisk && self.saving.is_none() && is_due {
            self.at_boundary(self.step());
        }
    }

    /// Has every worker copy its shard now and send it while it continues to train.
    pub(super) fn save(&mut self, step: u64) {
        let seats = &mut self.members.seats;
        seats.iter_mut().for_each(|seat| seat.saved = None);
        let shards: Vec<_> =
            seats.iter().map(|seat| shard_name(step, &seat.shard_file())).collect();
        self.saving = Some(self.state());
        self.is_writing = false;
        let incarnation = self.incarnation;
        self.actions.push(Action::MarkMetrics);
        self.actions.push(Action::AcceptShards { incarnation, shards: shards.clone() });
        self.send_to_all(|seat| {
            let shard = shards[seat].clone();
            Command::Checkpoint(Checkpoint { incarnation, step, shard })
        });
    }

    pub(super) fn shard_saved(&mut self, seat: usize, result: Result<Shard, String>, now: Instant) {
        let Some(state) = self.saving.clone() else { return };
        let seat = &mut self.members.seats[seat];
        let file = seat.shard_file();
        seat.saved =
            Some(result.map(|shard| ShardEntry { file, sha256: shard.sha256, bytes: shard.bytes }));
        let seats = &self.members.seats;
        if seats.iter().any(|seat| seat.saved.is_none()) {
            return;
        }
        let saved = seats.iter().filter_map(|seat| Some((seat.partition, seat.saved.clone()?)));
        let shards: Result<Vec<_>, _> = saved
            .map(|(partition, shard)| shard.map_err(|error| format!("{partition}: {error}")))
            .collect();
        match shards {
            Ok(shards) => {
                let manifest = Manifest::new(self.identity(), state, shards);
                self.is_writing = true;
                self.actions.push(Action::WriteManifest(Box::new(manifest)));
            }
            Err(reason) => self.checkpoint_ended(state.step, Err(reason), now),
        }
    }

    /// Takes the outcome of a checkpoint. A failed one doesn't end training, but several in a row
    /// make it pause.
    pub(super) fn checkpoint_ended(
        &mut self,
        step: u64,
        result: Result<Box<Manifest>, String>,
        now: Instant,
    ) {
        if self.saving.take_if(|saving| saving.step == step).is_none() {
            // A rollback came between. What is whole is found by the search that follows it.
            if result.is_err() {
                self.discard(step);
            }
            return;
        }
        let incarnation = self.incarnation;
        self.actions.push(Action::AcceptShards { incarnation, shards: Vec::new() });
        match result {
            Ok(manifest) => {
                tracing::info!(step, "checkpoint kept");
                if self.is_paused() {
                    self.say(format!("the checkpoint of step {step} is kept: the run continues"));
                }
                self.failed = None;
                self.checkpoint = Some(manifest);
            }
            Err(error) => {
                self.discard(step);
                self.checkpoint_failed(step, &error, now);
            }
        }
        if self.stage == Stage::WaitingForDisk {
            self.at_boundary(self.step());
        }
    }

    fn checkpoint_failed(&mut self, step: u64, error: &str, now: Instant) {
        let waited_for = self.stage == Stage::WaitingForDisk;
        // A run that is asked to stop has its grace period instead.
        let is_last = waited_for && self.stop.is_none() && self.is_at_end(step);
        let before = self.failed.take();
        let in_a_row = 1 + before.as_ref().map_or(0, |failed| failed.in_a_row);
        let last_since =
            is_last.then(|| before.and_then(|failed| failed.last_since).unwrap_or(now));
        let doubled = FIRST_RETRY * 2u32.saturating_pow((in_a_row - 1).min(8));
        let retry_at = now + doubled.min(LONGEST_RETRY);
        self.failed = Some(Failures { step, in_a_row, retry_at, last_since });
        // A disk may be full for days.
        if in_a_row <= PAUSES_AFTER || in_a_row.is_power_of_two() {
            let kept = self.checkpoint_step();
            tracing::error!(
                step,
                error,
                kept,
                in_a_row,
                "checkpoint failed, the earlier ones stay"
            );
        }
        if in_a_row <= PAUSES_AFTER {
            self.notices.push(format!("the checkpoint of step {step} failed: {error}"));
        }
        if let Some(since) = last_since {
            if now.saturating_duration_since(since) >= LAST_WITHIN {
                let seconds = LAST_WITHIN.as_secs();
                self.fail(format!(
                    "its last checkpoint could not be kept for {seconds} s: {error}"
                ));
            } else if since == now {
                self.say(format!(
                    "the run waits up to {} s for its last checkpoint and tries it again and again",
                    LAST_WITHIN.as_secs()
                ));
            }
        } else if in_a_row == PAUSES_AFTER && self.stop.is_none() {
            self.say_paused(&format!("{in_a_row} checkpoints in a row have failed"));
        }
    }

    /// Records wait for a disk that is full, and there will soon be no room for more: training
    /// pauses, as it does after failed checkpoints.
    pub(super) fn pause_for_records(&mut self, now: Instant) {
        if !self.is_paused() {
            let step = self.step();
            self.failed =
                Some(Failures { step, in_a_row: PAUSES_AFTER, retry_at: now, last_since: None });
            self.say_paused("the records of steps can't be written");
        }
    }

    fn say_paused(&mut self, why: &str) {
        self.say(format!(
            "training pauses, because {why}: it continues once a checkpoint can be kept; make room \
             on the disk, or repair it"
        ));
    }

    /// Adds a notice, which the log has as well.
    fn say(&mut self, notice: String) {
        tracing::warn!("{notice}");
        self.notices.push(notice);
    }
}

fn same_step(a: &Option<crate::Evaluation>, b: &Option<crate::Evaluation>) -> bool {
    a.as_ref().map(|e| e.step) == b.as_ref().map(|e| e.step)
}
