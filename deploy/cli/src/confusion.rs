//! The confusion matrix: pictures by true and predicted class, kept sparse, and its CSV files.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// Most classes whose matrix is written whole; with more, only pairs that occur are written.
const MOST_WHOLE: usize = 1000;

/// Pictures by true class and most probable class; memory for pairs that occur.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confusion {
    classes: Vec<String>,
    counts: BTreeMap<(u32, u32), u64>,
}

/// Counts of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OfClass {
    /// Number of the class.
    pub label: usize,
    /// Pictures of the class.
    pub pictures: u64,
    /// Pictures, of any class, for which the class was predicted.
    pub predicted: u64,
    /// Pictures of the class for which it was predicted.
    pub right: u64,
}

impl OfClass {
    /// Share of the pictures with this prediction that are of this class.
    pub(crate) fn precision(&self) -> Option<f64> {
        (self.predicted > 0).then(|| self.right as f64 / self.predicted as f64)
    }

    /// Share of the pictures of this class that have this prediction.
    pub(crate) fn recall(&self) -> Option<f64> {
        (self.pictures > 0).then(|| self.right as f64 / self.pictures as f64)
    }
}

impl Confusion {
    /// A matrix without pictures.
    pub(crate) fn new(classes: Vec<String>) -> Self {
        Self { classes, counts: BTreeMap::new() }
    }

    /// Counts one picture.
    pub(crate) fn add(&mut self, label: u32, predicted: u32) {
        *self.counts.entry((label, predicted)).or_default() += 1;
    }

    /// Names of the classes.
    pub(crate) fn classes(&self) -> &[String] {
        &self.classes
    }

    /// True class, predicted class and pictures of each pair that occurs, in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (usize, usize, u64)> {
        self.counts.iter().map(|((label, predicted), n)| (*label as usize, *predicted as usize, *n))
    }

    /// The most frequent mistakes: true class, predicted class, number of pictures.
    pub(crate) fn worst(&self, most: usize) -> Vec<(&str, &str, u64)> {
        let mut mistakes: Vec<_> = self.pairs().filter(|(t, p, _)| t != p).collect();
        mistakes.sort_by_key(|(.., n)| std::cmp::Reverse(*n)); // stable: equals stay in label order
        mistakes.truncate(most);
        let name = |i: usize| self.classes[i].as_str();
        mistakes.into_iter().map(|(t, p, n)| (name(t), name(p), n)).collect()
    }

    /// The counts of each class, in label order.
    pub(crate) fn of_classes(&self) -> Vec<OfClass> {
        let start = |label| OfClass { label, ..OfClass::default() };
        let mut classes: Vec<OfClass> = (0..self.classes.len()).map(start).collect();
        for (label, predicted, n) in self.pairs() {
            classes[label].pictures += n;
            classes[predicted].predicted += n;
            if label == predicted {
                classes[label].right += n;
            }
        }
        classes
    }

    /// Writes one row per true class and one column per predicted class, with names; with more
    /// than a thousand classes, one row per pair that occurs.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn write_csv(&self, file: &Path) -> Result<()> {
        written(file, |csv| match self.classes.len() <= MOST_WHOLE {
            true => self.write_whole(csv),
            false => self.write_pairs(csv),
        })
    }

    fn write_whole(&self, csv: &mut Csv) -> csv::Result<()> {
        let names = || self.classes.iter().map(String::as_str);
        csv.write_record(std::iter::once("true \\ predicted").chain(names()))?;
        for (label, name) in (0..).zip(names()) {
            let mut row = vec![0; self.classes.len()];
            for ((_, predicted), n) in self.counts.range((label, 0)..=(label, u32::MAX)) {
                row[*predicted as usize] = *n;
            }
            csv.write_field(name)?;
            csv.write_record(row.iter().map(u64::to_string))?;
        }
        Ok(())
    }

    fn write_pairs(&self, csv: &mut Csv) -> csv::Result<()> {
        csv.write_record(["true", "predicted", "pictures"])?;
        let mut pairs = self.pairs();
        pairs.try_for_each(|(label, predicted, n)| {
            csv.write_record([&self.classes[label], &self.classes[predicted], &n.to_string()])
        })
    }

    /// Writes one row per class: its pictures, precision and recall. A share of nothing is empty.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn write_classes(&self, file: &Path) -> Result<()> {
        written(file, |csv| {
            let columns = ["label", "class", "pictures", "predicted", "right"];
            csv.write_record(columns.iter().chain(&["precision", "recall"]))?;
            self.of_classes().iter().try_for_each(|class| {
                let share = |share: Option<f64>| share.map_or(String::new(), |s| format!("{s:.4}"));
                let counts = [class.pictures, class.predicted, class.right].map(|n| n.to_string());
                csv.write_field(class.label.to_string())?;
                csv.write_field(&self.classes[class.label])?;
                let shares = [share(class.precision()), share(class.recall())];
                csv.write_record(counts.into_iter().chain(shares))
            })
        })
    }
}

type Csv = csv::Writer<std::fs::File>;

fn written(file: &Path, write: impl FnOnce(&mut Csv) -> csv::Result<()>) -> Result<()> {
    let all = || -> csv::Result<()> {
        let mut csv = csv::Writer::from_path(file)?;
        write(&mut csv)?;
        Ok(csv.flush()?)
    };
    all().with_context(|| format!("{} can't be written", file.display()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Counts of three classes, with a mistake that occurs twice.
    pub(crate) fn three() -> Confusion {
        let mut confusion = Confusion::new(vec!["cat".into(), "dog, small".into(), "cow".into()]);
        for (label, predicted) in [(0, 0), (0, 1), (0, 1), (1, 1), (2, 0)] {
            confusion.add(label, predicted);
        }
        confusion
    }

    fn text(write: impl FnOnce(&Path) -> Result<()>) -> String {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.csv");
        write(&file).unwrap();
        std::fs::read_to_string(file).unwrap()
    }

    #[test]
    fn rows_are_true_classes() {
        assert_eq!(
            text(|file| three().write_csv(file)),
            "true \\ predicted,cat,\"dog, small\",cow\ncat,1,2,0\n\"dog, small\",0,1,0\ncow,1,0,0\n"
        );
    }

    #[test]
    fn the_most_frequent_mistake_comes_first() {
        assert_eq!(three().worst(5), [("cat", "dog, small", 2), ("cow", "cat", 1)]);
    }

    #[test]
    fn a_class_that_is_never_predicted_or_has_no_picture_has_no_share() {
        assert_eq!(
            text(|file| three().write_classes(file)),
            "label,class,pictures,predicted,right,precision,recall\n\
             0,cat,3,2,1,0.5000,0.3333\n\
             1,\"dog, small\",1,3,1,0.3333,1.0000\n\
             2,cow,1,0,0,,0.0000\n"
        );
        let none = Confusion::new(vec!["cat".into()]);
        assert!(text(|file| none.write_classes(file)).ends_with("0,cat,0,0,0,,\n"));
    }

    #[test]
    fn of_many_classes_only_pairs_that_occur_are_written() {
        let mut many = Confusion::new((0..10_000).map(|i| format!("class {i}")).collect());
        many.add(9_999, 3);
        many.add(9_999, 3);
        many.add(5, 5);
        assert_eq!(
            text(|file| many.write_csv(file)),
            "true,predicted,pictures\nclass 5,class 5,1\nclass 9999,class 3,2\n"
        );
        assert_eq!(many.worst(5), [("class 9999", "class 3", 2)]);
    }
}
