//! While all partitions have a worker: grants, and everything that is due where they end.

use std::collections::BTreeMap;
use std::time::Instant;

use net::FOR_MACHINES;
use proto::command::{Command, Evaluate, Train};
use proto::step::StepFigures;

use super::event::{Action, Ending, Magnitude, Scores, WorkerMessage};
use super::rate::Change;
use super::{Run, Stage};
use crate::record::metrics::{Eval, Line, Means, Sent, Step};
use crate::record::progress;

impl Run {
    /// Takes a worker's answer; a sentence if it doesn't answer the present command.
    pub(super) fn advance(
        &mut self,
        seat: usize,
        message: WorkerMessage,
        now: Instant,
    ) -> Result<(), String> {
        let step = self.step();
        match (&self.stage, message) {
            (Stage::Starting { .. }, WorkerMessage::Ready { step: at, begun_anew })
                if at == step =>
            {
                self.members.seats[seat].answered = true;
                // Both halves find the same, and again after a rollback to the start.
                if !std::mem::replace(&mut self.start_noted, true) {
                    for layer in begun_anew {
                        tracing::warn!("{layer}");
                        self.note(layer);
                    }
                }
                if self.all_answered() {
                    // Not before: the workers have the weights of this very step now.
                    let bytes = self.checkpoint.as_ref().map_or(0, |m| m.metrics_bytes);
                    self.actions.push(Action::CutMetrics { bytes });
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
            (
                Stage::Evaluating { .. },
                WorkerMessage::Evaluated { step: at, scores, magnitudes },
            ) if at == step => {
                let partition = self.members.seats[seat].partition;
                scores.check().map_err(|why| format!("{partition} reported {why}"))?;
                self.members.seats[seat].answered = true;
                self.magnitudes.insert(seat, magnitudes);
                if seat == 0 {
                    self.scores = Some(scores);
                }
                if self.all_answered() {
                    self.evaluated(step);
                }
                Ok(())
            }
            (Stage::Halting, WorkerMessage::StepDone(figures))
                if figures.step == self.members.seats[seat].done + 1 =>
            {
                self.step_done(seat, figures);
                Ok(())
            }
            // The run is ending: the evaluation is repeated when the run is resumed.
            (Stage::Halting, WorkerMessage::Evaluated { .. }) => Ok(()),
            (Stage::Halting, WorkerMessage::Halted { step: at })
                if at == self.members.seats[seat].done =>
            {
                self.halted(seat, at)
            }
            (_, WorkerMessage::Saved { step: at, result })
                if self.saving.as_ref().is_some_and(|saving| saving.step == at) =>
            {
                self.shard_saved(seat, result, now);
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

    /// Returns true if nothing is left to train after this step.
    pub(super) fn is_at_end(&self, step: u64) -> bool {
        self.rate.ended || self.boundaries.as_ref().is_some_and(|b| step >= b.end)
    }

    pub(super) fn all_answered(&self) -> bool {
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
        if self.all_done(granted) && (self.is_paused() || self.is_boundary(granted)) {
            self.at_boundary(granted);
        } else {
            self.grant();
        }
    }

    /// Writes a line for each step that all partitions have now done.
    fn write_finished_steps(&mut self) {
        while let Some((figures, sent)) = self.next_finished_step() {
            let Some(boundaries) = &self.boundaries else { return };
            self.actions.push(Action::AppendMetrics(Line::Step(Step {
                epoch: boundaries.epoch(figures.step),
                rate: self.settings.recipe.rate_after(self.rate.drops),
                images_per_s: self.images_per_s(&figures),
                figures,
                sent,
            })));
            self.furthest = self.furthest.max(figures.step);
            self.trained_ms += figures.step_ms;
            self.steps_trained += 1;
            self.latest = figures;
        }
    }

    /// Figures and checksums of the next step that all partitions have done.
    fn next_finished_step(&mut self) -> Option<(StepFigures, Option<[Sent; 2]>)> {
        let seats = &mut self.members.seats;
        if seats.iter().any(|seat| seat.reports.is_empty()) {
            return None;
        }
        let mut next = seats.iter_mut().filter_map(|seat| seat.reports.pop_front());
        let (first, second) = (next.next()?, next.next());
        Some(match second {
            // What one half sent is what the other received.
            Some(b) => (first.with(&b), Some([&b, &first].map(Sent::received_in))),
            None => (first, None),
        })
    }

    fn is_boundary(&self, step: u64) -> bool {
        let before = step.saturating_sub(1);
        self.boundaries.as_ref().is_some_and(|b| b.next_boundary(before) <= step)
    }

    /// Grants all workers further steps, unless the run is to stop or pauses.
    fn grant(&mut self) {
        let slowest = self.step();
        let (Stage::Training { granted }, Some(boundaries)) = (&self.stage, &self.boundaries)
        else {
            return;
        };
        let until = boundaries.grant(slowest);
        // Never beyond a boundary at which the faster half stands already.
        if until <= *granted || self.stop.is_some() || self.is_paused() {
            return;
        }
        self.stage = Stage::Training { granted: until };
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
        if self.is_halted() {
            let kept = self.has_checkpoint(step) || step == 0;
            return match self.stop {
                Some(_) if kept => self.end(Ending::Stopped),
                None if kept || self.checkpoint_failed_at(step) => self.go_on_without_leaving(),
                _ => self.save_and_wait(step),
            };
        }
        let epochs = boundaries.epochs_done(step);
        if epochs > self.rate.epochs_seen {
            match boundaries.n_val {
                0 => self.end_epoch(epochs),
                _ => return self.evaluate(step, true),
            }
        }
        let at_end = self.is_at_end(step);
        let evaluated =
            |e: &Option<_>| matches!(e, Some(crate::Evaluation { step: s, .. }) if *s == step);
        if at_end && boundaries.n_val > 0 && !evaluated(&self.last) {
            // The rate ignores this evaluation of the result, so that longer training is the same.
            return self.evaluate(step, false);
        }
        let due = boundaries.is_checkpoint(step) || evaluated(&self.best);
        if (at_end || self.is_paused()) && !self.has_checkpoint(step) {
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
        let magnitudes = means(std::mem::take(&mut self.magnitudes));
        progress::magnitudes(&magnitudes);
        self.actions.push(Action::AppendMetrics(Line::Eval(Eval {
            split: "val".into(),
            views: 1,
            step,
            epoch,
            loss,
            top1_error,
            top5_error,
            magnitudes,
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
}

/// Means over all halves, layer by layer. Numbers that no JSON has are left out.
fn means(by_seat: BTreeMap<usize, Vec<(String, Magnitude)>>) -> BTreeMap<String, Means> {
    let mut sums = BTreeMap::<String, Magnitude>::new();
    for (layer, of_half) in by_seat.into_values().flatten() {
        let sum = sums.entry(layer).or_default();
        sum.n = sum.n.saturating_add(of_half.n);
        sum.weights += of_half.weights;
        sum.updates += of_half.updates;
    }
    let mean = |sum: Magnitude| {
        let n = sum.n.max(1) as f64;
        Means { weights: sum.weights / n, updates: sum.updates / n }
    };
    let means = sums.into_iter().map(|(layer, sum)| (layer, mean(sum)));
    means.filter(|(_, m)| m.weights.is_finite() && m.updates.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_over_both_halves_and_finite() {
        let half = |n, weights, updates| {
            let bad = Magnitude { n: 1, weights: f64::NAN, updates: 0.0 };
            vec![("fc8".to_owned(), Magnitude { n, weights, updates }), ("fc7".to_owned(), bad)]
        };
        let means = means(BTreeMap::from([(0, half(6, 3.0, 0.5)), (1, half(2, 1.0, 0.3))]));
        assert_eq!(means, BTreeMap::from([("fc8".into(), Means { weights: 0.5, updates: 0.1 })]));
    }
}
