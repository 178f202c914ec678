//! Answers that differ from the request in one way each.

use super::*;

fn pictures() -> Pictures {
    Pictures {
        digest: "d".into(),
        side: 72,
        classes: 10,
        n_train: 50,
        n_val: 21,
        colors: [[60.0, 58.0, 62.0], [20.0, -1.0, -19.0], [3.0, -6.0, 3.0]],
        mean_sha256: String::new(),
    }
}

fn request(split: Split, step: u64) -> BatchRequest {
    BatchRequest {
        data_set: "d".into(),
        split: split.into(),
        step,
        n_images: 8,
        seed: 7,
        crop: 64,
        flip: true,
        color_noise: 0.1,
        ..BatchRequest::default()
    }
}

/// The head that an honest loader sends, and the number of its bytes of pixels.
fn honest(request: &BatchRequest) -> (BatchHead, u64) {
    let pictures = pictures();
    let (first, n) = pictures.range(request);
    let mut head =
        BatchHead { n_images: n as u32, crop: 64, data_set: "d".into(), ..BatchHead::default() };
    for g in first..first + n {
        let (picture, sample) = pictures.rule(request).at(g, 72 - 64).unwrap();
        head.image.push(picture);
        head.label.push((picture % 10) as u32);
        head.row.push(sample.row);
        head.column.push(sample.column);
        head.flip.push(sample.flip);
        head.shift.extend(sample.shift);
    }
    (head, n * 3 * 64 * 64)
}

#[test]
fn what_was_asked_for_is_taken_and_the_last_validation_batch_is_short() {
    for (split, step, n) in [(Split::Train, 3, 8), (Split::Val, 0, 8), (Split::Val, 2, 5)] {
        let request = request(split, step);
        let (head, pixels) = honest(&request);
        assert_eq!(head.n_images, n);
        assert_eq!(pictures().check(&request, &head, pixels), Ok(()));
    }
}

/// Four of eight pictures, with lengths that agree, were trained on without a word.
#[test]
fn half_of_the_pictures_are_refused_however_consistent() {
    let request = request(Split::Train, 3);
    let (mut head, pixels) = honest(&request);
    head.n_images = 4;
    head.label.truncate(4);
    head.row.truncate(4);
    head.column.truncate(4);
    head.flip.truncate(4);
    head.image.truncate(4);
    head.shift.truncate(12);
    let why = pictures().check(&request, &head, pixels / 2).unwrap_err();
    assert!(why.contains("4 images") && why.contains("expected 8"), "{why}");
}

#[test]
fn each_difference_is_named() {
    let asked = request(Split::Train, 3);
    let says = |change: &dyn Fn(&mut BatchHead)| {
        let (mut head, pixels) = honest(&asked);
        change(&mut head);
        pictures().check(&asked, &head, pixels).unwrap_err()
    };
    for (why, words) in [
        (says(&|h| h.data_set = "e".into()), "data set \"e\""),
        (says(&|h| h.data_set.clear()), "give it the run's pictures"),
        (says(&|h| h.crop = 60), "60"),
        (says(&|h| h.image[5] += 1), "as image 5"),
        (says(&|h| h.image.swap(0, 1)), "as image 0"),
        (says(&|h| h.row[2] += 1), "row"),
        (says(&|h| h.column[2] = 70), "column 70"),
        (says(&|h| h.flip[7] = !h.flip[7]), "otherwise than asked"),
        (says(&|h| h.shift[23] += 0.001), "otherwise than asked"),
        (says(&|h| h.shift[0] = f32::NAN), "otherwise than asked"),
        (says(&|h| h.label[0] = 10), "label 10"),
        (says(&|h| h.label.truncate(7)), "[7, 8, 8, 8, 8, 8]"),
        (says(&|h| h.shift.truncate(23)), "[8, 8, 8, 8, 8, 7]"),
    ] {
        assert!(why.contains(words), "{words:?} in: {why}");
    }
    // Another step's minibatch, whole and consistent.
    let (head, pixels) = honest(&request(Split::Train, 4));
    assert!(pictures().check(&asked, &head, pixels).is_err());
    let (head, pixels) = honest(&asked);
    assert!(pictures().check(&asked, &head, pixels - 1).is_err());
}

/// Ignored time is worse than a slow test: the check runs once per minibatch on the network thread.
#[test]
fn the_check_of_a_minibatch_takes_far_less_than_a_millisecond_when_optimized() {
    let request = BatchRequest { n_images: 128, ..request(Split::Train, 9_000) };
    let pictures = Pictures { n_train: 1_281_167, ..pictures() };
    let rule = pictures.rule(&request);
    let (first, n) = pictures.range(&request);
    let began = std::time::Instant::now();
    let sum: u64 = (first..first + n).map(|g| rule.at(g, 32).unwrap().0).sum();
    eprintln!("128 images of ImageNet: {:?} (sum {sum})", began.elapsed());
    assert!(began.elapsed() < std::time::Duration::from_millis(50), "{:?}", began.elapsed());
}
