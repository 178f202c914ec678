//! libcuda and NVRTC, found when the program runs: it is built without either.

use std::path::PathBuf;

use cudarc::driver;

use super::choice::{Candidate, Needs, OLDEST_VERSION, Verdict, Version, judge};
use super::nvrtc::Nvrtc;
use super::places::{self, Place};
use crate::error::{Error, Result};

/// Where NVRTC is looked for; the default is nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// The library, or the folder it is in: then nowhere else is looked.
    pub nvrtc: Option<PathBuf>,
    /// Folders of `LD_LIBRARY_PATH`.
    pub library_path: Vec<PathBuf>,
    /// What the system's dynamic loader knows: `/etc/ld.so.cache`.
    pub loader_cache: Option<PathBuf>,
    /// Python installations (`$VIRTUAL_ENV`, `~/.local`): NVIDIA's wheels lie in their
    /// `lib/python3.*/site-packages`, conda's package in their `lib`.
    pub pythons: Vec<PathBuf>,
    /// Folders of CUDA toolkits (`/usr/local`, `/opt`), which are called `cuda` or `cuda-13.1`.
    pub toolkits: Vec<PathBuf>,
}

/// Makes sure that the driver's library is there.
///
/// # Errors
/// [`Error::NoGpu`] that says what to install. Nothing of cudarc may be called then.
pub fn driver(device: &str) -> Result<()> {
    if is_driver_there() {
        return Ok(());
    }
    Err(Error::NoGpu {
        device: device.into(),
        why: "no NVIDIA driver: libcuda.so was not found; install the driver (in a container: run \
              it with --gpus)"
            .into(),
    })
}

fn is_driver_there() -> bool {
    // SAFETY: loads and unloads libcuda, whose initialisers are the driver's own.
    unsafe { driver::sys::is_culib_present() }
}

/// The newest CUDA that the driver supports; None without a driver.
pub fn driver_version() -> Option<Version> {
    if !is_driver_there() {
        return None;
    }
    let mut version = 0;
    // SAFETY: a place for one int; this call works before `cuInit`.
    let outcome = unsafe { driver::sys::cuDriverGetVersion(&raw mut version) };
    // 13010 is 13.1.
    (outcome == driver::sys::CUresult::CUDA_SUCCESS && version > 0)
        .then_some(Version { major: version / 1000, minor: version % 1000 / 10 })
}

/// Every NVRTC that is found where `search` says, in the order of the search, with a verdict on
/// each; at most one is taken.
///
/// Each library is loaded to learn its version, and stays loaded. Files that are called like NVRTC
/// and are something else are listed too.
pub fn survey(search: &Search, needs: Needs) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for (place, path) in files(search) {
        let before = found.iter().any(|before| before.path == path);
        found.push(if before { duplicate(place, path) } else { load(place, path) });
    }
    judge(&mut found, needs);
    found
}

fn files(search: &Search) -> Vec<(Place, PathBuf)> {
    let Some(named) = &search.nvrtc else { return places::files(search) };
    let files =
        if named.is_dir() { places::named_like_nvrtc(named) } else { vec![places::real(named)] };
    files.into_iter().map(|path| (Place::Named, path)).collect()
}

/// Loads the library; whether it fits is not judged yet.
fn load(place: Place, path: PathBuf) -> Candidate {
    match Nvrtc::load(&path) {
        Ok(library) => {
            let (major, minor) = library.version();
            Candidate {
                path,
                place,
                version: Some(Version { major, minor }),
                architectures: library.architectures(),
                verdict: Verdict::Spare,
                library: Some(library),
            }
        }
        Err(why) => not_loaded(place, path, Verdict::NotNvrtc(why)),
    }
}

fn duplicate(place: Place, path: PathBuf) -> Candidate {
    not_loaded(place, path, Verdict::Duplicate)
}

fn not_loaded(place: Place, path: PathBuf, verdict: Verdict) -> Candidate {
    Candidate { path, place, version: None, architectures: Vec::new(), verdict, library: None }
}

/// The NVRTC to compile with: the one that [`survey`] takes.
///
/// # Errors
/// [`Error::DeviceUnusable`] that says what to install or to name.
pub(super) fn nvrtc(device: &str, search: &Search, needs: Needs) -> Result<(Nvrtc, Candidate)> {
    let found = survey(search, needs);
    let taken = found.iter().find(|candidate| candidate.verdict.is_taken());
    if let Some((taken, library)) = taken.and_then(|taken| Some((taken, taken.library?))) {
        return Ok((library, taken.clone()));
    }
    let why = format!("{}: {}", why_none(search, &found), install_nvrtc(needs.driver));
    Err(Error::DeviceUnusable { device: device.into(), why })
}

/// Why none of those found can be taken.
fn why_none(search: &Search, found: &[Candidate]) -> String {
    let newest = found.iter().filter(|candidate| candidate.version.is_some());
    if let Some(newest) = newest.max_by_key(|candidate| candidate.version) {
        let known: Vec<_> = newest.architectures.iter().map(u32::to_string).collect();
        return format!("{newest} (it knows {})", known.join(", "));
    }
    let not_nvrtc: Vec<_> = found.iter().map(|candidate| candidate.to_string()).collect();
    match &search.nvrtc {
        Some(named) if !named.exists() => {
            format!("--nvrtc {}: there is no such file or folder", named.display())
        }
        Some(named) if found.is_empty() => format!(
            "--nvrtc {}: this folder has no libnvrtc.so, libnvrtc.so.12, libnvrtc.so.13 or later; \
             in the wheels that is the folder nvidia/cuda_nvrtc/lib or nvidia/cu13/lib",
            named.display()
        ),
        Some(named) => format!("--nvrtc {}: {}", named.display(), not_nvrtc.join("; ")),
        None if found.is_empty() => "NVRTC, which compiles the kernels, was not found".into(),
        None => {
            format!("NVRTC, which compiles the kernels, was not found ({})", not_nvrtc.join("; "))
        }
    }
}

/// What to install where no NVRTC that was found will do, for a driver of this CUDA version.
pub fn install_nvrtc(driver: Option<Version>) -> String {
    // The newest wheel that is not newer than the driver; not every minor version has one.
    let wheel = match driver {
        Some(Version { major, minor }) if major > 12 => format!(
            "pip install 'nvidia-cuda-nvrtc<{major}.{}' (the driver is of CUDA {major}.{minor}; \
             nvidia-cuda-nvrtc-cu12, of CUDA 12, will do too)",
            minor + 1
        ),
        Some(Version { major: 12, minor }) => format!(
            "pip install 'nvidia-cuda-nvrtc-cu12<12.{}' (the driver is of CUDA 12.{minor}; \
             nvidia-cuda-nvrtc is for drivers of CUDA 13)",
            minor + 1
        ),
        Some(old) => format!(
            "install a driver of CUDA {OLDEST_VERSION} or later, this one is of CUDA {old}; then \
             pip install nvidia-cuda-nvrtc-cu12 (CUDA 12) or nvidia-cuda-nvrtc (CUDA 13)"
        ),
        None => "pip install nvidia-cuda-nvrtc (for a driver of CUDA 13) or \
                 nvidia-cuda-nvrtc-cu12 (CUDA 12)"
            .into(),
    };
    format!("{wheel}, or name the library or its folder with --nvrtc")
}
