//! A whole split through one network after another, each picture once and in stored order.

use std::path::PathBuf;

use anyhow::Result;
use coordinator::run_dir::RunDir;
use gpu_worker::step::{Output, rank};

use super::ensemble::Sums;
use super::mistakes::{Mistake, Worst};
use crate::commands::stored::{Batch, StoredPictures};
use crate::confusion::Confusion;
use crate::network::Trained;
use crate::print;
use crate::rows::Rows;

/// Errors and loss: means over pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Scores {
    /// Mean loss.
    pub(super) loss: f64,
    /// Share of pictures whose class was not the most probable.
    pub(super) top1_error: f64,
    /// Share of pictures whose class was not among the five most probable.
    pub(super) top5_error: f64,
}

/// One of the runs that were measured.
#[derive(Debug)]
pub(super) struct OfRun {
    /// Run directory.
    pub(super) run: PathBuf,
    /// Steps that the network was trained for.
    pub(super) step: u64,
    /// Errors of this run alone.
    pub(super) scores: Scores,
}

/// Errors, loss and mistakes on all pictures of a split.
#[derive(Debug)]
pub(super) struct Measured {
    /// Number of pictures.
    pub(super) n_images: u64,
    /// Errors of all runs together.
    pub(super) scores: Scores,
    /// Each run alone.
    pub(super) runs: Vec<OfRun>,
    /// Devices of the last run.
    pub(super) devices: String,
    /// Pictures by true and predicted class.
    pub(super) confusion: Confusion,
    /// The mistakes with the highest loss.
    pub(super) worst: Worst,
}

/// The pictures to measure on, and how.
#[derive(Debug)]
pub(super) struct Measuring<'a> {
    /// The pictures.
    pub(super) stored: &'a StoredPictures,
    /// Views of each picture.
    pub(super) views: u32,
}

impl Measuring<'_> {
    /// Measures each run, and the mean of their probabilities; `save` gets this mean.
    ///
    /// One network is in memory at a time, and with several runs a sum per picture and class.
    ///
    /// # Errors
    /// If a picture is damaged, a checkpoint can't be used, a device fails, or a file can't be
    /// written.
    pub(super) fn measure(
        &self,
        dirs: &[RunDir],
        mut load: impl FnMut(&RunDir) -> Result<Trained>,
        mut save: Option<Rows>,
    ) -> Result<Measured> {
        let n_images = self.stored.count();
        let mut measured = Measured {
            n_images,
            scores: Scores::default(),
            runs: Vec::new(),
            devices: String::new(),
            confusion: Confusion::new(self.stored.classes().to_vec()),
            worst: Worst::default(),
        };
        let mut sums = Sums::default();
        for (i, dir) in (1..).zip(dirs) {
            let is_last = i == dirs.len();
            if dirs.len() > 1 {
                print::note(format_args!("{i} of {}: {}", dirs.len(), print::path(&dir.path)));
            }
            let mut trained = load(dir)?;
            let (mut scores, side) = (Scores::default(), trained.side);
            if !is_last {
                sums.begin();
            }
            self.each_output(&mut trained, |batch, output| {
                let own = output.score(&batch.labels);
                scores.add(own, batch.labels.len());
                let at = batch.first as usize * self.stored.classes().len();
                let numbers = at..at + output.probabilities.len();
                if is_last {
                    let output = sums.mean(numbers, output, &batch.labels);
                    if let Some(save) = &mut save {
                        save.add(&output.probabilities, &batch.labels)?;
                    }
                    measured.add(&output, &batch, side);
                } else {
                    sums.add(numbers, &output.probabilities);
                }
                Ok(())
            })?;
            let (run, step) = (dir.path.clone(), trained.step);
            measured.runs.push(OfRun { run, step, scores: scores.of(n_images) });
            measured.devices = trained.devices;
        }
        measured.scores = measured.scores.of(n_images);
        save.map_or(Ok(()), Rows::finish)?;
        Ok(measured)
    }

    /// Hands out the pictures batch by batch with a network's output, averaged over the views.
    fn each_output(
        &self,
        trained: &mut Trained,
        mut take: impl FnMut(Batch, Output) -> Result<()>,
    ) -> Result<()> {
        self.stored.each_batch(trained.recipe.batch, |batch| {
            let pictures: Vec<_> = batch.pictures.iter().collect();
            let output = trained.average(&pictures, &batch.labels, self.views)?.output();
            take(batch, output)
        })
    }
}

impl Scores {
    /// Adds those of `n` pictures.
    fn add(&mut self, (loss, top1_error, top5_error): (f64, f64, f64), n: usize) {
        let n = n as f64;
        self.loss += n * loss;
        self.top1_error += n * top1_error;
        self.top5_error += n * top5_error;
    }

    /// The mean over `n` pictures of what was added.
    fn of(self, n: u64) -> Self {
        let [loss, top1_error, top5_error] =
            [self.loss, self.top1_error, self.top5_error].map(|sum| sum / n as f64);
        Self { loss, top1_error, top5_error }
    }

    /// The mean of several runs.
    pub(super) fn mean(runs: &[OfRun]) -> Self {
        let mut sum = Self::default();
        for OfRun { scores, .. } in runs {
            sum.add((scores.loss, scores.top1_error, scores.top5_error), 1);
        }
        sum.of(runs.len() as u64)
    }
}

impl Measured {
    fn add(&mut self, output: &Output, batch: &Batch, side: usize) {
        self.scores.add(output.score(&batch.labels), batch.labels.len());
        let classes = self.confusion.classes().len();
        let each = output.probabilities.chunks(classes).zip(&output.losses);
        for (i, ((p, loss), label)) in each.zip(&batch.labels).enumerate() {
            let predicted = most_probable(p);
            self.confusion.add(*label, predicted);
            if *label != predicted {
                let number = batch.first + i as u64;
                let probability = p[predicted as usize];
                let mistake =
                    Mistake { loss: *loss, number, label: *label, predicted, probability };
                self.worst.add(mistake, &batch.pictures[i], side);
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
