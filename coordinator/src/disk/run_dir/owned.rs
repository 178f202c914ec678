//! The run directory that this process works in: created or resumed, locked, and kept up to date.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use model::recipe::Recipe;
use proto::status::WorkerStatus;

use super::{
    FORMAT, LOCK, MEAN, METRICS, RECIPE, RECORD, Record, RunDir, Seated, Start, TIMING, TRACE,
};
use crate::disk::checkpoint;
use crate::disk::data_set::DataSet;
use crate::disk::durable::{self, create_folders, is_there, sha256, write_new, write_whole};
use crate::error::Error;

/// A run directory that this process works in, alone.
#[derive(Debug)]
pub(crate) struct Owned {
    pub(crate) dir: RunDir,
    pub(crate) recipe_toml: String,
    pub(crate) recipe_sha256: String,
    /// Released when dropped.
    _lock: File,
}

impl Owned {
    /// Creates the directory, or resumes the run in it. A new run starts from `start`; one that
    /// exists keeps what it started from.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::OtherRun`], [`Error::Lost`], [`Error::Damaged`],
    /// [`Error::Newer`] or [`Error::Io`].
    pub(crate) fn open(
        path: &Path,
        recipe: &Recipe,
        seed: u64,
        start: Option<&Start>,
    ) -> Result<Self, Error> {
        create_folders(path)?;
        let lock = lock(path)?;
        let recipe_toml = recipe.to_toml();
        if !is_there(&path.join(RECORD))? {
            // A new id would part the checkpoints from their run.
            if let Some(step) = checkpoint::steps(path)?.last() {
                let missing = format!("it has a checkpoint of step {step}, but no {RECORD}");
                return Err(Error::Lost { path: path.to_path_buf(), missing });
            }
            // The record comes last: a directory with one is whole.
            let record = Record { start: start.cloned(), ..Record::new(recipe, seed)? };
            write_whole(&path.join(RECIPE), recipe_toml.as_bytes())?;
            write_new(&path.join(RECORD), &record.text())?;
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

    /// Sets everything aside that belongs to an earlier beginning of the run, and its id last.
    /// Returns the new path of the checkpoints, if there were any.
    pub(crate) fn set_aside(path: &Path) -> Result<Option<PathBuf>, Error> {
        let _lock = lock(path)?;
        let checkpoints = checkpoint::set_all_aside(path)?;
        for file in [METRICS, TIMING, TRACE, RECORD] {
            durable::set_aside(&path.join(file))?;
        }
        Ok(checkpoints)
    }

    /// Records that the run has a checkpoint, if that isn't on record already.
    pub(crate) fn record_checkpoint(&mut self) -> Result<(), Error> {
        self.checkpoint_record().map_or(Ok(()), |record| record.write(&self.dir.path))
    }

    /// The record of a run that has a checkpoint, to be written; `None` if it is on the disk.
    pub(crate) fn checkpoint_record(&mut self) -> Option<Record> {
        let is_new = !std::mem::replace(&mut self.dir.record.had_checkpoints, true);
        is_new.then(|| self.dir.record.clone())
    }

    /// The record of a run with this data set, to be written.
    pub(crate) fn data_record(&mut self, data: DataSet, mean: &[u8]) -> Record {
        self.dir.record.mean_sha256 = sha256(mean);
        self.dir.record.data_set = Some(data);
        self.dir.record.clone()
    }

    /// The record of a new incarnation, to be written.
    pub(crate) fn start_record(
        &mut self,
        incarnation: u64,
        workers: &[WorkerStatus],
        steps: u64,
    ) -> Record {
        let record = &mut self.dir.record;
        record.incarnation = incarnation;
        record.steps = Some(steps);
        record.devices = workers.iter().map(ToString::to_string).collect();
        record.seats = workers.iter().filter_map(Seated::of).collect();
        record.clone()
    }

    /// A sentence for each partition that continues on another device than before.
    pub(crate) fn other_devices(&self, workers: &[WorkerStatus]) -> Vec<String> {
        let changed = workers.iter().filter_map(|worker| {
            let (partition, now) = (worker.partition?, Seated::of(worker)?);
            let before = self.dir.record.seats.iter().find(|s| s.partition == now.partition)?;
            (before.device != now.device).then(|| {
                format!(
                    "{partition}: {}; before, {partition}: {}: bits may differ from here on",
                    now.device, before.device
                )
            })
        });
        changed.collect()
    }

    /// Anything out of the ordinary about continuing the run on this machine.
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
            format: FORMAT,
            run_id: random_id()?,
            seed,
            recipe: recipe.name.clone(),
            program: proto::VERSION.to_string(),
            cpu: cpu_model(),
            started: since_1970.map_or(0, |d| d.as_secs()),
            incarnation: 0,
            devices: Vec::new(),
            seats: Vec::new(),
            steps: None,
            had_checkpoints: false,
            start: None,
            data_set: None,
            mean_sha256: String::new(),
        })
    }

    fn text(&self) -> Vec<u8> {
        // Strings and numbers only: this can't fail.
        serde_json::to_vec_pretty(&Self { format: FORMAT, ..self.clone() }).unwrap_or_default()
    }

    /// Writes the record.
    pub(crate) fn write(&self, run_dir: &Path) -> Result<(), Error> {
        write_whole(&run_dir.join(RECORD), &self.text())
    }

    /// Writes the record, and the mean image before it.
    pub(crate) fn write_with_mean(&self, run_dir: &Path, mean: &[u8]) -> Result<(), Error> {
        write_whole(&run_dir.join(MEAN), mean)?;
        self.write(run_dir)
    }
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

