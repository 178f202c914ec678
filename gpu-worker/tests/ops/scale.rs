//! Multiplication by a factor.

use gpu_worker::backend::Backend;
use gpu_worker::ops::Scale;

use crate::harness::{distinct, read, upload};

pub(crate) fn scales_only_its_images<B: Backend>(b: &mut B) {
    let x = distinct(30);
    let mut y = upload(b, &x);
    b.run(Scale { factor: 0.3, len: 10, images: 1..2, y: &mut y }).unwrap();
    let scaled = |i: usize| if i / 10 == 1 { x[i] * 0.3 } else { x[i] };
    assert_eq!(read(b, &y, 0..30), (0..30).map(scaled).collect::<Vec<_>>());
    let beyond = Scale { factor: 0.3, len: 10, images: 2..4, y: &mut y };
    assert!(b.run(beyond).is_err(), "four images in a buffer of three");
}
