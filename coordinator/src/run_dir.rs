//! A run directory: everything that `resume`, `eval`, `predict`, `export` and `plot` need.
//!
//! ```text
//! recipe.toml     every key of the recipe
//! run.json        run id, seed, program, CPU, devices, data set with its class names and colours
//! mean.f32        the data set's mean image: [3, side, side] f32 little-endian, 0..255
//! metrics.jsonl   a line a step, a line an evaluation
//! checkpoints/    see [`crate::checkpoint`]
//! lock            held by the coordinator that works here
//! ```

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use model::recipe::Recipe;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{self, Manifest};
use crate::durable::{sha256, write_whole};
use crate::error::Error;
use crate::event::DataSet;

const RECIPE: &str = "recipe.toml";
const RECORD: &str = "run.json";
const MEAN: &str = "mean.f32";
const METRICS: &str = "metrics.jsonl";
const LOCK: &str = "lock";

/// `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Random; no two runs share it.
    pub run_id: String,
    /// Seed of every random number of the run.
    pub seed: u64,
    /// Name of the recipe.
    pub recipe: String,
    /// Version of the program that began the run.
    pub program: String,
    /// CPU model: results are bit for bit the same on one model.
    pub cpu: String,
    /// When it began: seconds since 1970.
    pub started: u64,
    /// Times that work has begun, recoveries included.
    pub incarnation: u64,
    /// `half A: cpu at 127.0.0.1:4001`, as last seated.
    pub devices: Vec<String>,
    /// The pictures; unknown until the first loader has come.
    pub data_set: Option<DataSet>,
    /// SHA-256 of `mean.f32`.
    pub mean_sha256: String,
}

/// A run directory, opened for reading.
#[derive(Debug, Clone, PartialEq)]
pub struct RunDir {
    /// Where it is.
    pub path: PathBuf,
    /// Its recipe, all keys.
    pub recipe: Recipe,
    /// What `run.json` says.
    pub record: Record,
}

impl RunDir {
    /// Opens a run directory, also one that a coordinator is working in.
    ///
    /// # Errors
    /// [`Error::NotARun`] or [`Error::Damaged`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let missing = |file: &str| Error::NotARun {
            path: path.to_path_buf(),
            why: format!("it has no {file}"),
        };
        let recipe_path = path.join(RECIPE);
        let text = fs::read_to_string(&recipe_path).map_err(|_| missing(RECIPE))?;
        let recipe = Recipe::from_toml(&text)
            .map_err(|e| Error::Damaged { path: recipe_path, why: e.to_string() })?;
        let record_path = path.join(RECORD);
        let text = fs::read(&record_path).map_err(|_| missing(RECORD))?;
        let record = serde_json::from_slice(&text)
            .map_err(|e| Error::Damaged { path: record_path, why: e.to_string() })?;
        Ok(Self { path: path.to_path_buf(), recipe, record })
    }

    /// The data set it was trained on.
    ///
    /// # Errors
    /// [`Error::NotARun`] if no loader ever came.
    pub fn data_set(&self) -> Result<&DataSet, Error> {
        let why = || "it has never had a data set".to_string();
        let missing = || Error::NotARun { path: self.path.clone(), why: why() };
        self.record.data_set.as_ref().ok_or_else(missing)
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
        proto::tensor::bytes_to_floats(&bytes).ok_or_else(damaged)
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
        let (manifest, refused) = checkpoint::newest(&self.path)?;
        let which = if refused.is_empty() { "" } else { " that is undamaged" };
        let manifest = manifest.ok_or_else(|| Error::NoCheckpoint {
            path: self.path.clone(),
            which: which.to_string(),
        })?;
        Ok((manifest, refused))
    }

    /// The checkpoint of a step, checked.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] or [`Error::Damaged`].
    pub fn at(&self, step: u64) -> Result<Manifest, Error> {
        if !self.steps()?.contains(&step) {
            let which = format!(" of step {step}");
            return Err(Error::NoCheckpoint { path: self.path.clone(), which });
        }
        let manifest = Manifest::read(&self.path, step)?;
        manifest.verify(&self.path)?;
        Ok(manifest)
    }

    /// The checkpoint with the lowest validation error, checked; the newest where nothing was
    /// evaluated or the best isn't there.
    ///
    /// # Errors
    /// As [`RunDir::newest`].
    pub fn best(&self) -> Result<Manifest, Error> {
        let (newest, _) = self.newest()?;
        match &newest.best {
            Some(best) if best.step != newest.step => self.at(best.step).or(Ok(newest)),
            _ => Ok(newest),
        }
    }

    /// Where `metrics.jsonl` is.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
    }
}

/// A run directory that this process works in; nobody else does meanwhile.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) dir: RunDir,
    pub(crate) recipe_toml: String,
    pub(crate) recipe_sha256: String,
    /// Unlocks when dropped.
    _lock: File,
}

