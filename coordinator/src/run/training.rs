//! While all partitions have a worker: grants, and everything that is due where they end.

use net::FOR_MACHINES;
use proto::command::{Checkpoint, Command, Evaluate, Train};
use proto::step::StepFigures;

use super::event::{Action, Ending, Scores, Shard, WorkerMessage};
use super::rate::Change;
use super::{Run, Stage};
use crate::disk::checkpoint::{Manifest, ShardEntry, shard_name};
use crate::record::metrics::{Eval, Line, Step};
use crate::record::progress;

impl Run {
    /// Takes a worker's answer; a sentence if it doesn't answer the present command.
    pub(super) fn advance(&mut self, seat: usize, message: WorkerMessage) -> Result<(), String> {
        let step = self.step();
        match (&self.stage, message) {
            (Stage::Starting { .. }, WorkerMessage::Ready { step: at }) if at == step => {
                self.members.seats[seat].answered = true;
                if self.all_answered() {
                    self.at_boundary(step);
                }
                Ok(())
            }
            (Stage::Training { granted }, WorkerMessage::StepDone(figures))
                if figures.step == self.members.seats[seat].done + 1
                    && figures.step <= *granted =>
            {
                self.step_done(seat, figures);
                Ok(())
            }
            (Stage::Evaluating { .. }, WorkerMessage::Evaluated { step: at, scores })
                if at == step =>
            {
                self.members.seats[seat].answered = true;
                if seat == 0 {
                    self.scores = Some(scores);
                }
                if self.all_answered() {
                    self.evaluated(step);
                }
                Ok(())
            }
            (_, WorkerMessage::Saved { step: at, result })
                if self.saving.as_ref().is_some_and(|saving| saving.step == at) =>
            {
                self.shard_saved(seat, result);
                Ok(())
            }
            (_, message) => Err(self.out_of_step(seat, &message)),
        }
    }

    fn out_of_step(&self, seat: usize, message: &WorkerMessage) -> String {
        let seat = &self.members.seats[seat];
        let (partition, said) = (seat.partition, message.in_words());
        match (&self.stage, message) {
            (Stage::Training { granted }, WorkerMessage::StepDone(_)) => {
                let expected = seat.done + 1;
                format!("{partition} {said}, expected {expected} (granted up to {granted})")
            }
            (stage, _) => {
                let (step, stage) = (self.step(), stage.in_words());
                format!("{partition} {said}, but the run is at step {step} and {stage}")
            }
        }
    }

    fn all_answered(&self) -> bool {
        self.members.seats.iter().all(|seat| seat.answered)
    }

    fn step_done(&mut self, seat: usize, figures: StepFigures) {
        let seat = &mut self.members.seats[seat];
        seat.done = figures.step;
        seat.reports.push_back(figures);
        seat.work.add(figures);
        let before = self.furthest;
        self.write_finished_steps();
        if self.furthest > before {
            self.failures = 0;
        }
        let Stage::Training { granted } = self.stage else { return };
        if self.all_done(granted) && (self.stop.is_some() || self.is_boundary(granted)) {
            self.at_boundary(granted);
        } else {
            self.grant();
        }
    }

    /// Writes a line for each step that all partitions have now done.
    fn write_finished_steps(&mut self) {
        while let Some(figures) = self.next_finished_step() {
            let Some(boundaries) = &self.boundaries else { return };
            self.actions.push(Action::AppendMetrics(Line::Step(Step {
                epoch: boundaries.epoch(figures.step),
                rate: self.settings.recipe.rate_after(self.rate.drops),
                images_per_s: self.images_per_s(&figures),
                figures,
            })));
            self.furthest = self.furthest.max(figures.step);
            self.trained_ms += figures.step_ms;
            self.steps_trained += 1;
            self.latest = figures;
        }
    }

