//! Validation error → learning rate.
//!
//! The paper divided the rate by ten by hand, three times, whenever the validation error stopped
//! improving; here a plateau is `patience` evaluations without a better one.

use model::recipe::{Recipe, Schedule};
use serde::{Deserialize, Serialize};

use crate::record::metrics::Evaluation;

/// Memory of the schedule; part of every manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RateState {
    /// Number of drops of the rate.
    pub drops: u32,
    /// Number of drops that a plateau caused; the others are scheduled.
    pub plateaus: u32,
    /// Best validation error (`plateau`) or loss (`halve`) so far.
    pub best: Option<f64>,
    /// Evaluations since the best one, or since the last drop.
    pub since: u32,
    /// Epochs whose end has been taken into account.
    pub epochs_seen: u64,
    /// A plateau after the last drop has ended training.
    pub ended: bool,
}

/// The effect of the end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    Dropped,
    /// A plateau after the last drop: training is over.
    Ended,
}

impl RateState {
    /// Takes the end of epoch `epochs` (counted from 1) and the evaluation made there.
    pub(crate) fn epoch_ended(
        &mut self,
        recipe: &Recipe,
        epochs: u64,
        found: Option<&Evaluation>,
    ) -> Change {
        self.epochs_seen = epochs;
        let watched = match recipe.schedule {
            Schedule::Plateau => found.map(|e| e.top1_error),
            Schedule::Halve => found.map(|e| e.loss),
            Schedule::Constant | Schedule::Epochs => None,
        };
        let plateau = self.is_plateau(recipe, watched);
        let drops = recipe.scheduled_drops(epochs) + self.plateaus;
        // A scheduled drop answers a plateau, too.
        if drops != self.drops {
            self.drops = drops;
            self.since = 0;
            return Change::Dropped;
        }
        if !plateau {
            return Change::Nothing;
        }
        if recipe.schedule == Schedule::Plateau && self.plateaus >= recipe.rate_drops {
            self.ended = true;
            return Change::Ended;
        }
        self.plateaus += 1;
        self.drops += 1;
        self.since = 0;
        Change::Dropped
    }

    /// Whether the last `patience` evaluations were no better than the best one.
    fn is_plateau(&mut self, recipe: &Recipe, value: Option<f64>) -> bool {
        let Some(value) = value else { return false };
        if value.is_finite() && self.best.is_none_or(|best| value < best) {
            self.best = Some(value);
            self.since = 0;
        } else {
            self.since += 1;
        }
        self.since >= recipe.patience.max(1)
    }

    /// Continues training beyond the plateau that ended it, as an operator asked.
    pub(crate) fn train_on(&mut self) {
        self.ended = false;
        self.since = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(recipe: &Recipe, values: &[f64]) -> (RateState, Vec<Change>) {
        let mut state = RateState::default();
        let changes = values
            .iter()
            .zip(1..)
            .map(|(&value, epoch)| {
                let found = Evaluation {
                    step: epoch,
                    epoch: epoch as f64,
                    n_images: 1,
                    loss: value,
                    top1_error: value,
                    top5_error: value,
                };
                state.epoch_ended(recipe, epoch, Some(&found))
            })
            .collect();
        (state, changes)
    }

    /// Paper §5: divided by ten when the validation error stopped improving, three times.
    #[test]
    fn a_plateau_of_the_error_divides_the_rate_three_times_and_then_ends_training() {
        let recipe = Recipe { patience: 2, ..Recipe::default() };
        let (state, changes) =
            play(&recipe, &[0.9, 0.8, 0.8, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]);
        let drops: Vec<_> =
            (1..).zip(&changes).filter(|(_, c)| **c == Change::Dropped).map(|(e, _)| e).collect();
        assert_eq!(drops, [4, 7, 9]);
        assert_eq!(changes[10], Change::Ended);
        assert!(state.ended);
        assert!((recipe.rate_after(state.drops) - 1e-5).abs() < 1e-15);
    }

    #[test]
    fn a_loss_that_is_no_number_counts_as_no_improvement() {
        let recipe =
            Recipe { schedule: Schedule::Halve, halve_every: 99, patience: 2, ..Recipe::default() };
        let (state, changes) = play(&recipe, &[f64::NAN, f64::NAN]);
        assert_eq!((changes[1], state.best), (Change::Dropped, None));
    }

    #[test]
    fn given_epochs_drop_the_rate_at_their_start() {
        let recipe =
            Recipe { schedule: Schedule::Epochs, rate_epochs: vec![2, 4], ..Recipe::default() };
        let mut state = RateState::default();
        let rates: Vec<_> = (1..=5)
            .map(|epoch| {
                state.epoch_ended(&recipe, epoch, None);
                state.drops
            })
            .collect();
        assert_eq!(rates, [0, 1, 1, 2, 2]);
    }

    #[test]
    fn halving_comes_every_n_epochs_or_on_a_plateau_of_the_loss() {
        let recipe = Recipe {
            schedule: Schedule::Halve,
            halve_every: 4,
            rate_factor: 0.5,
            patience: 2,
            ..Recipe::default()
        };
        let (state, changes) = play(&recipe, &[5.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 0.9]);
        let at: Vec<_> = (1..).zip(changes).filter(|(_, c)| *c == Change::Dropped).collect();
        assert_eq!(at.iter().map(|(e, _)| *e).collect::<Vec<_>>(), [4, 7, 8]);
        assert_eq!(recipe.rate_after(state.drops), 0.00125);
    }
}
