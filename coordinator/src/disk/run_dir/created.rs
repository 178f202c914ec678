//! A run directory that begins with given weights: its first checkpoint is that of step 0.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use model::halves::Partition;
use model::recipe::Recipe;
use proto::chunk::floats_to_bytes;

use super::{Owned, RunDir};
use crate::disk::checkpoint::{self, Identity, Manifest, ShardEntry, State};
use crate::disk::data_set::DataSet;
use crate::disk::durable::{create_folders, sha256, sync_folder, write_whole};
use crate::error::Error;
use crate::run::rate::RateState;

/// Everything that a run with given weights begins with, except the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Beginning {
    /// Recipe of the run.
    pub recipe: Recipe,
    /// Seed of the run.
    pub seed: u64,
    /// Data set of the run.
    pub data_set: DataSet,
    /// Mean image, `[3, side, side]`, 0..255.
    pub mean: Vec<f32>,
}

impl RunDir {
    /// Creates a run directory whose checkpoint of step 0 has these shards, half A first.
    ///
    /// The directory appears whole or not at all: until then it is named `PATH.partial`.
    ///
    /// # Errors
    /// [`Error::Taken`] if there is anything but an empty folder, [`Error::Io`], or the error with
    /// which a shard could not be made.
    pub fn create<E: From<Error>>(
        path: &Path,
        beginning: &Beginning,
        shards: impl IntoIterator<Item = Result<(Partition, Vec<u8>), E>>,
    ) -> Result<Self, E> {
        let beside = room(path)?;
        let made = fill(&beside, beginning, shards).and_then(|()| {
            fs::rename(&beside, path).map_err(Error::io("create", path))?;
            Ok(sync_folder(path)?)
        });
        if made.is_err() {
            // The error that is returned matters more.
            let _ = fs::remove_dir_all(&beside);
        }
        made?;
        Ok(Self::open(path)?)
    }
}

/// Makes sure that the path is free; returns the path of the folder to fill, which does not exist.
fn room(path: &Path) -> Result<PathBuf, Error> {
    let taken = || Error::Taken { path: path.to_path_buf() };
    let mut entries = match fs::read_dir(path) {
        Ok(entries) => Some(entries),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) if e.kind() == ErrorKind::NotADirectory => return Err(taken()),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    if entries.as_mut().is_some_and(|entries| entries.next().is_some()) {
        return Err(taken());
    }
    if path.file_name().is_none() {
        return Err(taken());
    }
    let beside = path.with_added_extension("partial");
    match fs::remove_dir_all(&beside) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", &beside)(e)),
        _ => Ok(beside),
    }
}

fn fill<E: From<Error>>(
    path: &Path,
    beginning: &Beginning,
    shards: impl IntoIterator<Item = Result<(Partition, Vec<u8>), E>>,
) -> Result<(), E> {
    let Beginning { recipe, seed, data_set, mean } = beginning;
    let mut owned = Owned::open(path, recipe, *seed, None)?;
    let folder = checkpoint::folder(path, 0);
    create_folders(&folder)?;
    let mut entries = Vec::new();
    for shard in shards {
        let (partition, bytes) = shard?;
        let file = format!("{}.safetensors", partition.file_stem());
        write_whole(&folder.join(&file), &bytes)?;
        entries.push(ShardEntry { file, sha256: sha256(&bytes), bytes: bytes.len() as u64 });
    }
    let identity = Identity {
        run_id: owned.dir.record.run_id.clone(),
        recipe_sha256: owned.recipe_sha256.clone(),
        data_set: data_set.digest.clone(),
        seed: *seed,
    };
    let rate = RateState::default();
    let state = State { step: 0, epoch: 0.0, rate, last: None, best: None };
    Manifest::new(identity, state, entries).write(path, 0)?;
    // A run that loses this checkpoint must not begin anew with random weights.
    let _ = owned.checkpoint_record();
    let mean = floats_to_bytes(mean);
    owned.data_record(data_set.clone(), &mean).write_with_mean(path, &mean)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use model::halves::Half;

    use super::*;

    fn beginning() -> Beginning {
        Beginning {
            recipe: Recipe::default(),
            seed: 7,
            data_set: crate::run::tests::data(100, 10),
            mean: vec![1.5; 12],
        }
    }

    fn shards() -> impl Iterator<Item = Result<(Partition, Vec<u8>), Error>> {
        Half::BOTH.map(|half| Ok((Partition::Half(half), vec![half as u8; 8]))).into_iter()
    }

    #[test]
    fn a_run_with_given_weights_is_a_run_like_any_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs/x");
        let made = RunDir::create(&path, &beginning(), shards()).unwrap();
        assert_eq!(made.data_set().unwrap(), &beginning().data_set);
        assert_eq!(made.mean().unwrap(), [1.5; 12]);
        let ((manifest, shards), refused) = made.load_best().unwrap();
        assert_eq!((manifest.step, refused), (0, vec![]));
        assert_eq!(shards, [vec![0; 8], vec![1; 8]]);
        // The coordinator resumes it, and misses the checkpoint if it is gone.
        let owned = Owned::open(&path, &beginning().recipe, 7, None).unwrap();
        assert!(owned.dir.record.had_checkpoints && made.steps().unwrap() == [0]);
        assert_eq!(fs::read_dir(dir.path().join("runs")).unwrap().count(), 1, "nothing beside it");
    }

    #[test]
    fn nothing_that_is_there_is_replaced_and_nothing_is_left_by_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let failing = shards().chain([Err(Error::StoreClosed)]);
        assert!(matches!(RunDir::create(&path, &beginning(), failing), Err(Error::StoreClosed)));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::create_dir(&path).unwrap();
        RunDir::create(&path, &beginning(), shards()).expect("an empty folder is free");
        fs::write(dir.path().join("file"), "mine").unwrap();
        for there in [path, dir.path().join("file")] {
            let said = RunDir::create(&there, &beginning(), shards()).unwrap_err().to_string();
            assert!(said.contains("is there already"), "{said}");
        }
        assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"mine");
    }
}
