//! The update rule.

use gpu_worker::backend::{Backend, Sgd};

use crate::harness::{assert_close, before, random, read, upload, wide};

/// Paper §5: v ← 0.9 v − 0.0005 ε w − ε g; w ← w + v.
pub(crate) fn follows_the_papers_rule<B: Backend>(b: &mut B) {
    let n = 1003;
    let sgd = Sgd { rate: 0.01, momentum: 0.9, decay: 0.0005 };
    let [rate, momentum, decay] = [sgd.rate, sgd.momentum, sgd.decay].map(f64::from);
    let (w, g) = (random(1, n), random(2, n));
    let (mut w64, mut v64, g64) = (wide(&w), vec![0.0; n], wide(&g));
    let (mut w, mut v, g) = (upload(b, &w), b.floats("v", n).unwrap(), upload(b, &g));
    for _ in 0..10 {
        b.sgd(&sgd, &mut w, &mut v, &g).unwrap();
        for i in 0..n {
            v64[i] = momentum * v64[i] - decay * rate * w64[i] - rate * g64[i];
            w64[i] += v64[i];
        }
    }
    assert_close("momentum", &read(b, &v, 0..n), &v64);
    assert_close("weights", &read(b, &w, 0..n), &w64);
    let short = before(b, n - 1);
    assert!(b.sgd(&sgd, &mut w, &mut v, &short).is_err());
}