    fn next_finished_step(&mut self) -> Option<StepFigures> {
        let seats = &mut self.members.seats;
        if seats.iter().any(|seat| seat.reports.is_empty()) {
            return None;
        }
        let next = seats.iter_mut().filter_map(|seat| seat.reports.pop_front());
        next.reduce(|first, other| first.with(&other))
    }

    fn is_boundary(&self, step: u64) -> bool {
        let before = step.saturating_sub(1);
        self.boundaries.as_ref().is_some_and(|b| b.next_boundary(before) <= step)
    }

    /// Grants all workers further steps, unless the run is to stop.
    fn grant(&mut self) {
        let slowest = self.step();
        let (Stage::Training { granted }, Some(boundaries)) = (&mut self.stage, &self.boundaries)
        else {
            return;
        };
        let until = boundaries.grant(slowest);
        // Never beyond a boundary at which the faster half stands already.
        if self.stop.is_some() || until <= *granted {
            return;
        }
        *granted = until;
        let recipe = &self.settings.recipe;
        let train = Train {
            incarnation: self.incarnation,
            until,
            rate: recipe.rate_after(self.rate.drops),
            bias_rate: recipe.bias_rate_after(self.rate.drops),
            color_noise: recipe.color_noise_at(boundaries.epochs_done(slowest)),
        };
        self.send_to_all(|_| Command::Train(train));
    }

    /// All partitions stand at `step`: does the next thing that is due there, or grants more steps.
    ///
    /// Everything that is due is derived from the state, not remembered: a run that resumes at this
    /// step does exactly what had not been done.
    pub(super) fn at_boundary(&mut self, step: u64) {
        let Some(boundaries) = self.boundaries.clone() else { return };
        if self.stop.is_some() {
            return match self.has_checkpoint(step) || step == 0 {
                true => self.end(Ending::Stopped),
                false => self.save_and_wait(step),
            };
        }
        let epochs = boundaries.epochs_done(step);
        if epochs > self.rate.epochs_seen {
            match boundaries.n_val {
                0 => self.end_epoch(epochs),
                _ => return self.evaluate(step, true),
            }
        }
        let at_end = step >= boundaries.end || self.rate.ended;
        let evaluated =
            |e: &Option<_>| matches!(e, Some(crate::Evaluation { step: s, .. }) if *s == step);
        if at_end && boundaries.n_val > 0 && !evaluated(&self.last) {
            // The rate ignores this evaluation of the result, so that longer training is the same.
            return self.evaluate(step, false);
        }
        let due = boundaries.is_checkpoint(step) || evaluated(&self.best);
        if at_end && !self.has_checkpoint(step) {
            return self.save_and_wait(step);
        }
        if due && !self.has_checkpoint(step) && !self.checkpoint_failed_at(step) {
            if self.saving.is_some() {
                // The disk is slower than the training: one checkpoint at a time.
                self.stage = Stage::WaitingForDisk;
                return;
            }
            self.save(step);
        }
        if at_end {
            return self.end(Ending::Finished);
        }
        self.stage = Stage::Training { granted: step };
        self.grant();
    }

    /// Whether the newest checkpoint is of this step, and knows of its evaluation.
    fn has_checkpoint(&self, step: u64) -> bool {
        self.checkpoint.as_ref().is_some_and(|m| {
            m.step == step && m.rate == self.rate && same_step(&m.last, &self.last)
        })
    }

    fn checkpoint_failed_at(&self, step: u64) -> bool {
        self.failed_checkpoint.as_ref().is_some_and(|(at, _)| *at == step)
    }

    /// Saves the last checkpoint of a run; if that fails, the run fails, since work would be lost.
    fn save_and_wait(&mut self, step: u64) {
        match &self.failed_checkpoint {
            Some((at, why)) if *at == step => {
                let reason = format!("its last checkpoint could not be kept: {why}");
                return self.end(Ending::Failed { reason });
            }
            _ if self.saving.is_none() => self.save(step),
            _ => {}
        }
        self.stage = Stage::WaitingForDisk;
    }

