//! The shuffle of an epoch: a permutation that is computed at any position, without a list.

use super::{Purpose, Random};

/// Rounds of the network. Four are enough for large words (Luby and Rackoff); a data set of ten
/// pictures has words of two bits, which need more rounds.
const ROUNDS: u64 = 8;

/// A permutation of `0..n`, one for each (seed, epoch).
///
/// A Feistel network over the smallest even number of bits that holds `n`, with Philox as its round
/// function; results of `n` and above are fed back until one is below (cycle walking, fewer than
/// four passes on average). Nothing is stored, so a loader of 1.2 million images starts in the
/// middle of an epoch as fast as at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permutation {
    random: Random,
    epoch: u32,
    n: u64,
    word_bits: u32,
}

impl Permutation {
    /// The permutation of `n` pictures in an epoch; epochs 2³² apart share one.
    pub const fn new(seed: u64, epoch: u64, n: u64) -> Self {
        let bits = if n < 2 { 0 } else { u64::BITS - (n - 1).leading_zeros() };
        let word_bits = if bits < 2 { 1 } else { bits.div_ceil(2) };
        Self { random: Random::new(seed, Purpose::Shuffle), epoch: epoch as u32, n, word_bits }
    }

    /// Number of permuted elements.
    pub const fn len(&self) -> u64 {
        self.n
    }

    /// Whether there are no elements.
    pub const fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The element of `0..n` at position `i`.
    ///
    /// # Panics
    /// If `i` is not below `n`.
    pub fn at(&self, i: u64) -> u64 {
        assert!(i < self.n, "position {i} of a permutation of {}", self.n);
        let mut value = self.feistel(i);
        while value >= self.n {
            value = self.feistel(value);
        }
        value
    }

    fn feistel(&self, value: u64) -> u64 {
        let mask = (1 << self.word_bits) - 1;
        let (mut left, mut right) = (value >> self.word_bits, value & mask);
        for round in 0..ROUNDS {
            let word = self.random.words(self.epoch, round << 32 | right)[0];
            (left, right) = (right, left ^ (u64::from(word) & mask));
        }
        left << self.word_bits | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64, epoch: u64, n: u64) -> Vec<u64> {
        let permutation = Permutation::new(seed, epoch, n);
        (0..n).map(|i| permutation.at(i)).collect()
    }

    #[test]
    fn every_position_has_one_image_and_every_image_one_position() {
        for n in (1..=300).chain([1_000, 1_023, 1_024, 1_025, 4_096, 50_000, 65_537]) {
            let mut seen = order(3, n, n);
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..n), "{n} images");
        }
    }

    #[test]
    fn the_largest_counts_work_too() {
        for n in [1_281_167, 1 << 40, u64::MAX] {
            let permutation = Permutation::new(1, 0, n);
            assert_eq!(permutation.len(), n);
            for i in [0, 1, n / 2, n - 1] {
                assert!(permutation.at(i) < n);
            }
        }
        assert!(Permutation::new(1, 0, 0).is_empty());
    }

    #[test]
    fn an_order_is_the_same_whenever_it_is_asked_for() {
        assert_eq!(order(7, 2, 1_000), order(7, 2, 1_000));
        // Never change this: another order would silently change every run that is resumed.
        assert_eq!(order(7, 2, 8), [2, 0, 4, 5, 7, 6, 1, 3]);
    }

    #[test]
    fn each_epoch_and_each_seed_has_its_own_order() {
        let n = 10_000;
        let same = |a: &[u64], b: &[u64]| a.iter().zip(b).filter(|(a, b)| a == b).count();
        let first = order(1, 0, n);
        for other in [order(1, 1, n), order(1, 2, n), order(2, 0, n), order(1 << 32 | 1, 0, n)] {
            // Two independent shuffles agree in one position on average; eight would be 1 in
            // 100,000.
            assert!(same(&first, &other) < 8);
        }
    }

    #[test]
    fn positions_and_images_are_uncorrelated() {
        let n = 20_000;
        for epoch in 0..5 {
            let images = order(11, epoch, n);
            let four_sigma = 4.0 / (n as f64).sqrt();
            for lag in [0, 1, 2, 7, 128] {
                let pairs = (0..n - lag).map(|i| (i as f64, images[(i + lag) as usize] as f64));
                assert!(correlation(pairs).abs() < four_sigma, "position and image, lag {lag}");
                let next = |i: u64| (images[i as usize] as f64, images[(i + lag) as usize] as f64);
                let pairs = (0..n - lag).map(next);
                assert!(lag == 0 || correlation(pairs).abs() < four_sigma, "images, lag {lag}");
            }
        }
    }

    /// χ² over all orders of three and of four images; 5 and 23 degrees of freedom.
    #[test]
    fn small_sets_take_every_order_equally_often() {
        for (n, orders, limit) in [(3, 6, 30.0), (4, 24, 64.0)] {
            let epochs = 24_000;
            let mut counts = std::collections::BTreeMap::new();
            for epoch in 0..epochs {
                *counts.entry(order(5, epoch, n)).or_insert(0_u32) += 1;
            }
            assert_eq!(counts.len(), orders);
            let expected = epochs as f64 / orders as f64;
            let chi2: f64 =
                counts.values().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
            assert!(chi2 < limit, "{n} images: χ² {chi2}");
        }
    }

    fn correlation(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
        let n = pairs.clone().count() as f64;
        let mean = |f: fn((f64, f64)) -> f64| pairs.clone().map(f).sum::<f64>() / n;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let (xx, yy, xy) = (mean(|p| p.0 * p.0), mean(|p| p.1 * p.1), mean(|p| p.0 * p.1));
        (xy - x * y) / ((xx - x * x) * (yy - y * y)).sqrt()
    }
}
