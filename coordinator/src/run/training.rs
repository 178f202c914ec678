//! While all parts are there: grants, and what is due where they end.

use model::halves::Partition;
use net::FOR_MACHINES;

use super::{Phase, Run, Saving};
use crate::checkpoint::{Manifest, ShardEntry, shard_name};
use crate::event::{Command, Ending, Order, Said, Scores, Shard, part_name, shard_file};
use crate::metrics::{Line, StepReport};
use crate::progress;
use crate::rate::Change;

impl Run {
    /// Takes a part's answer; a sentence if it isn't one to what was ordered.
    pub(super) fn advance(&mut self, seat: usize, said: Said) -> Result<(), String> {
        let step = self.step();
        match (&mut self.phase, said) {
            (Phase::Starting { ready, .. }, Said::Ready { step: at }) if at == step => {
                ready[seat] = true;
                if ready.iter().all(|ready| *ready) {
                    self.settle(step);
                }
                Ok(())
            }
            (Phase::Training { granted }, Said::StepDone(report))
                if report.step == self.done[seat] + 1 && report.step <= *granted =>
            {
                self.step_done(seat, report);
                Ok(())
            }
            (Phase::Evaluating { answered, .. }, Said::Evaluated { step: at, scores })
                if at == step =>
            {
                answered[seat] = true;
                let all = answered.iter().all(|answered| *answered);
                if seat == 0 {
                    self.scores = Some(scores);
                }
                if all {
                    self.evaluated(step);
                }
                Ok(())
            }
            (_, Said::Saved { step: at, result })
                if self.saving.as_ref().is_some_and(|saving| saving.state.step == at) =>
            {
                self.part_saved(seat, result);
                Ok(())
            }
            (phase, said) => Err(format!("at step {step} it says {said:?} while {phase:?}")),
        }
    }

    fn step_done(&mut self, seat: usize, report: StepReport) {
        self.done[seat] = report.step;
        self.reports[seat].push_back(report);
        self.work[seat].add(report);
        let before = self.furthest;
        self.write_finished_steps();
        if self.furthest > before {
            self.losses = 0;
        }
        let Phase::Training { granted } = self.phase else { return };
        if self.all_done(granted) && (self.stop.is_some() || self.is_boundary(granted)) {
            self.settle(granted);
        } else {
            self.grant();
        }
    }

    /// Writes a line for each step that all parts have now done.
    fn write_finished_steps(&mut self) {
        while let Some(report) = self.next_finished_step() {
            let Some(plan) = &self.plan else { return };
            self.out.push(Command::Write(Line::Step {
                step: report.step,
                epoch: plan.epoch(report.step),
                loss: report.loss,
                top1_error: report.top1_error,
                top5_error: report.top5_error,
                rate: self.settings.recipe.rate_after(self.rate.drops),
                images_per_s: self.images_per_s(&report),
                step_ms: report.step_ms,
                compute_ms: report.compute_ms,
                exchange_wait_ms: report.exchange_wait_ms,
                peer_late_ms: report.peer_late_ms,
                data_wait_ms: report.data_wait_ms,
            }));
            self.furthest = self.furthest.max(report.step);
            self.trained_ms += report.step_ms;
            self.steps_trained += 1;
            self.latest = report;
        }
    }

    fn next_finished_step(&mut self) -> Option<StepReport> {
        if self.reports.iter().any(|reports| reports.is_empty()) {
            return None;
        }
        let fronts: Vec<_> = self.reports.iter_mut().filter_map(|r| r.pop_front()).collect();
        fronts.into_iter().reduce(|first, other| first.with(&other))
    }

    pub(super) fn images_per_s(&self, report: &StepReport) -> f64 {
        let images = self.settings.recipe.batch as f64;
        if report.step_ms > 0.0 { images * 1000.0 / report.step_ms } else { 0.0 }
    }

    pub(super) fn all_done(&self, step: u64) -> bool {
        self.done.iter().all(|done| *done == step)
    }

