//! The run on the disk when a coordinator starts.

use std::path::Path;
use std::time::{Duration, Instant};

use model::recipe::Recipe;

use super::{TICK, blocking};
use crate::disk::checkpoint::{self, Manifest};
use crate::disk::run_dir::Owned;
use crate::error::Error;

/// Time for another coordinator to leave the run directory.
const LOCKED_FOR: Duration = Duration::from_secs(3);

/// A run directory that is locked and checked.
pub(super) struct Opened {
    pub(super) owned: Owned,
    /// The newest whole checkpoint.
    pub(super) newest: Option<Manifest>,
    pub(super) notices: Vec<String>,
}

/// Opens the run directory; gives an earlier coordinator a moment to end.
pub(super) async fn open_soon(path: &Path, recipe: &Recipe, seed: u64) -> Result<Opened, Error> {
    let since = Instant::now();
    loop {
        let (path, recipe) = (path.to_path_buf(), recipe.clone());
        match blocking(move || open(&path, &recipe, seed)).await {
            Err(Error::Locked { .. }) if since.elapsed() < LOCKED_FOR => {
                tokio::time::sleep(TICK).await;
            }
            other => return other,
        }
    }
}

fn open(path: &Path, recipe: &Recipe, seed: u64) -> Result<Opened, Error> {
    let owned = Owned::open(path, recipe, seed)?;
    checkpoint::remove_unfinished(path)?;
    let (newest, mut notices) = checkpoint::newest(path)?;
    for refused in &notices {
        tracing::warn!(kept = newest.as_ref().map_or(0, |m| m.step), "{refused}");
    }
    // To begin anew would erase the run's history: a person decides that.
    if newest.is_none() && !notices.is_empty() {
        return Err(Error::NoneWhole { path: path.to_path_buf(), refused: notices.join("; ") });
    }
    if let Some(manifest) = &newest
        && manifest.run_id != owned.dir.record.run_id
    {
        let differences = format!(
            "run {} in run.json, run {} in the checkpoint of step {}",
            owned.dir.record.run_id, manifest.run_id, manifest.step
        );
        return Err(Error::OtherRun { path: path.to_path_buf(), differences });
    }
    notices.extend(owned.notices());
    Ok(Opened { owned, newest, notices })
}
