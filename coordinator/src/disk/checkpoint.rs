//! A checkpoint: the shards of all partitions, then the manifest. Without a manifest there is no
//! checkpoint.
//!
//! ```text
//! checkpoints/step-00000450/half-a.safetensors  half-b.safetensors  manifest.json (written last)
//! ```

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use proto::digest::sha256_of_all;
use serde::{Deserialize, Serialize};

use crate::disk::durable::{sha256, sync_folder, write_whole};
use crate::error::Error;
use crate::record::metrics::Evaluation;
use crate::run::rate::RateState;

const MANIFEST: &str = "manifest.json";
const FOLDER: &str = "checkpoints";

/// Looks at the checkpoints of a run that removes them meanwhile: each later look finds newer ones.
pub(crate) const LOOKS: usize = 20;

/// The content of a checkpoint, and the run's state after its step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Steps done.
    pub step: u64,
    /// Epochs done.
    pub epoch: f64,
    /// Id of the run.
    pub run_id: String,
    /// SHA-256 of `recipe.toml`.
    pub recipe_sha256: String,
    /// Digest of the data set.
    pub data_set: String,
    /// Seed of the run.
    pub seed: u64,
    /// Half A, then half B; or the whole network.
    pub shards: Vec<ShardEntry>,
    /// State of the learning rate.
    pub rate: RateState,
    /// The last evaluation.
    pub last: Option<Evaluation>,
    /// Evaluation with the lowest top-1 error.
    pub best: Option<Evaluation>,
    /// Length to which `metrics.jsonl` is cut back when the run rolls back to this checkpoint.
    pub metrics_bytes: u64,
    /// SHA-256 of this manifest with this field empty.
    checksum: String,
}

/// One shard file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// File name inside the checkpoint's folder.
    pub file: String,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: u64,
}

impl ShardEntry {
    /// Compares a file's digest and length with those that were written.
    fn compare(&self, path: PathBuf, sha256: &str, bytes: u64) -> Result<(), Error> {
        if sha256 == self.sha256 && bytes == self.bytes {
            return Ok(());
        }
        let why = format!(
            "sha256 {sha256} over {bytes} bytes, its manifest says {} over {}",
            self.sha256, self.bytes
        );
        Err(Error::Damaged { path, why })
    }
}

/// The state of a run that goes into a manifest; lengths and checksums are filled in on writing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    pub(crate) step: u64,
    pub(crate) epoch: f64,
    pub(crate) rate: RateState,
    pub(crate) last: Option<Evaluation>,
    pub(crate) best: Option<Evaluation>,
}

/// The part that is the same in every manifest of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) run_id: String,
    pub(crate) recipe_sha256: String,
    pub(crate) data_set: String,
    pub(crate) seed: u64,
}

impl Manifest {
    /// A manifest of this state; [`Manifest::write`] makes the checkpoint exist.
    pub(crate) fn new(identity: Identity, state: State, shards: Vec<ShardEntry>) -> Self {
        Self {
            step: state.step,
            epoch: state.epoch,
            run_id: identity.run_id,
            recipe_sha256: identity.recipe_sha256,
            data_set: identity.data_set,
            seed: identity.seed,
            shards,
            rate: state.rate,
            last: state.last,
            best: state.best,
            metrics_bytes: 0,
            checksum: String::new(),
        }
    }

    /// Writes the manifest beside its shards, which exist already.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a shard isn't what its worker sent, [`Error::Io`] if the disk is full.
    pub(crate) fn write(mut self, run_dir: &Path, metrics_bytes: u64) -> Result<Self, Error> {
        let folder = folder(run_dir, self.step);
        for shard in &self.shards {
            // Its bytes were hashed on arrival; the length shows that it is the same file.
            let path = folder.join(&shard.file);
            let bytes = fs::metadata(&path).map_err(Error::io("find", &path))?.len();
            if bytes != shard.bytes {
                let why = format!("{bytes} bytes, its worker sent {}", shard.bytes);
                return Err(Error::Damaged { path, why });
            }
        }
        self.metrics_bytes = metrics_bytes;
        self.checksum = self.own_checksum();
        let path = folder.join(MANIFEST);
        sync_folder(&folder)?;
        write_whole(&path, &self.text())?;
        Ok(self)
    }

    fn text(&self) -> Vec<u8> {
        // Numbers, strings and no maps with other keys: this can't fail.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    fn own_checksum(&self) -> String {
        sha256(&Self { checksum: String::new(), ..self.clone() }.text())
    }

