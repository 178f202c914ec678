//! Made-up pictures: ten classes of drawn objects and textures, for machines without data.
//!
//! A picture is a pure function of (seed, split, number). Light, color, contrast, place, size,
//! turn, background and clutter vary so much that no weighted sum of pixels tells the classes
//! apart (a test holds a linear softmax above 50 % error); shape does.

mod draw; // one picture
mod shapes; // what is drawn, as distances

use std::sync::OnceLock;

use proto::digest::sha256;
use rayon::prelude::*;

use crate::statistics::Sums;
use crate::{Description, Error, Split};

/// Raised whenever a picture of the same spec would come out different.
const EDITION: u32 = 1;

/// Training pictures that mean image and color components are taken from: all would cost a
/// process that only wants to predict a second.
const N_MEASURED: u64 = 512;

/// Pictures are kept once drawn while all of them fit in this.
const KEPT_BYTES: u64 = 96 << 20;

/// Which pictures are made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// They are side × side.
    pub side: usize,
    /// For training.
    pub n_train: u64,
    /// For validation.
    pub n_val: u64,
    /// Of the drawing, not of the training run.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self { side: 72, n_train: 4000, n_val: 1000, seed: 2012 }
    }
}

impl Spec {
    /// Itself, if such pictures can be drawn.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the number that is out of range.
    pub fn checked(self) -> Result<Self, Error> {
        let bad = |setting, why: String| Err(Error::Setting { setting, why });
        if !(16..=1024).contains(&self.side) {
            return bad("synthetic side", format!("{}, expected 16 to 1024 pixels", self.side));
        }
        // Half of the 2³² numbers that the drawing can tell apart.
        for (setting, n) in [("synthetic train", self.n_train), ("synthetic val", self.n_val)] {
            if n > 1 << 31 || (n == 0 && setting.ends_with("train")) {
                return bad(setting, format!("{n} pictures, expected 1 to 2147483648"));
            }
        }
        Ok(self)
    }
}

/// Made-up pictures, drawn when first asked for.
#[derive(Debug)]
pub struct Synthetic {
    spec: Spec,
    description: Description,
    kept: Vec<OnceLock<Box<[u8]>>>,
}

impl Synthetic {
    /// Gets ready to draw; measures mean image and colors on the first 512.
    ///
    /// # Errors
    /// As [`Spec::checked`].
    pub fn new(spec: Spec) -> Result<Self, Error> {
        let Spec { side, n_train, n_val, seed } = spec.checked()?;
        let keep = (n_train + n_val) * (3 * side * side) as u64 <= KEPT_BYTES;
        let mut kept = Vec::new();
        kept.resize_with(if keep { (n_train + n_val) as usize } else { 0 }, OnceLock::new);
        let sums = measure(&spec);
        let written = format!("synthetic edition {EDITION}, {side} {n_train} {n_val} {seed}");
        let description = Description {
            name: "synthetic".into(),
            digest: sha256(written.as_bytes()),
            side,
            classes: shapes::CLASSES.iter().map(|class| class.name.to_string()).collect(),
            n_train,
            n_val,
            mean: sums.mean(),
            colors: sums.colors(),
        };
        Ok(Self { spec, description, kept })
    }

    /// What a network must know about them.
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// Draws a picture into `pixels` (`[side, side, 3]`) and returns its label.
    pub fn read(&self, split: Split, index: u64, pixels: &mut Vec<u8>) -> u32 {
        let place = match split {
            Split::Train => index,
            Split::Val => self.spec.n_train + index,
        };
        pixels.clear();
        match self.kept.get(place as usize) {
            Some(slot) => pixels.extend_from_slice(
                slot.get_or_init(|| draw::picture(&self.spec, split, index).into_boxed_slice()),
            ),
            None => *pixels = draw::picture(&self.spec, split, index),
        }
        label(index)
    }
}

/// Classes take turns.
fn label(index: u64) -> u32 {
    (index % shapes::CLASSES.len() as u64) as u32
}

fn measure(spec: &Spec) -> Sums {
    (0..spec.n_train.min(N_MEASURED))
        .into_par_iter()
        .fold(
            || Sums::new(spec.side),
            |mut sums, i| {
                sums.add(&draw::picture(spec, Split::Train, i));
                sums
            },
        )
        .reduce(
            || Sums::new(spec.side),
            |mut a, b| {
                a.merge(&b);
                a
            },
        )
}

#[cfg(test)]
mod tests;
