//! `up.json`: what `up` remembers in a run directory, so that `up --run`, `eval` and `status` need
//! not be told again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    /// The pictures: a prepared folder, absolute, or `synthetic:SIDE`.
    pub data: String,
    /// Where the coordinator listened last.
    #[serde(default)]
    pub coordinator: Option<String>,
}

impl Remembered {
    /// Its place in a run directory.
    pub(crate) fn file(run: &Path) -> PathBuf {
        run.join("up.json")
    }

    /// What is remembered, if anything readable is.
    pub(crate) fn read(run: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::file(run)).ok()?).ok()
    }

    /// Remembers.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn write(&self, run: &Path) -> Result<()> {
        let file = Self::file(run);
        std::fs::write(&file, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("{} can't be written", file.display()))
    }
}
