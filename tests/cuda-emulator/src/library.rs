//! Puts the emulated driver in the place of a real one, for tests.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The built library's file.
const FILE: &str = "libcuda_emulator.so";

/// Path of the built library, beside the test executable or in the folder above.
///
/// # Panics
/// If the library is in neither folder, because it was not built with this executable.
pub fn library() -> PathBuf {
    let executable = std::env::current_exe().expect("a running program has a path");
    let folders = executable.ancestors().skip(1).take(3);
    folders
        .flat_map(|folder| [folder.join(FILE), folder.join("deps").join(FILE)])
        .find(|path| path.is_file())
        .expect("the library is built with the crate that depends on it")
}

/// Loads the emulated driver into this process, before anything looks for a driver; returns its
/// path.
///
/// A loaded library is found again by its own name (soname), so that cudarc and NVRTC get this one.
///
/// # Panics
/// If the library cannot be loaded.
pub fn install() -> PathBuf {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let path = library();
            let name = CString::new(path.as_os_str().as_bytes()).expect("a path has no zero byte");
            // SAFETY: the library runs no code when loaded, and the name ends with a zero.
            let loaded = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
            assert!(!loaded.is_null(), "{} cannot be loaded", path.display());
            path
        })
        .clone()
}

/// Creates a folder with `libcuda.so` and `libcuda.so.1`, for the `LD_LIBRARY_PATH` of processes.
///
/// # Errors
/// If the folder or the links cannot be made.
pub fn folder(at: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(at)?;
    for name in ["libcuda.so", "libcuda.so.1"] {
        let link = at.join(name);
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link)?;
        }
        std::os::unix::fs::symlink(library(), &link)?;
    }
    Ok(())
}
