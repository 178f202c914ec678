//! Synthetic pictures: ten classes of drawn objects and textures, for machines without data.
//!
//! A picture is a pure function of (seed, split, number). Light, color, contrast, position, size,
//! rotation, background and clutter vary so much that a linear classifier fails (a test holds a
//! linear softmax above 50 % error); only the shape tells the classes apart.

mod draw; // one picture
mod shapes; // the classes, as distance functions

use std::sync::OnceLock;

use proto::digest::sha256;
use rayon::prelude::*;

use crate::statistics::PixelSums;
use crate::{Description, Error, Split};

/// Version of the drawing, raised whenever a picture of the same spec changes.
const EDITION: u32 = 1;

/// Number of training pictures that mean image and color components are computed from. All of them
/// would cost a second, even in a process that only predicts.
const N_MEASURED: u64 = 512;

/// Pictures are kept once drawn if all of them fit into this many bytes.
const MAX_KEPT_BYTES: u64 = 96 << 20;

/// The size and number of synthetic pictures, and their seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spec {
    /// Side of each picture, in pixels.
    pub side: usize,
    /// Number of training pictures.
    pub n_train: u64,
    /// Number of validation pictures.
    pub n_val: u64,
    /// Seed of the drawing, not of the training run.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self { side: 72, n_train: 4000, n_val: 1000, seed: 2012 }
    }
}

impl Spec {
    /// Returns this spec if such pictures can be drawn.
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

/// Synthetic pictures, drawn when they are first read.
#[derive(Debug)]
pub struct Synthetic {
    spec: Spec,
    description: Description,
    kept: Vec<OnceLock<Box<[u8]>>>,
}

impl Synthetic {
    /// Computes mean image and colors from the first 512 training pictures.
    ///
    /// # Errors
    /// As [`Spec::checked`].
    pub fn new(spec: Spec) -> Result<Self, Error> {
        let Spec { side, n_train, n_val, seed } = spec.checked()?;
        let keep = (n_train + n_val) * (3 * side * side) as u64 <= MAX_KEPT_BYTES;
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
            n_test: 0,
            mean: sums.mean(),
            colors: sums.colors(),
        };
        Ok(Self { spec, description, kept })
    }

    /// The properties of these pictures that a network depends on.
    pub fn describe(&self) -> &Description {
        &self.description
    }

    /// Draws a picture into `pixels` (`[side, side, 3]`) and returns its label.
    pub fn read(&self, split: Split, index: u64, pixels: &mut Vec<u8>) -> u32 {
        let slot = match split {
            Split::Train => index,
            // There are no test pictures (`n_test` is 0).
            Split::Val | Split::Test => self.spec.n_train + index,
        };
        pixels.clear();
        match self.kept.get(slot as usize) {
            Some(kept) => pixels.extend_from_slice(
                kept.get_or_init(|| draw::picture(&self.spec, split, index).into_boxed_slice()),
            ),
            None => *pixels = draw::picture(&self.spec, split, index),
        }
        label(index)
    }
}

/// The label of a picture: classes alternate.
fn label(index: u64) -> u32 {
    (index % shapes::CLASSES.len() as u64) as u32
}

fn measure(spec: &Spec) -> PixelSums {
    (0..spec.n_train.min(N_MEASURED))
        .into_par_iter()
        .fold(
            || PixelSums::new(spec.side),
            |mut sums, i| {
                sums.add(&draw::picture(spec, Split::Train, i));
                sums
            },
        )
        .reduce(
            || PixelSums::new(spec.side),
            |mut a, b| {
                a.merge(&b);
                a
            },
        )
}

#[cfg(test)]
mod tests;
