//! Checks that find impossible values in a recipe.

use std::fmt::Display;

use super::{Recipe, RecipeError, Schedule};
use crate::shape::Network;

/// Upper bound for `batch`, `slices` and `lrn_size`; keeps products of sizes in range.
const MAX_COUNT: usize = 1 << 16;

impl Recipe {
    /// Checks that the values make a network and a training.
    ///
    /// # Errors
    /// The first impossible value, with what is allowed.
    pub fn check(&self) -> Result<(), RecipeError> {
        self.check_sizes()?;
        self.check_training()?;
        self.check_start()?;
        // Any class count will do where the data set decides: the last layer splits unevenly too.
        let classes = if self.classes == 0 { 1000 } else { self.classes };
        Network::new(self, classes)?;
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), RecipeError> {
        let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name_ok = self.name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && self.name.chars().all(named);
        need(name_ok, "name", &self.name, "letters, digits, - _ . only: it names a directory")?;
        need((1..=2).contains(&self.columns), "columns", self.columns, "1 or 2")?;
        need(self.width > 0.0 && self.width <= 16.0, "width", self.width, "above 0, at most 16")?;
        let classes = "0 (as many as the data set has), or 2 to 1000000";
        let classes_ok = self.classes != 1 && self.classes <= 1_000_000;
        need(classes_ok, "classes", self.classes, classes)?;
        need(self.crop > 0 && self.crop <= 4096, "crop", self.crop, "1 to 4096 pixels")?;
        // Sizes are products of these, which would overflow without limits.
        need((1..=MAX_COUNT).contains(&self.batch), "batch", self.batch, "1 to 65536")?;
        // With more slices than images, each slice has one image.
        need((1..=MAX_COUNT).contains(&self.slices), "slices", self.slices, "1 to 65536")?;
        let size = self.pool_size;
        need(size > 0, "pool_size", size, "at least 1")?;
        // Beyond its size the stride would skip activations, and the last window could lie
        // outside the map.
        let stride = format!("1 to pool_size ({size})");
        need((1..=size).contains(&self.pool_stride), "pool_stride", self.pool_stride, stride)?;
        let lrn_size = self.lrn_size % 2 == 1 && self.lrn_size < MAX_COUNT;
        need(lrn_size, "lrn_size", self.lrn_size, "odd (as many maps on each side), below 65536")?;
        need(above_0(self.lrn_k), "lrn_k", self.lrn_k, "above 0")?;
        need(from_0(self.lrn_alpha), "lrn_alpha", self.lrn_alpha, "0 or more")?;
        need(from_0(self.lrn_beta), "lrn_beta", self.lrn_beta, "0 or more")
    }

    fn check_training(&self) -> Result<(), RecipeError> {
        need(from_0(self.color_noise), "color_noise", self.color_noise, "0 (off) or more")?;
        need(above_0(self.rate), "rate", self.rate, "above 0")?;
        need(from_0(self.bias_rate), "bias_rate", self.bias_rate, "0 or more")?;
        for (key, factors) in [("rates", &self.rates), ("decays", &self.decays)] {
            for (of, &factor) in factors {
                let layer = [".weight", ".bias"].iter().find_map(|kind| of.strip_suffix(kind));
                self.known_layer(key, layer.unwrap_or(of))?;
                need(from_0(factor), &format!("{key}.{of}"), factor, "0 or more")?;
            }
        }
        let learns = |layer| self.rate_factor_of(&format!("{layer}.weight")) > 0.0;
        let some = self.rows()?.iter().any(|(_, row)| learns(row.name));
        need(some, "rates", "0 for every layer", "above 0 for at least one layer")?;
        let part = "0 or more, below 1";
        need((0.0..1.0).contains(&self.momentum), "momentum", self.momentum, part)?;
        need((0.0..1.0).contains(&self.decay), "decay", self.decay, part)?;
        need((0.0..1.0).contains(&self.dropout), "dropout", self.dropout, part)?;
        let factor = self.rate_factor;
        need(factor > 0.0 && factor <= 1.0, "rate_factor", factor, "above 0, at most 1")?;
        need(self.patience > 0, "patience", self.patience, "at least 1")?;
        need(self.halve_every > 0, "halve_every", self.halve_every, "at least 1")?;
        need(self.epochs > 0, "epochs", self.epochs, "at least 1")?;
        let epochs = &self.rate_epochs;
        let given = self.schedule != Schedule::Epochs || !epochs.is_empty();
        let rising = epochs.windows(2).all(|pair| pair[0] < pair[1]) && epochs.first() != Some(&0);
        let allowed = "rising epochs from 1 on, and at least one for schedule = epochs";
        need(given && rising, "rate_epochs", format!("{epochs:?}"), allowed)
    }

    fn check_start(&self) -> Result<(), RecipeError> {
        need(from_0(self.weight_std), "weight_std", self.weight_std, "0 or more")?;
        for (layer, &std) in &self.weight_stds {
            self.known_layer("weight_stds", layer)?;
            need(from_0(std), &format!("weight_stds.{layer}"), std, "0 or more")?;
        }
        for (layer, &bias) in &self.biases {
            self.known_layer("biases", layer)?;
            need(is_f32(bias), &format!("biases.{layer}"), bias, "a finite number")?;
        }
        Ok(())
    }

    fn known_layer(&self, key: &'static str, layer: &str) -> Result<(), RecipeError> {
        let layers = self.layer_names()?;
        match layers.contains(&layer) {
            true => Ok(()),
            false => Err(RecipeError::NoSuchLayer { key, layer: layer.into(), layers }),
        }
    }
}

fn above_0(value: f64) -> bool {
    value > 0.0 && is_f32(value)
}

fn from_0(value: f64) -> bool {
    value >= 0.0 && is_f32(value)
}

/// Whether a value is still finite as f32, which is how it is used.
fn is_f32(value: f64) -> bool {
    (value as f32).is_finite()
}

fn need(
    ok: bool,
    key: &str,
    value: impl Display,
    allowed: impl Display,
) -> Result<(), RecipeError> {
    if ok {
        return Ok(());
    }
    Err(RecipeError::Value {
        key: key.into(),
        value: value.to_string(),
        allowed: allowed.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes that overflow (the fuzzer found them), numbers that are infinite as f32.
    #[test]
    fn absurd_sizes_and_numbers_beyond_f32_are_refused_by_their_key() {
        for set in [
            "batch=9223372036854775807",
            "slices=4294967296",
            "classes=9223372036854775807",
            "lrn_size=4294967297",
            "biases.conv1=1e39",
            "rates.conv1=-1",
            "decays.fc8=1e39",
            "weight_stds.conv1=1e300",
            "lrn_k=1e39",
            "rate=1e39",
        ] {
            let said = Recipe::default().set_all([set]).unwrap_err().to_string();
            let key = set.split('=').next().unwrap_or_default();
            assert!(said.starts_with(key), "{set}: {said}");
        }
    }
}
