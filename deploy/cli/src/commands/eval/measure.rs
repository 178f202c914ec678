//! A whole split through the network, each picture once and in stored order.

use anyhow::Result;
use gpu_worker::step::rank;
use gpu_worker::views::Average;
use loader::source::Scratch;
use loader::{Source, Split};
use rayon::prelude::*;

use super::mistakes::{Mistake, Worst};
use crate::confusion::Confusion;
use crate::network::{Stored, Trained};

/// Errors, loss and mistakes on all pictures of a split.
#[derive(Debug)]
pub(super) struct Measured {
    /// Number of pictures.
    pub(super) n_images: u64,
    /// Mean loss.
    pub(super) loss: f64,
    /// Share of pictures whose class was not the most probable.
    pub(super) top1_error: f64,
    /// Share of pictures whose class was not among the five most probable.
    pub(super) top5_error: f64,
    /// Pictures by true and predicted class.
    pub(super) confusion: Confusion,
    /// The mistakes with the highest loss.
    pub(super) worst: Worst,
}

/// Measures a network on a split.
///
/// # Errors
/// If a picture is damaged, or a device fails.
pub(super) fn measure(
    trained: &mut Trained,
    source: &Source,
    split: Split,
    views: u32,
) -> Result<Measured> {
    let n_images = source.describe().count(split);
    let batch = trained.recipe.batch as u64;
    let mut measured = Measured {
        n_images,
        loss: 0.0,
        top1_error: 0.0,
        top5_error: 0.0,
        confusion: Confusion::new(trained.classes.clone()),
        worst: Worst::default(),
    };
    let bar = indicatif::ProgressBar::new(n_images);
    for first in (0..n_images).step_by(batch as usize) {
        let numbers = first..n_images.min(first + batch);
        let n = numbers.end - numbers.start;
        let (pictures, labels) = read(source, split, numbers)?;
        let average = trained.average(&pictures.iter().collect::<Vec<_>>(), &labels, views)?;
        measured.add(&average, first, &pictures, trained.side);
        bar.inc(n);
    }
    bar.finish_and_clear();
    for sum in [&mut measured.loss, &mut measured.top1_error, &mut measured.top5_error] {
        *sum /= n_images as f64;
    }
    Ok(measured)
}

/// Pictures and labels of a range of a split, read on all cores.
fn read(
    source: &Source,
    split: Split,
    numbers: std::ops::Range<u64>,
) -> Result<(Vec<Stored>, Vec<u32>)> {
    let read = |scratch: &mut Scratch, number| {
        let mut pixels = Vec::new();
        let label = source.read(split, number, scratch, &mut pixels)?;
        Ok((pixels, label))
    };
    let read: Result<Vec<_>> = numbers.into_par_iter().map_init(Scratch::default, read).collect();
    Ok(read?.into_iter().unzip())
}

impl Measured {
    /// Adds a batch, whose first picture has number `first` in its split.
    fn add(&mut self, average: &Average, first: u64, pictures: &[Stored], side: usize) {
        let (output, n) = (average.output(), average.n_images() as f64);
        let (loss, top1, top5) = output.score(average.labels());
        self.loss += n * loss;
        self.top1_error += n * top1;
        self.top5_error += n * top5;
        let classes = self.confusion.classes().len();
        let each = output.probabilities.chunks(classes).zip(&output.losses);
        for (i, ((p, loss), label)) in each.zip(average.labels()).enumerate() {
            let predicted = most_probable(p);
            self.confusion.add(*label, predicted);
            if *label != predicted {
                let number = first + i as u64;
                let probability = p[predicted as usize];
                let mistake =
                    Mistake { loss: *loss, number, label: *label, predicted, probability };
                self.worst.add(mistake, &pictures[i], side);
            }
        }
    }
}

/// The most probable class; the first of several that are equally probable.
fn most_probable(p: &[f32]) -> u32 {
    (0..p.len()).find(|i| rank(p, *i) == 0).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_is_the_most_probable() {
        assert_eq!(most_probable(&[0.1, 0.45, 0.45]), 1);
    }
}
