//! libcuda and NVRTC, found when the program runs: it is built without either.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use cudarc::{driver, nvrtc};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tracing::debug;

use crate::error::{Error, Result};

/// What NVRTC is called in its wheels and packages.
const NVRTC: &str = "libnvrtc.so.12";

/// Where people have NVRTC besides the system's library paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// The library, or the folder it is in: then nowhere else is looked.
    pub nvrtc: Option<PathBuf>,
    /// Python installations (`$VIRTUAL_ENV`, `~/.local`): the wheel `nvidia-cuda-nvrtc-cu12` lies
    /// in their `lib/python3.*/site-packages`.
    pub pythons: Vec<PathBuf>,
}

/// Only one thread looks and loads; what is loaded stays.
static LOOKING: Mutex<()> = Mutex::new(());

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

/// Makes sure that NVRTC is there: as told, on the system's paths, or in a Python wheel.
///
/// # Errors
/// [`Error::Device`] that says what to install or to name.
pub fn nvrtc(device: &str, search: &Search) -> Result<()> {
    let refused = |why: String| Error::Device { device: device.into(), why };
    let _alone = LOOKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(told) = &search.nvrtc {
        let path = if told.is_dir() { told.join(NVRTC) } else { told.clone() };
        return load(&path).map_err(|why| {
            refused(format!(
                "--nvrtc {}: {why}; name {NVRTC} of CUDA 12, or its folder",
                told.display()
            ))
        });
    }
    // SAFETY: loads and unloads NVRTC, whose initialisers are NVIDIA's own.
    if unsafe { nvrtc::sys::is_culib_present() } {
        return Ok(());
    }
    let wheels = search.pythons.iter().flat_map(|python| wheels(python));
    let toolkits = ["/usr/local/cuda/lib64", "/opt/cuda/lib64"].map(PathBuf::from);
    for folder in wheels.chain(toolkits) {
        let path = folder.join(NVRTC);
        if path.exists() {
            debug!(path = %path.display(), "NVRTC found");
            return load(&path).map_err(|why| refused(format!("{}: {why}", path.display())));
        }
    }
    Err(refused(format!(
        "NVRTC, which compiles the kernels, was not found: pip install nvidia-cuda-nvrtc-cu12, or name {NVRTC} with --nvrtc"
    )))
}

/// Loads a library so that cudarc, which asks by name, gets this one.
fn load(path: &Path) -> std::result::Result<(), String> {
    // dlopen searches its own paths for a name without a folder.
    let path = std::path::absolute(path).map_err(|e| e.to_string())?;
    if !path.exists() {
        return Err("there is no such file".into());
    }
    // SAFETY: the operator names NVIDIA's library; its initialisers are what any program that uses
    // it runs.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) };
    std::mem::forget(library.map_err(|e| e.to_string())?);
    // SAFETY: as in `nvrtc` above.
    if unsafe { nvrtc::sys::is_culib_present() } {
        return Ok(());
    }
    Err("this is not NVRTC of CUDA 12".into())
}

/// The folders in which a Python installation has the wheel's library.
fn wheels(python: &Path) -> Vec<PathBuf> {
    let mut found = vec![python.join("nvidia/cuda_nvrtc/lib")]; // pip install --target
    let Ok(entries) = std::fs::read_dir(python.join("lib")) else { return found };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("python3") {
            for packages in ["site-packages", "dist-packages"] {
                found.push(entry.path().join(packages).join("nvidia/cuda_nvrtc/lib"));
            }
        }
    }
    found
}
