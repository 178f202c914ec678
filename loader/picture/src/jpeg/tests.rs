//! The two decoders agree wherever the fast one is used.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::*;

/// Largest mean difference of the two, of 255; they round and interpolate a little differently.
const MEAN: f64 = 1.0;

fn encoded(width: u16, height: u16, sampling: SamplingFactor) -> Vec<u8> {
    let color = |x: u16, y: u16| [(3 * x) as u8 / 2, (200 - 2 * x) as u8, (5 * y) as u8];
    let pixels: Vec<u8> =
        (0..height).flat_map(|y| (0..width).flat_map(move |x| color(x, y))).collect();
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 92);
    encoder.set_sampling_factor(sampling);
    encoder.encode(&pixels, width, height, ColorType::Rgb).unwrap();
    bytes
}

#[test]
fn both_decoders_agree_at_every_width_and_sampling() {
    let kinds = [SamplingFactor::F_1_1, SamplingFactor::F_2_1, SamplingFactor::F_1_2];
    for sampling in kinds.into_iter().chain([SamplingFactor::F_2_2]) {
        for width in 16..=66 {
            for height in [1, 2, 8, 9, 17, 40] {
                let bytes = encoded(width, height, sampling);
                let mut header = Header::new(&bytes);
                let Ok(Next::Scan(scan, at)) = header.next() else { panic!("no scan") };
                let whole = plain(&header, &scan, at).expect("a plain JPEG");
                let fast = fast(&whole, &header.frame);
                let right = right(&mut header, scan, at).unwrap();
                // Where the fast one finds the end too near, it leaves the picture to the other.
                let Some(fast) = fast else { continue };
                let differences = fast.iter().zip(right.iter()).map(|(a, b)| a.abs_diff(*b));
                let mean = differences.map(f64::from).sum::<f64>() / fast.len() as f64;
                assert!(mean <= MEAN, "{width}×{height} {sampling:?}: mean difference {mean}");
            }
        }
    }
}
