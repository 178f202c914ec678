//! The few pictures with the smallest distance.

use image::RgbImage;

use crate::draw::similar::scaled;

/// A picture that was found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// Euclidean distance to the query.
    pub(super) distance: f64,
    /// Number of the picture in its split.
    pub(super) number: u64,
    /// Class of the picture.
    pub(super) label: u32,
    /// The picture at the size of the drawing, if there is to be one.
    pub(super) picture: Option<RgbImage>,
}

/// The nearest pictures so far, nearest first; of equal distances the lower number.
#[derive(Debug)]
pub(super) struct Nearest {
    most: usize,
    drawn: bool,
    found: Vec<Found>,
}

impl Nearest {
    /// Keeps at most this many, with their pictures if they are drawn.
    pub(super) fn new(most: usize, drawn: bool) -> Self {
        Self { most, drawn, found: Vec::new() }
    }

    /// Takes a picture `[side, side, 3]` if it is one of the nearest. Pictures come by number.
    pub(super) fn offer(
        &mut self,
        distance: f64,
        number: u64,
        label: u32,
        pixels: &[u8],
        side: usize,
    ) {
        // NaN sorts after every number.
        let at = self.found.partition_point(|f| f.distance.total_cmp(&distance).is_le());
        if at >= self.most {
            return;
        }
        let side = side as u32;
        let picture = self.drawn.then(|| RgbImage::from_raw(side, side, pixels.to_vec()));
        let picture = picture.flatten().map(|picture| scaled(&picture));
        self.found.insert(at, Found { distance, number, label, picture });
        self.found.truncate(self.most);
    }

    /// The nearest pictures.
    pub(super) fn found(&self) -> &[Found] {
        &self.found
    }

    /// The nearest pictures, to keep.
    pub(super) fn take(self) -> Vec<Found> {
        self.found
    }
}

/// Euclidean distance of two rows.
pub(super) fn distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_euclidean() {
        assert_eq!(distance(&[1.0, 2.0, 3.0], &[1.0, 5.0, 7.0]), 5.0);
    }

    #[test]
    fn the_nearest_stay_in_order_and_of_equals_the_first() {
        let mut nearest = Nearest::new(3, false);
        for (number, distance) in (0..).zip([5.0, f64::NAN, 2.0, 9.0, 2.0, 1.0]) {
            nearest.offer(distance, number, 0, &[7; 12], 2);
        }
        let numbers: Vec<u64> = nearest.found().iter().map(|found| found.number).collect();
        assert_eq!(numbers, [5, 2, 4]);
        assert!(nearest.take()[0].picture.is_none());
    }

    #[test]
    fn pictures_are_kept_if_they_are_drawn() {
        let mut nearest = Nearest::new(1, true);
        nearest.offer(1.0, 0, 0, &[7; 12], 2);
        assert_eq!(nearest.found()[0].picture.as_ref().unwrap().get_pixel(0, 0).0, [7; 3]);
    }
}
