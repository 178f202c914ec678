//! The status of a run, for people and for whatever watches it. Nothing here changes the run.

use std::time::SystemTime;

use model::halves::Partition;
use proto::status::{LoaderStatus, Phase, WorkerStatus};
use proto::step::StepFigures;

use super::{Run, Stage};
use crate::record::metrics::Evaluation;

/// A snapshot of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunStatus {
    /// Id of the run.
    pub run_id: String,
    /// Phase: the run's present work, or the members that it waits for.
    pub phase: Phase,
    /// Number of times that work has begun, rollbacks included.
    pub incarnation: u64,
    /// Steps done by all partitions.
    pub step: u64,
    /// Steps to do in all; 0 while the data set is unknown.
    pub steps: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Figures of the last step, of both halves together.
    pub latest: StepFigures,
    /// Speed of the last step, in images per second.
    pub images_per_s: f64,
    /// Learning rate of the weights.
    pub rate: f64,
    /// Connected workers, the seated ones first.
    pub workers: Vec<WorkerStatus>,
    /// Connected loaders.
    pub loaders: Vec<LoaderStatus>,
    /// Step of the last checkpoint; 0: none yet.
    pub checkpoint_step: u64,
    /// Time of the last checkpoint.
    pub checkpoint_at: Option<SystemTime>,
    /// Run directory.
    pub run_dir: String,
    /// Last evaluation.
    pub last: Option<Evaluation>,
    /// Evaluation with the lowest error.
    pub best: Option<Evaluation>,
    /// Anything out of the ordinary: a damaged checkpoint, a full disk, a rollback.
    pub notices: Vec<String>,
    /// Rollbacks since this program started.
    pub restarts: u64,
    /// Images trained on since this program started.
    pub images: u64,
    /// Half A, then half B; or the whole network.
    pub(crate) partitions: Vec<PartitionStatus>,
}

/// The status of one partition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PartitionStatus {
    pub(crate) partition: Partition,
    /// Whether the partition has a worker.
    pub(crate) seated: bool,
    pub(crate) work: Work,
}

/// Everything that a partition has done since this program started, repeated steps included.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Work {
    pub(crate) steps: u64,
    pub(crate) latest: StepFigures,
    /// Sums of the times and bytes of all steps.
    pub(crate) total: StepFigures,
}

impl Work {
    /// Counts a step.
    pub(crate) fn add(&mut self, figures: StepFigures) {
        self.steps += 1;
        self.latest = figures;
        self.total.add(&figures);
    }
}

impl Run {
    /// Whether nothing is left to do: all steps are done, evaluated and saved.
    pub(crate) fn is_finished(&self) -> bool {
        let (Some(boundaries), Some(checkpoint)) = (&self.boundaries, &self.checkpoint) else {
            return false;
        };
        let evaluated =
            boundaries.n_val == 0 || self.last.as_ref().is_some_and(|e| e.step == checkpoint.step);
        let (step, end) = (checkpoint.step, boundaries.end);
        checkpoint.rate.ended || (step >= end && (evaluated || step > end))
    }

    /// The step of the newest checkpoint; 0 without one.
    pub(crate) fn checkpoint_step(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |m| m.step)
    }

    /// Steps done since the program started, and images per second while training.
    pub(crate) fn speed(&self) -> (u64, f64) {
        let images = self.steps_trained as f64 * self.settings.recipe.batch as f64;
        let seconds = self.trained_ms / 1000.0;
        (self.steps_trained, if seconds > 0.0 { images / seconds } else { 0.0 })
    }

    pub(super) fn images_per_s(&self, figures: &StepFigures) -> f64 {
        let images = self.settings.recipe.batch as f64;
        if figures.step_ms > 0.0 { images * 1000.0 / figures.step_ms } else { 0.0 }
    }

    fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Gathering if !self.members.has_loaders() => Phase::WaitingForLoaders,
            Stage::Gathering if self.search.is_some() && self.members.missing().is_empty() => {
                Phase::Starting
            }
            Stage::Gathering => Phase::WaitingForWorkers { missing: self.members.missing() },
            Stage::Starting { .. } => Phase::Starting,
            Stage::Training { .. } => Phase::Training,
            Stage::Evaluating { .. } => Phase::Evaluating,
            Stage::Halting => Phase::Stopping,
            Stage::WaitingForDisk => Phase::Checkpointing,
            Stage::Ended => Phase::Ended,
        }
    }

    /// A snapshot of the run.
    pub(crate) fn status(&self) -> RunStatus {
        RunStatus {
            run_id: self.settings.run_id.clone(),
            phase: self.phase(),
            incarnation: self.incarnation,
            step: self.step(),
            steps: self.boundaries.as_ref().map_or(0, |b| b.end),
            epoch: self.state().epoch,
            latest: self.latest,
            images_per_s: self.images_per_s(&self.latest),
            rate: self.settings.recipe.rate_after(self.rate.drops),
            workers: self.members.describe(),
            loaders: self.members.loaders(),
            checkpoint_step: self.checkpoint_step(),
            checkpoint_at: None, // there is no clock here
            run_dir: self.settings.run_dir.clone(),
            last: self.last.clone(),
            best: self.best.clone(),
            notices: self.notices.list(),
            restarts: self.restarts,
            images: self.steps_trained * self.settings.recipe.batch as u64,
            partitions: self.partitions(),
        }
    }

    fn partitions(&self) -> Vec<PartitionStatus> {
        let seats = self.members.seats.iter();
        seats
            .map(|seat| PartitionStatus {
                partition: seat.partition,
                seated: seat.worker.is_some(),
                work: seat.work.clone(),
            })
            .collect()
    }
}
