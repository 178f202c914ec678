//! Softmax and loss, whole and from two halves.

use std::ops::Range;

use gpu_worker::backend::Backend;
use gpu_worker::ops::{Classes, Softmax};

use crate::harness::{
    assert_close, assert_gradient, before, random, range_of, read, read_images, upload, wide,
};

/// Classes, and where the halves meet.
const CASES: [(usize, usize); 4] = [(3, 1), (10, 5), (1000, 500), (2, 1)];

const BATCH: usize = 8;

fn probabilities(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::MIN, f64::max);
    let exps: Vec<_> = logits.iter().map(|l| (l - largest).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}

fn loss(logits: &[f64], label: usize) -> f64 {
    -probabilities(logits)[label].ln()
}

fn gradient(logits: &[f64], label: usize) -> Vec<f64> {
    let p = probabilities(logits).into_iter().enumerate();
    p.map(|(i, p)| (p - if i == label { 1.0 } else { 0.0 }) / BATCH as f64).collect()
}

/// Runs one half; returns probabilities, loss and gradient of the images 1..n.
fn run<B: Backend>(
    b: &mut B,
    classes: usize,
    own: Range<usize>,
    logits: &[f32],
    labels: &[usize],
) -> [Vec<f32>; 3] {
    let n = labels.len();
    let mine = upload(b, &range_of(logits, classes, &own, 1));
    let others = logits.chunks(classes).flat_map(|l| [&l[..own.start], &l[own.end..]].concat());
    let others: Vec<f32> = others.collect();
    let peer = (own.len() < classes).then(|| upload(b, &others));
    let labels = upload(b, &labels.iter().map(|label| *label as f32).collect::<Vec<_>>());
    let lens = [classes, 1, own.len()];
    let [mut p, mut loss, mut dlogits] = lens.map(|len| before(b, n * len));
    let op = Softmax {
        classes: &Classes { classes, own, batch: BATCH },
        images: 1..n,
        own: &mine,
        peer: peer.as_ref(),
        labels: &labels,
        probabilities: &mut p,
        loss: &mut loss,
        dlogits: &mut dlogits,
    };
    b.run(op).unwrap();
    let mut results = [(&p, lens[0]), (&loss, lens[1]), (&dlogits, lens[2])].into_iter();
    std::array::from_fn(|_| {
        let (buffer, len) = results.next().unwrap();
        read_images(b, buffer, n, &(1..n), len)
    })
}

pub(crate) fn agrees_with_the_reference<B: Backend>(b: &mut B) {
    for (classes, cut) in CASES {
        let n = 6;
        let logits: Vec<f32> = random(1, n * classes).iter().map(|l| l * 3.0).collect();
        let labels: Vec<usize> = (0..n).map(|i| i * 7 % classes).collect();
        let images: Vec<_> = logits.chunks(classes).map(wide).zip(labels.clone()).skip(1).collect();
        for (logits, label) in &images {
            let batch = BATCH as f64;
            let gradient = gradient(logits, *label);
            assert_gradient("softmax", |l| loss(l, *label) / batch, logits, &gradient);
        }
        let each = |f: &dyn Fn(&[f64], usize) -> Vec<f64>| -> Vec<f64> {
            images.iter().flat_map(|(logits, label)| f(logits, *label)).collect()
        };
        let p64 = each(&|logits, _| probabilities(logits));
        let loss64 = each(&|logits, label| vec![loss(logits, label)]);
        for own in [0..classes, 0..cut, cut..classes] {
            let d64 = each(&|logits, label| gradient(logits, label)[own.clone()].to_vec());
            let [p, loss, dlogits] = run(b, classes, own, &logits, &labels);
            assert_close("probabilities", &p, &p64);
            assert_close("loss", &loss, &loss64);
            assert_close("gradient", &dlogits, &d64);
        }
    }
}

pub(crate) fn stands_large_logits<B: Backend>(b: &mut B) {
    let logits = [0.0, 0.0, 1e4, -1e4, 0.0, 9990.0];
    let [p, loss, _] = run(b, 3, 0..3, &logits, &[0, 1]);
    assert!(p.iter().all(|p| p.is_finite()), "{p:?}");
    assert_eq!(loss.len(), 1);
    let logits = [0.0, 0.0, 0.0, 200.0, 0.0, -200.0];
    let [p, loss, _] = run(b, 3, 0..3, &logits, &[0, 2]);
    assert_eq!(p, [1.0, 0.0, 0.0]);
    assert_eq!(loss, [400.0]);
    // Many classes, the largest first: a pass over them must not forget it.
    let mut logits = vec![0.0; 2 * 1000];
    logits[1000] = 500.0;
    let [p, loss, _] = run(b, 1000, 0..1000, &logits, &[0, 0]);
    assert!(p[0] == 1.0 && p[1..].iter().all(|p| *p == 0.0), "{:?}", &p[..3]);
    assert_eq!(loss, [0.0]);
}

/// The loader checks labels; should one slip through, the run must stop and not learn nonsense.
pub(crate) fn a_label_that_is_no_class_gives_no_number<B: Backend>(b: &mut B) {
    for label in [3, 4, 1 << 20] {
        let [_, loss, _] = run(b, 3, 0..3, &[0.5; 6], &[0, label]);
        assert!(loss[0].is_nan(), "{label}: {loss:?}");
    }
    let (own, labels) = (upload(b, &[0.5; 3]), upload(b, &[-1.0]));
    let [mut p, mut loss, mut dlogits] = [3, 1, 3].map(|len| before(b, len));
    let op = Softmax {
        classes: &Classes { classes: 3, own: 0..3, batch: 1 },
        images: 0..1,
        own: &own,
        peer: None,
        labels: &labels,
        probabilities: &mut p,
        loss: &mut loss,
        dlogits: &mut dlogits,
    };
    b.run(op).unwrap();
    assert!(read(b, &loss, 0..1)[0].is_nan());
}

/// If they differed, the halves' losses, and in time their weights, would drift apart.
pub(crate) fn gives_both_halves_the_same_probabilities<B: Backend>(b: &mut B) {
    let (classes, n) = (1000, 5);
    let logits = random(3, n * classes);
    let labels = [0, 1, 999, 500, 499];
    let [a, b] = [0..500, 500..1000].map(|own| run(b, classes, own, &logits, &labels));
    assert_eq!(a[0], b[0]);
    assert_eq!(a[1], b[1]);
}

pub(crate) fn refuses_buffers_that_do_not_fit<B: Backend>(b: &mut B) {
    let classes = Classes { classes: 10, own: 0..5, batch: 2 };
    let (own, labels) = (before(b, 10), before(b, 2));
    let [mut p, mut loss, mut dlogits] = [20, 2, 10].map(|len| before(b, len));
    let mut refused = |images, peer| {
        let op = Softmax {
            classes: &classes,
            images,
            own: &own,
            peer,
            labels: &labels,
            probabilities: &mut p,
            loss: &mut loss,
            dlogits: &mut dlogits,
        };
        b.run(op).is_err()
    };
    assert!(refused(0..2, None), "half of the logits are missing");
    assert!(refused(0..3, Some(&own)), "three images in buffers of two");
    assert_eq!(read(b, &loss, 0..2), [crate::harness::BEFORE; 2]);
}
