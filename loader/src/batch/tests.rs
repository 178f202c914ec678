//! Minibatches of made-up pictures: cut right, counted right, made once.

use std::sync::Arc;

use super::*;
use crate::DataSpec;

fn source() -> Source {
    Source::open(&"synthetic:24:50:21:5".parse::<DataSpec>().unwrap()).unwrap()
}

fn request(split: Split, step: u64) -> Request {
    Request {
        split,
        step,
        n_images: 8,
        seed: 7,
        crop: 16,
        crop_offsets: 0,
        flip: true,
        color_noise: 0.1,
        view: 0,
    }
}

#[test]
fn pixels_are_those_of_the_picture_at_the_crops_place() {
    let source = source();
    let batch = source.minibatch(&request(Split::Train, 3)).unwrap();
    assert_eq!((batch.n, batch.crop, batch.pixels.len()), (8, 16, 8 * 3 * 16 * 16));
    let mut picture = Vec::new();
    for i in 0..8 {
        let label =
            source.read(Split::Train, batch.images[i], &mut Scratch::default(), &mut picture);
        assert_eq!(label.unwrap(), batch.labels[i]);
        for (c, y, x) in [(0, 0, 0), (1, 3, 9), (2, 15, 15)] {
            let (row, column) = (batch.rows[i] as usize + y, batch.columns[i] as usize + x);
            let want = picture[3 * (24 * row + column) + c];
            assert_eq!(batch.pixels[((i * 3 + c) * 16 + y) * 16 + x], want);
        }
    }
}

#[test]
fn validation_comes_in_order_and_the_last_batch_is_short() {
    let source = source();
    let images: Vec<_> = (0..3)
        .flat_map(|step| source.minibatch(&request(Split::Val, step)).unwrap().images)
        .collect();
    assert_eq!(images, (0..21).collect::<Vec<_>>());
    let end = source.minibatch(&request(Split::Val, 3));
    assert!(matches!(end, Err(Error::Request { field: "step", .. })), "{end:?}");
}

#[test]
fn all_threads_and_one_make_the_same_bytes() {
    let source = source();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let request = request(Split::Train, 12);
    let alone = one.install(|| source.minibatch(&request).unwrap());
    assert_eq!(alone, source.minibatch(&request).unwrap());
}

#[test]
fn digests_change_with_every_part() {
    let source = source();
    let base = source.minibatch(&request(Split::Train, 0)).unwrap();
    let with = |change: &dyn Fn(&mut Request)| {
        let mut request = request(Split::Train, 0);
        change(&mut request);
        source.minibatch(&request).unwrap().digest
    };
    assert_eq!(with(&|_| {}), base.digest);
    assert_ne!(with(&|r| r.step = 1), base.digest);
    assert_ne!(with(&|r| r.flip = false), base.digest);
    assert_ne!(with(&|r| r.color_noise = 0.2), base.digest);
    assert_ne!(with(&|r| r.crop_offsets = 1), base.digest);
}

#[test]
fn requests_that_mean_nothing_name_the_field() {
    let source = source();
    let field = |change: &dyn Fn(&mut Request)| {
        let mut request = request(Split::Val, 0);
        change(&mut request);
        match source.minibatch(&request) {
            Err(Error::Request { field, .. }) => field,
            Err(Error::Crop { crop, side }) => {
                assert!(crop > side);
                "too large"
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(field(&|r| r.crop = 25), "too large");
    assert_eq!(field(&|r| r.crop = 0), "crop");
    assert_eq!(field(&|r| r.n_images = 0), "n_images");
    assert_eq!(field(&|r| r.n_images = usize::MAX), "n_images");
    assert_eq!(field(&|r| r.view = 11), "view");
    assert_eq!(field(&|r| r.color_noise = f64::NAN), "color_noise");
    assert_eq!(field(&|r| r.step = u64::MAX), "step");
}

#[tokio::test]
async fn two_that_ask_at_once_get_one_minibatch_and_the_next_is_made_ahead() {
    let recent = Recent::new(Arc::new(source()), 2).unwrap();
    let request = request(Split::Train, 0);
    let (a, b) = tokio::join!(recent.get(&request), recent.get(&request));
    assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
    let next = recent.get(&request.next()).await.unwrap();
    assert!(Arc::ptr_eq(&next, &recent.get(&request.next()).await.unwrap()));
    assert_eq!(next.minibatch, recent.source().minibatch(&request.next()).unwrap());
}
