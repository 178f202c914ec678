//! Validation pictures for sources without any: some training pictures are held out.

use model::random::Permutation;

use super::Picture;

/// Splits the pictures into training and validation: the fraction `share` of each class is held
/// out, at least one picture of a class that has two or more, and never its last.
///
/// The choice depends only on the seed and on the order of the pictures.
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
        let position = Permutation::new(seed, label as u64, n_of[label]).at(seen[label]);
        seen[label] += 1;
        position >= take(n_of[label])
    })
}
