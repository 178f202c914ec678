//! Response normalization and pooling as one operation.

use gpu_worker::backend::Backend;
use gpu_worker::ops::{
    ActivationBackward, Between, Images, Lrn, LrnBackward, LrnForward, LrnPoolBackward,
    LrnPoolForward, Pool, PoolBackward, PoolForward,
};
use model::recipe::Activation;

use crate::harness::{assert_same_in_micro_batches, before, distinct, random, read, upload};

/// Maps as in conv1, fewer; a map larger than what backward normalizes at once; groups.
const CASES: [(Lrn, Pool); 3] = [case(6, 55, 27, 1), case(3, 19, 9, 1), case(8, 7, 3, 2)];

const fn case(maps: usize, side: usize, out_side: usize, groups: usize) -> (Lrn, Pool) {
    let pixels = side * side;
    let lrn = Lrn { maps, pixels, groups, size: 5, k: 2.0, alpha: 0.1, beta: 0.75 };
    (lrn, Pool { maps, side, out_side, size: 3, stride: 2 })
}

fn between<B: Backend>(b: &mut B, len: usize) -> Between<B::Floats> {
    let len = if B::STORES_NORMALIZED { len } else { 0 };
    let [scale, value, gradient] = [(); 3].map(|()| before(b, len));
    Between { scale, value, gradient }
}

/// Both passes, each operation by itself.
fn one_by_one<B: Backend>(
    b: &mut B,
    (lrn, pool): &(Lrn, Pool),
    activation: Option<Activation>,
    images: &Images,
    [x, dy]: [&B::Floats; 2],
    n: usize,
) -> [Vec<f32>; 2] {
    let (len, out) = lens(lrn, pool);
    let [mut scale, mut value, mut gradient, mut dx] = [(); 4].map(|()| before(b, n * len));
    let (mut argmax, mut y) = (b.bytes("argmax", n * out).unwrap(), before(b, n * out));
    let all = || images.clone();
    b.run(LrnForward { lrn, images: all(), x, scale: &mut scale, y: &mut value }).unwrap();
    let op = PoolForward { pool, images: all(), x: &value, argmax: &mut argmax, y: &mut y };
    b.run(op).unwrap();
    let op = PoolBackward { pool, images: all(), argmax: &argmax, dy, dx: &mut gradient };
    b.run(op).unwrap();
    let (y_, dy, dx_) = (&value, &gradient, &mut dx);
    b.run(LrnBackward { lrn, images: all(), x, scale: &scale, y: y_, dy, dx: dx_ }).unwrap();
    if let Some(activation) = activation {
        let op = ActivationBackward { activation, len, images: all(), y: x, dy: &mut dx };
        b.run(op).unwrap();
    }
    [read(b, &y, 0..n * out), read(b, &dx, 0..n * len)]
}

fn lens(lrn: &Lrn, pool: &Pool) -> (usize, usize) {
    (lrn.maps * lrn.pixels, pool.maps * pool.out_side * pool.out_side)
}

pub(crate) fn gives_the_bits_of_one_after_the_other<B: Backend>(b: &mut B) {
    let n = 3;
    for case in CASES {
        let (lrn, pool) = &case;
        let (len, out) = lens(lrn, pool);
        // Half of the numbers are 0, as behind a ReLU.
        let x: Vec<f32> = distinct(n * len).iter().map(|x| x.max(0.0)).collect();
        let (x, dy) = (&upload(b, &x), &upload(b, &random(2, n * out)));
        for activation in [None, Some(Activation::Relu), Some(Activation::Tanh)] {
            let images = 1..3;
            let want = one_by_one(b, &case, activation, &images, [x, dy], n);
            let (mut y, mut dx) = (before(b, n * out), before(b, n * len));
            let mut argmax = b.bytes("argmax", n * out).unwrap();
            let between = &mut between(b, n * len);
            b.run(LrnPoolForward {
                lrn,
                pool,
                images: images.clone(),
                x,
                between,
                argmax: &mut argmax,
                y: &mut y,
            })
            .unwrap();
            b.run(LrnPoolBackward {
                lrn,
                pool,
                activation,
                images,
                x,
                between,
                argmax: &argmax,
                dy,
                dx: &mut dx,
            })
            .unwrap();
            let bits =
                |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
            let got = [read(b, &y, 0..n * out), read(b, &dx, 0..n * len)];
            for (what, got, want) in [("y", &got[0], &want[0]), ("dx", &got[1], &want[1])] {
                assert!(bits(got) == bits(want), "{what} of {case:?}, {activation:?}");
            }
        }
    }
}

pub(crate) fn gives_the_same_bits_in_micro_batches<B: Backend>(b: &mut B) {
    let n = 5;
    for (lrn, pool) in &CASES {
        let (len, out) = lens(lrn, pool);
        let (x, dy) = (&upload(b, &random(1, n * len)), &upload(b, &random(2, n * out)));
        let mut argmax = b.bytes("argmax", n * out).unwrap();
        let between = &mut between(b, n * len);
        assert_same_in_micro_batches(b, n, out, |b, images, y| {
            let (between, argmax) = (&mut *between, &mut argmax);
            b.run(LrnPoolForward { lrn, pool, images, x, between, argmax, y }).unwrap();
        });
        assert_same_in_micro_batches(b, n, len, |b, images, dx| {
            let (activation, between, argmax) = (Some(Activation::Relu), &mut *between, &argmax);
            let op = LrnPoolBackward { lrn, pool, activation, images, x, between, argmax, dy, dx };
            b.run(op).unwrap();
        });
    }
}

/// Windows that do not fit, and a pooling of other maps than those that are normalized.
pub(crate) fn refuses_a_pooling_of_other_maps<B: Backend>(b: &mut B) {
    let (lrn, fits) = &CASES[1];
    let (len, out) = lens(lrn, fits);
    let mut refused = |pool: &Pool| {
        let [x, dy, mut y, mut dx] = [len, out, out, len].map(|len| before(b, len));
        let mut argmax = b.bytes("argmax", out).unwrap();
        let (images, between) = (0..1, &mut between(b, len));
        let op =
            LrnPoolForward { lrn, pool, images, x: &x, between, argmax: &mut argmax, y: &mut y };
        let forward = b.run(op).is_err();
        let (images, activation, argmax) = (0..1, None, &argmax);
        let (x, dy, dx) = (&x, &dy, &mut dx);
        let op = LrnPoolBackward { lrn, pool, activation, images, x, between, argmax, dy, dx };
        (forward, b.run(op).is_err())
    };
    assert_eq!(refused(fits), (false, false), "a pooling that fits");
    for (what, pool) in [
        ("fewer maps", Pool { maps: 2, ..*fits }),
        ("smaller maps", Pool { side: 18, ..*fits }),
        ("windows of nothing", Pool { size: 0, ..*fits }),
    ] {
        assert_eq!(refused(&pool), (true, true), "{what}");
    }
}
