//! `tensorboard/train` and `tensorboard/val`: the lines of `metrics.jsonl` in TensorBoard's format.
//!
//! Written records stay, because a viewer may be reading them. A rollback is a record of its own,
//! after which TensorBoard ignores the later steps that it has read. Training and evaluation are
//! two of TensorBoard's "runs", so that both are drawn into one chart, and so that each rolls back
//! to its own last step: an evaluation may be missing from the checkpoint of the step at which it
//! was made.

mod event; // records, as bytes

use std::io::{self, ErrorKind::NotADirectory, ErrorKind::NotFound};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::append::{AppendFile, Unsynced};
use super::metrics::{Eval, Line};
use crate::error::Error;
use event::Event;

/// The folder inside a run directory.
const FOLDER: &str = "tensorboard";
/// TensorBoard looks for this word, and reads the files of a folder in the order of their names.
const NAME: &str = "events.out.tfevents.";

/// The open files of both of TensorBoard's runs.
#[derive(Debug)]
pub(crate) struct TensorBoard {
    train: Events,
    val: Events,
}

impl TensorBoard {
    /// A new file in each folder, created by the first record.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder is there and can't be read: its files would be overwritten.
    pub(crate) fn new(run_dir: &Path) -> Result<Self, Error> {
        let events = |name| Events::new(&run_dir.join(FOLDER).join(name));
        Ok(Self { train: events("train")?, val: events("val")? })
    }

    /// Takes back the steps after `step`, and the evaluations after that of step `evaluated`.
    pub(crate) fn roll_back(&mut self, step: u64, evaluated: Option<u64>, now: SystemTime) {
        self.train.restart(step + 1, now);
        self.val.restart(evaluated.map_or(0, |step| step + 1), now);
    }

    /// Appends the numbers of a line.
    pub(crate) fn append(&mut self, line: &Line, now: SystemTime) {
        match line {
            Line::Step(step) => {
                let tagged = |of_minibatch| step.recorded(of_minibatch).map(|(_, tag, v)| (tag, v));
                let own = [
                    ("rate", step.rate),
                    ("epoch", step.epoch),
                    ("speed/images_per_s", step.images_per_s),
                ];
                let values: Vec<_> = tagged(true).chain(own).chain(tagged(false)).collect();
                self.train.write(&Event::scalars(now, step.figures.step, &values));
            }
            Line::Eval(Eval { step, loss, top1_error, top5_error, magnitudes, .. }) => {
                let means = magnitudes.iter().flat_map(|(layer, means)| {
                    [
                        (format!("weights/{layer}"), means.weights),
                        (format!("updates/{layer}"), means.updates),
                    ]
                });
                let means: Vec<_> = means.collect();
                let scores =
                    [("loss", *loss), ("top1_error", *top1_error), ("top5_error", *top5_error)];
                let means = means.iter().map(|(tag, value)| (tag.as_str(), *value));
                let values: Vec<_> = scores.into_iter().chain(means).collect();
                self.val.write(&Event::scalars(now, *step, &values));
            }
            Line::Other => {}
        }
    }

    /// Writes all records; returns the files, to be synced.
    ///
    /// # Errors
    /// [`Error::Io`] if some can't be written; they wait and are tried again.
    pub(crate) fn written(&mut self) -> Result<Vec<Unsynced>, Error> {
        Ok(self.train.file.written()?.into_iter().chain(self.val.file.written()?).collect())
    }
}

/// The newest file of a folder.
#[derive(Debug)]
struct Events {
    file: AppendFile,
    begun: bool,
}

impl Events {
    fn new(folder: &Path) -> Result<Self, Error> {
        let file = next_file(folder).map_err(Error::io("read", folder))?;
        Ok(Self { file: AppendFile::lazy(&file, 0), begun: false })
    }

    fn restart(&mut self, first_gone: u64, now: SystemTime) {
        self.write(&Event::restart(now, first_gone));
    }

    fn write(&mut self, event: &Event) {
        if !self.begun {
            self.begun = true;
            self.file.append(&Event::first(event).record());
        }
        self.file.append(&event.record());
    }
}

/// The name of a new file, sorted after all others: a number, since clocks may be set back.
fn next_file(folder: &Path) -> io::Result<PathBuf> {
    let mut last = 0;
    let there = match std::fs::read_dir(folder) {
        // A file in the folder's place holds none either, and the records wait until it is gone.
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => None,
        there => Some(there?),
    };
    for entry in there.into_iter().flatten() {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(NAME)?.parse::<u32>().ok());
        last = number.unwrap_or(0).max(last);
    }
    Ok(folder.join(format!("{NAME}{:08}", last + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_has_a_file_that_sorts_after_the_earlier_ones() {
        let dir = tempfile::tempdir().unwrap();
        let line = |step| Line::Eval(Eval { step, loss: 0.5, ..Eval::default() });
        for step in 0..11 {
            let mut board = TensorBoard::new(dir.path()).unwrap();
            board.roll_back(step, step.checked_sub(1), SystemTime::now());
            board.append(&line(step), SystemTime::now());
            board.written().unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path().join("tensorboard/val"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 11);
        assert_eq!(names[10], "events.out.tfevents.00000011");
    }
}
