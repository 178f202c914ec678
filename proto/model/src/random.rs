//! Counter-based random numbers: a pure function of (seed, purpose, stream, index).
//!
//! Philox 4×32-10 (Salmon et al., SC 2011). No generator has a state, so loader count, restarts,
//! devices and the order of work can't change any number. Transcendentals come from `libm`, not
//! from the host's library, so that every machine draws the same bits.

/// What a number is drawn for; two purposes never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; stream = parameter, index = place in the whole tensor.
    Weights = 1,
    /// Each epoch's order of images; stream = epoch.
    Order = 2,
    /// Crop and flip; index = place in the endless stream of images.
    Crop = 3,
    /// Colour shift; index as for crops.
    Color = 4,
    /// Dropout masks; stream = layer, index = sample and unit.
    Dropout = 5,
    /// Made-up pictures.
    Synthetic = 6,
}

/// Random numbers for one purpose.
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

    /// Four words at `index` of `stream`.
    pub const fn words(&self, stream: u32, index: u64) -> [u32; 4] {
        philox([index as u32, (index >> 32) as u32, stream, self.purpose], self.key)
    }

    /// A number in `[0, 1)` with 24 bits, at `index` of `stream`.
    pub const fn uniform(&self, stream: u32, index: u64) -> f32 {
        unit(self.words(stream, index)[0])
    }

    /// A whole number in `0..n`, at `index` of `stream`; `n` must not be 0.
    pub const fn below(&self, stream: u32, index: u64, n: u32) -> u32 {
        // The multiply-shift form: its bias of n / 2³² is below anything a run can show.
        ((self.words(stream, index)[0] as u64 * n as u64) >> 32) as u32
    }

    /// Four normal numbers (mean 0, deviation 1), at `index` of `stream`.
    pub fn normal4(&self, stream: u32, index: u64) -> [f64; 4] {
        let words = self.words(stream, index);
        let [a, b] = box_muller(words[0], words[1]);
        let [c, d] = box_muller(words[2], words[3]);
        [a, b, c, d]
    }

    /// Fills `out` with the normal numbers `from, from + 1, …` of `stream`, times `std`.
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

    /// The known-answer vectors of the authors' Random123 distribution (kat_vectors, philox4x32 10).
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
}