    fn is_boundary(&self, step: u64) -> bool {
        let before = step.saturating_sub(1);
        self.plan.as_ref().is_some_and(|plan| plan.next_boundary(before) <= step)
    }

    /// Lets everyone go on, unless the run is to stop.
    fn grant(&mut self) {
        let (Phase::Training { granted }, Some(plan)) = (&mut self.phase, &self.plan) else {
            return;
        };
        let slowest = self.done.iter().copied().min().unwrap_or(0);
        let until = plan.grant(slowest);
        // Never beyond a boundary that the faster half stands at already.
        if self.stop.is_some() || until <= *granted {
            return;
        }
        *granted = until;
        let recipe = &self.settings.recipe;
        let (rate, bias_rate) =
            (recipe.rate_after(self.rate.drops), recipe.bias_rate_after(self.rate.drops));
        let color_noise = recipe.color_noise_at(plan.epochs_done(slowest));
        self.order_all(|_| Order::Train { until, rate, bias_rate, color_noise });
    }

    /// All parts stand at `step`: does the next thing that is due there, or lets them go on.
    ///
    /// What is due is read off the state, not remembered: after a resume at this step exactly what
    /// had not been done is done.
    pub(super) fn settle(&mut self, step: u64) {
        let Some(plan) = self.plan.clone() else { return };
        if self.stop.is_some() {
            return match self.is_kept(step) || step == 0 {
                true => self.end(Ending::Stopped),
                false => self.save_and_wait(step),
            };
        }
        let epochs = plan.epochs_done(step);
        if epochs > self.rate.epochs_seen {
            match plan.n_val {
                0 => self.end_epoch(epochs),
                _ => return self.evaluate(step, true),
            }
        }
        let at_end = step >= plan.end || self.rate.ended;
        let evaluated =
            |e: &Option<_>| matches!(e, Some(crate::Evaluation { step: s, .. }) if *s == step);
        if at_end && plan.n_val > 0 && !evaluated(&self.last) {
            // A look at the result: the rate doesn't see it, so training on later is not changed.
            return self.evaluate(step, false);
        }
        let due = plan.is_checkpoint(step) || evaluated(&self.best);
        if at_end && !self.is_kept(step) {
            return self.save_and_wait(step);
        }
        if due && !self.is_kept(step) && !self.has_failed_to_keep(step) {
            if self.saving.is_some() {
                // The disk is slower than the training: one at a time.
                self.phase = Phase::Waiting;
                return;
            }
            self.save(step);
        }
        if at_end {
            return self.end(Ending::Finished);
        }
        self.phase = Phase::Training { granted: step };
        self.grant();
    }

    fn is_kept(&self, step: u64) -> bool {
        // The manifest must also say what was evaluated here since.
        self.kept.as_ref().is_some_and(|m| {
            m.step == step && m.rate == self.rate && same_step(&m.last, &self.last)
        })
    }

    fn has_failed_to_keep(&self, step: u64) -> bool {
        self.not_kept.as_ref().is_some_and(|(at, _)| *at == step)
    }

    /// The last checkpoint of a run: without it the work would be lost in silence.
    fn save_and_wait(&mut self, step: u64) {
        match &self.not_kept {
            Some((at, why)) if *at == step => {
                let reason = format!("its last checkpoint could not be kept: {why}");
                return self.end(Ending::Failed { reason });
            }
            _ if self.saving.is_none() => self.save(step),
            _ => {}
        }
        self.phase = Phase::Waiting;
    }

    fn evaluate(&mut self, step: u64, counts: bool) {
        let answered = vec![false; self.members.parts().len()];
        self.phase = Phase::Evaluating { answered, counts };
        self.scores = None;
        self.order_all(|_| Order::Evaluate { step, views: 1 });
    }

