//! The run on the disk when a coordinator starts.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use model::recipe::Recipe;

use super::{TICK, blocking};
use crate::disk::checkpoint::{self, Manifest};
use crate::disk::run_dir::{Owned, RunDir, Start};
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

/// The choices of an operator that concern the run directory.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) path: PathBuf,
    pub(super) recipe: Recipe,
    pub(super) seed: u64,
    /// Weights that a new run starts from; `None`: initial values.
    pub(super) start: Option<Start>,
    /// The run may begin anew if it had checkpoints and none can be used.
    pub(super) from_start: bool,
}

/// Opens the run directory; gives an earlier coordinator a moment to end.
pub(super) async fn open_soon(asked: Asked) -> Result<Opened, Error> {
    let since = Instant::now();
    loop {
        let asked = asked.clone();
        match blocking(move || open(&asked)).await {
            Err(Error::Locked { .. }) if since.elapsed() < LOCKED_FOR => {
                tokio::time::sleep(TICK).await;
            }
            other => return other,
        }
    }
}

fn open(asked: &Asked) -> Result<Opened, Error> {
    match resume(asked) {
        Err(error @ (Error::Lost { .. } | Error::NoneWhole { .. })) if asked.from_start => {
            // The weights that the run started from are kept, and so is what is known of them.
            let before = RunDir::open(&asked.path).ok().and_then(|run| run.record.start);
            let aside = Owned::set_aside(&asked.path)?;
            let start = asked.start.clone().or(before);
            let mut opened = resume(&Asked { start, ..asked.clone() })?;
            let aside = aside.map_or(String::new(), |path| {
                format!("; the checkpoints are in {} now", path.display())
            });
            let notice = format!("the run begins anew, as --from-start says: {error}{aside}");
            tracing::warn!("{notice}");
            opened.notices.push(notice);
            Ok(opened)
        }
        opened => opened,
    }
}

