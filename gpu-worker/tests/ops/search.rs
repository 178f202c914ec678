//! The places where the tests and the bench look for NVRTC: those of the program.

use std::ffi::OsString;
use std::path::PathBuf;

use gpu_worker::backend::cuda::Search;

/// The library or folder that is named; otherwise the environment's Pythons, the library path and
/// the toolkits.
pub(crate) fn search(nvrtc: Option<PathBuf>) -> Search {
    let folders = |name| std::env::split_paths(&variable(name)).collect::<Vec<_>>();
    // Of a folder of programs the Python installation is the folder above.
    let on_path = folders("PATH").into_iter().filter(|folder| folder.join("python3").exists());
    let on_path = on_path.take(1).filter_map(|folder| Some(folder.parent()?.to_path_buf()));
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().flat_map(folders);
    Search {
        nvrtc,
        library_path: folders("LD_LIBRARY_PATH"),
        loader_cache: Some("/etc/ld.so.cache".into()),
        pythons: active.chain(on_path).collect(),
        toolkits: ["/usr/local", "/opt"].map(PathBuf::from).into(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's settings come by its environment")]
fn variable(name: &str) -> OsString {
    std::env::var_os(name).unwrap_or_default()
}
