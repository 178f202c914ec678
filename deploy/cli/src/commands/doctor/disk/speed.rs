//! Synced writes, as checkpoints and records are written. The large file has no name, so the system
//! removes it whatever ends this process; the small ones live for milliseconds.

use std::fs::File;
use std::io::{Result, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of one synced write.
const PIECE: usize = 4_000_000;
/// Most bytes that are written.
const MOST: usize = 64_000_000;
/// No further piece, or small file, begins after so long.
const ENOUGH: Duration = Duration::from_millis(800);
/// Most small files; the median counts.
const SMALL_FILES: usize = 5;

/// Speed of a disk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Speed {
    /// Bytes per second, synced.
    pub bytes_per_s: f64,
    /// Milliseconds to write, sync and rename a small file, and to sync its folder.
    pub small_file_ms: f64,
}

/// Measures the disk of `folder` for at most some 2 s.
pub(super) fn measure(folder: &Path) -> Result<Speed> {
    Ok(Speed { bytes_per_s: large(folder)?, small_file_ms: small(folder)? })
}

fn large(folder: &Path) -> Result<f64> {
    let piece = noise(PIECE);
    let mut file = tempfile::tempfile_in(folder)?;
    let (started, mut bytes) = (Instant::now(), 0);
    while bytes < MOST && started.elapsed() < ENOUGH {
        file.write_all(&piece)?;
        file.sync_data()?;
        bytes += PIECE;
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}

/// Bytes that a file system cannot compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(len).collect()
}

fn small(folder: &Path) -> Result<f64> {
    let own = tempfile::Builder::new().prefix(".alexnet-doctor-").tempdir_in(folder)?;
    let (from, to) = (own.path().join("record.tmp"), own.path().join("record"));
    let (began, mut times) = (Instant::now(), Vec::new());
    while times.len() < SMALL_FILES && began.elapsed() < ENOUGH {
        let started = Instant::now();
        let mut file = File::create(&from)?;
        file.write_all(&[0; 4096])?;
        file.sync_all()?;
        std::fs::rename(&from, &to)?;
        File::open(own.path())?.sync_all()?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    own.close()?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_measured_and_left_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let speed = measure(folder.path()).expect("a writable folder");
        assert!(speed.bytes_per_s > 0.0 && speed.small_file_ms > 0.0, "{speed:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
