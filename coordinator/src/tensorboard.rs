//! `tensorboard/train` and `tensorboard/val`: the record once more, as TensorBoard reads it.
//!
//! What is written stays written: a viewer may be in the middle of it. A run that goes back says so,
//! and TensorBoard then leaves out what it had been told of later steps. Training and evaluation are
//! two of its "runs", so that it draws both into one chart; and so that each goes back to its own
//! last step: an evaluation may be missing from a checkpoint of the very step it was made at.

mod event; // its records, as bytes

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::Error;
use crate::growing::Growing;
use crate::metrics::Line;
use event::Event;

/// The folder inside a run directory.
const FOLDER: &str = "tensorboard";
/// TensorBoard looks for this word, and reads the files of a folder in the order of their names.
const NAME: &str = "events.out.tfevents.";

/// Both runs' open files.
#[derive(Debug)]
pub(crate) struct TensorBoard {
    train: Events,
    val: Events,
}

impl TensorBoard {
    /// A new file in each folder, created by the first record.
    pub(crate) fn new(run_dir: &Path) -> Self {
        let folder = |name| run_dir.join(FOLDER).join(name);
        Self { train: Events::new(&folder("train")), val: Events::new(&folder("val")) }
    }

    /// Whatever was said of steps after `step`, and of evaluations after that of `evaluated`, isn't
    /// so any more.
    pub(crate) fn go_back(&mut self, step: u64, evaluated: Option<u64>, now: SystemTime) {
        self.train.go_back(step + 1, now);
        self.val.go_back(evaluated.map_or(0, |step| step + 1), now);
    }

    /// Appends what a line says.
    pub(crate) fn write(&mut self, line: &Line, now: SystemTime) {
        match *line {
            Line::Step {
                step,
                epoch,
                loss,
                top1_error,
                top5_error,
                rate,
                images_per_s,
                step_ms,
                compute_ms,
                exchange_wait_ms,
                peer_late_ms,
                data_wait_ms,
            } => self.train.write(&Event::scalars(
                now,
                step,
                &[
                    ("loss", loss),
                    ("top1_error", top1_error),
                    ("top5_error", top5_error),
                    ("rate", rate),
                    ("epoch", epoch),
                    ("speed/images_per_s", images_per_s),
                    ("speed/step_ms", step_ms),
                    ("speed/compute_ms", compute_ms),
                    ("wait/exchange_ms", exchange_wait_ms),
                    ("wait/peer_late_ms", peer_late_ms),
                    ("wait/data_ms", data_wait_ms),
                ],
            )),
            Line::Eval { step, loss, top1_error, top5_error, .. } => {
                self.val.write(&Event::scalars(
                    now,
                    step,
                    &[("loss", loss), ("top1_error", top1_error), ("top5_error", top5_error)],
                ));
            }
        }
    }

    /// Makes sure that all of it is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`] if some isn't; it waits and is tried again.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.train.file.sync()?;
        self.val.file.sync()?;
        Ok(())
    }
}

/// One folder's newest file.
#[derive(Debug)]
struct Events {
    file: Growing,
    begun: bool,
}

impl Events {
    fn new(folder: &Path) -> Self {
        Self { file: Growing::later(&next_file(folder)), begun: false }
    }

    fn go_back(&mut self, first_gone: u64, now: SystemTime) {
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

/// A name that comes after all that are there: a number, since clocks may go back.
fn next_file(folder: &Path) -> PathBuf {
    let there = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let numbers = there
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(NAME)?.parse::<u32>().ok());
    let next = numbers.max().unwrap_or(0) + 1;
    folder.join(format!("{NAME}{next:08}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_has_a_file_that_sorts_after_the_earlier_ones() {
        let dir = tempfile::tempdir().unwrap();
        let line = |step| Line::Eval {
            split: "val",
            views: 1,
            step,
            epoch: 1.0,
            loss: 0.5,
            top1_error: 0.25,
            top5_error: 0.0,
        };
        for step in 0..11 {
            let mut board = TensorBoard::new(dir.path());
            board.go_back(step, step.checked_sub(1), SystemTime::now());
            board.write(&line(step), SystemTime::now());
            board.sync().unwrap();
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
