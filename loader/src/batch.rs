//! Minibatches: one per request. The last few are kept, and the one that the same worker will ask
//! this loader for next is made ahead.
//!
//! Both halves ask for the same minibatch within moments of each other: the second request gets the
//! minibatch that was made, or is being made, for the first.

mod recent; // the last few minibatches

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use model::augment::{self, Sample, Variation};
use model::images::Images;
use model::recipe::Recipe;
use multiversion::multiversion;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::source::Scratch;
use crate::{Description, Error, Source, Split};

pub use recent::{Recent, TimedMinibatch};

/// Upper bound for the pixels of one minibatch, in bytes, so that a request can't exhaust memory.
const MAX_BYTES: usize = 512 << 20;

/// A request for one minibatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Training: augmented, from the endless shuffled stream. Validation: in stored order.
    pub split: Split,
    /// Training: pictures `step * n_images..` of the stream; validation: batch number.
    pub step: u64,
    /// Number of images; the last validation batch may be shorter.
    pub n_images: usize,
    /// Seed of the training run.
    pub seed: u64,
    /// Side of the crop.
    pub crop: usize,
    /// Crops start at `0..crop_offsets` in each direction; 0 = everywhere, 1 = the center.
    pub crop_offsets: usize,
    /// Whether half of the crops are mirrored.
    pub flip: bool,
    /// Standard deviation of the color shift's factors.
    pub color_noise: f64,
    /// Validation: which test view (see [`augment::view`]).
    pub view: u32,
}

impl Request {
    /// The request for a training step's minibatch, with the recipe's crops and augmentation, when
    /// an epoch has `n_train` pictures.
    pub fn of_training(recipe: &Recipe, seed: u64, step: u64, n_train: u64) -> Self {
        let epoch = step * recipe.batch as u64 / n_train.max(1);
        Self {
            split: Split::Train,
            step,
            n_images: recipe.batch,
            seed,
            crop: recipe.crop,
            crop_offsets: recipe.crop_offsets,
            flip: recipe.flip,
            color_noise: recipe.color_noise_at(epoch),
            view: 0,
        }
    }

    /// The same request for another step.
    pub fn at(&self, step: u64) -> Self {
        Self { step, ..self.clone() }
    }

    /// Checks that there is such a minibatch.
    ///
    /// # Errors
    /// [`Error::Request`] and [`Error::Crop`].
    pub fn check(&self, data: &Description) -> Result<(), Error> {
        range(self, data).map(|_| ())
    }

    /// The rule that chooses the images of this request.
    fn images(&self, data: &Description) -> Images {
        match self.split {
            Split::Train => Images::Training {
                seed: self.seed,
                n_train: data.n_train,
                vary: Variation {
                    offsets: self.crop_offsets,
                    flip: self.flip,
                    color_noise: self.color_noise,
                },
                colors: data.colors,
            },
            Split::Val | Split::Test => Images::InOrder { view: self.view },
        }
    }
}

/// A minibatch: crops, and the mirroring and color shift that the worker applies to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Minibatch {
    /// Number of images.
    pub n: usize,
    /// Side of the crops.
    pub crop: usize,
    /// The class of each image.
    pub labels: Vec<u32>,
    /// First row of each crop in the stored picture (and so in the mean image).
    pub rows: Vec<u32>,
    /// First column of each crop.
    pub columns: Vec<u32>,
    /// Whether each crop is mirrored.
    pub flips: Vec<bool>,
    /// Color shift of each image: what is added to red, green and blue.
    pub shifts: Vec<[f32; 3]>,
    /// Number of each picture in its split.
    pub images: Vec<u64>,
    /// Digest of pixels, labels, crops and shifts: halves with the same digest see the same images.
    pub digest: u64,
    /// Pixels `[n, 3, crop, crop]`, before mirroring.
    pub pixels: Bytes,
}

impl Source {
    /// Makes the minibatch that a request asks for, on the threads of the current rayon pool.
    ///
    /// # Errors
    /// [`Error::Request`] and [`Error::Crop`] if there is no such minibatch, [`Error::Damaged`] if
    /// a picture can't be read.
    pub fn minibatch(&self, request: &Request) -> Result<Minibatch, Error> {
        self.minibatch_counted(request, &AtomicU64::new(0))
    }

