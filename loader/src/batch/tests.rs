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

fn recent() -> Recent {
    Recent::new(Arc::new(source()), 2).unwrap()
}

#[tokio::test]
async fn two_that_ask_at_once_get_one_minibatch_and_the_next_is_made_ahead() {
    let recent = recent();
    let request = request(Split::Train, 0);
    let (a, b) = tokio::join!(recent.get(&request, Some(3), ()), recent.get(&request, None, ()));
    assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
    let later = request.at(3);
    let next = recent.get(&later, None, ()).await.unwrap();
    assert!(Arc::ptr_eq(&next, &recent.get(&later, None, ()).await.unwrap()));
    assert_eq!(next.minibatch, recent.source().minibatch(&later).unwrap());
    assert_eq!(recent.n_read(), 16, "steps 0 and 3, each once");
}

/// The first that asked used to own the work, and took it along.
#[tokio::test]
async fn a_minibatch_is_made_once_though_all_that_asked_for_it_have_gone() {
    let recent = recent();
    let request = request(Split::Train, 5);
    for _ in 0..3 {
        let mut asks = Box::pin(recent.get(&request, None, ()));
        let waker = std::task::Waker::noop();
        let polled = asks.as_mut().poll(&mut std::task::Context::from_waker(waker));
        // Made at once, or left while it is being made.
        drop((polled, asks));
    }
    recent.get(&request, None, ()).await.unwrap();
    assert_eq!(recent.n_read(), 8);
}

#[tokio::test]
async fn what_is_held_for_a_minibatch_is_dropped_when_it_is_made() {
    let recent = recent();
    let held = Arc::new(());
    recent.get(&request(Split::Train, 5), None, held.clone()).await.unwrap();
    while Arc::strong_count(&held) > 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn few_minibatches_are_kept_and_an_error_is_not() {
    let recent = recent();
    for step in 0..20 {
        recent.get(&request(Split::Train, step), None, ()).await.unwrap();
    }
    assert_eq!(recent.n_read(), 160);
    recent.get(&request(Split::Train, 19), None, ()).await.unwrap();
    assert_eq!(recent.n_read(), 160, "the last one is kept");
    recent.get(&request(Split::Train, 0), None, ()).await.unwrap();
    assert_eq!(recent.n_read(), 168, "the first one is not");
    let beyond = request(Split::Val, 3);
    for _ in 0..2 {
        assert!(matches!(recent.get(&beyond, None, ()).await, Err(Error::Request { .. })));
    }
}