    /// Reads the manifest of a step and checks it, but not its shards.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the file isn't what was written.
    pub fn read(run_dir: &Path, step: u64) -> Result<Self, Error> {
        let path = folder(run_dir, step).join(MANIFEST);
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|e| Error::Damaged { path: path.clone(), why: e.to_string() })?;
        let got = manifest.own_checksum();
        if got != manifest.checksum || manifest.step != step {
            let why = format!("checksum {got}, it says {}", manifest.checksum);
            return Err(Error::Damaged { path, why });
        }
        Ok(manifest)
    }

    /// Reads every shard and compares checksums.
    ///
    /// # Errors
    /// [`Error::Damaged`] naming the file, or [`Error::Io`] if it can't be read.
    pub fn verify(&self, run_dir: &Path) -> Result<(), Error> {
        for (shard, path, file) in self.open(run_dir)? {
            let (sha256, bytes) = sha256_of_all(file).map_err(Error::io("read", &path))?;
            shard.compare(path, &sha256, bytes)?;
        }
        Ok(())
    }

    /// Reads every shard into memory, half A first, and compares checksums.
    ///
    /// # Errors
    /// [`Error::Damaged`] naming the file, or [`Error::Io`] if it can't be read.
    pub fn load(&self, run_dir: &Path) -> Result<Vec<Bytes>, Error> {
        let load = |(shard, path, file): (&ShardEntry, PathBuf, File)| {
            // The manifest's length is not trusted with memory: the file may be shorter.
            let mut bytes = Vec::new();
            let mut limited = file.take(shard.bytes.saturating_add(1));
            limited.read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
            shard.compare(path, &sha256(&bytes), bytes.len() as u64)?;
            Ok(bytes.into())
        };
        self.open(run_dir)?.into_iter().map(load).collect()
    }

    /// Opens all shards: once they are open, no one can remove them from under the reader.
    fn open<'a>(&'a self, run_dir: &Path) -> Result<Vec<(&'a ShardEntry, PathBuf, File)>, Error> {
        let open = |shard: &'a ShardEntry| {
            let path = folder(run_dir, self.step).join(&shard.file);
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            Ok((shard, path, file))
        };
        self.shards.iter().map(open).collect()
    }

    /// Path of a shard, by its index: half A is 0, half B 1; a whole network has only 0.
    pub fn shard_path(&self, run_dir: &Path, index: usize) -> Option<PathBuf> {
        Some(folder(run_dir, self.step).join(&self.shards.get(index)?.file))
    }
}

/// The folder of a step's checkpoint.
pub fn folder(run_dir: &Path, step: u64) -> PathBuf {
    run_dir.join(FOLDER).join(format!("step-{step:08}"))
}

/// The name of a shard for workers: its path relative to the run directory.
pub(crate) fn shard_name(step: u64, file: &str) -> String {
    format!("{FOLDER}/step-{step:08}/{file}")
}

/// The step and file of a shard's name; `None` for any other text, paths with `..` included.
pub fn parse_shard_name(name: &str) -> Option<(u64, &str)> {
    let (folder, file) = name.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
    let step = parse_folder(folder)?;
    let known = ["half-a.safetensors", "half-b.safetensors", "whole.safetensors"];
    known.contains(&file).then_some((step, file))
}

fn parse_folder(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?;
    let step = digits.parse().ok()?;
    // Only the one spelling: not `step-+1`, not `step-1`.
    (format!("{step:08}") == digits).then_some(step)
}

/// Steps with a folder, with or without a manifest, oldest first.
fn folders(run_dir: &Path) -> Result<Vec<u64>, Error> {
    let path = run_dir.join(FOLDER);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", &path)(e)),
    };
    let mut steps = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", &path))?;
        steps.extend(entry.file_name().to_str().and_then(parse_folder));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Steps that have a manifest, oldest first.
///
/// # Errors
/// [`Error::Io`] if the folder can't be read.
pub fn steps(run_dir: &Path) -> Result<Vec<u64>, Error> {
    let mut steps = folders(run_dir)?;
    steps.retain(|step| folder(run_dir, *step).join(MANIFEST).is_file());
    Ok(steps)
}

/// The newest whole checkpoint, and a sentence for each newer one that is damaged.
///
/// # Errors
/// [`Error::Io`] if the folder can't be read, [`Error::Vanishing`] if each checkpoint is removed
/// before it is read.
pub fn newest(run_dir: &Path) -> Result<(Option<Manifest>, Vec<String>), Error> {
    let (found, refused) = newest_with(run_dir, |manifest| manifest.verify(run_dir))?;
    Ok((found.map(|(manifest, ())| manifest), refused))
}

/// A checkpoint and what was made of it, if there is one; and a sentence for each one refused.
pub(crate) type Found<T> = (Option<(Manifest, T)>, Vec<String>);

