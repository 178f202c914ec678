//! Sums of two tensors.

use gpu_worker::backend::Backend;
use gpu_worker::ops::Add;

use crate::harness::{BEFORE, before, distinct, read, upload};

pub(crate) fn adds_only_its_images<B: Backend>(b: &mut B) {
    let x = distinct(30);
    let (from, mut to) = (upload(b, &x), before(b, 30));
    b.run(Add { len: 10, images: 1..2, from: &from, to: &mut to }).unwrap();
    let sum = |i: usize| if i / 10 == 1 { BEFORE + x[i] } else { BEFORE };
    assert_eq!(read(b, &to, 0..30), (0..30).map(sum).collect::<Vec<_>>());
    let beyond = Add { len: 10, images: 2..4, from: &from, to: &mut to };
    assert!(b.run(beyond).is_err(), "four images in buffers of three");
}
