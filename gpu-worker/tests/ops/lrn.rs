//! Response normalization.

use gpu_worker::backend::Backend;
use gpu_worker::ops::{Lrn, LrnBackward, LrnForward};

use crate::harness::{
    assert_close, assert_gradient, assert_same_in_micro_batches, before, dot, random, read_images,
    upload, wide,
};

/// Constants that make the normalization matter at unit-size numbers.
const STRONG: Lrn = Lrn { maps: 7, pixels: 10, groups: 1, size: 5, k: 2.0, alpha: 0.1, beta: 0.75 };

const PAPER: Lrn = Lrn { maps: 16, pixels: 729, alpha: 1e-4, ..STRONG };

const CASES: [Lrn; 7] = [
    STRONG,
    Lrn { maps: 12, pixels: 67, groups: 2, ..STRONG },
    Lrn { maps: 3, pixels: 130, size: 7, ..STRONG }, // a window larger than the maps
    Lrn { size: 1, ..STRONG },
    Lrn { size: 4, ..STRONG },
    Lrn { size: 3, beta: 0.6, k: 1.0, ..STRONG },
    PAPER,
];

/// scale and y of one image. A window holds `size / 2` maps in front and `size` in all.
fn forward(lrn: &Lrn, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let group = lrn.maps / lrn.groups;
    let [k, alpha, beta] = [lrn.k, lrn.alpha, lrn.beta].map(f64::from);
    let mut scale = vec![0.0; x.len()];
    for map in 0..lrn.maps {
        for pixel in 0..lrn.pixels {
            let sum: f64 = (0..lrn.maps)
                .filter(|other| other / group == map / group)
                .filter(|other| (map..map + lrn.size).contains(&(other + lrn.size / 2)))
                .map(|other| x[other * lrn.pixels + pixel].powi(2))
                .sum();
            scale[map * lrn.pixels + pixel] = k + alpha * sum;
        }
    }
    let y = x.iter().zip(&scale).map(|(x, scale)| x * scale.powf(-beta)).collect();
    (scale, y)
}

fn backward(lrn: &Lrn, x: &[f64], dy: &[f64]) -> Vec<f64> {
    let (scale, y) = forward(lrn, x);
    let group = lrn.maps / lrn.groups;
    let [alpha, beta] = [lrn.alpha, lrn.beta].map(f64::from);
    let mut dx = vec![0.0; x.len()];
    for (i, dx) in dx.iter_mut().enumerate() {
        let (map, pixel) = (i / lrn.pixels, i % lrn.pixels);
        let sum: f64 = (0..lrn.maps)
            .filter(|other| other / group == map / group)
            .filter(|other| (*other..other + lrn.size).contains(&(map + lrn.size / 2)))
            .map(|other| other * lrn.pixels + pixel)
            .map(|j| dy[j] * y[j] / scale[j])
            .sum();
        *dx = dy[i] * scale[i].powf(-beta) - 2.0 * alpha * beta * x[i] * sum;
    }
    dx
}

pub(crate) fn agrees_with_the_reference<B: Backend>(b: &mut B) {
    for lrn in CASES {
        let what = format!("{lrn:?}");
        let len = lrn.maps * lrn.pixels;
        let size = if lrn == PAPER { 50.0 } else { 1.0 }; // as large as activations get
        let x: Vec<f32> = random(1, 3 * len).iter().map(|x| x * size).collect();
        let dy = random(2, 3 * len);
        let (x64, dy64) = (wide(&x[len..2 * len]), wide(&dy[len..2 * len]));
        let (scale64, y64) = forward(&lrn, &x64);
        let dx64 = backward(&lrn, &x64, &dy64);
        assert_gradient(&what, |x| dot(&dy64, &forward(&lrn, x).1), &x64, &dx64);

        let (x, dy) = (upload(b, &x), upload(b, &dy));
        let [mut scale, mut y, mut dx] = [(); 3].map(|()| before(b, 3 * len));
        let (lrn, x) = (&lrn, &x);
        b.run(LrnForward { lrn, images: 1..2, x, scale: &mut scale, y: &mut y }).unwrap();
        let (scale_, y_, dy, dx_) = (&scale, &y, &dy, &mut dx);
        b.run(LrnBackward { lrn, images: 1..2, x, scale: scale_, y: y_, dy, dx: dx_ }).unwrap();
        if B::STORES_NORMALIZED {
            assert_close(&what, &read_images(b, &scale, 3, &(1..2), len), &scale64);
        }
        assert_close(&what, &read_images(b, &y, 3, &(1..2), len), &y64);
        assert_close(&what, &read_images(b, &dx, 3, &(1..2), len), &dx64);
    }
}

/// Paper §3.3: k = 2, n = 5, α = 1e-4, β = 0.75 turn five ones into 1 / (2 + 5e-4)^0.75.
pub(crate) fn divides_ones_by_the_papers_constant<B: Backend>(b: &mut B) {
    let lrn = Lrn { pixels: 3, ..PAPER };
    let len = lrn.maps * lrn.pixels;
    let x = upload(b, &vec![1.0; len]);
    let [mut scale, mut y] = [(); 2].map(|()| before(b, len));
    let op = LrnForward { lrn: &lrn, images: 0..1, x: &x, scale: &mut scale, y: &mut y };
    b.run(op).unwrap();
    let y = read_images(b, &y, 1, &(0..1), len);
    let inner = 1.0 / 2.0005_f64.powf(0.75);
    let outer = 1.0 / 2.0003_f64.powf(0.75); // two neighbors only
    assert!((f64::from(y[8 * 3]) - inner).abs() < 1e-6);
    assert!((f64::from(y[0]) - outer).abs() < 1e-6);
}

pub(crate) fn gives_the_same_bits_in_micro_batches<B: Backend>(b: &mut B) {
    let n = 5;
    for lrn in CASES {
        let len = lrn.maps * lrn.pixels;
        let (x, dy) = (upload(b, &random(1, n * len)), upload(b, &random(2, n * len)));
        let mut scale = before(b, n * len);
        let (lrn, x) = (&lrn, &x);
        assert_same_in_micro_batches(b, n, len, |b, images, y| {
            b.run(LrnForward { lrn, images, x, scale: &mut scale, y }).unwrap();
        });
        let mut y = before(b, n * len);
        b.run(LrnForward { lrn, images: 0..n, x, scale: &mut scale, y: &mut y }).unwrap();
        assert_same_in_micro_batches(b, n, len, |b, images, dx| {
            let (scale, y, dy) = (&scale, &y, &dy);
            b.run(LrnBackward { lrn, images, x, scale, y, dy, dx }).unwrap();
        });
    }
}
