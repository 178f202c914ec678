//! Counter-based random numbers: a pure function of (seed, purpose, stream, index).
//!
//! Philox 4×32-10 (Salmon et al., SC 2011). No generator has a state, so loader count, restarts,
//! devices and the order of work can't change any number. Transcendentals come from `libm`, not
//! from the host's library, so that every machine draws the same bits.

mod permutation;

pub use permutation::Permutation;

/// The use of a random number; numbers of different purposes are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; stream = parameter, index = position in the whole tensor.
    Weights = 1,
    /// The shuffle of each epoch; stream = epoch.
    Shuffle = 2,
    /// Crop and mirroring; index = position in the endless stream of pictures.
    Crop = 3,
    /// Color shift; index as for crops.
    Color = 4,
    /// Dropout masks; stream = layer, index = sample and unit.
    Dropout = 5,
    /// Synthetic pictures.
    Synthetic = 6,
}

/// The random numbers of one seed for one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Random {
    key: [u32; 2],
    purpose: u32,
}

impl Random {
    /// The numbers of `seed` for `purpose`.
    pub const fn new(seed: u64, purpose: Purpose) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], purpose: purpose as u32 }
    }

    /// The four words at `index` of `stream`.
    pub const fn words(&self, stream: u32, index: u64) -> [u32; 4] {
        philox([index as u32, (index >> 32) as u32, stream, self.purpose], self.key)
    }

    /// A whole number in `0..n`, at `index` of `stream`; `n` must not be 0.
    pub const fn below(&self, stream: u32, index: u64, n: u32) -> u32 {
        // The multiply-shift form: its bias of n / 2³² is below anything a run can show.
        ((self.words(stream, index)[0] as u64 * n as u64) >> 32) as u32
    }

    /// Four normally distributed numbers (mean 0, deviation 1), at `index` of `stream`.
    pub fn normal4(&self, stream: u32, index: u64) -> [f64; 4] {
        let words = self.words(stream, index);
        let [a, b] = box_muller(words[0], words[1]);
        let [c, d] = box_muller(words[2], words[3]);
        [a, b, c, d]
    }

    /// Fills `out` with the normally distributed numbers `from, from + 1, …` of `stream`, times
    /// `std`.
    pub fn normals(&self, stream: u32, from: u64, std: f64, out: &mut [f32]) {
        let mut four = [0.0; 4];
        let mut have = u64::MAX;
        for (i, value) in (from..).zip(out) {
            if i / 4 != have {
                have = i / 4;
                four = self.normal4(stream, have);
            }
            *value = (four[(i % 4) as usize] * std) as f32;
        }
    }
}

/// The top 24 bits of a word as a number in `[0, 1)`.
pub const fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

fn box_muller(a: u32, b: u32) -> [f64; 2] {
    let u = (f64::from(a) + 1.0) / 4_294_967_296.0; // in (0, 1]
    let angle = std::f64::consts::TAU * f64::from(b) / 4_294_967_296.0;
    let r = libm::sqrt(-2.0 * libm::log(u));
    [r * libm::cos(angle), r * libm::sin(angle)]
}