/// Takes the lock and writes this process's number and machine into it: the disk may be shared.
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
    // For people only; a full disk must not stop a run that can continue.
    let holder = format!("{} on {}", std::process::id(), machine());
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{holder}"));
    Ok(file)
}

/// Name of this machine.
fn machine() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "an unknown machine".into() } else { name.trim().into() }
}

/// Sixteen hex digits from the system's generator.
fn random_id() -> Result<String, Error> {
    random_bytes().map(|bytes| format!("{:016x}", u64::from_le_bytes(bytes)))
}

/// Bytes from the system's generator, which nobody can guess.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], Error> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    File::open(path).and_then(|mut f| f.read_exact(&mut bytes)).map_err(Error::io("read", path))?;
    Ok(bytes)
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
        drop(Owned::open(dir.path(), &recipe, 1, None).unwrap());
        let other = Recipe { batch: 64, ..recipe.clone() };
        let said = Owned::open(dir.path(), &other, 2, None).unwrap_err().to_string();
        assert!(said.contains("batch = 128 there, 64 asked for"), "{said}");
        assert!(said.contains("seed 1 there, 2 asked for"), "{said}");
        Owned::open(dir.path(), &recipe, 1, None).unwrap();
    }

    #[test]
    fn another_device_is_reported_and_another_address_is_not() {
        use model::halves::{Half, Partition};
        let dir = tempfile::tempdir().unwrap();
        let mut owned = Owned::open(dir.path(), &Recipe::default(), 1, None).unwrap();
        let worker = |partition, device: &str, address: &str| WorkerStatus {
            partition,
            device: device.into(),
            address: address.into(),
        };
        let workers = |device: &str, address: &str| {
            vec![
                worker(Some(Partition::Half(Half::A)), "cpu", "h:1"),
                worker(Some(Partition::Half(Half::B)), device, address),
                worker(None, "cuda:1", "h:9"),
            ]
        };
        assert!(owned.other_devices(&workers("cpu", "h:2")).is_empty());
        owned.start_record(1, &workers("cpu", "h:2"), 10).write(dir.path()).unwrap();
        assert_eq!(owned.dir.record.devices[1], "half B: cpu at h:2");
        let owned = Owned { dir: RunDir::open(dir.path()).unwrap(), ..owned };
        assert!(owned.other_devices(&workers("cpu", "h:3")).is_empty());
        let said = owned.other_devices(&workers("cuda:0 (X, NVRTC 12.9)", "h:2"));
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("half B: cuda:0 (X, NVRTC 12.9); before, half B: cpu"));
    }

    #[test]
    fn two_coordinators_can_not_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Owned::open(dir.path(), &Recipe::default(), 1, None).unwrap();
        let said = Owned::open(dir.path(), &Recipe::default(), 1, None).unwrap_err().to_string();
        assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
        drop(first);
        Owned::open(dir.path(), &Recipe::default(), 1, None).unwrap();
    }
}