/// Finds the newest whole checkpoint. Nothing is removed or cut.
fn resume(asked: &Asked) -> Result<Opened, Error> {
    let path = &asked.path;
    let mut owned = Owned::open(path, &asked.recipe, asked.seed, asked.start.as_ref())?;
    if owned.dir.record.data_set.as_ref().is_some_and(|data| data.n_train == 0) {
        return Err(Error::DataSet(format!(
            "the weights in {} were imported without pictures, so there is nothing to train on: \
             import them again with --data DIR",
            path.display()
        )));
    }
    let (newest, mut notices) = checkpoint::newest_to_resume(path)?;
    for refused in &notices {
        tracing::warn!(kept = newest.as_ref().map_or(0, |m| m.step), "{refused}");
    }
    // To begin anew would erase the run's history: a person decides that.
    if newest.is_none() && !notices.is_empty() {
        return Err(Error::NoneWhole { path: path.clone(), refused: notices.join("; ") });
    }
    if newest.is_none() && owned.dir.record.had_checkpoints {
        let missing = "now there are none".to_string();
        return Err(Error::Lost { path: path.clone(), missing });
    }
    if let Some(manifest) = &newest {
        if manifest.run_id != owned.dir.record.run_id {
            let differences = format!(
                "run {} in run.json, run {} in the checkpoint of step {}",
                owned.dir.record.run_id, manifest.run_id, manifest.step
            );
            return Err(Error::OtherRun { path: path.clone(), differences });
        }
        owned.record_checkpoint()?;
    }
    checkpoint::set_unfinished_aside(path)?;
    notices.extend(owned.notices());
    Ok(Opened { owned, newest, notices })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::disk::checkpoint::tests::write_of;

    fn asked(path: &Path, from_start: bool) -> Asked {
        Asked {
            path: path.to_path_buf(),
            recipe: Recipe::default(),
            seed: 1,
            start: None,
            from_start,
        }
    }

    /// A run with checkpoints of steps 10 and 20, a third that is unfinished, and metrics.
    fn run() -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let run_id = resume(&asked(dir.path(), false)).unwrap().owned.dir.record.run_id;
        write_of(dir.path(), &run_id, 10);
        write_of(dir.path(), &run_id, 20);
        assert_eq!(resume(&asked(dir.path(), false)).unwrap().newest.unwrap().step, 20);
        fs::create_dir(checkpoint::folder(dir.path(), 30)).unwrap();
        fs::write(dir.path().join("metrics.jsonl"), "one\ntwo\n").unwrap();
        (dir, run_id)
    }

    fn anew(dir: &Path, run_id: &str, expected: &str) {
        let before = fs::read(dir.join("metrics.jsonl")).unwrap();
        let said = open(&asked(dir, false)).err().expect("a refusal").to_string();
        assert!(said.contains(expected) && said.contains("--from-start"), "{said}");
        assert_eq!(fs::read(dir.join("metrics.jsonl")).unwrap(), before);
        let opened = open(&asked(dir, true)).unwrap();
        assert!(opened.newest.is_none() && opened.owned.dir.record.run_id != run_id);
        assert!(opened.notices[0].contains(expected), "{:?}", opened.notices);
        drop(opened);
        assert_eq!(fs::read(dir.join("metrics.jsonl.before")).unwrap(), before);
        // Asking again is no harm, as long as the run has a checkpoint or never had one.
        let again = open(&asked(dir, true)).unwrap();
        assert!(again.newest.is_none() && again.notices.is_empty(), "{:?}", again.notices);
    }

    #[test]
    fn a_run_whose_checkpoints_are_gone_begins_anew_only_when_asked_to() {
        let (dir, run_id) = run();
        let checkpoints = dir.path().join("checkpoints");
        fs::remove_dir_all(&checkpoints).unwrap();
        anew(dir.path(), &run_id, "had checkpoints, and now there are none");
        let (dir, run_id) = run();
        for step in [10, 20] {
            fs::write(checkpoint::folder(dir.path(), step).join("half-a.safetensors"), "").unwrap();
        }
        anew(dir.path(), &run_id, "half-a.safetensors is damaged");
        assert!(dir.path().join("checkpoints.before/step-00000020/manifest.json").exists());
    }

    #[test]
    fn a_run_whose_record_is_gone_gets_no_other_id() {
        let (dir, run_id) = run();
        fs::remove_file(dir.path().join("run.json")).unwrap();
        anew(dir.path(), &run_id, "a checkpoint of step 20, but no run.json");
    }

    #[test]
    fn a_folder_of_checkpoints_on_a_disk_that_is_not_mounted_is_not_an_empty_one() {
        let (dir, _) = run();
        let (checkpoints, elsewhere) = (dir.path().join("checkpoints"), dir.path().join("away"));
        fs::rename(&checkpoints, &elsewhere).unwrap();
        std::os::unix::fs::symlink("nowhere", &checkpoints).unwrap();
        for from_start in [false, true] {
            let said = open(&asked(dir.path(), from_start)).err().expect("a refusal").to_string();
            assert!(said.contains("can't read") && said.contains("checkpoints"), "{said}");
        }
        fs::remove_file(&checkpoints).unwrap();
        fs::rename(&elsewhere, &checkpoints).unwrap();
        let opened = open(&asked(dir.path(), true)).unwrap();
        assert_eq!(opened.newest.unwrap().step, 20, "--from-start removes nothing whole");
        assert!(dir.path().join("checkpoints/unfinished-00000030").exists());
    }

    #[test]
    fn a_record_of_a_later_version_is_refused_and_not_overwritten() {
        let (dir, _) = run();
        let path = dir.path().join("run.json");
        let text = fs::read_to_string(&path).unwrap();
        let newer = text.replace("\"format\": 3", "\"format\": 4, \"more\": true");
        assert_ne!(newer, text);
        fs::write(&path, &newer).unwrap();
        let said = open(&asked(dir.path(), true)).err().expect("a refusal").to_string();
        assert!(said.contains("run.json was written by a newer version"), "{said}");
        assert_eq!(fs::read_to_string(&path).unwrap(), newer);
        let older = text.replace("\"format\": 3,", "");
        fs::write(&path, older.replace("\"had_checkpoints\": true,", "")).unwrap();
        assert!(open(&asked(dir.path(), false)).unwrap().owned.dir.record.had_checkpoints);
    }
}
