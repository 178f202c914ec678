//! The boundaries of a run: the steps at which training pauses, because something else is due.

use model::recipe::Recipe;

use crate::config::Until;
use crate::disk::data_set::DataSet;

/// Steps that a worker may be ahead of the slower one's last report: enough that no worker waits
/// for a grant, few enough that a stop is soon reached.
const AHEAD: u64 = 3;

/// The numbers that fix every boundary of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Boundaries {
    batch: u64,
    n_train: u64,
    pub(crate) n_val: u64,
    /// The step after which training ends.
    pub(crate) end: u64,
    checkpoint_every: u64,
}

impl Boundaries {
    /// The boundaries of a run; `data.n_train` and the batch are checked before and not 0.
    pub(crate) fn new(
        recipe: &Recipe,
        data: &DataSet,
        until: Option<Until>,
        checkpoint_every: u64,
    ) -> Self {
        let (batch, n_train) = (recipe.batch as u64, data.n_train);
        let mut new = Self { batch, n_train, n_val: data.n_val, end: 0, checkpoint_every };
        new.end = match until.unwrap_or(Until::Epochs(recipe.epochs)) {
            Until::Steps(steps) => steps,
            Until::Epochs(epochs) => new.epoch_end(epochs),
        };
        new
    }

    /// Whole epochs in `step` steps.
    pub(crate) fn epochs_done(&self, step: u64) -> u64 {
        step.saturating_mul(self.batch) / self.n_train
    }

    /// Epochs in `step` steps.
    pub(crate) fn epoch(&self, step: u64) -> f64 {
        step as f64 * self.batch as f64 / self.n_train as f64
    }

    /// The first step after which `epochs` epochs have been seen.
    pub(crate) fn epoch_end(&self, epochs: u64) -> u64 {
        epochs.saturating_mul(self.n_train).div_ceil(self.batch)
    }

    /// The next boundary: later than `step`, or the end.
    pub(crate) fn next_boundary(&self, step: u64) -> u64 {
        let checkpoint = (step / self.checkpoint_every + 1) * self.checkpoint_every;
        let epoch = self.epoch_end(self.epochs_done(step) + 1);
        checkpoint.min(epoch).min(self.end)
    }

    /// The step to grant when the slower worker has done `done` steps.
    pub(crate) fn grant(&self, done: u64) -> u64 {
        self.next_boundary(done).min(done + AHEAD)
    }

    /// Whether a checkpoint is due after this step, independent of any evaluation.
    pub(crate) fn is_checkpoint(&self, step: u64) -> bool {
        step > 0 && step.is_multiple_of(self.checkpoint_every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(n_train: u64, batch: usize, until: Until, every: u64) -> Boundaries {
        let recipe = Recipe { batch, ..Recipe::default() };
        Boundaries::new(&recipe, &crate::run::tests::data(n_train, 10), Some(until), every)
    }

    #[test]
    fn an_epoch_ends_with_the_minibatch_that_holds_its_last_image() {
        let plan = plan(1000, 128, Until::Epochs(3), 1000);
        assert_eq!((plan.epoch_end(1), plan.epoch_end(2), plan.end), (8, 16, 24));
        assert_eq!((plan.epochs_done(7), plan.epochs_done(8), plan.epochs_done(15)), (0, 1, 1));
    }

    #[test]
    fn boundaries_are_checkpoints_epoch_ends_and_the_end() {
        let plan = plan(1000, 128, Until::Steps(20), 5);
        let mut steps = vec![0];
        while *steps.last().unwrap() < 20 {
            steps.push(plan.next_boundary(*steps.last().unwrap()));
        }
        assert_eq!(steps, [0, 5, 8, 10, 15, 16, 20]);
    }

    #[test]
    fn grants_stop_at_a_boundary_and_at_three_steps_ahead() {
        let plan = plan(1000, 128, Until::Steps(20), 5);
        assert_eq!((plan.grant(0), plan.grant(1), plan.grant(4), plan.grant(19)), (3, 4, 5, 20));
    }

    #[test]
    fn a_data_set_smaller_than_a_minibatch_ends_an_epoch_every_step() {
        let plan = plan(50, 128, Until::Epochs(4), 100);
        assert_eq!(plan.end, 2);
        assert_eq!((plan.next_boundary(0), plan.next_boundary(1)), (1, 2));
    }
}
