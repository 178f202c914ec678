//! `alexnet predict`: the five most probable classes of picture files.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use bytes::Bytes;
use clap::Args;
use gpu_worker::receive::Minibatch;
use gpu_worker::views::Average;
use loader::augment::{self, Sample};

use crate::network::{self, Trained};
use crate::options::TrainedArgs;
use crate::print;

/// Classes to print.
const MOST: usize = 5;

/// Arguments of `alexnet predict`.
#[derive(Debug, Args)]
pub(super) struct PredictArgs {
    /// The trained network.
    #[command(flatten)]
    trained: TrainedArgs,

    /// Picture files in any format
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

/// Prints the most probable classes of each picture; skips a picture that can't be read, with an
/// error.
pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let mut trained = Trained::load(&args.trained.run, args.trained.checkpoint, 1)?;
    let mut unread = 0;
    for image in &args.images {
        match loader::image_file_to_stored(image, trained.side) {
            Ok(picture) => {
                let probabilities = probabilities(&mut trained, &picture, args.trained.views)?;
                print(image, &trained.classes, &probabilities);
            }
            Err(error) => {
                unread += 1;
                print::error(&anyhow::Error::new(error));
            }
        }
    }
    if unread > 0 {
        bail!(
            "{} of {} can't be read: see above",
            unread,
            print::count(args.images.len() as u64, "picture", "pictures")
        );
    }
    Ok(())
}

fn probabilities(trained: &mut Trained, picture: &[u8], views: u32) -> Result<Vec<f32>> {
    let mut average = Average::default();
    let room = trained.side - trained.recipe.crop;
    for sample in network::views(views).filter_map(|view| augment::view(view, room)) {
        let minibatch = one(picture, trained.side, trained.recipe.crop, &sample);
        average.add(trained.test(&minibatch)?, &minibatch.labels);
    }
    Ok(average.output().probabilities)
}

/// A minibatch of one crop of a picture `[3, side, side]`.
fn one(picture: &[u8], side: usize, crop: usize, sample: &Sample) -> Minibatch {
    let (row, column) = (sample.row as usize, sample.column as usize);
    let mut pixels = Vec::with_capacity(3 * crop * crop);
    for color in 0..3 {
        for y in row..row + crop {
            pixels.extend(&picture[(color * side + y) * side + column..][..crop]);
        }
    }
    let flip = f32::from(u8::from(sample.flip));
    Minibatch {
        labels: vec![0], // unknown; the loss is not used
        places: vec![[sample.row as f32, sample.column as f32, flip, 0.0, 0.0, 0.0]],
        crop,
        pixels: vec![Bytes::from(pixels)],
        digest: 0,
    }
}

fn print(image: &Path, classes: &[String], probabilities: &[f32]) {
    print::line(image.display());
    for (class, p) in best(probabilities) {
        print::line(format_args!("  {:>6.2} %  {}", 100.0 * p, classes[class]));
    }
}

/// The most probable classes in order; classes that are equally probable keep their order.
fn best(probabilities: &[f32]) -> Vec<(usize, f32)> {
    let mut order: Vec<(usize, f32)> = probabilities.iter().copied().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    order.truncate(MOST);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_five_most_probable_come_in_order() {
        let best = best(&[0.1, 0.3, 0.05, 0.3, 0.15, 0.1]);
        assert_eq!(best.iter().map(|b| b.0).collect::<Vec<_>>(), [1, 3, 4, 0, 5]);
    }

    #[test]
    fn a_crop_is_planar_and_where_the_sample_says() {
        let picture: Vec<u8> = (0..27).collect(); // 3 × 3 pixels of red, then green, then blue
        let sample = Sample { row: 1, column: 1, flip: false, shift: [0.0; 3] };
        let batch = one(&picture, 3, 2, &sample);
        assert_eq!(batch.pixels[0][..], [4, 5, 7, 8, 13, 14, 16, 17, 22, 23, 25, 26]);
    }
}
