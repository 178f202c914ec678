//! A checkpoint: the shards of all partitions, then the manifest. Without a manifest there is no
//! checkpoint.
//!
//! ```text
//! checkpoints/step-00000450/half-a.safetensors  half-b.safetensors  manifest.json (written last)
//! ```

mod folders; // the folders of all checkpoints: which there are, which are removed

pub(crate) use folders::{discard, prune, set_all_aside, set_unfinished_aside, shard_name};
pub use folders::{folder, parse_shard_name, steps};

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use proto::digest::sha256_of_all;
use serde::{Deserialize, Serialize};

use crate::disk::durable::{is_there, sha256, sync_folder, write_whole};
use crate::disk::format;
use crate::error::Error;
use crate::record::metrics::Evaluation;
use crate::run::rate::RateState;

const MANIFEST: &str = "manifest.json";
/// Format of the manifests that this program writes. `checksum` is the SHA-256 of the text with an
/// empty `checksum`, in every format. So a program can tell a damaged manifest from a newer one.
const FORMAT: u32 = 2;

/// Looks at the checkpoints of a run that removes them meanwhile: each later look finds newer ones.
pub(crate) const LOOKS: usize = 20;

/// The content of a checkpoint, and the run's state after its step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of this file; 1 in manifests without the number.
    #[serde(default = "format::first")]
    pub format: u32,
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
            format: FORMAT,
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
        self.checksum = sha256(&self.text());
        let path = folder.join(MANIFEST);
        sync_folder(&folder)?;
        write_whole(&path, &self.text())?;
        Ok(self)
    }

    fn text(&self) -> Vec<u8> {
        // Numbers, strings and no maps with other keys: this can't fail.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Reads the manifest of a step and checks it, but not its shards.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the file isn't what was written, [`Error::Newer`] if a later version
    /// wrote it.
    pub fn read(run_dir: &Path, step: u64) -> Result<Self, Error> {
        let path = folder(run_dir, step).join(MANIFEST);
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let damaged = |why: String| Error::Damaged { path: path.clone(), why };
        let Sealed { step: said, checksum } =
            serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        let got = checksum_without(&text, &checksum);
        if got.as_ref() != Some(&checksum) || said != step {
            let got = got.unwrap_or_default();
            return Err(damaged(format!("step {said}, checksum {got}, it says {checksum}")));
        }
        format::parse(&path, &text, FORMAT)
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

/// The fields that a manifest has in every format.
#[derive(Deserialize)]
struct Sealed {
    step: u64,
    checksum: String,
}

/// SHA-256 of a manifest's text without its checksum; `None` if the text doesn't have it.
fn checksum_without(text: &[u8], checksum: &str) -> Option<String> {
    let text = str::from_utf8(text).ok()?;
    let (before, after) = text.rsplit_once(&format!("\"checksum\": \"{checksum}\""))?;
    Some(sha256(format!("{before}\"checksum\": \"\"{after}").as_bytes()))
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
            Err(error @ Error::Newer { .. }) => return Err(error),
            Err(error) => refused.push(not_used(step, &error)),
        }
    }
    Ok(Some((None, refused)))
}

fn not_used(step: u64, error: &Error) -> String {
    format!("the checkpoint of step {step} is not used: {error}")
}

