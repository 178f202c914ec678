//! Where tests find NVRTC and its tools, and whether they run on a real GPU.

use std::path::{Path, PathBuf};

/// The folder of the wheels that `tests/cuda-tools.txt` lists: `$CUDA_TOOLS`, or `target/cuda-tools`.
/// None, with a line that says so, where they are not installed.
#[expect(clippy::disallowed_methods, reason = "a test's settings come by its environment")]
pub fn tools() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tools = std::env::var_os("CUDA_TOOLS")
        .map_or_else(|| root.join("target/cuda-tools"), PathBuf::from);
    if tools.join("nvidia/cuda_nvrtc/lib/libnvrtc.so.12").exists() {
        return Some(tools);
    }
    eprintln!(
        "skipped: no NVRTC in {}; pip install --target target/cuda-tools -r tests/cuda-tools.txt",
        tools.display()
    );
    None
}

/// The folder of the wheel that `tests/cuda-13-tools.txt` lists: `$CUDA_13_TOOLS`, or
/// `target/cuda-13-tools`. None, with a line that says so, where it is not installed.
#[expect(clippy::disallowed_methods, reason = "a test's settings come by its environment")]
pub fn tools_13() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tools = std::env::var_os("CUDA_13_TOOLS")
        .map_or_else(|| root.join("target/cuda-13-tools"), PathBuf::from);
    if tools.join("nvidia/cu13/lib/libnvrtc.so.13").exists() {
        return Some(tools);
    }
    eprintln!(
        "skipped: no NVRTC 13 in {}; pip install --target target/cuda-13-tools -r tests/cuda-13-tools.txt",
        tools.display()
    );
    None
}

/// Whether the tests run on the machine's own GPUs: `CUDA_TEST=real`.
#[expect(clippy::disallowed_methods, reason = "a test's settings come by its environment")]
pub fn is_real() -> bool {
    std::env::var_os("CUDA_TEST").is_some_and(|value| value == "real")
}
