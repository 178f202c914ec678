//! Learning rate and color noise as functions of the epoch.

use super::{Recipe, Schedule};

impl Recipe {
    /// Number of scheduled drops of the learning rate when `epoch` epochs are done.
    ///
    /// Drops caused by a plateau of the validation error (or, under `halve`, of the validation
    /// loss) are not included.
    pub fn scheduled_drops(&self, epoch: u64) -> u32 {
        let drops = match self.schedule {
            Schedule::Constant | Schedule::Plateau => 0,
            Schedule::Epochs => self.rate_epochs.iter().filter(|&&at| at <= epoch).count() as u64,
            Schedule::Halve => epoch / self.halve_every,
        };
        u32::try_from(drops).unwrap_or(u32::MAX)
    }

    /// The learning rate of the weights after `drops` drops.
    pub fn rate_after(&self, drops: u32) -> f64 {
        self.rate * libm::pow(self.rate_factor, f64::from(drops))
    }

    /// The learning rate of the biases after `drops` drops.
    pub fn bias_rate_after(&self, drops: u32) -> f64 {
        self.bias_rate * self.rate_after(if self.bias_rate_drops { drops } else { 0 })
    }

    /// The color noise when `epoch` epochs are done.
    pub fn color_noise_at(&self, epoch: u64) -> f64 {
        let over = self.color_noise_until != 0 && epoch >= self.color_noise_until;
        if over { 0.0 } else { self.color_noise }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(recipe: &Recipe, epochs: &[u64]) -> Vec<u32> {
        epochs.iter().map(|&epoch| recipe.scheduled_drops(epoch)).collect()
    }

    #[test]
    fn the_rate_drops_at_the_epochs_of_the_authors_log() {
        let original = Recipe::builtin("original").unwrap();
        assert_eq!(drops(&original, &[0, 24, 25, 50, 51, 78, 79, 90]), [0, 0, 1, 1, 2, 2, 3, 3]);
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-12, "{a} {b}");
        close(original.rate_after(3), 1e-5);
        close(original.bias_rate_after(0), 0.02);
        close(original.bias_rate_after(3), 0.02);
        assert_eq!((original.color_noise_at(66), original.color_noise_at(67)), (0.1, 0.0));
    }

    #[test]
    fn the_seeds_rate_is_halved_every_eight_epochs() {
        let seed = Recipe::builtin("seed").unwrap();
        assert_eq!(drops(&seed, &[0, 7, 8, 15, 16, 80]), [0, 0, 1, 1, 2, 10]);
        assert_eq!(seed.rate_after(2), 0.0025);
        assert_eq!(seed.bias_rate_after(2), 0.0025);
    }

    #[test]
    fn a_plateau_or_constant_rate_has_no_scheduled_drops() {
        let mut recipe = Recipe::default();
        assert_eq!(drops(&recipe, &[0, 30, 1000]), [0, 0, 0]);
        recipe.schedule = Schedule::Constant;
        assert_eq!(drops(&recipe, &[0, 30, 1000]), [0, 0, 0]);
        assert_eq!(recipe.color_noise_at(1000), 0.1);
    }
}