/// The newest whole checkpoint, as [`newest`] finds it, for the coordinator that owns the run.
///
/// An older checkpoint takes the place only of one that is damaged: training from the older one
/// overwrites the newer one. One that can't be read may be whole.
///
/// # Errors
/// [`Error::Io`] if something can't be read, [`Error::Newer`].
pub(crate) fn newest_to_resume(run_dir: &Path) -> Result<(Option<Manifest>, Vec<String>), Error> {
    let mut refused = Vec::new();
    for step in steps(run_dir)?.into_iter().rev() {
        let read = Manifest::read(run_dir, step);
        match read.and_then(|manifest| manifest.verify(run_dir).map(|()| manifest)) {
            Ok(manifest) => return Ok((Some(manifest), refused)),
            // Nobody else removes files here, so a shard that is absent is lost.
            Err(error) if error.is_absent() || matches!(error, Error::Damaged { .. }) => {
                refused.push(not_used(step, &error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((None, refused))
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
    let is_gone = || matches!(is_there(&folder(run_dir, step).join(MANIFEST)), Ok(false));
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn manifest(run_id: &str, step: u64, shards: Vec<ShardEntry>) -> Manifest {
        let identity = Identity {
            run_id: run_id.into(),
            recipe_sha256: "x".into(),
            data_set: "d".into(),
            seed: 1,
        };
        let state = State { step, epoch: 0.1, rate: RateState::default(), last: None, best: None };
        Manifest::new(identity, state, shards)
    }

    /// A checkpoint whose two shards hold `step`.
    pub(crate) fn write(dir: &Path, step: u64, best: Option<u64>) -> Manifest {
        write_as(dir, "r", step, best)
    }

    /// The same, of a run.
    pub(crate) fn write_of(dir: &Path, run_id: &str, step: u64) -> Manifest {
        write_as(dir, run_id, step, None)
    }

    fn write_as(dir: &Path, run_id: &str, step: u64, best: Option<u64>) -> Manifest {
        let bytes = step.to_le_bytes();
        fs::create_dir_all(folder(dir, step)).unwrap();
        let entry = |file: &str| {
            fs::write(folder(dir, step).join(file), bytes).unwrap();
            ShardEntry { file: file.into(), sha256: sha256(&bytes), bytes: 8 }
        };
        let shards = vec![entry("half-a.safetensors"), entry("half-b.safetensors")];
        let mut manifest = manifest(run_id, step, shards);
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
    }

    /// Every later version writes the checksum in this way, so that nothing newer looks damaged.
    #[test]
    fn a_manifest_of_a_later_version_is_refused_by_name_and_unknown_fields_are_harmless() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 10, None);
        write(dir.path(), 20, None);
        let path = folder(dir.path(), 20).join(MANIFEST);
        let text = fs::read_to_string(&path).unwrap();
        let sealed = |text: String| {
            let checksum = Manifest::read(dir.path(), 20).unwrap().checksum;
            let sum = checksum_without(text.as_bytes(), &checksum).unwrap();
            text.replace(&checksum, &sum)
        };
        let more = sealed(text.replace("\"step\"", "\"more\": {\"a\": []},\n  \"step\""));
        let newer = sealed(text.replace("\"format\": 2", "\"format\": 3"));
        let older = sealed(text.replace("  \"format\": 2,\n", ""));
        for (text, format) in [(more, 2), (older, 1)] {
            fs::write(&path, text).unwrap();
            let (found, refused) = newest_to_resume(dir.path()).unwrap();
            let found = found.unwrap();
            assert_eq!((found.step, found.format, refused), (20, format, vec![]));
        }
        fs::write(&path, newer).unwrap();
        for said in [newest(dir.path()), newest_to_resume(dir.path())] {
            let said = said.unwrap_err().to_string();
            assert!(said.contains("00000020/manifest.json was written by a newer"), "{said}");
            assert!(said.contains("format 3") && said.contains("up to 2"), "{said}");
        }
    }

    /// Reading a folder fails, even for root.
    #[test]
    fn a_checkpoint_that_can_not_be_read_is_not_replaced_by_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let older = write(dir.path(), 10, None);
        for file in ["half-b.safetensors", MANIFEST] {
            write(dir.path(), 20, None);
            let path = folder(dir.path(), 20).join(file);
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            let said = newest_to_resume(dir.path()).unwrap_err().to_string();
            assert!(said.contains("can't read") && said.contains(file), "{said}");
            // Whoever only reads does no harm with the older one.
            assert_eq!(newest(dir.path()).unwrap().0, Some(older.clone()));
            fs::remove_dir(&path).unwrap();
        }
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
}
