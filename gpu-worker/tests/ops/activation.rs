//! Activations.

use gpu_worker::backend::Backend;
use gpu_worker::ops::{ActivationBackward, ActivationForward};
use model::recipe::Activation;

use crate::harness::{BEFORE, assert_close, assert_gradient, distinct, read, upload, wide};

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
        b.run(ActivationForward { activation, len, images: 1..2, y: &mut y }).unwrap();
        let got = read(b, &y, 0..n * len);
        assert_close("forward", &got[len..2 * len], &y64);
        x[len..2 * len].copy_from_slice(&got[len..2 * len]);
        assert_eq!(got, x, "other images were touched");

        let dy: Vec<f32> = [&vec![BEFORE; len][..], &distinct(len), &vec![BEFORE; len]].concat();
        let mut dy = upload(b, &dy);
        b.run(ActivationBackward { activation, len, images: 1..2, y: &y, dy: &mut dy }).unwrap();
        let got = read(b, &dy, 0..n * len);
        assert_close("backward", &got[len..2 * len], &dx64);
        assert!(got[..len].iter().chain(&got[2 * len..]).all(|v| *v == BEFORE));
    }
}

/// A run that diverged must show it in its loss.
pub(crate) fn keeps_nan<B: Backend>(b: &mut B) {
    let mut y = upload(b, &[f32::NAN, -1.0, 2.0]);
    let activation = Activation::Relu;
    b.run(ActivationForward { activation, len: 3, images: 0..1, y: &mut y }).unwrap();
    let got = read(b, &y, 0..3);
    assert!(got[0].is_nan());
    assert_eq!(got[1..], [0.0, 2.0]);
}
