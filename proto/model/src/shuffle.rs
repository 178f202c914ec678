//! The endless shuffled stream of a training run: a pure function of seed and position.

use crate::random::Permutation;

/// One entry of the endless stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Number of whole passes over the training split before this entry.
    pub epoch: u64,
    /// Number of the picture in the training split.
    pub picture: u64,
}

/// Entry `g` of the stream of `seed` over `n_train` pictures (at least one).
///
/// Every epoch is another permutation, and minibatches cross the borders of epochs.
pub fn entry(seed: u64, n_train: u64, g: u64) -> Entry {
    let epoch = g / n_train;
    Entry { epoch, picture: Permutation::new(seed, epoch, n_train).at(g % n_train) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_holds_every_picture_once_in_another_order() {
        let epoch = |e: u64| (0..100).map(move |i| entry(3, 100, e * 100 + i).picture);
        for e in 0..5 {
            let mut seen: Vec<u64> = epoch(e).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
            assert!(!epoch(e).eq(epoch(e + 1)));
        }
    }

    #[test]
    fn a_stream_crosses_epochs_in_the_middle_of_a_minibatch() {
        let epochs: Vec<u64> = (96..104).map(|g| entry(3, 100, g).epoch).collect();
        assert_eq!(epochs, [0, 0, 0, 0, 1, 1, 1, 1]);
    }

    /// ImageNet's picture number 2³² comes in epoch 3,352; a long run must not start over there.
    #[test]
    fn entries_beyond_32_bits_keep_their_epoch() {
        for g in [1 << 32, (1 << 32) + 77, 1 << 33, (1 << 40) + 5] {
            let (epoch, rest) = (g / 100, g % 100);
            assert_eq!(entry(3, 100, g).epoch, epoch);
            assert_eq!(entry(3, 100, g).picture, Permutation::new(3, epoch, 100).at(rest));
        }
        // More pictures than 32 bits count.
        let n = 1 << 34;
        assert!((0..64).any(|g| entry(3, n, g).picture > u64::from(u32::MAX)));
        assert_ne!(entry(3, n, 5).picture, entry(3, n, (1 << 32) + 5).picture);
    }
}
