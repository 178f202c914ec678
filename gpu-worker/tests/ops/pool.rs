//! Max pooling.

use gpu_worker::backend::Backend;
use gpu_worker::ops::{Pool, PoolBackward, PoolForward};

use crate::harness::{
    assert_close, assert_gradient, assert_same_in_micro_batches, before, distinct, dot, random,
    read, read_images, upload, wide,
};

const CASES: [Pool; 7] = [
    Pool { maps: 3, side: 55, out_side: 27, size: 3, stride: 2 }, // pool1
    Pool { maps: 5, side: 13, out_side: 6, size: 3, stride: 2 },  // pool5
    Pool { maps: 4, side: 32, out_side: 16, size: 3, stride: 2 }, // CIFAR-10: overhangs by 1
    Pool { maps: 2, side: 6, out_side: 3, size: 2, stride: 2 },
    Pool { maps: 2, side: 7, out_side: 3, size: 5, stride: 3 }, // overhangs by 4
    Pool { maps: 1, side: 5, out_side: 2, size: 2, stride: 3 }, // leaves gaps
    Pool { maps: 1, side: 18, out_side: 3, size: 16, stride: 1 },
];

/// The place of each window's largest number, row by row.
fn largest(pool: &Pool, x: &[f64]) -> Vec<usize> {
    let mut argmax = Vec::new();
    for map in 0..pool.maps {
        for window in 0..pool.out_side * pool.out_side {
            let (row, column) = (window / pool.out_side, window % pool.out_side);
            let end = |i: usize| (i * pool.stride + pool.size).min(pool.side);
            let inside = |i: usize| i * pool.stride..end(i);
            let places = inside(row).flat_map(|r| inside(column).map(move |c| (r, c)));
            let places = places.map(|(r, c)| (map * pool.side + r) * pool.side + c);
            argmax.push(places.max_by(|a, b| x[*a].total_cmp(&x[*b])).unwrap());
        }
    }
    argmax
}

fn forward(pool: &Pool, x: &[f64]) -> Vec<f64> {
    largest(pool, x).into_iter().map(|place| x[place]).collect()
}

fn lens(pool: &Pool) -> (usize, usize) {
    (pool.maps * pool.side * pool.side, pool.maps * pool.out_side * pool.out_side)
}

pub(crate) fn agrees_with_the_reference<B: Backend>(b: &mut B) {
    for pool in CASES {
        let what = format!("{pool:?}");
        let (len, out) = lens(&pool);
        let (x, dy) = (distinct(3 * len), random(2, 3 * out));
        let (x64, dy64) = (wide(&x[len..2 * len]), wide(&dy[out..2 * out]));
        let mut dx64 = vec![0.0; len];
        for (place, dy) in largest(&pool, &x64).into_iter().zip(&dy64) {
            dx64[place] += dy;
        }
        assert_gradient(&what, |x| dot(&dy64, &forward(&pool, x)), &x64, &dx64);

        let (x, dy) = (upload(b, &x), upload(b, &dy));
        let (mut y, mut dx) = (before(b, 3 * out), before(b, 3 * len));
        let mut argmax = b.bytes("argmax", 3 * out).unwrap();
        let op = PoolForward { pool: &pool, images: 1..2, x: &x, argmax: &mut argmax, y: &mut y };
        b.run(op).unwrap();
        let op = PoolBackward { pool: &pool, images: 1..2, argmax: &argmax, dy: &dy, dx: &mut dx };
        b.run(op).unwrap();
        assert_close(&what, &read_images(b, &y, 3, &(1..2), out), &forward(&pool, &x64));
        assert_close(&what, &read_images(b, &dx, 3, &(1..2), len), &dx64);
    }
}

/// Each map's windows take their first place; rows below them get nothing, not the next map's.
pub(crate) fn gives_nothing_where_no_window_reaches<B: Backend>(b: &mut B) {
    let pool = Pool { maps: 3, side: 5, out_side: 2, size: 2, stride: 2 };
    let (len, out) = lens(&pool);
    let falling: Vec<f32> = (0..len).map(|i| -(i as f32)).collect();
    let (x, dy) = (upload(b, &falling), upload(b, &vec![1.0; out]));
    let (mut y, mut dx) = (before(b, out), before(b, len));
    let mut argmax = b.bytes("argmax", out).unwrap();
    let op = PoolForward { pool: &pool, images: 0..1, x: &x, argmax: &mut argmax, y: &mut y };
    b.run(op).unwrap();
    let op = PoolBackward { pool: &pool, images: 0..1, argmax: &argmax, dy: &dy, dx: &mut dx };
    b.run(op).unwrap();
    let corner = |i: usize| [0, 2].contains(&(i % 5)) && [0, 2].contains(&(i / 5 % 5));
    let want: Vec<f32> = (0..len).map(|i| if corner(i) { 1.0 } else { 0.0 }).collect();
    assert_eq!(read(b, &dx, 0..len), want);
}

