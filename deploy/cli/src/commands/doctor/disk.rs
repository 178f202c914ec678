//! The disk of the run directory: room, speed of synced writes, renames, and whether files stay.

mod mounts; // which file system a folder is on
mod speed; // synced writes

use std::path::{Path, PathBuf};

use super::check::{Check, size};
use super::needs;
use mounts::Mount;
use speed::Speed;

/// Bytes below which not even the demonstration's checkpoints have room.
const LEAST: u64 = 100_000_000;
/// Bytes per second below which a checkpoint of the full network takes longer than 25 s.
const SLOW: f64 = 20e6;
/// Milliseconds of a small file beyond which each record of a run is felt.
const SLOW_FILE_MS: f64 = 100.0;

/// The disk of the run directory.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    /// The run directory, as it was named.
    named: PathBuf,
    /// Whether a person named it: then it has to work.
    chosen: bool,
    /// The folder that was measured: the run directory, or the nearest one above it that exists.
    measured: PathBuf,
    mount: Option<Mount>,
    /// Bytes of the file system: all, and what this user may still write.
    room: Result<(u64, u64), String>,
    speed: Result<Speed, String>,
}

/// Bytes of the file system at `path`: all of them, and those that this user may still write.
///
/// # Errors
/// What the system says.
pub(super) fn room(path: &Path) -> Result<(u64, u64), String> {
    let stat = rustix::fs::statvfs(path).map_err(|error| error.to_string())?;
    Ok((stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize))
}

impl Disk {
    /// Looks at the disk, and writes to it for about a second; nothing of that stays.
    pub(super) fn probe(chosen: Option<&Path>, default: &Path) -> Self {
        let named = chosen.unwrap_or(default).to_owned();
        let absolute = std::path::absolute(&named).unwrap_or_else(|_| named.clone());
        let exists = |folder: &&Path| folder.exists();
        let measured = absolute.ancestors().find(exists).unwrap_or(Path::new("/")).to_owned();
        Self {
            mount: mounts::of(&measured),
            room: room(&measured),
            speed: speed::measure(&measured).map_err(|error| error.to_string()),
            chosen: chosen.is_some(),
            named,
            measured,
        }
    }

    /// Judges it.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.judge_folder()];
        checks.extend(self.room.iter().map(|(total, free)| self.judge_room(*total, *free)));
        if let Ok(speed) = &self.speed {
            checks.push(judge_writes(speed));
            checks.push(judge_small_files(speed));
        }
        checks
    }

    fn judge_folder(&self) -> Check {
        let system = self.mount.as_ref().map_or("unknown", |mount| mount.kind.as_str());
        let there = match self.named.is_dir() {
            true => "",
            false => &format!(" (does not exist yet; measured in {})", self.measured.display()),
        };
        let text = format!("{}{there}, file system {system}", self.named.display());
        let check = Check::ok("disk.run-directory", text);
        let why = match &self.speed {
            Err(why) => why,
            Ok(_) if system == "tmpfs" => {
                return check.look(
                    "This file system is in memory: checkpoints take memory from training and \
                     are lost at a restart. Choose a folder on a disk with --run.",
                );
            }
            Ok(_) if system == "overlay" => {
                return check.look(
                    "This folder is inside the container, so the run is lost with the container. \
                     Mount a volume or a folder, and choose it with --run.",
                );
            }
            Ok(_) => return check,
        };
        let measured = format!("{}; it cannot be written: {why}", check.measured);
        let check = Check { measured, ..check };
        match self.chosen {
            true => check.wrong(
                "A run writes checkpoints and records there. Give this user the right to write, \
                 mount the disk writable, free space, or choose another folder with --run.",
            ),
            false => check.look("Choose a run directory with --run; this one is only the default."),
        }
    }

    fn judge_room(&self, total: u64, free: u64) -> Check {
        let full = needs::CHECKPOINT * needs::CHECKPOINTS;
        let text = format!(
            "{} of {}; checkpoints of the full network take {} × {}",
            size(free),
            size(total),
            needs::CHECKPOINTS,
            size(needs::CHECKPOINT)
        );
        let check = Check::ok("disk.free", text)
            .number("free_bytes", free as f64)
            .number("total_bytes", total as f64)
            .number("checkpoint_bytes", needs::CHECKPOINT as f64);
        let make = "delete files, or choose a folder on another disk with --run";
        if free >= full {
            return check;
        }
        if free < LEAST && self.chosen {
            return check.wrong(format!("Not even small checkpoints fit: {make}."));
        }
        check.look(format!(
            "A checkpoint that does not fit is not written, and training continues: {make}; or \
             keep fewer checkpoints (--keep 1)."
        ))
    }
}

