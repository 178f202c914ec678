//! The folders of all checkpoints of a run: which there are, which are removed or set aside.

use std::fs;
use std::path::{Path, PathBuf};

use super::{MANIFEST, Manifest};
use crate::disk::durable::{is_there, set_aside};
use crate::error::Error;

const FOLDER: &str = "checkpoints";
/// Start of the name of an unfinished checkpoint's folder once it is set aside.
const UNFINISHED: &str = "unfinished-";

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

/// The names in the folder of checkpoints; none if there is no such folder.
fn names(run_dir: &Path) -> Result<Vec<String>, Error> {
    let path = run_dir.join(FOLDER);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        // A link to a disk that isn't mounted is not an absent folder.
        Err(e)
            if e.kind() == std::io::ErrorKind::NotFound
                && fs::symlink_metadata(&path).is_err_and(|own| own.kind() == e.kind()) =>
        {
            return Ok(Vec::new());
        }
        Err(e) => return Err(Error::io("read", &path)(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", &path))?;
        names.extend(entry.file_name().into_string().ok());
    }
    Ok(names)
}

/// Steps with a folder, with or without a manifest, oldest first.
fn folders(run_dir: &Path) -> Result<Vec<u64>, Error> {
    let names = names(run_dir)?;
    let mut steps: Vec<u64> = names.iter().filter_map(|name| parse_folder(name)).collect();
    steps.sort_unstable();
    Ok(steps)
}

/// Steps that have a manifest, oldest first.
///
/// # Errors
/// [`Error::Io`] if a folder can't be read.
pub fn steps(run_dir: &Path) -> Result<Vec<u64>, Error> {
    let mut steps = Vec::new();
    for step in folders(run_dir)? {
        if is_there(&folder(run_dir, step).join(MANIFEST))? {
            steps.push(step);
        }
    }
    Ok(steps)
}

/// Renames the remains of a crash, a folder without a manifest, so that a person can look at it.
/// Only the newest one is kept, until the next checkpoint is complete.
pub(crate) fn set_unfinished_aside(run_dir: &Path) -> Result<(), Error> {
    let whole = steps(run_dir)?;
    let unfinished: Vec<u64> =
        folders(run_dir)?.into_iter().filter(|step| !whole.contains(step)).collect();
    let Some((newest, older)) = unfinished.split_last() else { return Ok(()) };
    remove_unfinished(run_dir)?;
    for step in older {
        discard(run_dir, *step);
    }
    let path = folder(run_dir, *newest);
    let aside = run_dir.join(FOLDER).join(format!("{UNFINISHED}{newest:08}"));
    match fs::rename(&path, &aside) {
        Ok(()) => tracing::info!(path = %aside.display(), "an unfinished checkpoint is set aside"),
        // It is in nobody's way: the checkpoint of its step overwrites it.
        Err(error) => tracing::warn!(path = %path.display(), %error,
            "an unfinished checkpoint can't be set aside"),
    }
    Ok(())
}

/// Removes the unfinished checkpoints that were set aside.
fn remove_unfinished(run_dir: &Path) -> Result<(), Error> {
    for name in names(run_dir)?.iter().filter(|name| name.starts_with(UNFINISHED)) {
        remove(&run_dir.join(FOLDER).join(name));
    }
    Ok(())
}

/// Renames the folder of all checkpoints; returns its new path, if there was one.
pub(crate) fn set_all_aside(run_dir: &Path) -> Result<Option<PathBuf>, Error> {
    set_aside(&run_dir.join(FOLDER))
}

/// Removes an unfinished checkpoint.
pub(crate) fn discard(run_dir: &Path, step: u64) {
    // Its manifest may be there all the same: writing it may have failed after the last moment.
    let path = folder(run_dir, step).join(MANIFEST);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a manifest can't be removed");
        }
        _ => remove(&folder(run_dir, step)),
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "an unfinished checkpoint can't be removed");
    }
}

/// Removes all but the last `keep` checkpoints up to this one, the best, and that of step 0, which
/// only an imported run has: its weights are nowhere else. Removes the unfinished ones that were
/// set aside, too.
pub(crate) fn prune(run_dir: &Path, newest: &Manifest, keep: usize) -> Result<(), Error> {
    let best = newest.best.as_ref().map(|e| e.step);
    let old: Vec<u64> = steps(run_dir)?.into_iter().filter(|s| *s <= newest.step).collect();
    let goes = |step: &&u64| **step != 0 && Some(**step) != best;
    for step in old.iter().rev().skip(keep).filter(goes) {
        let path = folder(run_dir, *step).join(MANIFEST);
        // The manifest goes first: after a crash in between, the folder is no checkpoint.
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        discard(run_dir, *step);
    }
    remove_unfinished(run_dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::checkpoint::tests::write;

    #[test]
    fn the_last_three_and_the_best_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 0, None); // of an imported run
        let mut last = write(dir.path(), 1, Some(1));
        for step in 2..=7 {
            last = write(dir.path(), step, Some(2));
        }
        prune(dir.path(), &last, 3).unwrap();
        assert_eq!(folders(dir.path()).unwrap(), [0, 2, 5, 6, 7]);
    }

    #[test]
    fn the_newest_unfinished_checkpoint_stays_aside_until_the_next_one_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let kept = write(dir.path(), 10, None);
        for steps in [&[20, 30][..], &[40]] {
            for step in steps {
                write(dir.path(), *step, None);
                fs::remove_file(folder(dir.path(), *step).join(MANIFEST)).unwrap();
            }
            set_unfinished_aside(dir.path()).unwrap();
            let mut names = names(dir.path()).unwrap();
            names.sort();
            let newest = steps.last().unwrap();
            assert_eq!(names, ["step-00000010", &format!("unfinished-{newest:08}")]);
            assert_eq!(folders(dir.path()).unwrap(), [10]);
        }
        prune(dir.path(), &kept, 1).unwrap();
        assert_eq!(names(dir.path()).unwrap(), ["step-00000010"]);
    }

    #[test]
    fn only_a_folder_that_is_not_found_holds_no_checkpoints() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(steps(dir.path()).unwrap(), [0; 0]);
        let path = dir.path().join(FOLDER);
        std::os::unix::fs::symlink("/nowhere/at/all", &path).unwrap();
        let said = steps(dir.path()).unwrap_err().to_string();
        assert!(said.contains("checkpoints: No such file"), "{said}");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "a file").unwrap();
        let said = steps(dir.path()).unwrap_err().to_string();
        assert!(said.contains("checkpoints: Not a directory"), "{said}");
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
