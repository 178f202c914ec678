//! The logs of a run's processes: one file each, begun anew when it is large.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, anyhow};

/// Length, in bytes, at which a log is begun anew; the one before it is kept.
const LONGEST: u64 = 16 << 20;
/// Time between two looks at the logs.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The folder of logs, made if it does not exist.
pub(crate) fn logs(run: &Path) -> Result<PathBuf> {
    let logs = run.join("logs");
    fs::create_dir_all(&logs).map_err(|e| {
        anyhow!("{} can't be made: {e}; choose another folder with --run", logs.display())
    })?;
    Ok(logs)
}

/// Begins logs of the folder anew whenever they are large; never ends.
pub(super) async fn keep_small(folder: PathBuf) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        let folder = folder.clone();
        // Copies megabytes, which nobody shall wait for.
        let _ = tokio::task::spawn_blocking(move || shorten(&folder, LONGEST)).await;
    }
}

/// Shortens each log that is longer than `longest`.
fn shorten(folder: &Path, longest: u64) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_long = entry.metadata().is_ok_and(|about| about.len() > longest);
        let is_log = path.extension().is_some_and(|extension| extension == "log");
        if is_log && is_long {
            // A disk that is full or erring must not end the run; the next look tries again.
            let _ = begin_anew(&path);
        }
    }
}

/// Copies a log to `NAME.earlier` and empties it. Its process has the file open and appends to it,
/// so a new file in its place would stay empty.
fn begin_anew(log: &Path) -> io::Result<()> {
    let beside = log.with_extension("partial");
    let mut from = File::open(log)?;
    io::copy(&mut from, &mut File::create(&beside)?)?;
    // Lines that were written in between are lost: a process may write any number of them.
    OpenOptions::new().write(true).truncate(true).open(log)?;
    fs::rename(beside, log.with_extension("earlier"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_log_is_begun_anew_while_its_process_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("worker-0.log");
        let mut log = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        for i in 0..40 {
            writeln!(log, "line {i:04}").unwrap();
            shorten(dir.path(), 100);
        }
        let lines = |name: &str| -> Vec<String> {
            let text = fs::read_to_string(dir.path().join(name)).unwrap();
            text.lines().map(str::to_owned).collect()
        };
        // Eleven lines are longer than 100 bytes.
        let (earlier, now) = (lines("worker-0.earlier"), lines("worker-0.log"));
        assert_eq!((earlier.len(), now.len()), (11, 7));
        assert_eq!((&*earlier[10], &*now[0], &*now[6]), ("line 0032", "line 0033", "line 0039"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
