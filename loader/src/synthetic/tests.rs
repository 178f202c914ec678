//! Made-up pictures: the same everywhere, and not too easy.

use super::*;

fn small() -> Spec {
    Spec { side: 32, n_train: 2000, n_val: 500, ..Spec::default() }
}

#[test]
fn a_picture_depends_on_seed_split_and_number_alone() {
    let read = |spec, split, index| {
        let mut pixels = Vec::new();
        (Synthetic::new(spec).unwrap().read(split, index, &mut pixels), pixels)
    };
    let spec = small();
    assert_eq!(read(spec, Split::Train, 7), read(spec, Split::Train, 7));
    let more = Spec { n_train: 2_000_000_000, ..spec };
    assert_eq!(read(spec, Split::Train, 7), read(more, Split::Train, 7));
    assert_ne!(read(spec, Split::Train, 7), read(spec, Split::Val, 7));
    assert_ne!(read(spec, Split::Train, 7), read(spec, Split::Train, 17));
    assert_ne!(read(spec, Split::Train, 7), read(Spec { seed: 1, ..spec }, Split::Train, 7));
}

#[test]
fn digests_tell_specs_apart() {
    let digest = |spec: Spec| Synthetic::new(spec).unwrap().describe().digest.clone();
    assert_eq!(digest(small()), digest(small()));
    assert_ne!(digest(small()), digest(Spec { seed: 1, ..small() }));
    assert_ne!(digest(small()), digest(Spec { n_val: 10, ..small() }));
}

#[test]
fn classes_are_equally_frequent_and_have_a_name_each() {
    let synthetic = Synthetic::new(small()).unwrap();
    let mut names = synthetic.describe().classes.clone();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 10);
    let mut counts = [0; 10];
    (0..500).for_each(|i| counts[label(i) as usize] += 1);
    assert_eq!(counts, [50; 10]);
}

/// The bytes of one picture, written down: another machine, compiler or version must draw them too.
#[test]
fn the_first_picture_is_the_one_that_was_first_drawn() {
    let pixels = draw::picture(&Spec::default(), Split::Train, 0);
    assert_eq!(crc32fast::hash(&pixels), FIRST_PICTURE, "if meant, raise EDITION");
}

const FIRST_PICTURE: u32 = 1_579_275_278;

/// A linear softmax on the same pixels, by plain SGD until its training error no longer matters.
#[test]
fn a_linear_softmax_on_the_same_pixels_stays_above_half_wrong() {
    let spec = Spec { n_train: 1500, ..Spec::default() };
    let [train, val] = linear_softmax_errors(&Synthetic::new(spec).unwrap());
    assert!(val > 0.5, "{val}");
    // Chance is 0.9: the test would also pass if the regression couldn't learn at all.
    assert!(train < 0.5, "{train}");
}

/// In training and validation.
fn linear_softmax_errors(data: &Synthetic) -> [f64; 2] {
    let Description { side, n_train, n_val, .. } = *data.describe();
    let n_inputs = 3 * side * side;
    let mut weights = vec![0.0_f32; 10 * (n_inputs + 1)];
    let mut pixels = Vec::new();
    for epoch in 0..10 {
        let rate = 0.01 / (1.0 + epoch as f32);
        for i in 0..n_train {
            let index = model::shuffle::entry(1, n_train, epoch * n_train + i).picture;
            let label = data.read(Split::Train, index, &mut pixels);
            let x = inputs(&pixels);
            let p = softmax(&weights, &x);
            for (class, row) in weights.chunks_exact_mut(n_inputs + 1).enumerate() {
                let step = rate * (p[class] - f32::from(class as u32 == label)) / 100.0;
                row.iter_mut().zip(&x).for_each(|(w, x)| *w -= step * x);
            }
        }
    }
    [(Split::Train, n_train), (Split::Val, n_val)].map(|(split, n)| {
        let wrong = |i: &u64| {
            let label = data.read(split, *i, &mut pixels);
            let p = softmax(&weights, &inputs(&pixels));
            (0..10).any(|k| k != label as usize && p[k] >= p[label as usize])
        };
        (0..n).filter(wrong).count() as f64 / n as f64
    })
}

/// Pixels in −1..1, and a one for the bias.
fn inputs(pixels: &[u8]) -> Vec<f32> {
    pixels.iter().map(|&v| f32::from(v) / 127.5 - 1.0).chain([1.0]).collect()
}

fn softmax(weights: &[f32], x: &[f32]) -> [f32; 10] {
    let mut logits = [0.0; 10];
    for (logit, row) in logits.iter_mut().zip(weights.chunks_exact(x.len())) {
        // Eight sums side by side, so that the compiler can use vectors.
        let mut sums = [0.0; 8];
        let (rows, xs) = (row.as_chunks::<8>(), x.as_chunks::<8>());
        for (w, x) in rows.0.iter().zip(xs.0) {
            (0..8).for_each(|k| sums[k] += w[k] * x[k]);
        }
        let rest: f32 = rows.1.iter().zip(xs.1).map(|(w, x)| w * x).sum();
        *logit = sums.iter().sum::<f32>() + rest;
    }
    let top = logits.into_iter().fold(f32::MIN, f32::max);
    let exp = logits.map(|v| (v - top).exp());
    let sum: f32 = exp.iter().sum();
    exp.map(|v| v / sum)
}
