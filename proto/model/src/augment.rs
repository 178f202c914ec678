//! Augmentation: crop, mirroring and color shift of a training picture (paper §4.1); test views.
//!
//! All are pure functions of the seed and the position in the endless stream, so that every loader
//! draws the same numbers.

use crate::random::{Purpose, Random};

/// One use of a picture: its crop, mirroring and color shift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// First row of the crop in the stored picture.
    pub row: u32,
    /// First column of the crop in the stored picture.
    pub column: u32,
    /// True if the crop is then mirrored left to right.
    pub flip: bool,
    /// Color shift: what is added to red, green and blue of every pixel, in levels (0..255).
    pub shift: [f32; 3],
}

/// The ranges of augmentation in training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variation {
    /// Number of crop positions in each direction, as far as the picture allows; 0 = all, 1 = the
    /// center.
    pub offsets: usize,
    /// True if half of the crops are mirrored.
    pub flip: bool,
    /// Standard deviation of the color shift's factors.
    pub color_noise: f64,
}

/// Number of test views (paper §4.1): the center, then the ten whose outputs are averaged.
pub const VIEWS: u32 = 11;

/// The sample at position `g` of the endless stream; `room` = side − crop.
///
/// The shift is Σ pᵢ αᵢ √λᵢ, α ~ N(0, `color_noise`), with `colors[i]` = pᵢ √λᵢ.
pub fn train(seed: u64, g: u64, room: usize, vary: &Variation, colors: &[[f32; 3]; 3]) -> Sample {
    let words = Random::new(seed, Purpose::Crop).words(0, g);
    let offsets = if vary.offsets == 0 { room + 1 } else { vary.offsets.min(room + 1) };
    // One position alone is that of validation, so that the network sees what it is judged by.
    let first = if vary.offsets == 1 { room as u32 / 2 } else { 0 };
    let below = |word: u32| first + ((u64::from(word) * offsets as u64) >> 32) as u32;
    Sample {
        row: below(words[0]),
        column: below(words[1]),
        flip: vary.flip && words[2] >> 31 == 1,
        shift: shift(seed, g, vary.color_noise, colors),
    }
}

fn shift(seed: u64, g: u64, noise: f64, colors: &[[f32; 3]; 3]) -> [f32; 3] {
    if noise == 0.0 {
        return [0.0; 3];
    }
    let alpha = Random::new(seed, Purpose::Color).normal4(0, g);
    std::array::from_fn(|c| {
        let sum: f64 = (0..3).map(|i| alpha[i] * noise * f64::from(colors[i][c])).sum();
        sum as f32
    })
}

/// Test view number `view`; `room` = side − crop.
///
/// View 0 is the center; 1 to 5 are the four corners and the center; 6 to 10 are views 1 to 5
/// mirrored. `None` from [`VIEWS`] on.
pub fn view(view: u32, room: usize) -> Option<Sample> {
    let (end, middle) = (room as u32, room as u32 / 2);
    let corner = if view > 5 { view - 5 } else { view };
    let (row, column) = match corner {
        1 => (0, 0),
        2 => (0, end),
        3 => (end, 0),
        4 => (end, end),
        _ => (middle, middle),
    };
    (view < VIEWS).then_some(Sample { row, column, flip: view > 5, shift: [0.0; 3] })
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLORS: [[f32; 3]; 3] = [[60.0, 58.0, 62.0], [20.0, -1.0, -19.0], [3.0, -6.0, 3.0]];
    const ALL: Variation = Variation { offsets: 32, flip: true, color_noise: 0.1 };
    const ALL_OFFSETS: Variation = Variation { offsets: 0, ..ALL };

    #[test]
    fn crops_of_224_in_256_take_each_of_1024_positions_and_half_are_mirrored() {
        let n = 100_000;
        let mut seen = vec![0_u32; 32 * 32];
        let mut flips = 0;
        for g in 0..n {
            let s = train(1, g, 32, &ALL, &COLORS);
            seen[(s.row * 32 + s.column) as usize] += 1;
            flips += u64::from(s.flip);
        }
        // 98 expected in each; six standard deviations of a Poisson count.
        assert!(seen.iter().all(|&k| (38..=158).contains(&k)));
        assert!((49_000..51_000).contains(&flips));
    }

    #[test]
    fn the_color_shift_has_the_components_covariance_times_the_noise_squared() {
        let n = 100_000;
        let mut cov = [[0.0; 3]; 3];
        for g in 0..n {
            let s = train(1, g, 32, &ALL, &COLORS).shift;
            for (a, row) in cov.iter_mut().enumerate() {
                for (b, sum) in row.iter_mut().enumerate() {
                    *sum += f64::from(s[a]) * f64::from(s[b]) / n as f64;
                }
            }
        }
        for a in 0..3 {
            for b in 0..3 {
                let want: f64 =
                    COLORS.iter().map(|p| f64::from(p[a]) * f64::from(p[b]) * 0.01).sum();
                assert!((cov[a][b] - want).abs() < 0.02 * 40.0, "{a}{b}: {} {want}", cov[a][b]);
            }
        }
    }

    #[test]
    fn offsets_reach_everywhere_at_0_and_never_beyond_the_picture() {
        let max = |offsets, room| {
            let vary = Variation { offsets, flip: false, color_noise: 0.0 };
            (0..10_000).map(|g| train(5, g, room, &vary, &COLORS).row).max().unwrap()
        };
        assert_eq!(
            [max(32, 32), max(33, 32), max(0, 32), max(32, 8), max(32, 0)],
            [31, 32, 32, 8, 0]
        );
    }

    #[test]
    fn a_single_position_is_the_center_of_validation() {
        let vary = Variation { offsets: 1, flip: false, color_noise: 0.0 };
        for room in [0, 8, 9, 32] {
            assert!((0..100).all(|g| Some(train(5, g, room, &vary, &COLORS)) == view(0, room)));
        }
    }

    #[test]
    fn switched_off_nothing_is_mirrored_or_colored() {
        let vary = Variation { offsets: 0, flip: false, color_noise: 0.0 };
        assert!((0..1000).all(|g| {
            let s = train(5, g, 3, &vary, &COLORS);
            !s.flip && s.shift == [0.0; 3]
        }));
    }

    /// Counted in 32 bits, crops and colors would repeat from picture 2³² on.
    #[test]
    fn samples_beyond_32_bits_are_their_own() {
        for g in 0..20 {
            let samples = [g, g + (1 << 32), g + (1 << 33), g + (1 << 40)]
                .map(|g| train(1, g, 1 << 20, &ALL_OFFSETS, &COLORS));
            for (i, a) in samples.iter().enumerate() {
                for b in &samples[i + 1..] {
                    assert!(a.row != b.row && a.column != b.column && a.shift != b.shift);
                }
            }
        }
    }

    #[test]
    fn ten_views_are_corners_and_center_and_their_mirrors() {
        let all: Vec<_> = (0..VIEWS).map(|v| view(v, 32).unwrap()).collect();
        let position = |s: &Sample| (s.row, s.column, s.flip);
        assert_eq!(position(&all[0]), (16, 16, false));
        let first: Vec<_> = all[1..6].iter().map(|s| (s.row, s.column)).collect();
        assert_eq!(first, [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]);
        for (plain, mirrored) in all[1..6].iter().zip(&all[6..]) {
            assert_eq!((plain.row, plain.column, true), position(mirrored));
        }
        assert_eq!(view(VIEWS, 32), None);
    }
}
