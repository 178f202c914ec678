//! Gradients of biases.

use gpu_worker::backend::Backend;
use gpu_worker::ops::{Accumulate, BiasBackward};

use crate::harness::{assert_close, before, random, read, upload};

pub(crate) fn adds_up_images_and_pixels<B: Backend>(b: &mut B) {
    for (maps, pixels) in [(7, 1), (5, 169), (3, 1000), (1, 33)] {
        let n = 6;
        let dy = random(1, n * maps * pixels);
        let mut want = vec![0.0; maps];
        for (i, dy) in dy.iter().enumerate().skip(maps * pixels) {
            want[i / pixels % maps] += f64::from(*dy);
        }
        let dy = upload(b, &dy);
        let mut db = before(b, maps);
        for (accumulate, images) in [(Accumulate::Overwrite, 1..3), (Accumulate::Add, 3..6)] {
            let (dy, db) = (&dy, &mut db);
            b.run(BiasBackward { maps, pixels, images, dy, accumulate, db }).unwrap();
        }
        assert_close("bias", &read(b, &db, 0..maps), &want);
    }
}

pub(crate) fn refuses_buffers_that_do_not_fit<B: Backend>(b: &mut B) {
    let (dy, mut db) = (before(b, 16), before(b, 8));
    let (images, accumulate) = (0..2, Accumulate::Overwrite);
    let (dy, db) = (&dy, &mut db);
    assert!(b.run(BiasBackward { maps: 4, pixels: 1, images, dy, accumulate, db }).is_err());
}
