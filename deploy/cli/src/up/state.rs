//! `up.json`: what `up` remembers in a run directory, so that `up --run`, `eval` and `status` find
//! the pictures and the coordinator.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Content of `up.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The pictures: a prepared folder, absolute, or `synthetic:SIDE`.
    pub data: String,
    /// Last address of the coordinator.
    #[serde(default)]
    pub coordinator: Option<String>,
}

impl Remembered {
    /// Path of the file in a run directory.
    pub(crate) fn file(run: &Path) -> PathBuf {
        run.join("up.json")
    }

    /// Reads the file; None if there is none that can be read.
    pub(crate) fn read(run: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::file(run)).ok()?).ok()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn write(&self, run: &Path) -> Result<()> {
        let file = Self::file(run);
        std::fs::write(&file, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("{} can't be written", file.display()))
    }
}