/// A window without a position, a stride of 0, and windows that begin outside of the map.
pub(crate) fn refuses_windows_that_do_not_fit<B: Backend>(b: &mut B) {
    let fits = Pool { maps: 1, side: 5, out_side: 2, size: 3, stride: 2 };
    let mut refused = |pool: &Pool| {
        let (x, mut y) = (before(b, 25), before(b, 4));
        let mut argmax = b.bytes("argmax", 4).unwrap();
        let op = PoolForward { pool, images: 0..1, x: &x, argmax: &mut argmax, y: &mut y };
        let forward = b.run(op).is_err();
        let (dy, mut dx) = (before(b, 4), before(b, 25));
        let op = PoolBackward { pool, images: 0..1, dy: &dy, argmax: &argmax, dx: &mut dx };
        (forward, b.run(op).is_err())
    };
    assert_eq!(refused(&fits), (false, false), "a pooling that fits");
    for (what, pool) in [
        ("windows of nothing", Pool { size: 0, ..fits }),
        ("positions beyond a byte", Pool { size: 17, ..fits }),
        ("a stride of 0", Pool { stride: 0, ..fits }),
        ("no window", Pool { out_side: 0, ..fits }),
        ("a window that begins outside", Pool { stride: 5, ..fits }),
    ] {
        assert_eq!(refused(&pool), (true, true), "{what}");
    }
}

pub(crate) fn takes_the_first_of_equals<B: Backend>(b: &mut B) {
    let pool = Pool { maps: 1, side: 3, out_side: 1, size: 3, stride: 2 };
    let x = upload(b, &[-5.0, -1.0, -2.0, -1.0, -3.0, -1.0, -4.0, -4.0, -1.0]);
    let dy = upload(b, &[1.0]);
    let (mut y, mut dx) = (before(b, 1), before(b, 9));
    let mut argmax = b.bytes("argmax", 1).unwrap();
    let op = PoolForward { pool: &pool, images: 0..1, x: &x, argmax: &mut argmax, y: &mut y };
    b.run(op).unwrap();
    let op = PoolBackward { pool: &pool, images: 0..1, argmax: &argmax, dy: &dy, dx: &mut dx };
    b.run(op).unwrap();
    assert_eq!(read(b, &y, 0..1), [-1.0]);
    assert_eq!(read(b, &dx, 0..9), [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

/// A network that has blown up must show it.
pub(crate) fn keeps_nan<B: Backend>(b: &mut B) {
    let pool = Pool { maps: 1, side: 3, out_side: 1, size: 3, stride: 2 };
    for place in 0..9 {
        let mut x = [1.0; 9];
        x[place] = f32::NAN;
        let x = upload(b, &x);
        let mut y = before(b, 1);
        let mut argmax = b.bytes("argmax", 1).unwrap();
        let op = PoolForward { pool: &pool, images: 0..1, x: &x, argmax: &mut argmax, y: &mut y };
        b.run(op).unwrap();
        assert!(read(b, &y, 0..1)[0].is_nan(), "at {place}");
    }
}

pub(crate) fn gives_the_same_bits_in_micro_batches<B: Backend>(b: &mut B) {
    let n = 5;
    for pool in CASES {
        let (len, out) = lens(&pool);
        let (x, dy) = (upload(b, &random(1, n * len)), upload(b, &random(2, n * out)));
        let mut argmax = b.bytes("argmax", n * out).unwrap();
        assert_same_in_micro_batches(b, n, out, |b, images, y| {
            b.run(PoolForward { pool: &pool, images, x: &x, argmax: &mut argmax, y }).unwrap();
        });
        assert_same_in_micro_batches(b, n, len, |b, images, dx| {
            b.run(PoolBackward { pool: &pool, images, argmax: &argmax, dy: &dy, dx }).unwrap();
        });
    }
}
