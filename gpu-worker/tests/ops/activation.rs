//! Activations, sums and factors: what works number by number.

use gpu_worker::backend::Backend;
use model::recipe::Activation;

use crate::harness::{BEFORE, assert_close, assert_gradient, before, distinct, read, upload, wide};

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Relu => x.max(0.0),
        Activation::Tanh => x.tanh(),
    }
}

fn derive(activation: Activation, y: f64) -> f64 {
    match activation {
        Activation::Relu => f64::from(u8::from(y > 0.0)),
        Activation::Tanh => 1.0 - y * y,
    }
}

pub(crate) fn agrees_with_the_reference<B: Backend>(b: &mut B) {
    for activation in [Activation::Relu, Activation::Tanh] {
        let (len, n) = (37, 3);
        let mut x: Vec<f32> = distinct(n * len).iter().map(|x| x + 0.005).collect();
        let x64 = wide(&x[len..2 * len]);
        let dy64 = wide(&distinct(len));
        let y64: Vec<_> = x64.iter().map(|x| activate(activation, *x)).collect();
        let dx64: Vec<_> =
            y64.iter().zip(&dy64).map(|(y, dy)| derive(activation, *y) * dy).collect();
        let loss =
            |x: &[f64]| dy64.iter().zip(x).map(|(dy, x)| dy * activate(activation, *x)).sum();
        assert_gradient("activation", loss, &x64, &dx64);

        let mut y = upload(b, &x);
        b.activation_forward(activation, len, 1..2, &mut y).unwrap();
        let got = read(b, &y, 0..n * len);
        assert_close("forward", &got[len..2 * len], &y64);
        x[len..2 * len].copy_from_slice(&got[len..2 * len]);
        assert_eq!(got, x, "other images were touched");

        let dy: Vec<f32> = [&vec![BEFORE; len][..], &distinct(len), &vec![BEFORE; len]].concat();
        let mut dy = upload(b, &dy);
        b.activation_backward(activation, len, 1..2, &y, &mut dy).unwrap();
        let got = read(b, &dy, 0..n * len);
        assert_close("backward", &got[len..2 * len], &dx64);
        assert!(got[..len].iter().chain(&got[2 * len..]).all(|v| *v == BEFORE));
    }
}

/// A run that diverged must show it in its loss.
pub(crate) fn keeps_what_is_not_a_number<B: Backend>(b: &mut B) {
    let mut y = upload(b, &[f32::NAN, -1.0, 2.0]);
    b.activation_forward(Activation::Relu, 3, 0..1, &mut y).unwrap();
    let got = read(b, &y, 0..3);
    assert!(got[0].is_nan());
    assert_eq!(got[1..], [0.0, 2.0]);
}

pub(crate) fn adds_and_scales_only_its_images<B: Backend>(b: &mut B) {
    let x = distinct(30);
    let (from, mut to) = (upload(b, &x), before(b, 30));
    b.add(10, 1..2, &from, &mut to).unwrap();
    b.scale(0.5, 10, 1..3, &mut to).unwrap();
    let got = read(b, &to, 0..30);
    let want: Vec<f32> = (0..30)
        .map(|i| match i / 10 {
            0 => BEFORE,
            1 => (BEFORE + x[i]) * 0.5,
            _ => BEFORE * 0.5,
        })
        .collect();
    assert_eq!(got, want);
    assert!(b.add(10, 2..4, &from, &mut to).is_err());
}
