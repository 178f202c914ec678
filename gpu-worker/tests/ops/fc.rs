//! Full layers and bias gradients.

use gpu_worker::backend::{Backend, Finish, Full, Part, Sum};
use model::recipe::Activation;

use crate::harness::{
    assert_close, assert_gradient, assert_same_in_slices, before, dot, part_of, parts, random,
    read, read_images, upload, wide,
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

fn forward(full: &Full, x: &[f64], w: &[f64]) -> Vec<f64> {
    let rows = x.chunks(full.inputs);
    rows.flat_map(|x| w.chunks(full.inputs).map(move |w| dot(x, w))).collect()
}

fn backward(full: &Full, x: &[f64], w: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    let images = dx.chunks_mut(full.inputs).zip(x.chunks(full.inputs));
    for ((dx, x), dy) in images.zip(dy.chunks(full.units)) {
        let units = w.chunks(full.inputs).zip(dw.chunks_mut(full.inputs));
        for ((w, dw), dy) in units.zip(dy) {
            for i in 0..full.inputs {
                dx[i] += dy * w[i];
                dw[i] += dy * x[i];
            }
        }
    }
    (dx, dw)
}

pub(crate) fn reference_agrees_with_finite_differences() {
    for (seed, (inputs, units, n, _)) in (0..).step_by(10).zip(CASES) {
        let full = Full { inputs, units };
        let what = format!("{full:?}, {n} images");
        let x = wide(&random(seed, n * inputs));
        let w = wide(&random(seed + 1, inputs * units));
        let dy = wide(&random(seed + 2, n * units));
        let (dx, dw) = backward(&full, &x, &w, &dy);
        assert_gradient(&what, |x| dot(&dy, &forward(&full, x, &w)), &x, &dx);
        assert_gradient(&what, |w| dot(&dy, &forward(&full, &x, w)), &w, &dw);
    }
}

pub(crate) fn agrees_with_the_reference_whole_and_in_parts<B: Backend>(b: &mut B) {
    for (seed, (inputs, units, n, cut)) in (0..).step_by(10).zip(CASES) {
        let full = Full { inputs, units };
        let what = format!("{full:?}, {n} images");
        let images = 1..n + 1;
        let (x, w) = (random(seed, (n + 1) * inputs), random(seed + 1, inputs * units));
        let (bias, dy) = (random(seed + 2, units), random(seed + 3, (n + 1) * units));
        let [x64, w64, dy64] = [&x[inputs..], &w, &dy[units..]].map(wide);
        let mut want = forward(&full, &x64, &w64);
        let (dx, dw) = backward(&full, &x64, &w64, &dy64);

        let (w, bias_buffer, dy) = (upload(b, &w), upload(b, &bias), upload(b, &dy));
        let mut y = before(b, (n + 1) * units);
        let mut dw_buffer = before(b, inputs * units);
        let parts = parts(inputs, cut);
        for (i, part) in parts.iter().enumerate() {
            let x = upload(b, &part_of(&x, inputs, part, 1));
            let part = Part(part.clone());
            let sum = if i == 0 { Sum::Start } else { Sum::Add };
            let finish = (i + 1 == parts.len())
                .then_some(Finish { bias: &bias_buffer, activation: Some(Activation::Tanh) });
            b.full_forward(&full, images.clone(), &x, &part, &w, sum, finish, &mut y).unwrap();

            let mut dx_buffer = before(b, (n + 1) * part.0.len());
            b.full_backward_inputs(&full, images.clone(), &dy, &w, &part, &mut dx_buffer).unwrap();
            let got = read_images(b, &dx_buffer, n + 1, &images, part.0.len());
            assert_close(&what, &got, &part_of(&dx, inputs, &part.0, 1));

            let cuts = [1..2, 2..n + 1];
            for (sum, images) in [Sum::Start, Sum::Add].into_iter().zip(cuts) {
                b.full_backward_weights(&full, images, &x, &part, &dy, sum, &mut dw_buffer)
                    .unwrap();
            }
        }
        for (y, bias) in want.iter_mut().zip(bias.iter().cycle()) {
            *y = (*y + f64::from(*bias)).tanh();
        }
        assert_close(&what, &read_images(b, &y, n + 1, &images, units), &want);
        assert_close(&what, &read(b, &dw_buffer, 0..inputs * units), &dw);
    }
}

pub(crate) fn gives_the_same_bits_in_slices<B: Backend>(b: &mut B) {
    // 70 images are more than a tile of a product has rows; three shapes show what that does.
    for (n, cases) in [(5, &CASES[..]), (70, &CASES[1..4])] {
        for &(inputs, units, ..) in cases {
            let full = Full { inputs, units };
            let (x, w, dy) =
                (random(1, n * inputs), random(2, inputs * units), random(3, n * units));
            let (x, w, dy) = (upload(b, &x), upload(b, &w), upload(b, &dy));
            let all = Part(0..inputs);
            assert_same_in_slices(b, n, units, |b, images, y| {
                b.full_forward(&full, images, &x, &all, &w, Sum::Start, None, y).unwrap();
            });
            assert_same_in_slices(b, n, inputs, |b, images, dx| {
                b.full_backward_inputs(&full, images, &dy, &w, &all, dx).unwrap();
            });
        }
    }
}

pub(crate) fn adds_up_bias_gradients<B: Backend>(b: &mut B) {
    for (maps, pixels) in [(7, 1), (5, 169), (3, 1000), (1, 33)] {
        let n = 6;
        let dy = random(1, n * maps * pixels);
        let mut want = vec![0.0; maps];
        for (i, dy) in dy.iter().enumerate().skip(maps * pixels) {
            want[i / pixels % maps] += f64::from(*dy);
        }
        let dy = upload(b, &dy);
        let mut db = before(b, maps);
        b.bias_backward(maps, pixels, 1..3, &dy, Sum::Start, &mut db).unwrap();
        b.bias_backward(maps, pixels, 3..6, &dy, Sum::Add, &mut db).unwrap();
        assert_close("bias", &read(b, &db, 0..maps), &want);
    }
}

pub(crate) fn refuses_buffers_that_do_not_fit<B: Backend>(b: &mut B) {
    let full = Full { inputs: 8, units: 4 };
    let (x, w, mut y) = (before(b, 16), before(b, 32), before(b, 8));
    let all = Part(0..8);
    assert!(b.full_forward(&full, 0..3, &x, &all, &w, Sum::Start, None, &mut y).is_err());
    assert!(b.full_forward(&full, 0..2, &x, &Part(3..9), &w, Sum::Start, None, &mut y).is_err());
    assert!(b.full_backward_weights(&full, 0..2, &x, &all, &w, Sum::Start, &mut y).is_err());
    assert!(b.bias_backward(4, 1, 0..2, &x, Sum::Start, &mut y).is_err());
}