fn judge_writes(speed: &Speed) -> Check {
    let seconds = needs::CHECKPOINT as f64 / speed.bytes_per_s;
    let text = format!(
        "{}/s, synced; a checkpoint of the full network takes {seconds:.1} s",
        size(speed.bytes_per_s as u64)
    );
    let check = Check::ok("disk.write", text).number("bytes_per_s", speed.bytes_per_s);
    if speed.bytes_per_s >= SLOW {
        return check;
    }
    check.look(
        "Training waits if a checkpoint is due before the last one is on disk: write checkpoints \
         less often (--checkpoint-every), or choose a folder on a faster disk with --run.",
    )
}

fn judge_small_files(speed: &Speed) -> Check {
    let ms = speed.small_file_ms;
    let text = format!("{ms:.1} ms to write, sync and rename a file of 4 kB");
    let check = Check::ok("disk.small-file", text).number("ms", ms);
    if ms <= SLOW_FILE_MS {
        return check;
    }
    check.look(
        "The disk is slow at syncing, or busy: look for other programs that write, or choose a \
         folder on a local disk with --run.",
    )
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    const GB: u64 = 1_000_000_000;

    fn good() -> Disk {
        Disk {
            named: "/".into(),
            chosen: true,
            measured: "/".into(),
            mount: Some(Mount { at: "/".into(), kind: "ext4".into() }),
            room: Ok((100 * GB, 50 * GB)),
            speed: Ok(Speed { bytes_per_s: 5e8, small_file_ms: 2.0 }),
        }
    }

    fn verdicts(disk: &Disk) -> Vec<Verdict> {
        disk.checks().iter().map(|check| check.verdict).collect()
    }

    fn with_free(free: u64, chosen: bool) -> Verdict {
        verdicts(&Disk { room: Ok((100 * GB, free)), chosen, ..good() })[1]
    }

    #[test]
    fn a_disk_with_room_is_in_order() {
        assert_eq!(verdicts(&good()), [Verdict::Ok; 4]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_wrong_where_it_was_named() {
        let speed = Err("Read-only file system (os error 30)".to_owned());
        let named = Disk { speed: speed.clone(), ..good() };
        assert_eq!(verdicts(&named), [Verdict::Wrong, Verdict::Ok]);
        assert!(named.checks()[0].measured.contains("Read-only file system"));
        let default = Disk { speed, chosen: false, ..good() };
        assert_eq!(verdicts(&default)[0], Verdict::Look);
    }

    #[test]
    fn file_systems_that_do_not_last_are_looked_at() {
        for kind in ["tmpfs", "overlay"] {
            let mount = Some(Mount { at: "/".into(), kind: kind.into() });
            assert_eq!(verdicts(&Disk { mount, ..good() })[0], Verdict::Look, "{kind}");
        }
    }

    #[test]
    fn little_room_is_looked_at_and_too_little_is_wrong_where_it_was_named() {
        let full = needs::CHECKPOINT * needs::CHECKPOINTS;
        assert_eq!(with_free(full, true), Verdict::Ok);
        assert_eq!(with_free(full - 1, true), Verdict::Look);
        assert_eq!(with_free(LEAST - 1, true), Verdict::Wrong);
        assert_eq!(with_free(LEAST - 1, false), Verdict::Look);
    }

    #[test]
    fn slow_disks_are_looked_at() {
        let slow = Speed { bytes_per_s: SLOW - 1.0, small_file_ms: SLOW_FILE_MS + 1.0 };
        let disk = Disk { speed: Ok(slow), ..good() };
        assert_eq!(verdicts(&disk)[2..], [Verdict::Look; 2]);
        assert!(disk.checks()[2].measured.contains("takes 24.4 s"), "{:?}", disk.checks()[2]);
    }

    #[test]
    fn a_run_directory_that_is_not_there_is_measured_above_and_not_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let run = folder.path().join("runs/one");
        let disk = Disk::probe(Some(&run), Path::new("runs"));
        assert_eq!(disk.measured, folder.path());
        assert!(disk.speed.is_ok(), "{disk:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        assert!(disk.checks()[0].measured.contains("does not exist yet"));
    }

    #[test]
    fn a_file_in_the_place_of_the_run_directory_is_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("a file");
        assert_eq!(verdicts(&Disk::probe(Some(&file), Path::new("runs")))[0], Verdict::Wrong);
    }
}
