//! Pictures through the network: each view of all pictures is a minibatch, and the outputs of the
//! views are averaged.

use anyhow::{Context, Result};
use bytes::Bytes;
use gpu_worker::receive::Minibatch;
use gpu_worker::views::Average;
use model::augment::{self, Sample};

use super::Trained;

/// A picture as it is stored, `[side, side, 3]`.
pub(crate) type Stored = Vec<u8>;

impl Trained {
    /// Runs at most a batch of pictures forward, and averages over 1 or 10 views.
    ///
    /// # Errors
    /// The device's.
    pub(crate) fn average(
        &mut self,
        pictures: &[&Stored],
        labels: &[u32],
        views: u32,
    ) -> Result<Average> {
        let (side, crop) = (self.side, self.recipe.crop);
        let numbers = if views == 1 { 0..=0 } else { 1..=10 };
        let mut average = Average::default();
        for sample in numbers.filter_map(|number| augment::view(number, side - crop)) {
            let minibatch = minibatch(pictures, labels, [side, crop], &sample);
            average.add(self.pair.test(&minibatch)?, labels);
        }
        Ok(average)
    }

    /// Activations of a layer for at most a batch of pictures, in the central view: as many rows
    /// as pictures.
    ///
    /// # Errors
    /// The device's, or an unknown layer.
    pub(crate) fn activations(&mut self, pictures: &[&Stored], layer: &str) -> Result<Vec<f32>> {
        let (side, crop) = (self.side, self.recipe.crop);
        let center = augment::view(0, side - crop).context("view 0 is the center")?;
        let unknown = vec![0; pictures.len()]; // the loss is not used
        self.pair.test(&minibatch(pictures, &unknown, [side, crop], &center))?;
        Ok(self.pair.activations(layer, pictures.len())?)
    }
}

/// The same view of several pictures.
fn minibatch(
    pictures: &[&Stored],
    labels: &[u32],
    [side, crop]: [usize; 2],
    sample: &Sample,
) -> Minibatch {
    let flip = f32::from(u8::from(sample.flip));
    let place = [sample.row as f32, sample.column as f32, flip, 0.0, 0.0, 0.0];
    Minibatch {
        labels: labels.to_vec(),
        crops: vec![place; pictures.len()],
        crop,
        pixels: pictures.iter().map(|picture| cropped(picture, side, crop, sample)).collect(),
        digest: 0, // both halves get this very minibatch
    }
}

/// The crop `[3, crop, crop]` of a picture.
fn cropped(picture: &[u8], side: usize, crop: usize, sample: &Sample) -> Bytes {
    let (row, column) = (sample.row as usize, sample.column as usize);
    let lines = || picture.chunks_exact(3 * side).skip(row).take(crop);
    let plane = |color: usize| {
        lines().flat_map(move |line| {
            line[3 * column..][..3 * crop].iter().skip(color).step_by(3).copied()
        })
    };
    plane(0).chain(plane(1)).chain(plane(2)).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_is_planar_and_where_the_sample_says() {
        // 3 × 3 pixels; red counts from 0, green from 9, blue from 18.
        let picture: Vec<u8> = (0..9).flat_map(|at| [at, at + 9, at + 18]).collect();
        let sample = Sample { row: 1, column: 1, flip: true, shift: [0.0; 3] };
        let batch = minibatch(&[&picture, &picture], &[1, 2], [3, 2], &sample);
        assert_eq!(batch.pixels.len(), 2);
        assert_eq!(batch.pixels[1][..], [4, 5, 7, 8, 13, 14, 16, 17, 22, 23, 25, 26]);
        assert_eq!(batch.crops, [[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]; 2]);
    }
}
