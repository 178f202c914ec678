//! The training set's mean image, of which a part is subtracted from the pixels of a crop.

use std::borrow::Cow;

use model::recipe::{Encoding, MeanPart};
use proto::chunk::floats_to_bytes;

use crate::backend::Backend;
use crate::error::{Error, Result};

const COLORS: usize = 3;

/// The training set's mean image.
#[derive(Debug, Clone, PartialEq)]
pub struct Mean {
    /// Side of the stored pictures.
    pub side: usize,
    /// `[3, side, side]`, 0..255.
    pub values: Vec<f32>,
}

/// The mean image on the device, in the form in which the input operation reads it: for a crop at
/// row and column it subtracts the part at the same place, before the crop is mirrored.
#[derive(Debug)]
pub(crate) struct Subtrahend<B: Backend> {
    part: MeanPart,
    crop: usize,
    /// Side of `values`, `[3, side, side]`.
    pub(crate) side: usize,
    pub(crate) values: B::Floats,
}

impl<B: Backend> Subtrahend<B> {
    /// Uploads the image that belongs to a part, for crops of side `crop`.
    pub(crate) fn new(dev: &mut B, part: MeanPart, mean: &Mean, crop: usize) -> Result<Self> {
        let want = COLORS * mean.side * mean.side;
        if mean.values.len() != want {
            return Err(Error::Shape { tensor: "mean image", got: mean.values.len(), want });
        }
        if mean.side < crop {
            let (got, want) = (mean.side, crop);
            return Err(Error::Shape { tensor: "side of the mean image", got, want });
        }
        let (side, image) = match part {
            MeanPart::Place => (mean.side, Cow::from(&mean.values)),
            MeanPart::Center => (2 * crop, Cow::from(center_twice(mean, crop))),
        };
        let mut values = dev.floats("mean image", image.len())?;
        dev.upload(&[floats_to_bytes(&image)], Encoding::F32, 0, &mut values, 0)?;
        Ok(Self { part, crop, side, values })
    }

    /// Crops as the input operation takes them: row and column are those of the part.
    pub(crate) fn places<'a>(&self, crops: &'a [[f32; 6]]) -> Cow<'a, [[f32; 6]]> {
        let center = |&[_, _, flip, red, green, blue]: &[f32; 6]| {
            let column = if flip == 0.0 { 0.0 } else { self.crop as f32 };
            [0.0, column, flip, red, green, blue]
        };
        match self.part {
            MeanPart::Place => crops.into(),
            MeanPart::Center => crops.iter().map(center).collect(),
        }
    }
}

/// The center of the mean image, and on its right the same mirrored, `[3, 2 crop, 2 crop]`; the
/// lower half is not read.
///
/// The mirrored one is for mirrored crops: once it is subtracted, the crop is mirrored and with it
/// what was subtracted, which so becomes the unmirrored center.
fn center_twice(mean: &Mean, crop: usize) -> Vec<f32> {
    let side = mean.side;
    let border = (side - crop) / 2;
    let mut twice = vec![0.0; COLORS * 4 * crop * crop];
    let colors = twice.chunks_mut(4 * crop * crop).zip(mean.values.chunks(side * side));
    for (twice, mean) in colors {
        let rows = twice.chunks_mut(2 * crop).zip(mean.chunks(side).skip(border));
        for (twice, mean) in rows.take(crop) {
            let center = &mean[border..][..crop];
            twice[..crop].copy_from_slice(center);
            twice[crop..].copy_from_slice(center);
            twice[crop..].reverse();
        }
    }
    twice
}
