//! A part of the training pictures, set aside for validation where a source has none.

use model::random::Permutation;

use super::Picture;

/// Sets `share` of each class aside: at least one picture of a class that has two or more, never
/// its last. Which ones depends on the seed and on the order of the pictures alone.
pub(super) fn split(
    pictures: Vec<Picture>,
    n_classes: usize,
    share: f64,
    seed: u64,
) -> (Vec<Picture>, Vec<Picture>) {
    let mut n_of = vec![0_u64; n_classes];
    pictures.iter().for_each(|picture| n_of[picture.label as usize] += 1);
    let take = |n: u64| match n {
        _ if share == 0.0 => 0,
        0 | 1 => 0,
        n => ((n as f64 * share).round() as u64).clamp(1, n - 1),
    };
    let mut seen = vec![0_u64; n_classes];
    pictures.into_iter().partition(|picture| {
        let label = picture.label as usize;
        let place = Permutation::new(seed, label as u64, n_of[label]).at(seen[label]);
        seen[label] += 1;
        place >= take(n_of[label])
    })
}
