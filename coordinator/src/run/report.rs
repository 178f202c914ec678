//! How a run stands, for those who ask; changes nothing.

use model::halves::Partition;

use super::{Phase, Run};
use crate::status::{PartStatus, RunStatus};

impl Run {
    /// Whether nothing is left to do: all steps done, evaluated and kept.
    pub(crate) fn is_finished(&self) -> bool {
        let (Some(plan), Some(kept)) = (&self.plan, &self.kept) else { return false };
        let evaluated = plan.n_val == 0 || self.last.as_ref().is_some_and(|e| e.step == kept.step);
        kept.rate.ended || (kept.step >= plan.end && (evaluated || kept.step > plan.end))
    }

    /// The step of the newest checkpoint; 0 without one.
    pub(crate) fn kept_step(&self) -> u64 {
        self.kept.as_ref().map_or(0, |m| m.step)
    }

    /// Steps done since the program started, and images a second while training.
    pub(crate) fn speed(&self) -> (u64, f64) {
        let images = self.steps_trained as f64 * self.settings.recipe.batch as f64;
        let seconds = self.trained_ms / 1000.0;
        (self.steps_trained, if seconds > 0.0 { images / seconds } else { 0.0 })
    }

    /// What the run waits for, or does, in a word or two.
    fn phase(&self) -> String {
        match &self.phase {
            Phase::Gathering if self.members.loaders().is_empty() => "waiting for loaders".into(),
            Phase::Gathering => format!("waiting for {}", self.members.missing()),
            Phase::Starting { .. } => "starting".into(),
            Phase::Training { .. } if self.stop.is_some() => "stopping".into(),
            Phase::Training { .. } => "training".into(),
            Phase::Evaluating { .. } => "evaluating".into(),
            Phase::Waiting => "checkpointing".into(),
            Phase::Ended => "ended".into(),
        }
    }

    /// How the run stands.
    pub(crate) fn status(&self) -> RunStatus {
        let report = &self.latest;
        RunStatus {
            run_id: self.settings.run_id.clone(),
            phase: self.phase(),
            incarnation: self.incarnation,
            step: self.step(),
            steps: self.plan.as_ref().map_or(0, |p| p.end),
            epoch: self.state().epoch,
            loss: report.loss,
            top1_error: report.top1_error,
            top5_error: report.top5_error,
            images_per_s: self.images_per_s(report),
            step_ms: report.step_ms,
            exchange_wait_ms: report.exchange_wait_ms,
            data_wait_ms: report.data_wait_ms,
            rate: self.settings.recipe.rate_after(self.rate.drops),
            workers: self.members.describe(),
            loaders: self.members.loaders(),
            checkpoint_step: self.kept_step(),
            checkpoint_at: None, // there is no clock here
            run_dir: self.settings.run_dir.clone(),
            last: self.last.clone(),
            best: self.best.clone(),
            notices: self.notices.clone(),
            restarts: self.restarts,
            images: self.steps_trained * self.settings.recipe.batch as u64,
            parts: self.parts(),
        }
    }

    fn parts(&self) -> Vec<PartStatus> {
        let parts = self.members.parts().iter().zip(&self.work).enumerate();
        parts
            .map(|(seat, (part, work))| PartStatus {
                name: match part {
                    Partition::Whole => "whole".to_string(),
                    Partition::Half(half) => half.to_string(),
                },
                seated: self.members.is_taken(seat),
                work: work.clone(),
            })
            .collect()
    }
}
