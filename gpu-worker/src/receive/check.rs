//! The check of a loader's answer: the images that were asked for, and no others.
//!
//! Pictures, crops, mirroring and color shifts are functions of the request, the data set's numbers
//! and the seed. Only pixels and labels must be believed; the data set's digest stands for them.

use model::augment::Variation;
use model::images::Images;
use proto::wire::{BatchHead, BatchRequest, Begin, DataSet, Split};

use crate::error::{Error, Result};

/// The numbers of the run's data set, as the coordinator recorded them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pictures {
    /// Digest of the data set.
    pub(crate) digest: String,
    /// Side of the stored pictures.
    pub(crate) side: usize,
    pub(crate) classes: usize,
    pub(crate) n_train: u64,
    pub(crate) n_val: u64,
    pub(crate) colors: [[f32; 3]; 3],
    /// Digest of the mean image's bytes.
    pub(crate) mean_sha256: String,
}

impl Pictures {
    /// The data set of the run that is to begin.
    ///
    /// # Errors
    /// [`Error::Command`] if a number is missing.
    pub(crate) fn of(begin: &Begin) -> Result<Self> {
        let colors = begin.colors.as_chunks::<3>().0.try_into().map_err(|_| {
            let got = begin.colors.len();
            Error::Command(format!("to begin with {got} color numbers, expected 9"))
        })?;
        if begin.n_train == 0 {
            return Err(Error::Command("to begin without training pictures".into()));
        }
        Ok(Self {
            digest: begin.data_set.clone(),
            side: begin.side as usize,
            classes: begin.classes as usize,
            n_train: begin.n_train,
            n_val: begin.n_val,
            colors,
            mean_sha256: begin.mean_sha256.clone(),
        })
    }

    /// Checks that a loader describes this data set; the error says what is wrong.
    pub(super) fn check_description(&self, set: &DataSet) -> std::result::Result<(), String> {
        if set.digest != self.digest {
            return Err(format!(
                "its data set is {:?} ({}), expected the run's, {}; give it the run's pictures",
                set.name, set.digest, self.digest
            ));
        }
        if set.side as usize != self.side {
            return Err(format!("its pictures have side {}, expected {}", set.side, self.side));
        }
        Ok(())
    }

    /// Checks the head of an answer and the length of its pixels; the error says what is wrong.
    pub(super) fn check(
        &self,
        request: &BatchRequest,
        head: &BatchHead,
        pixels: u64,
    ) -> std::result::Result<(), String> {
        if head.data_set != request.data_set {
            return Err(format!(
                "it answered from the data set {:?}, expected the run's, {}; give it the run's \
                 pictures",
                head.data_set, request.data_set
            ));
        }
        let (first, n) = self.range(request);
        if (u64::from(head.n_images), head.crop) != (n, request.crop) {
            return Err(format!(
                "it sent {} images of {} × {2} pixels, expected {n} of {3} × {3}",
                head.n_images, head.crop, head.crop, request.crop
            ));
        }
        let (images, crop) = (n as usize, u64::from(head.crop));
        let lengths = [
            head.label.len(),
            head.row.len(),
            head.column.len(),
            head.flip.len(),
            head.image.len(),
            head.shift.len() / 3,
        ];
        if lengths != [images; 6]
            || !head.shift.len().is_multiple_of(3)
            || pixels != n * 3 * crop * crop
        {
            return Err(format!(
                "it sent {n} images with {lengths:?} labels, rows, columns, flips, pictures and \
                 shifts, and {pixels} bytes of pixels"
            ));
        }
        if let Some(label) = head.label.iter().find(|label| **label as usize >= self.classes) {
            return Err(format!("it sent the label {label}; there are {} classes", self.classes));
        }
        let (rule, room) = (self.rule(request), self.side.saturating_sub(request.crop as usize));
        for i in 0..images {
            let want = rule.at(first + i as u64, room);
            let Some((picture, sample)) = want else {
                return Err(format!("there is no test view {}", request.view));
            };
            if head.image[i] != picture {
                let got = head.image[i];
                return Err(format!("it sent picture {got} as image {i}, expected {picture}"));
            }
            let same = (head.row[i], head.column[i], head.flip[i])
                == (sample.row, sample.column, sample.flip)
                && head.shift[3 * i..3 * i + 3] == sample.shift;
            if !same {
                return Err(format!(
                    "it cut or colored picture {picture} otherwise than asked: row {}, column {}, \
                     expected row {}, column {}",
                    head.row[i], head.column[i], sample.row, sample.column
                ));
            }
        }
        Ok(())
    }

    /// The first position of a request, and its number of images.
    fn range(&self, request: &BatchRequest) -> (u64, u64) {
        let n = u64::from(request.n_images);
        let first = request.step.saturating_mul(n);
        match request.split() {
            Split::Val => (first, n.min(self.n_val.saturating_sub(first))),
            Split::Train | Split::Unspecified => (first, n),
        }
    }

    fn rule(&self, request: &BatchRequest) -> Images {
        match request.split() {
            Split::Val => Images::InOrder { view: request.view },
            Split::Train | Split::Unspecified => Images::Training {
                seed: request.seed,
                n_train: self.n_train,
                vary: Variation {
                    offsets: request.crop_offsets as usize,
                    flip: request.flip,
                    color_noise: request.color_noise,
                },
                colors: self.colors,
            },
        }
    }
}

#[cfg(test)]
mod tests;
