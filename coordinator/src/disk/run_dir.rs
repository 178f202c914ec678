//! A run directory: everything that resuming, `eval`, `predict`, `export` and `plot` need.
//!
//! ```text
//! recipe.toml        every key of the recipe
//! run.json           run id, seed, program, CPU, devices, data set with its class names and colors
//! start.safetensors  the weights that it starts from, with `--from`
//! mean.f32           the data set's mean image: [3, side, side] f32 little-endian, 0..255
//! metrics.jsonl      one line per step and per evaluation, see [`crate::metrics`]
//! timing.jsonl       one line per timed step and half, see [`crate::timing`]
//! trace.json         the first timed steps over time, for Perfetto
//! checkpoints/       see [`crate::checkpoint`]
//! lock               held by the coordinator that works here
//! ```

mod owned; // for writing, by one coordinator at a time
mod created; // with given weights, before any training
mod start; // the weights that a run starts from

pub use created::Beginning;
pub(crate) use owned::{Owned, random_bytes};
pub(crate) use start::START;
pub use start::Start;

use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::halves::{Half, Partition};
use model::recipe::Recipe;
use proto::status::WorkerStatus;
use serde::{Deserialize, Serialize};

use crate::disk::checkpoint::{self, Manifest};
use crate::disk::data_set::DataSet;
use crate::disk::durable::sha256;
use crate::disk::format;
use crate::error::Error;
use crate::run::boundaries::Boundaries;

const RECIPE: &str = "recipe.toml";
const RECORD: &str = "run.json";
const MEAN: &str = "mean.f32";
const METRICS: &str = "metrics.jsonl";
const TIMING: &str = "timing.jsonl";
const TRACE: &str = "trace.json";
const LOCK: &str = "lock";

/// Format of the `run.json` that this program writes. A later one may also mean a recipe with keys
/// that this version doesn't know.
const FORMAT: u32 = 3;

/// The content of `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Format of this file; 1 in files without the number.
    #[serde(default = "format::first")]
    pub format: u32,
    /// Random id; no two runs share one.
    pub run_id: String,
    /// Seed of every random number of the run.
    pub seed: u64,
    /// Name of the recipe.
    pub recipe: String,
    /// Version of the program that began the run.
    pub program: String,
    /// CPU model: results are bit for bit the same on one model.
    pub cpu: String,
    /// Beginning of the run, in seconds since 1970.
    pub started: u64,
    /// Number of times that work has begun, rollbacks included.
    pub incarnation: u64,
    /// Workers of the last incarnation, for people: `half A: cpu at 127.0.0.1:4001`.
    pub devices: Vec<String>,
    /// Steps to do in all, as requested last; unknown before work has begun, and in runs of earlier
    /// versions.
    #[serde(default)]
    pub steps: Option<u64>,
    /// True once the run has kept a checkpoint. If a coordinator finds none later, it refuses to
    /// start.
    #[serde(default)]
    pub had_checkpoints: bool,
    /// Weights that the run starts from; `None`: initial values.
    #[serde(default)]
    pub start: Option<Start>,
    /// Data set of the run; unknown until the first loader has joined.
    pub data_set: Option<DataSet>,
    /// SHA-256 of `mean.f32`.
    pub mean_sha256: String,
    /// Devices of the last incarnation; unknown in runs of earlier versions.
    #[serde(default)]
    pub seats: Vec<Seated>,
}

impl Record {
    /// The device of each partition in the last incarnation.
    pub(crate) fn devices_of_partitions(&self) -> Vec<(Partition, String)> {
        let halves = Half::BOTH.map(Partition::Half);
        let of = |partition: Partition| {
            let seat = self.seats.iter().find(|seat| seat.partition == partition.label())?;
            Some((partition, seat.device.clone()))
        };
        halves.into_iter().chain([Partition::Whole]).filter_map(of).collect()
    }
}

