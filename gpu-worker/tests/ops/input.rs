//! Pixels to numbers.

use bytes::Bytes;
use gpu_worker::backend::Backend;
use gpu_worker::ops::Input;

use crate::harness::{before, random, read_images, upload};

const CROP: usize = 9;
const SIDE: usize = 13;
const IMAGE: usize = 3 * CROP * CROP;

/// Row, column, flip, shifts: the corners of what crops can be.
#[rustfmt::skip]
const CROPS: [[f32; 6]; 4] = [
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    [4.0, 0.0, 1.0, 1.5, -2.5, 3.0],
    [0.0, 4.0, 0.0, -7.0, 0.25, 1.0],
    [4.0, 3.0, 1.0, 2.0, 2.0, -2.0],
];

pub(crate) fn agrees_with_the_reference<B: Backend>(b: &mut B) {
    let n = CROPS.len();
    let pixels: Vec<u8> = (0..n * IMAGE).map(|i| (i * 7919 % 251) as u8).collect();
    let mean: Vec<f32> = random(1, 3 * SIDE * SIDE).iter().map(|m| m * 20.0 + 120.0).collect();
    let mut want = Vec::new();
    for (image, place) in CROPS.iter().enumerate().skip(1) {
        let [row, column, flip] = [place[0], place[1], place[2]].map(|p| p as usize);
        for i in 0..IMAGE {
            let (c, r, x) = (i / CROP / CROP, i / CROP % CROP, i % CROP);
            let x = if flip == 1 { CROP - 1 - x } else { x };
            let p = f32::from(pixels[((image * 3 + c) * CROP + r) * CROP + x]);
            want.push(p - mean[(c * SIDE + row + r) * SIDE + column + x] + place[3 + c]);
        }
    }
    let mut pixel_buffer = b.bytes("pixels", n * IMAGE).unwrap();
    b.upload_bytes(&[Bytes::from(pixels)], &mut pixel_buffer).unwrap();
    let (mean, crops) = (upload(b, &mean), upload(b, CROPS.as_flattened()));
    let mut y = before(b, n * IMAGE);
    let op = Input {
        images: 1..n,
        crop: CROP,
        side: SIDE,
        pixels: &pixel_buffer,
        crops: &crops,
        mean: &mean,
        y: &mut y,
    };
    b.run(op).unwrap();
    assert_eq!(read_images(b, &y, n, &(1..n), IMAGE), want);
}

/// A minibatch's crops are checked when it comes. Should one be beyond the mean all the same, it
/// is refused or moved inside, as far as the device can look at it; never read.
pub(crate) fn never_reads_beyond_the_mean<B: Backend>(b: &mut B) {
    let mean: Vec<f32> = random(2, 3 * SIDE * SIDE);
    let mean = upload(b, &mean);
    let pixels = b.bytes("pixels", IMAGE).unwrap();
    let mut with = |row: f32, column: f32| {
        let (crops, mut y) = (upload(b, &[row, column, 0.0, 0.0, 0.0, 0.0]), before(b, IMAGE));
        let op = Input {
            images: 0..1,
            crop: CROP,
            side: SIDE,
            pixels: &pixels,
            crops: &crops,
            mean: &mean,
            y: &mut y,
        };
        b.run(op).map(|()| read_images(b, &y, 1, &(0..1), IMAGE))
    };
    let inside = with(4.0, 4.0).unwrap();
    for (row, column) in [(5.0, 4.0), (4.0, 300.0)] {
        if let Ok(moved) = with(row, column) {
            assert_eq!(moved, inside);
        }
    }
    let corner = with(0.0, 0.0).unwrap();
    if let Ok(moved) = with(-3.0, -1.0) {
        assert_eq!(moved, corner);
    }
}
