//! The worst mistakes: pictures that were taken for another class, with the highest loss.

use image::RgbImage;

use crate::draw::sheet::{Tile, thumbnail};
use crate::print;

/// Mistakes that are kept.
const MOST: usize = 40;

/// A picture that was taken for another class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mistake {
    /// Loss of the picture: minus the logarithm of its class's probability.
    pub(super) loss: f32,
    /// Number of the picture in its split.
    pub(super) number: u64,
    /// Class of the picture.
    pub(super) label: u32,
    /// Class that the picture was taken for.
    pub(super) predicted: u32,
    /// Probability of that class.
    pub(super) probability: f32,
}

/// The mistakes with the highest loss, highest first.
#[derive(Debug, Default)]
pub(super) struct Worst(Vec<(Mistake, RgbImage)>);

impl Worst {
    /// Keeps a mistake with its picture `[side, side, 3]`, if it is one of the worst.
    pub(super) fn add(&mut self, mistake: Mistake, pixels: &[u8], side: usize) {
        // A loss that is no number counts as the highest.
        let at =
            self.0.partition_point(|(kept, _)| kept.loss.is_nan() || kept.loss >= mistake.loss);
        if at >= MOST {
            return;
        }
        let side = side as u32;
        let Some(picture) = RgbImage::from_raw(side, side, pixels.to_vec()) else { return };
        self.0.insert(at, (mistake, thumbnail(&picture)));
        self.0.truncate(MOST);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The pictures with their true class, predicted class and its probability, and number.
    pub(super) fn tiles(self, classes: &[String]) -> Vec<Tile> {
        let name = |class: u32| print::visible(classes.get(class as usize).map_or("?", |c| c));
        let tile = |(mistake, picture): (Mistake, RgbImage)| {
            let true_share = 100.0 * (-mistake.loss).exp();
            let captions = vec![
                format!("is {}", name(mistake.label)),
                format!("→ {}", name(mistake.predicted)),
                format!("{:.0} %, not {true_share:.0} %", 100.0 * mistake.probability),
                format!("number {}", mistake.number),
            ];
            Tile { picture, captions }
        };
        self.0.into_iter().map(tile).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistake(loss: f32, number: u64) -> Mistake {
        Mistake { loss, number, label: 0, predicted: 1, probability: 0.75 }
    }

    #[test]
    fn the_highest_losses_are_kept_and_of_equals_the_first() {
        let mut worst = Worst::default();
        for number in 0..100 {
            worst.add(mistake((number % 10) as f32, number), &[7; 12], 2);
        }
        worst.add(mistake(f32::NAN, 500), &[7; 12], 2);
        worst.add(mistake(f32::INFINITY, 501), &[7; 12], 2);
        let numbers: Vec<u64> = worst.0.iter().map(|(mistake, _)| mistake.number).collect();
        assert_eq!(numbers.len(), MOST);
        assert_eq!(numbers[..5], [500, 501, 9, 19, 29]);
        assert_eq!(numbers[MOST - 1], 76, "the eighth of loss 6");
    }

    #[test]
    fn a_tile_says_what_the_picture_is_and_what_it_was_taken_for() {
        let mut worst = Worst::default();
        worst.add(mistake(3.0, 12), &[7; 12], 2);
        let tiles = worst.tiles(&["cat".into(), "dog".into()]);
        assert_eq!(tiles[0].captions, ["is cat", "→ dog", "75 %, not 5 %", "number 12"]);
    }
}
