//! Fully-connected layers.

use gpu_worker::backend::Backend;
use gpu_worker::ops::{
    Accumulate, Epilogue, Fc, FcBackwardInputs, FcBackwardWeights, FcForward, InputRange,
};
use model::recipe::Activation;

use crate::harness::{
    assert_close, assert_gradient, assert_same_in_micro_batches, before, dot, random, range_of,
    ranges, read, read_images, upload, wide,
};

/// Inputs, units, images, and where the inputs are cut in two (0: not at all).
const CASES: [(usize, usize, usize, usize); 6] = [
    (1152, 64, 5, 576), // deeper than one pass of a product, parts as halves have them
    (300, 70, 130, 100),
    (17, 3, 3, 0),
    (40, 10, 1, 13),
    (1, 1, 2, 0),
    (2000, 33, 17, 1999),
];

fn forward(fc: &Fc, x: &[f64], w: &[f64]) -> Vec<f64> {
    let rows = x.chunks(fc.inputs);
    rows.flat_map(|x| w.chunks(fc.inputs).map(move |w| dot(x, w))).collect()
}

fn backward(fc: &Fc, x: &[f64], w: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    let images = dx.chunks_mut(fc.inputs).zip(x.chunks(fc.inputs));
    for ((dx, x), dy) in images.zip(dy.chunks(fc.units)) {
        let units = w.chunks(fc.inputs).zip(dw.chunks_mut(fc.inputs));
        for ((w, dw), dy) in units.zip(dy) {
            for i in 0..fc.inputs {
                dx[i] += dy * w[i];
                dw[i] += dy * x[i];
            }
        }
    }
    (dx, dw)
}

pub(crate) fn reference_agrees_with_finite_differences() {
    for (seed, (inputs, units, n, _)) in (0..).step_by(10).zip(CASES) {
        let fc = Fc { inputs, units };
        let what = format!("{fc:?}, {n} images");
        let x = wide(&random(seed, n * inputs));
        let w = wide(&random(seed + 1, inputs * units));
        let dy = wide(&random(seed + 2, n * units));
        let (dx, dw) = backward(&fc, &x, &w, &dy);
        assert_gradient(&what, |x| dot(&dy, &forward(&fc, x, &w)), &x, &dx);
        assert_gradient(&what, |w| dot(&dy, &forward(&fc, &x, w)), &w, &dw);
    }
}

pub(crate) fn agrees_with_the_reference_whole_and_in_ranges<B: Backend>(b: &mut B) {
    for (seed, (inputs, units, n, cut)) in (0..).step_by(10).zip(CASES) {
        let fc = Fc { inputs, units };
        let what = format!("{fc:?}, {n} images");
        let images = 1..n + 1;
        let (x, w) = (random(seed, (n + 1) * inputs), random(seed + 1, inputs * units));
        let (bias, dy) = (random(seed + 2, units), random(seed + 3, (n + 1) * units));
        let [x64, w64, dy64] = [&x[inputs..], &w, &dy[units..]].map(wide);
        let mut want = forward(&fc, &x64, &w64);
        let (dx, dw) = backward(&fc, &x64, &w64, &dy64);

        let (w, bias_buffer, dy) = (upload(b, &w), upload(b, &bias), upload(b, &dy));
        let mut y = before(b, (n + 1) * units);
        let mut dw_buffer = before(b, inputs * units);
        let ranges = ranges(inputs, cut);
        for (i, range) in ranges.iter().enumerate() {
            let x = upload(b, &range_of(&x, inputs, range, 1));
            let (fc, range) = (&fc, &InputRange(range.clone()));
            let accumulate = if i == 0 { Accumulate::Overwrite } else { Accumulate::Add };
            let epilogue = (i + 1 == ranges.len())
                .then_some(Epilogue { bias: &bias_buffer, activation: Some(Activation::Tanh) });
            let op = FcForward {
                fc,
                images: images.clone(),
                x: &x,
                range,
                w: &w,
                accumulate,
                epilogue,
                y: &mut y,
            };
            b.run(op).unwrap();

            let mut dx_buffer = before(b, (n + 1) * range.0.len());
            let (dy, w, dx_to) = (&dy, &w, &mut dx_buffer);
            b.run(FcBackwardInputs { fc, images: images.clone(), dy, w, range, dx: dx_to })
                .unwrap();
            let got = read_images(b, &dx_buffer, n + 1, &images, range.0.len());
            assert_close(&what, &got, &range_of(&dx, inputs, &range.0, 1));

            let cuts = [1..2, 2..n + 1];
            for (accumulate, images) in
                [Accumulate::Overwrite, Accumulate::Add].into_iter().zip(cuts)
            {
                let (x, dw) = (&x, &mut dw_buffer);
                b.run(FcBackwardWeights { fc, images, x, range, dy, accumulate, dw }).unwrap();
            }
        }
        for (y, bias) in want.iter_mut().zip(bias.iter().cycle()) {
            *y = (*y + f64::from(*bias)).tanh();
        }
        assert_close(&what, &read_images(b, &y, n + 1, &images, units), &want);
        assert_close(&what, &read(b, &dw_buffer, 0..inputs * units), &dw);
    }
}

pub(crate) fn gives_the_same_bits_in_micro_batches<B: Backend>(b: &mut B) {
    // 70 images are more than a tile of a product has rows; three shapes show what that does.
    for (n, cases) in [(5, &CASES[..]), (70, &CASES[1..4])] {
        for &(inputs, units, ..) in cases {
            let fc = Fc { inputs, units };
            let (x, w, dy) =
                (random(1, n * inputs), random(2, inputs * units), random(3, n * units));
            let (x, w, dy) = (upload(b, &x), upload(b, &w), upload(b, &dy));
            let (fc, range, w) = (&fc, &InputRange(0..inputs), &w);
            assert_same_in_micro_batches(b, n, units, |b, images, y| {
                let (x, accumulate, epilogue) = (&x, Accumulate::Overwrite, None);
                b.run(FcForward { fc, images, x, range, w, accumulate, epilogue, y }).unwrap();
            });
            assert_same_in_micro_batches(b, n, inputs, |b, images, dx| {
                b.run(FcBackwardInputs { fc, images, dy: &dy, w, range, dx }).unwrap();
            });
        }
    }
}

pub(crate) fn refuses_buffers_that_do_not_fit<B: Backend>(b: &mut B) {
    let fc = &Fc { inputs: 8, units: 4 };
    let (x, w, mut y) = (before(b, 16), before(b, 32), before(b, 8));
    let (all, accumulate) = (&InputRange(0..8), Accumulate::Overwrite);
    let mut refused = |images, range| {
        let (x, w, epilogue, y) = (&x, &w, None, &mut y);
        b.run(FcForward { fc, images, x, range, w, accumulate, epilogue, y }).is_err()
    };
    assert!(refused(0..3, all), "three images in buffers of two");
    assert!(refused(0..2, &InputRange(3..9)), "inputs that do not exist");
    let (images, x, dy, dw) = (0..2, &x, &w, &mut y);
    let op = FcBackwardWeights { fc, images, x, range: all, dy, accumulate, dw };
    assert!(b.run(op).is_err(), "weights that are too short");
}
