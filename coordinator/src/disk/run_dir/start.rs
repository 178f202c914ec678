//! The weights that a run starts from, if they aren't initial values. They are kept in its
//! directory, so that a rollback to the start needs nothing from outside.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::disk::durable::{create_folders, sha256, write_whole};
use crate::error::Error;

/// File of these weights in the run directory, and their name in the Store.
pub(crate) const START: &str = "start.safetensors";

/// The weights that a run starts from, as `run.json` describes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Run directory or file that they were taken from, as an absolute path.
    pub from: String,
    /// Number of steps that they had been trained for; `None` if that is unknown.
    pub step: Option<u64>,
    /// SHA-256 of `start.safetensors`.
    pub sha256: String,
    /// Length of `start.safetensors`, in bytes.
    pub bytes: u64,
    /// Names of the classes that the last layer tells apart, in label order; empty if unknown.
    pub classes: Vec<String>,
}

impl Start {
    /// Writes weights into a run directory, which may not exist yet.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep(
        run_dir: &Path,
        weights: &[u8],
        from: String,
        step: Option<u64>,
        classes: Vec<String>,
    ) -> Result<Self, Error> {
        create_folders(run_dir)?;
        write_whole(&run_dir.join(START), weights)?;
        let (sha256, bytes) = (sha256(weights), weights.len() as u64);
        Ok(Self { from, step, sha256, bytes, classes })
    }

    /// Reads the weights from a run directory.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Damaged`] if the file isn't what was written.
    pub fn load(&self, run_dir: &Path) -> Result<Vec<u8>, Error> {
        let path = run_dir.join(START);
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let got = sha256(&bytes);
        match got == self.sha256 {
            true => Ok(bytes),
            false => {
                let why = format!("sha256 {got}, run.json says {}", self.sha256);
                Err(Error::Damaged { path, why })
            }
        }
    }

    /// True if these classes are known to be others than those of the last layer.
    pub fn are_others(&self, classes: &[String]) -> bool {
        !self.classes.is_empty() && self.classes != classes
    }

    /// The origin in words: `runs/a after 450 steps`.
    pub fn in_words(&self) -> String {
        let step = self.step.map_or(String::new(), |step| format!(" after {step} steps"));
        format!("{}{step}", self.from)
    }
}
