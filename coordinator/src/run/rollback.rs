//! Failures, and the way back to the last checkpoint.

use std::time::{Duration, Instant};

use super::event::{Action, Ending, Found, WorkerId};
use super::{Run, Stage};
use proto::status::partitions;
use proto::wire::Blame;

/// Pause before the next start after a second failure without a new step, so that a peer that fails
/// at once doesn't use up all restarts before its partner's replacement is there.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Time for the other half's report of a failure that both halves find by themselves.
const SECOND_REPORT: Duration = Duration::from_secs(5);

/// Time before checkpoints that could not be read are read again.
const SEARCHES_AGAIN: Duration = Duration::from_secs(1);
/// Time after which an older checkpoint takes the place of one that can't be read.
const SEARCHES_FOR: Duration = Duration::from_secs(5);

/// A search for a whole checkpoint after a failure.
#[derive(Debug)]
pub(super) struct Search {
    /// Reason of the failure.
    reason: String,
    /// Step that the run had reached.
    from: u64,
    since: Instant,
    /// Time of the next look, after one that failed; `None` while somebody looks.
    retry_at: Option<Instant>,
}

impl Run {
    pub(super) fn worker_failed(&mut self, worker: WorkerId, why: &str, now: Instant) {
        // A standby only leaves.
        if let Some(seat) = self.members.leave(worker) {
            let partition = self.members.seats[seat].partition;
            self.roll_back(&format!("{partition} failed: {why}"), now);
        }
    }

    /// Takes a worker's report of a failure: the run rolls back if that can help, or ends.
    pub(super) fn worker_gave_up(
        &mut self,
        seat: usize,
        reason: String,
        retry: bool,
        blame: Blame,
        now: Instant,
    ) {
        let partition = self.members.seats[seat].partition;
        if !retry && !self.can_replace(blame, now) {
            return self.fail(format!("{partition} gave up: {reason}"));
        }
        if !matches!(self.stage, Stage::Gathering | Stage::Ended) {
            self.exclude(seat, blame, now);
            self.roll_back(&format!("{partition} failed: {reason}"), now);
        }
    }

    /// Returns to the last checkpoint; the next incarnation begins as soon as all seats are taken.
    pub(super) fn roll_back(&mut self, reason: &str, now: Instant) {
        match self.stage {
            Stage::Ended => return,
            Stage::Gathering => {
                if self.started {
                    self.no_worker_since.get_or_insert(now);
                }
                return self.begin_if_all_are_here(now);
            }
            _ => self.give_up_saving(),
        }
        if self.shared_failure_since.is_some() {
            return self.fail_as_reported();
        }
        let from = self.step();
        self.stage = Stage::Gathering;
        let incarnation = self.incarnation + 1;
        self.actions.push(Action::AcceptShards { incarnation, shards: Vec::new() });
        self.restore_checkpoint();
        self.failures += 1;
        self.restarts += 1;
        // What was whole when it was written may have rotted since.
        let search = Search { reason: reason.to_string(), from, since: now, retry_at: None };
        match self.checkpoint.is_some() || self.is_writing {
            true => self.search_with(search, false),
            false => self.returns(&search),
        }
        if self.failures > self.settings.max_restarts {
            let n = self.failures;
            return self.fail(format!("{n} failures without progress; last: {reason}"));
        }
        if self.stop.is_some() {
            return self.end(Ending::Stopped);
        }
        if self.failures > 1 {
            let pause = FIRST_PAUSE * 2u32.saturating_pow(self.failures - 2);
            self.not_before = Some(now + pause.min(LONGEST_PAUSE));
        }
        self.no_worker_since = Some(now);
        self.begin_if_all_are_here(now);
    }

    fn search_with(&mut self, search: Search, whatever_is_readable: bool) {
        self.search = Some(search);
        self.actions.push(Action::FindCheckpoint { whatever_is_readable });
    }

    /// Says to which step the run returns.
    fn returns(&mut self, search: &Search) {
        let (Search { reason, from, .. }, step) = (search, self.step());
        let incarnation = self.incarnation;
        tracing::info!(incarnation, from, step, reason, "returning to the last checkpoint");
        self.notices.push(format!("{reason}; rolled back from step {from} to {step}"));
    }

    /// Takes the newest whole checkpoint as the one from which the run continues.
    pub(super) fn checkpoint_found(&mut self, found: Found, now: Instant) {
        let Some(search) = self.search.take() else { return };
        let (manifest, refused) = match found {
            Ok(found) => found,
            Err(why) => {
                tracing::error!(why, "the checkpoints can't be read, trying again");
                let retry_at = Some(now + SEARCHES_AGAIN);
                self.search = Some(Search { retry_at, ..search });
                return;
            }
        };
        self.is_writing = false;
        if manifest.is_none() && self.checkpoint.is_some() {
            let refused = refused.join("; ");
            return self
                .fail(format!("{}; no checkpoint is left to return to: {refused}", search.reason));
        }
        for sentence in refused {
            tracing::warn!("{sentence}");
            self.notices.push(sentence);
        }
        self.checkpoint = manifest;
        self.restore_checkpoint();
        self.returns(&search);
        self.begin_if_all_are_here(now);
    }