/// The newest checkpoint that `take` accepts, as [`newest`] finds it.
///
/// A running training removes old checkpoints. If one is removed between listing and reading, it
/// is not damaged: there is a newer one by then, so the search begins again.
pub(crate) fn newest_with<T>(
    run_dir: &Path,
    take: impl Fn(&Manifest) -> Result<T, Error>,
) -> Result<Found<T>, Error> {
    for _ in 0..LOOKS {
        if let Some(found) = look(run_dir, &take)? {
            return Ok(found);
        }
    }
    Err(Error::Vanishing { path: run_dir.to_path_buf() })
}

/// One search; `None` if a checkpoint was removed meanwhile.
fn look<T>(
    run_dir: &Path,
    take: &impl Fn(&Manifest) -> Result<T, Error>,
) -> Result<Option<Found<T>>, Error> {
    let mut refused = Vec::new();
    for step in steps(run_dir)?.into_iter().rev() {
        match read_with(run_dir, step, take) {
            Ok(found) => return Ok(Some((Some(found), refused))),
            Err(Error::NoCheckpoint { .. }) => return Ok(None),
            Err(error) => {
                refused.push(format!("the checkpoint of step {step} is not used: {error}"));
            }
        }
    }
    Ok(Some((None, refused)))
}

/// The checkpoint of a step, and what `take` makes of it.
///
/// # Errors
/// [`Error::NoCheckpoint`] if it has no manifest, or was removed while it was read: its manifest
/// goes first. Otherwise the errors of `take`; a missing shard beside a manifest is one of them.
pub(crate) fn read_with<T>(
    run_dir: &Path,
    step: u64,
    take: impl Fn(&Manifest) -> Result<T, Error>,
) -> Result<(Manifest, T), Error> {
    let read = Manifest::read(run_dir, step)
        .and_then(|manifest| take(&manifest).map(|taken| (manifest, taken)));
    let is_gone = || matches!(folder(run_dir, step).join(MANIFEST).try_exists(), Ok(false));
    match read {
        Err(error) if error.is_absent() && is_gone() => Err(Error::NoCheckpoint {
            path: run_dir.to_path_buf(),
            which: format!(" of step {step}"),
        }),
        read => read,
    }
}

/// Time of a checkpoint, if the file system knows it.
pub(crate) fn made_at(run_dir: &Path, step: u64) -> Option<SystemTime> {
    fs::metadata(folder(run_dir, step).join(MANIFEST)).ok()?.modified().ok()
}

/// Removes the remains of a crash: folders without a manifest.
pub(crate) fn remove_unfinished(run_dir: &Path) -> Result<(), Error> {
    let whole = steps(run_dir)?;
    for step in folders(run_dir)? {
        if !whole.contains(&step) {
            discard(run_dir, step);
        }
    }
    Ok(())
}

/// Removes an unfinished checkpoint.
pub(crate) fn discard(run_dir: &Path, step: u64) {
    let path = folder(run_dir, step);
    if path.is_dir()
        && let Err(error) = fs::remove_dir_all(&path)
    {
        tracing::warn!(path = %path.display(), %error, "an unfinished checkpoint can't be removed");
    }
}