    /// As [`Source::minibatch`]; adds to `n_read` after each picture.
    ///
    /// # Errors
    /// As there.
    pub fn minibatch_counted(
        &self,
        request: &Request,
        n_read: &AtomicU64,
    ) -> Result<Minibatch, Error> {
        let description = self.describe();
        let (first, n) = range(request, description)?;
        let (images, room) = (request.images(description), description.side - request.crop);
        let at = |g| images.at(g, room).expect("the view was checked in `range`");
        let picked: Vec<(u64, Sample)> = (first..first + n as u64).map(at).collect();

        let (crop, side) = (request.crop, description.side);
        let mut pixels = vec![0; n * 3 * crop * crop];
        let read: Vec<(u32, u32)> = pixels
            .par_chunks_exact_mut(3 * crop * crop)
            .zip(&picked)
            .map_init(
                <(Scratch, Vec<u8>)>::default,
                |(scratch, picture), (out, (image, sample))| {
                    let label = self.read(request.split, *image, scratch, picture)?;
                    n_read.fetch_add(1, Ordering::Relaxed);
                    copy_crop(picture, side, sample, crop, out);
                    Ok((label, crc32fast::hash(out)))
                },
            )
            .collect::<Result<_, Error>>()?;

        let samples = || picked.iter().map(|(_, sample)| sample);
        Ok(Minibatch {
            n,
            crop,
            labels: read.iter().map(|(label, _)| *label).collect(),
            rows: samples().map(|s| s.row).collect(),
            columns: samples().map(|s| s.column).collect(),
            flips: samples().map(|s| s.flip).collect(),
            shifts: samples().map(|s| s.shift).collect(),
            images: picked.iter().map(|(image, _)| *image).collect(),
            digest: digest(crop, &picked, &read),
            pixels: pixels.into(),
        })
    }
}

/// The first picture of a request, in the stream or in the split, and the number of pictures.
fn range(request: &Request, data: &Description) -> Result<(u64, usize), Error> {
    let bad = |field, why: String| Err(Error::Request { field, why });
    let Request { split, step, n_images, crop, view, .. } = *request;
    if crop == 0 {
        return bad("crop", "0, expected at least 1".into());
    }
    if crop > data.side {
        return Err(Error::Crop { crop, side: data.side });
    }
    if n_images == 0 || n_images.saturating_mul(3 * crop * crop) > MAX_BYTES {
        let most = MAX_BYTES / (3 * crop * crop);
        return bad("n_images", format!("{n_images}, expected 1 to {most} at this crop"));
    }
    if !request.color_noise.is_finite() || request.color_noise < 0.0 {
        return bad("color_noise", format!("{}, expected 0 or more", request.color_noise));
    }
    if split != Split::Train && view >= augment::VIEWS {
        return bad("view", format!("{view}, expected 0 to {}", augment::VIEWS - 1));
    }
    let have = data.count(split);
    if have == 0 {
        return bad("split", format!("the data set has no {} pictures", split.name()));
    }
    let end = step.checked_add(1).and_then(|end| end.checked_mul(n_images as u64));
    let Some(end) = end else {
        return bad("step", format!("{step}, beyond the end of the stream"));
    };
    let first = end - n_images as u64;
    match split {
        Split::Train => Ok((first, n_images)),
        Split::Val | Split::Test if first >= have => {
            let (n, name) = (have.div_ceil(n_images as u64), split.name());
            bad("step", format!("{step}, there are {n} {name} batches of {n_images}"))
        }
        Split::Val | Split::Test => Ok((first, (end.min(have) - first) as usize)),
    }
}

/// Copies the crop `[3, crop, crop]` out of a picture `[side, side, 3]`. Instructions that shuffle
/// bytes make this several times as fast.
#[multiversion(targets("x86_64+avx2"))]
fn copy_crop(picture: &[u8], side: usize, sample: &Sample, crop: usize, out: &mut [u8]) {
    let (row, column) = (sample.row as usize, sample.column as usize);
    let (red, rest) = out.split_at_mut(crop * crop);
    let (green, blue) = rest.split_at_mut(crop * crop);
    for y in 0..crop {
        let line = &picture[3 * (side * (row + y) + column)..][..3 * crop];
        let planes = red[crop * y..][..crop]
            .iter_mut()
            .zip(&mut green[crop * y..][..crop])
            .zip(&mut blue[crop * y..][..crop]);
        for (((r, g), b), rgb) in planes.zip(line.as_chunks::<3>().0) {
            [*r, *g, *b] = *rgb;
        }
    }
}

/// SHA-256 over each picture's checksum and numbers: hashing 19 MB of pixels would cost
/// more than copying them.
fn digest(crop: usize, picked: &[(u64, Sample)], read: &[(u32, u32)]) -> u64 {
    let mut hash = Sha256::new();
    hash.update((crop as u64).to_le_bytes());
    for ((_, sample), (label, crc)) in picked.iter().zip(read) {
        for word in [*crc, *label, sample.row, sample.column, u32::from(sample.flip)] {
            hash.update(word.to_le_bytes());
        }
        sample.shift.iter().for_each(|v| hash.update(v.to_le_bytes()));
    }
    let bytes = hash.finalize();
    u64::from_le_bytes(bytes[..8].try_into().expect("a SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests;