    /// Looks at the checkpoints again after they could not be read; in the end, at those that can
    /// be.
    fn search_again(&mut self, now: Instant) {
        if let Some(search) = self.search.take_if(|s| s.retry_at.is_some_and(|at| now >= at)) {
            let long = now.saturating_duration_since(search.since) >= SEARCHES_FOR;
            self.search_with(Search { retry_at: None, ..search }, long);
        }
    }

    /// Restores the state of the last checkpoint; without one, the state of a new run.
    pub(super) fn restore_checkpoint(&mut self) {
        let checkpoint = self.checkpoint.as_deref();
        self.rate = checkpoint.map(|m| m.rate.clone()).unwrap_or_default();
        self.last = checkpoint.and_then(|m| m.last.clone());
        self.best = checkpoint.and_then(|m| m.best.clone());
        let step = self.checkpoint_step();
        for seat in &mut self.members.seats {
            seat.done = step;
            seat.reports.clear();
        }
        self.failed = None;
    }

    /// Takes the report of a failure that each half finds by itself, in its own layers. The run
    /// ends once both halves have reported.
    pub(super) fn shared_failure(&mut self, seat: usize, reason: String, now: Instant) {
        self.members.seats[seat].failure = Some(reason);
        self.shared_failure_since.get_or_insert(now);
        if self.members.seats.iter().all(|seat| seat.failure.is_some()) {
            self.fail_as_reported();
        }
    }

    fn fail_as_reported(&mut self) {
        let reports = self.members.seats.iter().filter_map(|seat| {
            let reason = seat.failure.as_ref()?;
            Some(format!("{}: {reason}", seat.partition))
        });
        let reports: Vec<_> = reports.collect();
        self.fail(reports.join("; "));
    }

    pub(super) fn tick(&mut self, now: Instant) {
        let waited = |since: Option<Instant>, limit| {
            since.is_some_and(|since| now.saturating_duration_since(since) > limit)
        };
        if waited(self.shared_failure_since, SECOND_REPORT) {
            return self.fail_as_reported();
        }
        let grace = self.settings.grace;
        if waited(self.stop_since, grace) {
            return self.stop_without_checkpoint(grace);
        }
        let limit = self.settings.heartbeat_timeout;
        let reason = format!("no heartbeat for {:.1} s", limit.as_secs_f64());
        self.drop_workers(self.members.silent(now, limit), &reason, now);
        let limit = self.settings.ready_deadline;
        let reason = format!("not ready {:.0} s after it was told to begin", limit.as_secs_f64());
        self.drop_workers(self.not_ready(now, limit), &reason, now);
        self.search_again(now);
        self.retry_checkpoint(now);
        self.begin_if_all_are_here(now);
        let limit = self.settings.replacement_deadline;
        let (no_worker, no_loader) =
            (waited(self.no_worker_since, limit), waited(self.no_loader_since, limit));
        let missing = match (self.members.missing(), no_loader) {
            (missing, _) if no_worker && !missing.is_empty() => {
                format!("worker for {}", partitions(&missing))
            }
            (_, true) if self.started => "loader".to_string(),
            _ => return,
        };
        let seconds = limit.as_secs_f64();
        self.fail(format!("no {missing} came within {seconds:.0} s; start one and run it again"));
    }

    fn drop_workers(&mut self, workers: Vec<WorkerId>, reason: &str, now: Instant) {
        for worker in workers {
            self.actions.push(Action::Disconnect { worker, reason: reason.to_string() });
            self.worker_failed(worker, reason, now);
        }
    }

    /// Workers that send heartbeats but have not begun within `limit`: something in them hangs.
    fn not_ready(&self, now: Instant, limit: Duration) -> Vec<WorkerId> {
        let Stage::Starting { since } = self.stage else { return Vec::new() };
        if now.saturating_duration_since(since) <= limit {
            return Vec::new();
        }
        let late = self.members.seats.iter().filter(|seat| !seat.answered);
        late.filter_map(|seat| seat.worker).collect()
    }

    /// Gives up the checkpoint that is being saved. One whose shards are all there is completed
    /// beside whatever follows, and found again.
    pub(super) fn give_up_saving(&mut self) {
        if let Some(saving) = self.saving.take()
            && !self.is_writing
        {
            self.discard(saving.step);
        }
    }

    /// Removes an unfinished checkpoint, unless it was whole before it was taken again.
    pub(super) fn discard(&mut self, step: u64) {
        if self.checkpoint.as_ref().is_none_or(|m| m.step != step) {
            self.actions.push(Action::DiscardCheckpoint { step });
        }
    }
}