/// Removes all but the last `keep` checkpoints up to this one and the best.
pub(crate) fn prune(run_dir: &Path, newest: &Manifest, keep: usize) -> Result<(), Error> {
    let best = newest.best.as_ref().map(|e| e.step);
    let old: Vec<u64> = steps(run_dir)?.into_iter().filter(|s| *s <= newest.step).collect();
    for step in old.iter().rev().skip(keep).filter(|step| Some(**step) != best) {
        let path = folder(run_dir, *step).join(MANIFEST);
        // The manifest goes first: after a crash in between, the folder is no checkpoint.
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        discard(run_dir, *step);
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn manifest(step: u64, shards: Vec<ShardEntry>) -> Manifest {
        let identity = Identity {
            run_id: "r".into(),
            recipe_sha256: "x".into(),
            data_set: "d".into(),
            seed: 1,
        };
        let state = State { step, epoch: 0.1, rate: RateState::default(), last: None, best: None };
        Manifest::new(identity, state, shards)
    }

    /// A checkpoint whose two shards hold `step`.
    pub(crate) fn write(dir: &Path, step: u64, best: Option<u64>) -> Manifest {
        let bytes = step.to_le_bytes();
        fs::create_dir_all(folder(dir, step)).unwrap();
        let entry = |file: &str| {
            fs::write(folder(dir, step).join(file), bytes).unwrap();
            ShardEntry { file: file.into(), sha256: sha256(&bytes), bytes: 8 }
        };
        let shards = vec![entry("half-a.safetensors"), entry("half-b.safetensors")];
        let mut manifest = manifest(step, shards);
        manifest.best = best.map(|step| Evaluation {
            step,
            epoch: 0.3,
            n_images: 1,
            loss: 0.1 + 0.2,
            top1_error: 1.0 / 3.0,
            top5_error: 0.0,
        });
        manifest.write(dir, 0).unwrap()
    }

    #[test]
    fn a_checkpoint_without_manifest_does_not_exist() {
        let dir = tempfile::tempdir().unwrap();
        let kept = write(dir.path(), 10, None);
        write(dir.path(), 20, None);
        fs::remove_file(folder(dir.path(), 20).join(MANIFEST)).unwrap();
        assert_eq!(newest(dir.path()).unwrap(), (Some(kept), vec![]));
        remove_unfinished(dir.path()).unwrap();
        assert!(!folder(dir.path(), 20).exists() && folder(dir.path(), 10).exists());
    }

    #[test]
    fn a_flipped_byte_in_shard_or_manifest_refuses_the_checkpoint_by_name() {
        for file in ["half-b.safetensors", MANIFEST] {
            let dir = tempfile::tempdir().unwrap();
            let kept = write(dir.path(), 10, None);
            write(dir.path(), 20, None);
            let path = folder(dir.path(), 20).join(file);
            let mut bytes = fs::read(&path).unwrap();
            // In the manifest: the digit of the step, still valid JSON.
            let at = bytes.iter().position(|b| *b == b'2').unwrap_or(3);
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            let (found, said) = newest(dir.path()).unwrap();
            assert_eq!(found, Some(kept));
            assert!(said[0].contains(file) && said[0].contains("step 20"), "{said:?}");
        }
    }

    /// A training with `--keep 1` does this while another process reads.
    #[test]
    fn a_checkpoint_that_is_removed_while_it_is_read_makes_room_for_the_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 10, None);
        let looks = std::cell::Cell::new(0);
        let take = |manifest: &Manifest| {
            looks.set(looks.get() + 1);
            if looks.get() == 1 {
                prune(dir.path(), &write(dir.path(), 20, None), 1)?;
            }
            manifest.load(dir.path())
        };
        let (found, refused) = newest_with(dir.path(), take).unwrap();
        let (manifest, shards) = found.unwrap();
        assert_eq!((manifest.step, looks.get()), (20, 2));
        assert!(shards.len() == 2 && shards.iter().all(|shard| shard[..] == 20_u64.to_le_bytes()));
        assert!(refused.is_empty(), "nothing was damaged: {refused:?}");
    }

    /// A shard that is missing beside its manifest was not removed by its run.
    #[test]
    fn a_checkpoint_without_one_of_its_shards_is_damaged_not_gone() {
        let dir = tempfile::tempdir().unwrap();
        let kept = write(dir.path(), 10, None);
        write(dir.path(), 20, None);
        fs::remove_file(folder(dir.path(), 20).join("half-b.safetensors")).unwrap();
        let (found, said) = newest(dir.path()).unwrap();
        assert_eq!(found, Some(kept));
        assert!(said[0].contains("step 20") && said[0].contains("half-b"), "{said:?}");
    }

    #[test]
    fn checkpoints_that_vanish_without_end_are_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let looks = std::cell::Cell::new(1);
        write(dir.path(), 1, None);
        let take = |_: &Manifest| -> Result<(), Error> {
            looks.set(looks.get() + 1);
            prune(dir.path(), &write(dir.path(), looks.get(), None), 1)?;
            Err(Error::NoCheckpoint { path: dir.path().into(), which: String::new() })
        };
        let said = newest_with(dir.path(), take).unwrap_err();
        assert!(matches!(said, Error::Vanishing { .. }), "{said}");
        assert_eq!(looks.get(), LOOKS as u64 + 1);
    }

    #[test]
    fn a_manifest_comes_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let written = write(dir.path(), 7, Some(7));
        assert_eq!(Manifest::read(dir.path(), 7).unwrap(), written);
    }

    #[test]
    fn the_last_three_and_the_best_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut last = write(dir.path(), 1, Some(1));
        for step in 2..=7 {
            last = write(dir.path(), step, Some(2));
        }
        prune(dir.path(), &last, 3).unwrap();
        assert_eq!(folders(dir.path()).unwrap(), [2, 5, 6, 7]);
    }

    #[test]
    fn only_shard_names_are_file_names() {
        let good = shard_name(450, "half-a.safetensors");
        assert_eq!(parse_shard_name(&good), Some((450, "half-a.safetensors")));
        for bad in [
            "checkpoints/step-00000450/../../run.json",
            "/etc/passwd",
            "checkpoints/step-450/half-a.safetensors",
            "checkpoints/step-+0000450/half-a.safetensors",
            "checkpoints/../checkpoints/step-00000450/half-a.safetensors",
            "run.json",
        ] {
            assert_eq!(parse_shard_name(bad), None, "{bad}");
        }
    }
}
