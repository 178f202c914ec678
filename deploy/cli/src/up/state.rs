//! `up.json`: what `up` remembers in a run directory, so that `up --run`, `eval` and `status` find
//! the pictures and the coordinator.

use std::io::ErrorKind::{NotADirectory, NotFound};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Format of the file that this program writes; a file without a number is of format 1.
const FORMAT: u32 = 2;

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

    /// Reads the file; None if there is none.
    ///
    /// # Errors
    /// If the file is there and can't be read, is damaged, or was written by a later version.
    pub(crate) fn read(run: &Path) -> Result<Option<Self>> {
        let file = Self::file(run);
        let text = match std::fs::read(&file) {
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(None),
            text => text.with_context(|| format!("{} can't be read", file.display()))?,
        };
        let parsed = coordinator::format::parse(&file, &text, FORMAT);
        Ok(Some(parsed.context("what `up` remembers of the run can't be used")?))
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn write(&self, run: &Path) -> Result<()> {
        /// The content after its number.
        #[derive(Serialize)]
        struct Numbered<'a> {
            format: u32,
            #[serde(flatten)]
            content: &'a Remembered,
        }
        let file = Self::file(run);
        let beside = file.with_added_extension("tmp");
        let text = serde_json::to_vec_pretty(&Numbered { format: FORMAT, content: self })?;
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &file))
            .with_context(|| format!("{} can't be written", file.display()))
    }
}