    fn evaluate(&mut self, step: u64, counts: bool) {
        self.stage = Stage::Evaluating { counts };
        self.expect_answers();
        self.scores = None;
        let evaluate = Evaluate { incarnation: self.incarnation, step, views: 1 };
        self.send_to_all(|_| Command::Evaluate(evaluate));
    }

    fn evaluated(&mut self, step: u64) {
        let Stage::Evaluating { counts } = self.stage else { return };
        let (Some(boundaries), Some(scores)) = (&self.boundaries, self.scores.take()) else {
            return;
        };
        let Scores { loss, top1_error, top5_error, .. } = scores;
        let (epoch, epochs) = (boundaries.epoch(step), boundaries.epochs_done(step));
        let found = scores.at(step, epoch);
        tracing::info!(name: FOR_MACHINES, step, epoch, loss, top1_error, top5_error, "evaluated");
        progress::evaluated(&found, self.data.as_ref().map_or(0, |data| data.classes.len()));
        self.actions.push(Action::AppendMetrics(Line::Eval(Eval {
            split: "val".into(),
            views: 1,
            step,
            epoch,
            loss,
            top1_error,
            top5_error,
        })));
        if self.best.as_ref().is_none_or(|best| top1_error < best.top1_error) {
            self.best = Some(found.clone());
        }
        self.last = Some(found);
        if counts {
            self.end_epoch(epochs);
        }
        self.at_boundary(step);
    }

    /// Reports the end of an epoch to the schedule of the learning rate.
    fn end_epoch(&mut self, epochs: u64) {
        let step = self.step();
        let recipe = &self.settings.recipe;
        let found = self.last.as_ref().filter(|e| e.step == step);
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

    /// Has every worker copy its shard now and send it while it continues to train.
    fn save(&mut self, step: u64) {
        let seats = &mut self.members.seats;
        seats.iter_mut().for_each(|seat| seat.saved = None);
        let shards: Vec<_> =
            seats.iter().map(|seat| shard_name(step, &seat.shard_file())).collect();
        self.saving = Some(self.state());
        let incarnation = self.incarnation;
        self.actions.push(Action::MarkMetrics);
        self.actions.push(Action::AcceptShards { incarnation, shards: shards.clone() });
        self.send_to_all(|seat| {
            let shard = shards[seat].clone();
            Command::Checkpoint(Checkpoint { incarnation, step, shard })
        });
    }

    fn shard_saved(&mut self, seat: usize, result: Result<Shard, String>) {
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
                self.actions.push(Action::WriteManifest(Box::new(manifest)));
            }
            Err(reason) => self.checkpoint_ended(state.step, Err(reason)),
        }
    }

    /// Takes the outcome of a checkpoint; a failed one doesn't end training.
    pub(super) fn checkpoint_ended(&mut self, step: u64, result: Result<Box<Manifest>, String>) {
        if self.saving.take_if(|saving| saving.step == step).is_none() {
            return;
        }
        let incarnation = self.incarnation;
        self.actions.push(Action::AcceptShards { incarnation, shards: Vec::new() });
        match result {
            Ok(manifest) => {
                tracing::info!(step, "checkpoint kept");
                self.checkpoint = Some(manifest);
            }
            Err(error) => {
                let kept = self.checkpoint_step();
                tracing::error!(step, error, kept, "checkpoint failed, the earlier ones stay");
                self.notices.push(format!("the checkpoint of step {step} failed: {error}"));
                self.failed_checkpoint = Some((step, error));
                self.discard(step);
            }
        }
        if self.stage == Stage::WaitingForDisk {
            self.at_boundary(self.step());
        }
    }
}

fn same_step(a: &Option<crate::Evaluation>, b: &Option<crate::Evaluation>) -> bool {
    a.as_ref().map(|e| e.step) == b.as_ref().map(|e| e.step)
}
