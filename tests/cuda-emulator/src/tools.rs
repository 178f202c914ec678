//! NVRTC and its tools for tests, and whether tests run on a real GPU.

use std::path::PathBuf;

use crate::places::{root, variable};

/// The NVRTC with which tests compile kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nvrtc {
    /// The library or its folder; None if the program must find it by itself.
    pub path: Option<PathBuf>,
}

/// The NVRTC for tests of GPUs: `$NVRTC` (the library or its folder), or the wheel in [`tools`], or
/// on a real GPU, unless `$CUDA_TOOLS` names a folder, the one that the program finds by itself.
///
/// None, with a line that says so, where the emulated driver has no NVRTC.
///
/// # Panics
/// On a real GPU, if NVRTC is not where `$CUDA_TOOLS` says.
pub fn nvrtc() -> Option<Nvrtc> {
    let at = |path| Some(Nvrtc { path: Some(path) });
    match variable("NVRTC") {
        Some(path) => at(path.into()),
        None if is_real() && variable("CUDA_TOOLS").is_none() => Some(Nvrtc { path: None }),
        None => at(tools()?.join("nvidia/cuda_nvrtc/lib")),
    }
}

/// The folder of the wheels that `tests/cuda-tools.txt` lists: `$CUDA_TOOLS`, or
/// `target/cuda-tools`. None, with a line that says so, where they are not installed.
///
/// # Panics
/// On a real GPU, if they are not installed.
pub fn tools() -> Option<PathBuf> {
    let tools =
        variable("CUDA_TOOLS").map_or_else(|| root().join("target/cuda-tools"), PathBuf::from);
    if tools.join("nvidia/cuda_nvrtc/lib/libnvrtc.so.12").exists() {
        return Some(tools);
    }
    let missing = format!(
        "no NVRTC in {}; pip install --target target/cuda-tools -r tests/cuda-tools.txt",
        tools.display()
    );
    assert!(!is_real(), "CUDA_TEST=real: {missing}");
    eprintln!("skipped: {missing}");
    None
}

/// The folder of the wheel that `tests/cuda-13-tools.txt` lists: `$CUDA_13_TOOLS`, or
/// `target/cuda-13-tools`. None, with a line that says so, where it is not installed.
pub fn tools_13() -> Option<PathBuf> {
    let tools = variable("CUDA_13_TOOLS")
        .map_or_else(|| root().join("target/cuda-13-tools"), PathBuf::from);
    if tools.join("nvidia/cu13/lib/libnvrtc.so.13").exists() {
        return Some(tools);
    }
    eprintln!(
        "skipped: no NVRTC 13 in {}; \
         pip install --target target/cuda-13-tools -r tests/cuda-13-tools.txt",
        tools.display()
    );
    None
}

/// Whether the tests run on the machine's own GPUs: `CUDA_TEST=real`.
pub fn is_real() -> bool {
    variable("CUDA_TEST").is_some_and(|value| value == "real")
}

/// Whether a test has to be left out because only the emulated driver can pass it; says so, and
/// `why`, in a line of its own kind: such a test is not "skipped".
pub fn only_emulated(why: &str) -> bool {
    if is_real() {
        eprintln!("not for a real GPU: {why}");
    }
    is_real()
}
