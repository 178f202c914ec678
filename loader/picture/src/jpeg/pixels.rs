//! Turns coefficients into pixels, with the arithmetic of libjpeg: the same bits.

use std::num::Wrapping;

use super::{Block, Plane};

/// Turns a plane's coefficients into samples, `[rows, 8 * stride]`.
pub(super) fn samples(plane: &Plane, quantization: &[u16; 64]) -> Vec<u8> {
    let width = 8 * plane.stride;
    let mut samples = vec![0; 64 * plane.coefficients.len()];
    for (n, block) in plane.coefficients.iter().enumerate() {
        let (x, y) = (8 * (n % plane.stride), 8 * (n / plane.stride));
        let rows = inverse_transform(block, quantization);
        for (row, eight) in rows.iter().enumerate() {
            samples[(y + row) * width + x..][..8].copy_from_slice(eight);
        }
    }
    samples
}

/// Bits behind the point of the constants, and of what lies between the two passes.
const CONSTANT_BITS: usize = 13;
const PASS_BITS: usize = 2;

/// The inverse cosine transform of a block (libjpeg's `jidctint.c`).
fn inverse_transform(block: &Block, quantization: &[u16; 64]) -> [[u8; 8]; 8] {
    if block[1..].iter().all(|&value| value == 0) {
        let even = i32::from(block[0]).wrapping_mul(quantization[0].into());
        return [[((even.wrapping_mul(4).wrapping_add(16) >> 5) + 128).clamp(0, 255) as u8; 8]; 8];
    }
    let mut between = [Wrapping(0_i32); 64];
    for x in 0..8 {
        let column = std::array::from_fn(|y| {
            let at = 8 * y + x;
            Wrapping(i32::from(block[at])) * Wrapping(i32::from(quantization[at]))
        });
        let column = transform_eight(column, CONSTANT_BITS - PASS_BITS);
        (0..8).for_each(|y| between[8 * y + x] = column[y]);
    }
    std::array::from_fn(|y| {
        let row = std::array::from_fn(|x| between[8 * y + x]);
        let row = transform_eight(row, CONSTANT_BITS + PASS_BITS + 3);
        row.map(|v| (v + Wrapping(128)).0.clamp(0, 255) as u8)
    })
}

/// One pass over eight values; the sums lose `shift` bits.
#[inline]
fn transform_eight(v: [Wrapping<i32>; 8], shift: usize) -> [Wrapping<i32>; 8] {
    let by = |v: Wrapping<i32>, constant: i32| v * Wrapping(constant);
    let z1 = by(v[2] + v[6], 4433);
    let (even2, even3) = (z1 - by(v[6], 15137), z1 + by(v[2], 6270));
    let (even0, even1) = ((v[0] + v[4]) << CONSTANT_BITS, (v[0] - v[4]) << CONSTANT_BITS);
    let even = [even0 + even3, even1 + even2, even1 - even2, even0 - even3];

    let z5 = by(v[7] + v[3] + v[5] + v[1], 9633);
    let (z1, z2) = (by(v[7] + v[1], -7373), by(v[5] + v[3], -20995));
    let (z3, z4) = (by(v[7] + v[3], -16069) + z5, by(v[5] + v[1], -3196) + z5);
    let odd = [
        by(v[1], 12299) + z1 + z4,
        by(v[3], 25172) + z2 + z3,
        by(v[5], 16819) + z2 + z4,
        by(v[7], 2446) + z1 + z3,
    ];
    let half = Wrapping(1 << (shift - 1));
    std::array::from_fn(|n| {
        let sum = if n < 4 { even[n] + odd[n] } else { even[7 - n] - odd[7 - n] };
        (sum + half) >> shift
    })
}

/// A component's samples and how they lie in the picture.
pub(super) struct Samples {
    pub(super) values: Vec<u8>,
    pub(super) stride: usize,
    /// Samples across and down that belong to the picture.
    pub(super) size: (usize, usize),
    /// Pixels that each sample stands for, across and down.
    pub(super) scale: (usize, usize),
}

impl Samples {
    fn row(&self, row: usize) -> &[u8] {
        let row = row.min(self.size.1 - 1);
        &self.values[row * self.stride..][..self.size.0]
    }

    /// Writes row `y` of the picture, in the picture's full width or a little more.
    ///
    /// Chroma at half the resolution is interpolated, everything else repeated, as in libjpeg
    /// (`jdsample.c`).
    pub(super) fn full_row(&self, y: usize, out: &mut Vec<u8>) {
        out.clear();
        let (own, smooth) = (self.row(y / self.scale.1), self.size.0 > 2);
        let beside = match y % 2 {
            0 => (y / 2).saturating_sub(1),
            _ => y / 2 + 1,
        };
        match self.scale {
            (1, 1) => out.extend_from_slice(own),
            (2, 1) if smooth => widen(own.len(), |x| 4 * i32::from(own[x]), (4, 8), out),
            (1, 2) => {
                let round = if y.is_multiple_of(2) { 1 } else { 2 };
                let mixed = |(&a, &b): (&u8, &u8)| (3 * u16::from(a) + u16::from(b) + round) >> 2;
                out.extend(own.iter().zip(self.row(beside)).map(|two| mixed(two) as u8));
            }
            (2, 2) if smooth => {
                let other = self.row(beside);
                let sum = |x: usize| 3 * i32::from(own[x]) + i32::from(other[x]);
                widen(own.len(), sum, (8, 7), out);
            }
            (across, _) => out.extend(own.iter().flat_map(|&v| std::iter::repeat_n(v, across))),
        }
    }
}

/// Doubles a row: each result is three parts of the nearer and one of the farther value.
///
/// `values` are four times the samples; `round` is added for the left and the right result.
fn widen(n: usize, values: impl Fn(usize) -> i32, round: (i32, i32), out: &mut Vec<u8>) {
    for x in 0..n {
        let (left, own) = (values(x.saturating_sub(1)), values(x));
        let right = values((x + 1).min(n - 1));
        out.push(((3 * own + left + round.0) >> 4) as u8);
        out.push(((3 * own + right + round.1) >> 4) as u8);
    }
}

/// Red, green and blue of luma and chroma (`jdcolor.c`).
pub(super) fn from_ycc([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let half = 1 << 15;
    [
        y + ((91881 * cr + half) >> 16),
        y + ((-22554 * cb - 46802 * cr + half) >> 16),
        y + ((116130 * cb + half) >> 16),
    ]
    .map(|v| v.clamp(0, 255) as u8)
}

/// Red, green and blue of inks that are stored inverted, as Adobe does.
pub(super) fn from_inks(inks: [u8; 3], black: u8) -> [u8; 3] {
    inks.map(|ink| ((u32::from(ink) * u32::from(black) + 127) / 255) as u8)
}
