//! Paths that tests read, write and start: in the checkout in which cargo built them, or as
//! environment variables say, so that test executables also run without cargo and sources.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The checkout's folder: `ALEXNET_TEST_ROOT`, or the one that the tests were built in.
pub fn root() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    variable("ALEXNET_TEST_ROOT").map_or_else(built, PathBuf::from)
}

/// A folder for what tests keep from one run to the next: `ALEXNET_TEST_TMP`, or `target`.
pub fn scratch() -> PathBuf {
    variable("ALEXNET_TEST_TMP").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Kernels that any test has compiled, kept for the others.
pub fn kernel_cache() -> PathBuf {
    scratch().join("kernel-cache")
}

/// The program under test: `ALEXNET_TEST_PROGRAM`, or the one that cargo `built` for the test.
///
/// # Panics
/// If the variable's value is not UTF-8.
pub fn program(built: &'static str) -> &'static str {
    static PROGRAM: OnceLock<Option<String>> = OnceLock::new();
    let named = PROGRAM.get_or_init(|| {
        let path = variable("ALEXNET_TEST_PROGRAM");
        path.map(|path| path.into_string().expect("ALEXNET_TEST_PROGRAM is UTF-8"))
    });
    named.as_deref().unwrap_or(built)
}

/// A test's setting.
#[expect(clippy::disallowed_methods, reason = "a test's settings come by its environment")]
pub(crate) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
