//! What is impossible in a recipe.

use std::fmt::Display;

use super::{Recipe, RecipeError, Schedule};
use crate::shape::Network;

impl Recipe {
    /// Looks for values that make no network or no training.
    ///
    /// # Errors
    /// The first one found, with what is allowed.
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
        let classes = "0 (as many as the data set has), or at least 2";
        need(self.classes != 1, "classes", self.classes, classes)?;
        need(self.crop > 0 && self.crop <= 4096, "crop", self.crop, "1 to 4096 pixels")?;
        need(self.batch > 0, "batch", self.batch, "at least 1")?;
        // More slices than images are slices of one image.
        need(self.slices > 0, "slices", self.slices, "at least 1")?;
        let size = self.pool_size;
        need(size > 0, "pool_size", size, "at least 1")?;
        // Beyond its size the stride would skip activations, and the last window could lie
        // outside the map.
        let stride = format!("1 to pool_size ({size})");
        need((1..=size).contains(&self.pool_stride), "pool_stride", self.pool_stride, stride)?;
        need(self.lrn_size % 2 == 1, "lrn_size", self.lrn_size, "odd: as many maps on each side")?;
        need(above_0(self.lrn_k), "lrn_k", self.lrn_k, "above 0")?;
        need(from_0(self.lrn_alpha), "lrn_alpha", self.lrn_alpha, "0 or more")?;
        need(from_0(self.lrn_beta), "lrn_beta", self.lrn_beta, "0 or more")
    }

    fn check_training(&self) -> Result<(), RecipeError> {
        need(from_0(self.color_noise), "color_noise", self.color_noise, "0 (off) or more")?;
        need(above_0(self.rate), "rate", self.rate, "above 0")?;
        need(from_0(self.bias_rate), "bias_rate", self.bias_rate, "0 or more")?;
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
            need(bias.is_finite(), &format!("biases.{layer}"), bias, "a finite number")?;
        }
        Ok(())
    }

    fn known_layer(&self, key: &'static str, layer: &str) -> Result<(), RecipeError> {
        let layers: Vec<_> = self.table().iter().map(|row| row.name).collect();
        match layers.contains(&layer) {
            true => Ok(()),
            false => Err(RecipeError::NoSuchLayer { key, layer: layer.into(), layers }),
        }
    }
}

fn above_0(value: f64) -> bool {
    value > 0.0 && value.is_finite()
}

fn from_0(value: f64) -> bool {
    value >= 0.0 && value.is_finite()
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