    fn evaluated(&mut self, step: u64) {
        let Phase::Evaluating { counts, .. } = self.phase else { return };
        let (Some(plan), Some(scores)) = (&self.plan, self.scores.take()) else { return };
        let Scores { loss, top1_error, top5_error, .. } = scores;
        let (epoch, epochs) = (plan.epoch(step), plan.epochs_done(step));
        let found = scores.at(step, epoch);
        tracing::info!(name: FOR_MACHINES, step, epoch, loss, top1_error, top5_error, "evaluated");
        progress::evaluated(&found, self.data.as_ref().map_or(0, |data| data.classes.len()));
        let split = "val";
        let line = Line::Eval { split, views: 1, step, epoch, loss, top1_error, top5_error };
        self.out.push(Command::Write(line));
        if self.best.as_ref().is_none_or(|best| top1_error < best.top1_error) {
            self.best = Some(found.clone());
        }
        self.last = Some(found);
        if counts {
            self.end_epoch(epochs);
        }
        self.settle(step);
    }

    /// Gives the schedule the end of an epoch.
    fn end_epoch(&mut self, epochs: u64) {
        let recipe = &self.settings.recipe;
        let found = self.last.as_ref().filter(|e| e.step == self.done[0]);
        match self.rate.epoch_ended(recipe, epochs, found) {
            Change::Nothing => {}
            Change::Dropped => {
                let drops = self.rate.drops;
                let rate = recipe.rate_after(drops);
                tracing::info!(epochs, rate, drops, "the rate drops");
            }
            Change::Ended => tracing::info!(epochs, "a plateau after the last drop ends training"),
        }
    }

    /// Has every part take its shard now and send it while it goes on.
    fn save(&mut self, step: u64) {
        let parts: Vec<Partition> = self.members.parts().to_vec();
        let names: Vec<_> = parts.iter().map(|p| shard_name(step, shard_file(*p))).collect();
        self.saving = Some(Saving { state: self.state(), answered: vec![None; parts.len()] });
        let (incarnation, shards) = (self.incarnation, names.clone());
        self.out.push(Command::Mark);
        self.out.push(Command::Expect { incarnation, shards });
        self.order_all(|seat| Order::Checkpoint { step, shard: names[seat].clone() });
    }

    fn part_saved(&mut self, seat: usize, result: Result<Shard, String>) {
        let Some(saving) = &mut self.saving else { return };
        let file = shard_file(self.members.parts()[seat]).to_string();
        saving.answered[seat] =
            Some(result.map(|shard| ShardEntry { file, sha256: shard.sha256, bytes: shard.bytes }));
        if saving.answered.iter().any(Option::is_none) {
            return;
        }
        let (step, state) = (saving.state.step, saving.state.clone());
        let parts = self.members.parts().iter().map(|part| part_name(*part));
        let named = saving.answered.iter().flatten().cloned().zip(parts);
        let shards: Result<Vec<_>, _> =
            named.map(|(shard, part)| shard.map_err(|e| format!("{part}: {e}"))).collect();
        match shards {
            Ok(shards) => {
                let manifest = Manifest::new(self.identity(), state, shards);
                self.out.push(Command::Keep(Box::new(manifest)));
            }
            Err(reason) => self.kept(step, Err(reason)),
        }
    }

    /// Takes the outcome of a checkpoint; a failed one doesn't end training.
    pub(super) fn kept(&mut self, step: u64, result: Result<Box<Manifest>, String>) {
        if self.saving.take_if(|saving| saving.state.step == step).is_none() {
            return;
        }
        let incarnation = self.incarnation;
        self.out.push(Command::Expect { incarnation, shards: Vec::new() });
        match result {
            Ok(manifest) => {
                tracing::info!(step, "checkpoint kept");
                self.kept = Some(manifest);
            }
            Err(error) => {
                let kept = self.kept_step();
                tracing::error!(step, error, kept, "checkpoint failed, the earlier ones stay");
                self.notices.push(format!("the checkpoint of step {step} failed: {error}"));
                self.not_kept = Some((step, error));
                self.discard(step);
            }
        }
        if self.phase == Phase::Waiting {
            self.settle(self.step());
        }
    }
}

fn same_step(a: &Option<crate::Evaluation>, b: &Option<crate::Evaluation>) -> bool {
    a.as_ref().map(|e| e.step) == b.as_ref().map(|e| e.step)
}
