//! The update rule.

use gpu_worker::backend::Backend;
use gpu_worker::ops::{Sgd, SgdRates};

use crate::harness::{assert_close, before, random, read, upload, wide};

/// Paper §5: v ← 0.9 v − 0.0005 ε w − ε g; w ← w + v.
pub(crate) fn follows_the_papers_rule<B: Backend>(b: &mut B) {
    let n = 1003;
    let rates = SgdRates { rate: 0.01, momentum: 0.9, decay: 0.0005 };
    let [rate, momentum, decay] = [rates.rate, rates.momentum, rates.decay].map(f64::from);
    let (w, g) = (random(1, n), random(2, n));
    let (mut w64, mut v64, g64) = (wide(&w), vec![0.0; n], wide(&g));
    let (mut w, mut v, g) = (upload(b, &w), b.floats("v", n).unwrap(), upload(b, &g));
    for _ in 0..10 {
        b.run(Sgd { rates: &rates, g: &g, w: &mut w, v: &mut v }).unwrap();
        for i in 0..n {
            v64[i] = momentum * v64[i] - decay * rate * w64[i] - rate * g64[i];
            w64[i] += v64[i];
        }
    }
    assert_close("momentum", &read(b, &v, 0..n), &v64);
    assert_close("weights", &read(b, &w, 0..n), &w64);
    let short = before(b, n - 1);
    let op = Sgd { rates: &rates, g: &short, w: &mut w, v: &mut v };
    assert!(b.run(op).is_err(), "a gradient that is too short");
}
