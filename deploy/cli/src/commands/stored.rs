//! Stored pictures of a data set, for a network that was trained on pictures of the same classes.

use std::ops::Range;

use anyhow::{Context, Result, bail};
use coordinator::run_dir::RunDir;
use loader::source::Scratch;
use loader::{Source, Split};
use rayon::prelude::*;

use super::prepare::{self, Asked};
use crate::network::Stored;
use crate::print;
use crate::up::Remembered;

/// Splits that can be looked at.
const SPLITS: [Split; 3] = [Split::Val, Split::Train, Split::Test];

/// Reads the name of a split.
///
/// # Errors
/// The names that there are.
pub(super) fn split(text: &str) -> Result<Split, String> {
    let named = SPLITS.into_iter().find(|split| split.name() == text);
    named.ok_or_else(|| "expected val, train or test".into())
}

/// One split of a data set.
#[derive(Debug)]
pub(super) struct StoredPictures {
    /// The data set, as it was named.
    pub(super) name: String,
    /// The split.
    pub(super) split: Split,
    source: Source,
}

/// Some pictures of a split, one after the other.
#[derive(Debug)]
pub(super) struct Batch {
    /// Number of the first picture in its split.
    pub(super) first: u64,
    /// The pictures.
    pub(super) pictures: Vec<Stored>,
    /// Class of each picture.
    pub(super) labels: Vec<u32>,
}

impl StoredPictures {
    /// Opens prepared pictures that the value of an option names; without one, those on which the
    /// run was trained.
    ///
    /// # Errors
    /// If they aren't there or are damaged.
    pub(super) fn open(
        dir: &RunDir,
        (option, data): (&str, Option<&str>),
        split: Split,
    ) -> Result<Self> {
        let name = data.map_or_else(|| pictures_of(dir, option), |data| Ok(data.to_owned()))?;
        let source = Source::open(&name.parse()?)?;
        Ok(Self { name, split, source })
    }

    /// Number of pictures.
    pub(super) fn count(&self) -> u64 {
        self.source.describe().count(self.split)
    }

    /// Names of the classes, in label order.
    pub(super) fn classes(&self) -> &[String] {
        &self.source.describe().classes
    }

    /// Refuses pictures that a run's network can't look at: of another size, or none at all.
    ///
    /// # Errors
    /// The difference, and what to do.
    pub(super) fn can_be_seen_by(&self, dir: &RunDir) -> Result<()> {
        let (name, split) = (&self.name, self.split.name());
        let (there, here) = (self.source.describe().side, dir.data_set()?.side as usize);
        if there != here {
            bail!(
                "{name} holds pictures of side {there}, but the checkpoint needs {here}: prepare \
                 them again with --side {here}"
            );
        }
        if self.count() == 0 {
            bail!(
                "{name} has no {split} pictures: put some into {split}/<class>/ and prepare them \
                 again"
            );
        }
        Ok(())
    }

    /// Refuses pictures of other classes than a run's network was trained on, and those that
    /// [`StoredPictures::can_be_seen_by`] refuses.
    ///
    /// # Errors
    /// The difference, and what to do.
    pub(super) fn fit(&self, dir: &RunDir) -> Result<()> {
        let (name, there, here) = (&self.name, self.classes(), &dir.data_set()?.classes);
        if there.len() != here.len() {
            bail!(
                "{name} has {} classes, but the checkpoint was trained on {}: use pictures of the \
                 same classes, or train on these with `{} up --data {}`",
                there.len(),
                here.len(),
                print::program(),
                print::quoted(name)
            );
        }
        if let Some(i) = (0..here.len()).find(|i| there[*i] != here[*i]) {
            bail!(
                "class {i} is {:?} in {name}, but {:?} in the checkpoint: use pictures of the same \
                 classes",
                there[i],
                here[i]
            );
        }
        self.can_be_seen_by(dir)
    }

    /// Hands out all pictures in stored order, at most `most` at a time, and shows a bar.
    ///
    /// # Errors
    /// If a picture is damaged, or those of `take`.
    pub(super) fn each_batch(
        &self,
        most: usize,
        mut take: impl FnMut(Batch) -> Result<()>,
    ) -> Result<()> {
        let n = self.count();
        let bar = indicatif::ProgressBar::new(n);
        for first in (0..n).step_by(most.max(1)) {
            let numbers = first..n.min(first + most as u64);
            let read = numbers.end - first;
            let (pictures, labels) = self.read(numbers)?;
            take(Batch { first, pictures, labels })?;
            bar.inc(read);
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Pictures and labels of a range, read on all cores.
    fn read(&self, numbers: Range<u64>) -> Result<(Vec<Stored>, Vec<u32>)> {
        let read = |scratch: &mut Scratch, number| {
            let mut pixels = Vec::new();
            let label = self.source.read(self.split, number, scratch, &mut pixels)?;
            Ok((pixels, label))
        };
        let read: Result<Vec<_>> =
            numbers.into_par_iter().map_init(Scratch::default, read).collect();
        Ok(read?.into_iter().unzip())
    }
}

/// The pictures on which a run was trained; `option` could name others.
///
/// # Errors
/// If the run does not know where they are, or they can't be used.
pub(super) fn pictures_of(dir: &RunDir, option: &str) -> Result<String> {
    let run = &dir.path;
    let remembered = Remembered::read(run)?.with_context(|| {
        format!("{} does not record where its pictures are: add {option} DIR", print::path(run))
    })?;
    // The run's own pictures, even if their folder has got another name since.
    let asked = Asked { run: Some(run), keep: true, remembered: true };
    prepare::ready(&remembered.data, &dir.recipe, &asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_read_by_its_name_and_others_are_refused_with_those_there_are() {
        assert_eq!((split("val"), split("train")), (Ok(Split::Val), Ok(Split::Train)));
        assert_eq!(split("test"), Ok(Split::Test));
        assert_eq!(split("Val").unwrap_err(), "expected val, train or test");
    }
}
