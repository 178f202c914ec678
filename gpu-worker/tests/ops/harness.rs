//! Numbers in and out of a backend, and what "agrees" means.

use std::ops::Range;

use bytes::Bytes;
use gpu_worker::backend::Backend;
use gpu_worker::ops::Images;
use model::random::{Purpose, Random};
use model::recipe::Encoding;

/// Relative L2 distance of an f32 operation from its f64 reference: sums of up to some ten
/// thousand products, each rounded at 6e-8.
const CLOSE: f64 = 1e-5;

/// Relative distance of a reference's gradient from central differences with [`STEP`]: their own
/// error is STEP² times a third derivative, and rounding over STEP.
const CLOSE_DIFFERENCE: f64 = 1e-6;

const STEP: f64 = 1e-5;

/// Value of all numbers before an operation writes: images outside its range must keep it.
pub(crate) const BEFORE: f32 = -77.0;

/// Normal numbers, always the same for a seed.
pub(crate) fn random(seed: u64, n: usize) -> Vec<f32> {
    let mut values = vec![0.0; n];
    Random::new(seed, Purpose::Synthetic).normals(0, 0, 1.0, &mut values);
    values
}

/// Different numbers in mixed order, none close to another: for operations that choose.
pub(crate) fn distinct(n: usize) -> Vec<f32> {
    let prime = 7919;
    assert!(!n.is_multiple_of(prime));
    (0..n).map(|i| (i * prime % n) as f32 * 0.01 - n as f32 * 0.005).collect()
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

pub(crate) fn upload<B: Backend>(b: &mut B, values: &[f32]) -> B::Floats {
    let mut floats = b.floats("test", values.len()).unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    b.upload(&[Bytes::from(bytes)], Encoding::F32, 0, &mut floats, 0).unwrap();
    floats
}

/// A buffer that is full of [`BEFORE`].
pub(crate) fn before<B: Backend>(b: &mut B, n: usize) -> B::Floats {
    upload(b, &vec![BEFORE; n])
}

pub(crate) fn read<B: Backend>(b: &mut B, floats: &B::Floats, range: Range<usize>) -> Vec<f32> {
    let encoded = b.download(floats, range, Encoding::F32).unwrap().wait().unwrap();
    assert_eq!(encoded.exponent, 0);
    encoded.bytes.as_chunks().0.iter().map(|v| f32::from_le_bytes(*v)).collect()
}

/// Reads `images` of a buffer of `n`, after seeing that no other image was touched.
pub(crate) fn read_images<B: Backend>(
    b: &mut B,
    floats: &B::Floats,
    n: usize,
    images: &Images,
    len: usize,
) -> Vec<f32> {
    let all = read(b, floats, 0..n * len);
    let (first, rest) = all.split_at(images.start * len);
    let (these, last) = rest.split_at(images.len() * len);
    assert!(first.iter().chain(last).all(|v| *v == BEFORE), "other images were touched");
    these.to_vec()
}

/// Asserts that an operation agrees with its reference.
#[track_caller]
pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let distance = squares(&mut got.iter().zip(want).map(|(g, w)| f64::from(*g) - w));
    let size = squares(&mut want.iter().copied());
    assert!(size > 0.0, "{what}: a reference of zeros shows nothing");
    assert!(distance <= CLOSE * size, "{what}: {:e} off", distance / size);
}

/// Asserts that `gradient` is that of `loss` at `x`, along random directions and some axes.
#[track_caller]
pub(crate) fn assert_gradient(
    what: &str,
    loss: impl Fn(&[f64]) -> f64,
    x: &[f64],
    gradient: &[f64],
) {
    let n = x.len();
    let axis = |i: usize| (0..n).map(|j| if i == j { 1.0 } else { 0.0 }).collect();
    let directions = (0..2).map(|seed| wide(&random(1000 + seed, n)));
    let size = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    for direction in directions.chain((0..3).map(|i| axis((i * n / 3 + i) % n))) {
        let at = |step: f64| {
            loss(&x.iter().zip(&direction).map(|(x, d)| x + step * d).collect::<Vec<_>>())
        };
        let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
        let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let off = (difference - slope).abs();
        assert!(off <= CLOSE_DIFFERENCE * size, "{what}: {difference} by differences, {slope}");
    }
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Asserts that `run` writes the same bits for all images at once and for micro-batches of them.
#[track_caller]
pub(crate) fn assert_same_in_micro_batches<B: Backend>(
    b: &mut B,
    n: usize,
    len: usize,
    mut run: impl FnMut(&mut B, Images, &mut B::Floats),
) {
    let mut outputs = Vec::new();
    for cuts in [&[0, n][..], &[0, 1, 3, n], &[0, n / 2, n - 1, n]] {
        let mut y = before(b, n * len);
        for cut in cuts.windows(2) {
            run(b, cut[0]..cut[1], &mut y);
        }
        outputs.push(read(b, &y, 0..n * len).iter().map(|v| v.to_bits()).collect::<Vec<_>>());
    }
    assert!(
        outputs[0] == outputs[1] && outputs[0] == outputs[2],
        "bits depend on the micro-batches"
    );
}

/// The ranges in which inputs arrive that are cut at `cut` (0: not at all), the last first.
pub(crate) fn ranges(inputs: usize, cut: usize) -> Vec<Range<usize>> {
    [cut..inputs, 0..cut].into_iter().filter(|range| !range.is_empty()).collect()
}

/// The numbers of `range` in each row of `row` numbers, where an input counts `each` numbers.
pub(crate) fn range_of<T: Copy>(x: &[T], row: usize, range: &Range<usize>, each: usize) -> Vec<T> {
    x.chunks(row).flat_map(|x| &x[range.start * each..range.end * each]).copied().collect()
}
