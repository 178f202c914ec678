//! A recipe's schedule and a data set, seen before the first step: a schedule that waits for
//! something that never comes is refused, or said.

use model::recipe::{Recipe, Schedule};

use super::boundaries::Boundaries;
use super::{Run, Settings};
use crate::config::Until;
use crate::disk::data_set::DataSet;

impl Run {
    /// Refuses a data set on which the schedule of the rate can't work.
    pub(super) fn schedule_can_work(&self, data: &DataSet) -> Result<(), String> {
        let recipe = &self.settings.recipe;
        let epochs = self.epochs(data);
        if recipe.schedule != Schedule::Plateau
            || data.n_val > 0
            || epochs <= shortest_plateau(recipe)
        {
            return Ok(());
        }
        let instead = drops(epochs, u64::from(recipe.rate_drops));
        Err(format!(
            "the recipe {:?} lowers its learning rate when the validation error stops improving \
             (schedule = plateau), but {:?} has no validation pictures: the rate would stay at {} \
             for all {epochs} epochs. Prepare the pictures with some for validation (`alexnet \
             prepare PICTURES NEW --val-share 0.1`), or lower the rate after fixed epochs: \
             --set schedule=epochs --set 'rate_epochs=[{instead}]'",
            recipe.name, data.name, recipe.rate,
        ))
    }

    /// Whole epochs of the run on a data set.
    fn epochs(&self, data: &DataSet) -> u64 {
        let Settings { recipe, until, checkpoint_every, .. } = &self.settings;
        match until {
            None => recipe.epochs,
            Some(Until::Epochs(epochs)) => *epochs,
            Some(until @ Until::Steps(steps)) => {
                Boundaries::new(recipe, data, Some(*until), *checkpoint_every).epochs_done(*steps)
            }
        }
    }

    /// Notes what will not happen in this run, though one might wait for it.
    pub(super) fn note_outlook(&mut self) {
        let Some(data) = &self.data else { return };
        let recipe = &self.settings.recipe;
        let typed = matches!(self.settings.until, Some(Until::Epochs(_)));
        let unmeasured = (data.n_val == 0).then(|| without_validation(recipe, data));
        let counts = typed && (data.n_val > 0 || recipe.schedule == Schedule::Epochs);
        let constant = counts.then(|| without_drops(recipe, self.epochs(data))).flatten();
        for notice in unmeasured.into_iter().chain(constant) {
            tracing::warn!("{notice}");
            self.note(notice);
        }
    }
}

/// Epochs without which no plateau can lower the rate: the first evaluation is the best so far,
/// `patience` more are no better, and an epoch must follow.
fn shortest_plateau(recipe: &Recipe) -> u64 {
    u64::from(recipe.patience) + 1
}

fn without_validation(recipe: &Recipe, data: &DataSet) -> String {
    let rate = match recipe.schedule {
        Schedule::Plateau => ", the learning rate never drops",
        Schedule::Halve => ", the learning rate drops at its epochs only and never on a plateau",
        Schedule::Epochs | Schedule::Constant => "",
    };
    format!(
        "{:?} has no validation pictures: no error on unseen pictures is measured{rate}, and the \
         best checkpoint is the last one",
        data.name
    )
}

/// The note for a run that ends before its rate drops for the first time.
fn without_drops(recipe: &Recipe, epochs: u64) -> Option<String> {
    let last = epochs.saturating_sub(1); // a drop at the end comes too late
    let when = match recipe.schedule {
        Schedule::Constant => return None,
        _ if recipe.scheduled_drops(last) > 0 => return None,
        Schedule::Plateau | Schedule::Halve if epochs > shortest_plateau(recipe) => return None,
        Schedule::Epochs => {
            let at = recipe.rate_epochs.first().copied().unwrap_or_default();
            format!("the recipe {:?} lowers it after epoch {at} for the first time", recipe.name)
        }
        Schedule::Plateau | Schedule::Halve => format!(
            "a plateau takes {} epochs, and one more must follow (patience = {})",
            shortest_plateau(recipe),
            recipe.patience
        ),
    };
    let instead = drops(epochs, 2);
    let remedy = match instead.is_empty() {
        true => String::new(),
        false => format!(
            "; to end with a lower rate, begin a new --run with --set schedule=epochs \
             --set 'rate_epochs=[{instead}]'"
        ),
    };
    Some(format!(
        "the learning rate stays at {} in all {epochs} epochs: {when}{remedy}",
        recipe.rate
    ))
}

/// Up to `n` epochs at even distances before the last one, as a list for `rate_epochs`.
fn drops(epochs: u64, n: u64) -> String {
    let mut at: Vec<u64> = (1..=n).map(|i| epochs * i / (n + 1)).filter(|at| *at > 0).collect();
    at.dedup();
    at.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggested_drops_rise_and_lie_before_the_end() {
        assert_eq!(drops(90, 3), "22,45,67");
        assert_eq!(drops(5, 3), "1,2,3");
        assert_eq!(drops(2, 3), "1");
        assert_eq!(drops(1, 3), "");
    }

    #[test]
    fn a_run_that_ends_before_its_first_drop_is_told_so() {
        let caffe = Recipe::builtin("caffe").unwrap();
        assert_eq!(without_drops(&caffe, 21), None);
        let note = without_drops(&caffe, 20).unwrap();
        for words in ["0.01 in all 20 epochs", "after epoch 20", "rate_epochs=[6,13]"] {
            assert!(note.contains(words), "{note}");
        }
        let paper = Recipe::default();
        assert_eq!(without_drops(&paper, 5), None);
        let note = without_drops(&paper, 4).unwrap();
        assert!(note.contains("takes 4 epochs") && note.contains("patience = 3"), "{note}");
        let constant = Recipe { schedule: Schedule::Constant, ..Recipe::default() };
        assert_eq!(without_drops(&constant, 1), None);
    }

    /// A suggestion must be taken by the recipe that it is suggested for.
    #[test]
    fn the_suggested_assignments_make_a_recipe_whose_rate_drops() {
        for epochs in [2, 3, 4, 20, 90] {
            let mut recipe = Recipe::default();
            let list = format!("rate_epochs=[{}]", drops(epochs, 2));
            recipe.set_all(["schedule=epochs", &list]).unwrap();
            assert!(recipe.scheduled_drops(epochs - 1) > 0, "{list}");
        }
    }
}
