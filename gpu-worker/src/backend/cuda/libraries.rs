//! libcuda and NVRTC, found when the program runs: it is built without either.

use std::path::{Path, PathBuf};

use cudarc::driver;
use tracing::debug;

use super::nvrtc::Nvrtc;
use crate::error::{Error, Result};

/// What NVRTC is called in its wheels and packages, and where only a toolkit's headers are.
const NAMES: [&str; 2] = ["libnvrtc.so.12", "libnvrtc.so"];
/// The oldest that the kernels are compiled with.
const MAJOR: i32 = 12;

/// Where people have NVRTC besides the system's library paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// The library, or the folder it is in: then nowhere else is looked.
    pub nvrtc: Option<PathBuf>,
    /// Python installations (`$VIRTUAL_ENV`, `~/.local`): the wheel `nvidia-cuda-nvrtc-cu12` lies
    /// in their `lib/python3.*/site-packages`, conda's package in their `lib`.
    pub pythons: Vec<PathBuf>,
}

/// Makes sure that the driver's library is there.
///
/// # Errors
/// [`Error::Device`] that says what to install. Nothing of cudarc may be called then.
pub fn driver(device: &str) -> Result<()> {
    // SAFETY: loads and unloads libcuda, whose initialisers are the driver's own.
    if unsafe { driver::sys::is_culib_present() } {
        return Ok(());
    }
    Err(Error::Device {
        device: device.into(),
        why: "no NVIDIA driver: libcuda.so was not found; install the driver (in a container: run it with --gpus), or use cpu".into(),
    })
}

/// The NVRTC to compile with: as told, or the first that `suits` on the system's library paths, in
/// a Python installation or in a toolkit; the first of all if none does.
///
/// # Errors
/// [`Error::Device`] that says what to install or to name.
pub(super) fn nvrtc(
    device: &str,
    search: &Search,
    suits: impl Fn(&Nvrtc) -> bool,
) -> Result<Nvrtc> {
    let refused = |why: String| Error::Device { device: device.into(), why };
    if let Some(told) = &search.nvrtc {
        let names = NAMES.map(|name| told.join(name));
        let path = if told.is_dir() {
            names.iter().find(|path| path.exists()).unwrap_or(&names[0])
        } else {
            told
        };
        return load_file(path).map_err(|why| {
            refused(format!(
                "--nvrtc {}: {why}; name {} of CUDA 12, or its folder",
                told.display(),
                NAMES[0]
            ))
        });
    }
    let mut first = None;
    let mut not_nvrtc = String::new();
    for path in candidates(search) {
        // A name without a folder is the system's to find.
        let found = if path.components().count() == 1 { load(&path) } else { load_file(&path) };
        match found {
            Ok(nvrtc) if suits(&nvrtc) => {
                debug!(path = %path.display(), "NVRTC found");
                return Ok(nvrtc);
            }
            Ok(nvrtc) => first = first.or(Some(nvrtc)),
            Err(why) if path.exists() => {
                not_nvrtc = format!(" ({}: {why})", path.display());
            }
            Err(_) => {}
        }
    }
    first.ok_or_else(|| {
        refused(format!(
            "NVRTC, which compiles the kernels, was not found{not_nvrtc}: pip install nvidia-cuda-nvrtc-cu12, or name {} with --nvrtc",
            NAMES[0]
        ))
    })
}

/// Where NVRTC may be, best first.
fn candidates(search: &Search) -> Vec<PathBuf> {
    let installed = search.pythons.iter().flat_map(|python| folders(python));
    let toolkits = ["/usr/local/cuda/lib64", "/opt/cuda/lib64"].map(PathBuf::from);
    let folders = installed.chain(toolkits);
    let files = folders.flat_map(|folder| NAMES.map(|name| folder.join(name)));
    NAMES.map(PathBuf::from).into_iter().chain(files.filter(|path| path.exists())).collect()
}

fn load_file(path: &Path) -> std::result::Result<Nvrtc, String> {
    // dlopen searches its own paths for a name without a folder.
    let path = std::path::absolute(path).map_err(|e| e.to_string())?;
    if !path.exists() {
        return Err("there is no such file".into());
    }
    load(&path)
}

fn load(path: &Path) -> std::result::Result<Nvrtc, String> {
    let nvrtc = Nvrtc::load(path).map_err(|why| format!("this is not NVRTC ({why})"))?;
    match nvrtc.version() {
        (major, _) if major >= MAJOR => Ok(nvrtc),
        (major, minor) => Err(format!("this is NVRTC {major}.{minor}")),
    }
}

/// The folders in which a Python installation has it.
fn folders(python: &Path) -> Vec<PathBuf> {
    let lib = python.join("lib");
    // Conda's, and that of pip install --target.
    let mut found = vec![lib.clone(), python.join("nvidia/cuda_nvrtc/lib")];
    let Ok(entries) = std::fs::read_dir(lib) else { return found };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("python3") {
            for packages in ["site-packages", "dist-packages"] {
                found.push(entry.path().join(packages).join("nvidia/cuda_nvrtc/lib"));
            }
        }
    }
    found
}