/// The device on which a partition was computed last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seated {
    /// Label of the partition: `A`, `B` or `whole`.
    pub partition: String,
    /// Device, as its worker described it.
    pub device: String,
}

impl Seated {
    /// The device of a worker; `None` for a standby.
    fn of(worker: &WorkerStatus) -> Option<Self> {
        let partition = worker.partition?.label().to_string();
        Some(Self { partition, device: worker.device.clone() })
    }
}

/// A checkpoint in memory: its manifest and its shards, half A first.
pub type Loaded = (Manifest, Vec<Bytes>);

/// A run directory, opened for reading.
#[derive(Debug, Clone, PartialEq)]
pub struct RunDir {
    /// Path of the directory.
    pub path: PathBuf,
    /// Recipe of the run, with all keys.
    pub recipe: Recipe,
    /// Content of `run.json`.
    pub record: Record,
}

impl RunDir {
    /// Opens a run directory, even while a coordinator works in it.
    ///
    /// # Errors
    /// [`Error::NotARun`], [`Error::Damaged`], [`Error::Newer`], or [`Error::Io`] if a file is
    /// there but can't be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let missing = |file: &str| Error::NotARun {
            path: path.to_path_buf(),
            why: format!("it has no {file}"),
        };
        let unread = |path: &Path, file, error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => missing(file),
            _ => Error::io("read", path)(error),
        };
        let record_path = path.join(RECORD);
        let text = fs::read(&record_path).map_err(|e| unread(&record_path, RECORD, e))?;
        // Read before the recipe: only this file has a format number, and it is checked first.
        let record = format::parse(&record_path, &text, FORMAT)?;
        let recipe_path = path.join(RECIPE);
        let text = fs::read_to_string(&recipe_path).map_err(|e| unread(&recipe_path, RECIPE, e))?;
        let recipe = Recipe::from_toml(&text)
            .map_err(|e| Error::Damaged { path: recipe_path, why: e.to_string() })?;
        Ok(Self { path: path.to_path_buf(), recipe, record })
    }

    /// Data set of the run.
    ///
    /// # Errors
    /// [`Error::NotARun`] if no loader has ever joined.
    pub fn data_set(&self) -> Result<&DataSet, Error> {
        let why = || "it has never had a data set".to_string();
        let missing = || Error::NotARun { path: self.path.clone(), why: why() };
        self.record.data_set.as_ref().ok_or_else(missing)
    }

    /// Steps to do in all, as requested last; without a record of that, the recipe's epochs.
    /// `None` before the data set is known.
    pub fn end(&self) -> Option<u64> {
        let by_recipe = |data| Boundaries::new(&self.recipe, data, None, 1).end;
        self.record.steps.or_else(|| self.record.data_set.as_ref().map(by_recipe))
    }

    /// Returns whether a coordinator holds the lock of this run directory. A coordinator on another
    /// machine is seen only where the file system shares locks.
    pub fn is_in_use(&self) -> bool {
        let lock = fs::File::open(self.path.join(LOCK));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The mean image, `[3, side, side]`.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the file isn't what was written.
    pub fn mean(&self) -> Result<Vec<f32>, Error> {
        let path = self.path.join(MEAN);
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let (got, want) = (sha256(&bytes), &self.record.mean_sha256);
        let damaged = || Error::Damaged {
            path: path.clone(),
            why: format!("sha256 {got}, run.json says {want}"),
        };
        if got != *want {
            return Err(damaged());
        }
        proto::chunk::bytes_to_floats(&bytes).ok_or_else(damaged)
    }

    /// Steps that have a checkpoint, oldest first.
    ///
    /// # Errors
    /// [`Error::Io`] if they can't be listed.
    pub fn steps(&self) -> Result<Vec<u64>, Error> {
        checkpoint::steps(&self.path)
    }

    /// The newest checkpoint whose checksums hold, and a sentence for each newer one refused.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] if there is none.
    pub fn newest(&self) -> Result<(Manifest, Vec<String>), Error> {
        let (found, refused) = self.newest_with(|manifest| manifest.verify(&self.path))?;
        Ok((found.0, refused))
    }

    /// The checkpoint of a step, checked.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] or [`Error::Damaged`].
    pub fn at(&self, step: u64) -> Result<Manifest, Error> {
        Ok(checkpoint::read_with(&self.path, step, |manifest| manifest.verify(&self.path))?.0)
    }

    /// The checkpoint with the lowest validation error, checked, and a sentence for each checkpoint
    /// passed over. The newest one if nothing was evaluated or the best one isn't whole.
    ///
    /// # Errors
    /// The same as [`RunDir::newest`].
    pub fn best(&self) -> Result<(Manifest, Vec<String>), Error> {
        let (found, refused) = self.best_with(&|manifest| manifest.verify(&self.path))?;
        Ok((found.0, refused))
    }

    /// The checkpoint of [`RunDir::newest`] with its shards in memory.
    ///
    /// # Errors
    /// The same as [`RunDir::newest`].
    pub fn load_newest(&self) -> Result<(Loaded, Vec<String>), Error> {
        self.newest_with(|manifest| manifest.load(&self.path))
    }

    /// The checkpoint of a step with its shards in memory.
    ///
    /// # Errors
    /// The same as [`RunDir::at`].
    pub fn load_at(&self, step: u64) -> Result<Loaded, Error> {
        checkpoint::read_with(&self.path, step, |manifest| manifest.load(&self.path))
    }

    /// The checkpoint of [`RunDir::best`] with its shards in memory.
    ///
    /// # Errors
    /// The same as [`RunDir::newest`].
    pub fn load_best(&self) -> Result<(Loaded, Vec<String>), Error> {
        self.best_with(&|manifest| manifest.load(&self.path))
    }

    fn newest_with<T>(
        &self,
        take: impl Fn(&Manifest) -> Result<T, Error>,
    ) -> Result<((Manifest, T), Vec<String>), Error> {
        let (found, refused) = checkpoint::newest_with(&self.path, take)?;
        let which = if refused.is_empty() { "" } else { " that is undamaged" };
        let found = found.ok_or_else(|| Error::NoCheckpoint {
            path: self.path.clone(),
            which: which.to_string(),
        })?;
        Ok((found, refused))
    }

    fn best_with<T>(
        &self,
        take: &impl Fn(&Manifest) -> Result<T, Error>,
    ) -> Result<((Manifest, T), Vec<String>), Error> {
        let better = |newest: &Manifest| {
            newest.best.as_ref().map(|best| best.step).filter(|best| *best != newest.step)
        };
        let mut newest_before = None;
        for _ in 0..checkpoint::LOOKS {
            // Taken in this search if it is the best: it may be gone a moment later.
            let ((newest, taken), mut refused) =
                self.newest_with(|manifest| match better(manifest) {
                    None => take(manifest).map(Some),
                    Some(_) => manifest.verify(&self.path).map(|()| None),
                })?;
            let best = match (taken, better(&newest)) {
                (Some(taken), _) => return Ok(((newest, taken), refused)),
                (None, best) => best.unwrap_or(newest.step),
            };
            match checkpoint::read_with(&self.path, best, take) {
                Ok(found) => return Ok((found, refused)),
                // Its run has found a better one and removed this one.
                Err(error) if error.is_absent() && newest_before != Some(newest.step) => {
                    newest_before = Some(newest.step);
                }
                Err(error) => {
                    let newest = newest.step;
                    refused
                        .push(format!("step {newest} is used, not the best, step {best}: {error}"));
                    return Ok((self.newest_with(take)?.0, refused));
                }
            }
        }
        Err(Error::Vanishing { path: self.path.clone() })
    }

    /// Path of `metrics.jsonl`.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// Path of `timing.jsonl`.
    pub fn timing_path(&self) -> PathBuf {
        self.path.join(TIMING)
    }

    /// Path of `trace.json`.
    pub fn trace_path(&self) -> PathBuf {
        self.path.join(TRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_image_comes_back_and_a_flipped_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut owned = Owned::open(dir.path(), &Recipe::default(), 1, None).unwrap();
        let data = crate::run::tests::data(100, 10);
        let mean = [1.5f32, 2.5, 3.5];
        let bytes = proto::chunk::floats_to_bytes(&mean);
        owned.data_record(data.clone(), &bytes).write_with_mean(dir.path(), &bytes).unwrap();
        let read = RunDir::open(dir.path()).unwrap();
        assert_eq!(read.data_set().unwrap(), &data);
        assert_eq!(read.mean().unwrap(), mean);
        fs::write(dir.path().join(MEAN), [0; 12]).unwrap();
        assert!(matches!(read.mean(), Err(Error::Damaged { .. })));
    }

    #[test]
    fn a_directory_in_use_says_so_and_its_end_is_the_requested_one() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = Recipe { batch: 10, epochs: 3, ..Recipe::default() };
        let mut owned = Owned::open(dir.path(), &recipe, 1, None).unwrap();
        let end = || RunDir::open(dir.path()).unwrap().end();
        assert_eq!(end(), None);
        let data = crate::run::tests::data(100, 10);
        owned.data_record(data, &[]).write_with_mean(dir.path(), &[]).unwrap();
        assert_eq!(end(), Some(30));
        owned.start_record(1, &[], 7).write(dir.path()).unwrap();
        assert_eq!(end(), Some(7));
        assert!(RunDir::open(dir.path()).unwrap().is_in_use());
        drop(owned);
        assert!(!RunDir::open(dir.path()).unwrap().is_in_use());
    }

    /// A training with `--keep 1` finds a better network while `predict` reads the best one.
    #[test]
    fn a_best_checkpoint_that_is_replaced_while_it_is_read_is_looked_for_again() {
        use checkpoint::tests::write;
        let dir = tempfile::tempdir().unwrap();
        drop(Owned::open(dir.path(), &Recipe::default(), 1, None).unwrap());
        write(dir.path(), 10, Some(10));
        write(dir.path(), 20, Some(10));
        let run = RunDir::open(dir.path()).unwrap();
        let take = |manifest: &Manifest| {
            if manifest.step == 10 {
                checkpoint::prune(dir.path(), &write(dir.path(), 30, Some(30)), 1)?;
            }
            manifest.load(dir.path())
        };
        let ((manifest, _), refused) = run.best_with(&take).unwrap();
        assert_eq!((manifest.step, refused), (30, vec![]));
    }

    #[test]
    fn a_best_checkpoint_that_somebody_removed_is_replaced_by_the_newest_with_a_sentence() {
        use checkpoint::tests::write;
        let dir = tempfile::tempdir().unwrap();
        drop(Owned::open(dir.path(), &Recipe::default(), 1, None).unwrap());
        write(dir.path(), 20, Some(10));
        let ((manifest, shards), refused) = RunDir::open(dir.path()).unwrap().load_best().unwrap();
        assert_eq!((manifest.step, shards.len()), (20, 2));
        assert!(refused[0].contains("step 20 is used, not the best, step 10"), "{refused:?}");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_not_taken_for_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        drop(Owned::open(dir.path(), &Recipe::default(), 1, None).unwrap());
        let record = dir.path().join(RECORD);
        fs::remove_file(&record).unwrap();
        fs::create_dir(&record).unwrap(); // reading it fails, even for root
        let said = RunDir::open(dir.path()).unwrap_err().to_string();
        assert!(said.contains("can't read") && said.contains(RECORD), "{said}");
    }

    #[test]
    fn any_other_folder_is_not_a_run_directory() {
        let dir = tempfile::tempdir().unwrap();
        let said = RunDir::open(dir.path()).unwrap_err().to_string();
        assert!(said.contains("is not a run directory") && said.contains(RECORD), "{said}");
    }
}
