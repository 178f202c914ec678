//! Questions about files whose answer matters, and files that are whole or absent.

use std::path::Path;

use anyhow::{Context, Result, bail};

/// Returns whether something is there.
///
/// # Errors
/// If that can't be found out: what can't be looked at may be there.
pub(crate) fn is_there(path: &Path) -> Result<bool> {
    path.try_exists().with_context(|| format!("{} can't be looked at", path.display()))
}

/// Succeeds if the name of a file that is to be written ends in `.ending`.
///
/// # Errors
/// If it doesn't; `format` says what that ending stands for.
pub(crate) fn ends_in(file: &Path, ending: &str, format: &str) -> Result<()> {
    if file.extension().is_none_or(|own| own != ending) {
        bail!("{} must end in .{ending}, {format}", file.display());
    }
    Ok(())
}

/// Writes a file, whole or not at all.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = path.with_added_extension("tmp");
    let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // The error that is returned matters more.
        let _ = std::fs::remove_file(&beside);
    }
    written.with_context(|| format!("{} can't be written", path.display()))
}