impl Owned {
    /// Creates the directory, or takes up the run that is in it.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::OtherRun`], [`Error::Damaged`] or [`Error::Io`].
    pub(crate) fn open(path: &Path, recipe: &Recipe, seed: u64) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let lock = lock(path)?;
        let recipe_toml = recipe.to_toml();
        if !path.join(RECORD).exists() {
            // The record comes last: a directory with one is whole.
            let record = Record::new(recipe, seed)?;
            write_whole(&path.join(RECIPE), recipe_toml.as_bytes())?;
            write_record(path, &record)?;
        }
        let dir = RunDir::open(path)?;
        let mut differences = recipe_differences(&dir.recipe, recipe);
        if dir.record.seed != seed {
            differences.push(format!("seed {} there, {seed} asked for", dir.record.seed));
        }
        if !differences.is_empty() {
            let differences = differences.join("; ");
            return Err(Error::OtherRun { path: path.to_path_buf(), differences });
        }
        let recipe_sha256 = sha256(recipe_toml.as_bytes());
        Ok(Self { dir, recipe_toml, recipe_sha256, _lock: lock })
    }

    /// Writes the data set down.
    pub(crate) fn record_data(&mut self, data: &DataSet, mean: &[u8]) -> Result<(), Error> {
        write_whole(&self.dir.path.join(MEAN), mean)?;
        self.dir.record.mean_sha256 = sha256(mean);
        self.dir.record.data_set = Some(data.clone());
        write_record(&self.dir.path, &self.dir.record)
    }

    /// Writes a new incarnation down.
    pub(crate) fn record_start(
        &mut self,
        incarnation: u64,
        devices: Vec<String>,
    ) -> Result<(), Error> {
        self.dir.record.incarnation = incarnation;
        self.dir.record.devices = devices;
        write_record(&self.dir.path, &self.dir.record)
    }

    /// What is out of the ordinary about going on here.
    pub(crate) fn notices(&self) -> Vec<String> {
        let (then, now) = (&self.dir.record.cpu, cpu_model());
        if *then == now {
            return Vec::new();
        }
        vec![format!("the run began on {then:?}, this is {now:?}: bits may differ from here on")]
    }
}

impl Record {
    fn new(recipe: &Recipe, seed: u64) -> Result<Self, Error> {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Ok(Self {
            run_id: random_id()?,
            seed,
            recipe: recipe.name.clone(),
            program: proto::process::VERSION.to_string(),
            cpu: cpu_model(),
            started: since_1970.map_or(0, |d| d.as_secs()),
            incarnation: 0,
            devices: Vec::new(),
            data_set: None,
            mean_sha256: String::new(),
        })
    }
}

fn write_record(path: &Path, record: &Record) -> Result<(), Error> {
    // Strings and numbers only: this can't fail.
    let text = serde_json::to_vec_pretty(record).unwrap_or_default();
    write_whole(&path.join(RECORD), &text)
}

/// Each key that differs, with both values.
fn recipe_differences(there: &Recipe, asked: &Recipe) -> Vec<String> {
    let table = |recipe| toml::Table::try_from(recipe).unwrap_or_default();
    let (there, asked) = (table(there), table(asked));
    let keys: std::collections::BTreeSet<_> = there.keys().chain(asked.keys()).collect();
    let show = |value: Option<&toml::Value>| value.map_or("nothing".into(), toml::Value::to_string);
    keys.into_iter()
        .filter(|key| there.get(*key) != asked.get(*key))
        .map(|key| {
            format!("{key} = {} there, {} asked for", show(there.get(key)), show(asked.get(key)))
        })
        .collect()
}

/// Takes the lock and leaves this process's number in it.
fn lock(path: &Path) -> Result<File, Error> {
    let lock_path = path.join(LOCK);
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&lock_path)
        .map_err(Error::io("open", &lock_path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let holder = fs::read_to_string(&lock_path).unwrap_or_default();
            let by = match holder.trim() {
                "" => String::new(),
                holder => format!(" (process {holder})"),
            };
            return Err(Error::Locked { path: path.to_path_buf(), by });
        }
        Err(fs::TryLockError::Error(e)) => return Err(Error::io("lock", &lock_path)(e)),
    }
    // For people only; a full disk must not stop a run that could go on.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Sixteen hex digits from the system's generator.
fn random_id() -> Result<String, Error> {
    use std::io::Read;
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    File::open(path).and_then(|mut f| f.read_exact(&mut bytes)).map_err(Error::io("read", path))?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

/// `model name` of the first core.
fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": "))
        .map_or("unknown", |(_, name)| name.trim())
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_another_recipe_or_seed_is_refused_with_both_values() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = Recipe::default();
        drop(Owned::open(dir.path(), &recipe, 1).unwrap());
        let other = Recipe { batch: 64, ..recipe.clone() };
        let said = Owned::open(dir.path(), &other, 2).unwrap_err().to_string();
        assert!(said.contains("batch = 128 there, 64 asked for"), "{said}");
        assert!(said.contains("seed 1 there, 2 asked for"), "{said}");
        Owned::open(dir.path(), &recipe, 1).unwrap();
    }

    #[test]
    fn two_coordinators_can_not_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Owned::open(dir.path(), &Recipe::default(), 1).unwrap();
        let said = Owned::open(dir.path(), &Recipe::default(), 1).unwrap_err().to_string();
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
        drop(first);
        Owned::open(dir.path(), &Recipe::default(), 1).unwrap();
    }

    #[test]
    fn the_mean_image_comes_back_and_a_flipped_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut owned = Owned::open(dir.path(), &Recipe::default(), 1).unwrap();
        let data = crate::run::tests::data(100, 10);
        let mean = [1.5f32, 2.5, 3.5];
        owned.record_data(&data, &proto::tensor::floats_to_bytes(&mean)).unwrap();
        let read = RunDir::open(dir.path()).unwrap();
        assert_eq!(read.data_set().unwrap(), &data);
        assert_eq!(read.mean().unwrap(), mean);
        fs::write(dir.path().join(MEAN), [0; 12]).unwrap();
        assert!(matches!(read.mean(), Err(Error::Damaged { .. })));
    }

    #[test]
    fn any_other_folder_is_not_a_run_directory() {
        let dir = tempfile::tempdir().unwrap();
        let said = RunDir::open(dir.path()).unwrap_err().to_string();
        assert!(said.contains("is not a run directory") && said.contains(RECIPE), "{said}");
    }
}
