//! Validation pictures for sources without any: some training pictures are held out.

use model::random::Permutation;

/// Chooses among pictures with these labels which are held out: the fraction `share` of each
/// class, at least one picture of a class that has two or more, and never its last.
///
/// The choice depends only on the seed and on the order of the pictures.
pub(super) fn choose(labels: &[u32], n_classes: usize, share: f64, seed: u64) -> Vec<bool> {
    let mut n_of = vec![0_u64; n_classes];
    labels.iter().for_each(|label| n_of[*label as usize] += 1);
    let take = |n: u64| match n {
        _ if share == 0.0 => 0,
        0 | 1 => 0,
        n => ((n as f64 * share).round() as u64).clamp(1, n - 1),
    };
    let mut seen = vec![0_u64; n_classes];
    let choose = |label: &u32| {
        let label = *label as usize;
        let position = Permutation::new(seed, label as u64, n_of[label]).at(seen[label]);
        seen[label] += 1;
        position < take(n_of[label])
    };
    labels.iter().map(choose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_two_gives_one_and_no_class_its_last() {
        let labels: Vec<u32> = (0..4).flat_map(|n| vec![n; n as usize]).chain([4; 40]).collect();
        let held = |share| {
            let chosen = choose(&labels, 6, share, 7);
            let of =
                |label| (0..labels.len()).filter(|i| chosen[*i] && labels[*i] == label).count();
            (0..6).map(of).collect::<Vec<_>>()
        };
        assert_eq!(held(0.1), [0, 0, 1, 1, 4, 0]);
        assert_eq!(held(0.9), [0, 0, 1, 2, 36, 0]);
        assert_eq!(held(0.0), [0; 6]);
    }
}