/// Philox 4×32 with ten rounds.
pub const fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let mut round = 0;
    while round < 10 {
        let a = 0xD251_1F53_u64 * counter[0] as u64;
        let b = 0xCD9E_8D57_u64 * counter[2] as u64;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        round += 1;
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors of the authors' Random123 distribution (kat_vectors, philox4x32
    /// 10).
    #[test]
    fn philox_gives_its_authors_known_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn normals_do_not_depend_on_where_a_process_starts() {
        let random = Random::new(7, Purpose::Weights);
        let (mut whole, mut part) = (vec![0.0; 1000], vec![0.0; 400]);
        random.normals(2, 0, 0.01, &mut whole);
        random.normals(2, 333, 0.01, &mut part);
        assert_eq!(part, whole[333..733]);
    }

    #[test]
    fn normals_beyond_32_bits_are_those_of_their_index() {
        let random = Random::new(7, Purpose::Weights);
        for from in [(1 << 32) - 3, (1 << 34) - 3, (1 << 40) + 1] {
            let mut values = [0.0; 8];
            random.normals(2, from, 1.0, &mut values);
            for (i, value) in (from..).zip(values) {
                assert_eq!(value, random.normal4(2, i / 4)[(i % 4) as usize] as f32, "{i}");
            }
        }
    }

    #[test]
    fn normals_have_the_moments_and_tails_of_normals() {
        let n = 400_000;
        let mut values = vec![0.0; n];
        Random::new(1, Purpose::Weights).normals(4, 0, 1.0, &mut values);
        let moment = |k| values.iter().map(|&v| f64::from(v).powi(k)).sum::<f64>() / n as f64;
        // Limits: five standard errors, √(var of v^k / n).
        let limit = |variance: f64| 5.0 * (variance / n as f64).sqrt();
        assert!(moment(1).abs() < limit(1.0), "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < limit(2.0), "variance {}", moment(2));
        assert!(moment(3).abs() < limit(15.0), "skewness {}", moment(3));
        assert!((moment(4) - 3.0).abs() < limit(96.0), "kurtosis {}", moment(4));
        let beyond = |x: f32| values.iter().filter(|v| v.abs() > x).count() as f64 / n as f64;
        assert!((beyond(1.0) - 0.317_310_5).abs() < limit(0.217));
        assert!((beyond(3.0) - 0.002_699_8).abs() < limit(0.002_7));
        assert!(values.iter().all(|v| v.is_finite()));
    }

    /// Neighbors come from one Box–Muller pair, or from one block of four words.
    #[test]
    fn neighboring_normals_and_streams_are_uncorrelated() {
        let n = 100_000;
        let random = Random::new(2, Purpose::Color);
        let (mut one, mut other) = (vec![0.0; n + 8], vec![0.0; n]);
        random.normals(1, 0, 1.0, &mut one);
        random.normals(2, 0, 1.0, &mut other);
        let limit = 5.0 / (n as f64).sqrt();
        let product = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() / n as f64
        };
        for lag in 1..8 {
            assert!(product(&one[..n], &one[lag..]).abs() < limit, "lag {lag}");
        }
        assert!(product(&one[..n], &other).abs() < limit, "streams");
    }

    #[test]
    fn below_and_unit_fill_their_range_evenly() {
        let random = Random::new(3, Purpose::Crop);
        let (cells, n) = (33, 330_000);
        let (mut whole, mut parts) = (vec![0_u32; cells], vec![0_u32; cells]);
        for index in 0..n {
            whole[random.below(0, index, cells as u32) as usize] += 1;
            let u = unit(random.words(1, index)[0]);
            assert!((0.0..1.0).contains(&u));
            parts[(f64::from(u) * cells as f64) as usize] += 1;
        }
        let expected = n as f64 / cells as f64;
        for counts in [whole, parts] {
            let chi2: f64 =
                counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
            // 32 degrees of freedom: mean 32, deviation 8; both ends are suspicious.
            assert!((8.0..72.0).contains(&chi2), "χ² {chi2}");
        }
    }

    #[test]
    fn purposes_seeds_streams_and_indices_never_share_a_number() {
        let mut seen = std::collections::BTreeSet::new();
        let purposes = [Purpose::Weights, Purpose::Shuffle, Purpose::Crop, Purpose::Color];
        for purpose in purposes.into_iter().chain([Purpose::Dropout, Purpose::Synthetic]) {
            for seed in [0, 1, 1 << 32] {
                for stream in [0, 1, 2] {
                    for index in [0, 1, 1 << 32] {
                        seen.insert(Random::new(seed, purpose).words(stream, index));
                    }
                }
            }
        }
        assert_eq!(seen.len(), 6 * 3 * 3 * 3);
    }
}
