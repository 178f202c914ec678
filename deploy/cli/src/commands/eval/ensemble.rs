//! Several runs measured together: whether they fit together, and the mean of their probabilities.

use std::ops::Range;

use anyhow::{Result, bail};
use coordinator::DataSet;
use coordinator::run_dir::RunDir;
use gpu_worker::step::Output;

use crate::print;

/// Refuses runs that can't be averaged: of other classes, or trained on other pictures.
///
/// With `data_named`, the command line names the pictures to measure on, and the runs may have been
/// trained on different ones.
///
/// # Errors
/// The first difference between the first run and another.
pub(super) fn check(dirs: &[RunDir], data_named: bool) -> Result<()> {
    let Some((first, others)) = dirs.split_first() else { return Ok(()) };
    for other in others {
        if let Some(why) = difference(first.data_set()?, other.data_set()?, data_named) {
            bail!(
                "{} and {} can't be averaged: {why}",
                print::path(&first.path),
                print::path(&other.path)
            );
        }
    }
    Ok(())
}

/// The first difference that keeps two runs from being averaged, and what to do.
fn difference(first: &DataSet, other: &DataSet, data_named: bool) -> Option<String> {
    const CLASSES: &str = "all runs need the same classes in the same order";
    let (a, b) = (&first.classes, &other.classes);
    if let Some(i) = (0..a.len().min(b.len())).find(|i| a[*i] != b[*i]) {
        return Some(format!(
            "class {i} is {:?} in the first, {:?} in the second; {CLASSES}",
            a[i], b[i]
        ));
    }
    if a.len() != b.len() {
        let (a, b) = (a.len(), b.len());
        return Some(format!("the first has {a} classes, the second {b}; {CLASSES}"));
    }
    if first.side != other.side {
        let (a, b) = (first.side, other.side);
        return Some(format!(
            "the first was trained on pictures of side {a}, the second of side {b}; all runs need \
             the same"
        ));
    }
    if first.digest != other.digest && !data_named {
        return Some(format!(
            "they were trained on different pictures, {} ({}) and {} ({}); to measure both on the \
             same ones, name these with --data DIR",
            print::visible(&first.name),
            short(&first.digest),
            print::visible(&other.name),
            short(&other.digest)
        ));
    }
    None
}

/// Enough of a digest to tell two apart.
fn short(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}

/// Probabilities of the runs that were measured before the last, summed: `[pictures, classes]`.
#[derive(Debug, Default)]
pub(super) struct Sums {
    sums: Vec<f64>,
    runs: usize,
}

impl Sums {
    /// Begins another run.
    pub(super) fn begin(&mut self) {
        self.runs += 1;
    }

    /// Adds probabilities of the run; those of the first run come in order.
    pub(super) fn add(&mut self, numbers: Range<usize>, probabilities: &[f32]) {
        self.sums.resize(self.sums.len().max(numbers.end), 0.0);
        for (sum, p) in self.sums[numbers].iter_mut().zip(probabilities) {
            *sum += f64::from(*p);
        }
    }

    /// The mean of these runs and of a last one. The output of a single run is unchanged.
    pub(super) fn mean(&self, numbers: Range<usize>, last: Output, labels: &[u32]) -> Output {
        if self.runs == 0 {
            return last;
        }
        let runs = (self.runs + 1) as f64;
        let each = self.sums[numbers].iter().zip(&last.probabilities);
        let mean: Vec<f64> = each.map(|(sum, p)| (sum + f64::from(*p)) / runs).collect();
        let classes = mean.len() / labels.len().max(1);
        let loss = |(p, label): (&[f64], &u32)| -p[*label as usize].ln() as f32;
        Output {
            losses: mean.chunks(classes.max(1)).zip(labels).map(loss).collect(),
            probabilities: mean.iter().map(|p| *p as f32).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> DataSet {
        DataSet {
            name: "flowers".into(),
            digest: "0123456789".into(),
            side: 256,
            classes: vec!["rose".into(), "tulip".into()],
            n_train: 10,
            n_val: 2,
            colors: [0.0; 9],
        }
    }

    #[test]
    fn the_first_difference_of_two_runs_is_named() {
        let said = |other: DataSet, named| difference(&data(), &other, named);
        assert_eq!(said(data(), false), None);
        let other = DataSet { classes: vec!["tulip".into(), "rose".into()], ..data() };
        let why = said(other, true).unwrap();
        assert!(why.starts_with("class 0 is \"rose\" in the first, \"tulip\""), "{why}");
        let other = DataSet { classes: vec!["rose".into()], ..data() };
        assert!(said(other, true).unwrap().starts_with("the first has 2 classes, the second 1"));
        let other = DataSet { side: 72, ..data() };
        assert!(said(other, true).unwrap().contains("side 256, the second of side 72"));
        let other = DataSet { name: "more".into(), digest: "ab".into(), ..data() };
        let why = said(other.clone(), false).unwrap();
        assert!(
            why.contains("flowers (01234567) and more (ab)") && why.contains("--data"),
            "{why}"
        );
        assert_eq!(said(other, true), None, "measured on pictures that were named");
    }

    #[test]
    fn the_mean_is_over_all_runs_and_one_run_stays_as_it_is() {
        let output = |p: [f32; 4]| Output { probabilities: p.to_vec(), losses: vec![7.0, 8.0] };
        let mut sums = Sums::default();
        let alone = output([0.5, 0.5, 0.25, 0.75]);
        assert_eq!(sums.mean(0..4, alone.clone(), &[0, 1]), alone);
        sums.begin();
        sums.add(0..2, &[1.0, 0.0]);
        sums.add(2..4, &[0.75, 0.25]);
        let mean = sums.mean(0..4, alone, &[0, 1]);
        assert_eq!(mean.probabilities, [0.75, 0.25, 0.5, 0.5]);
        assert_eq!(mean.losses, [0.75_f64, 0.5].map(|p| -p.ln() as f32));
    }
}
