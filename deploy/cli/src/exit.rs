//! Exit codes with a meaning to the process that started this one.

use std::process::ExitCode;

/// A worker's device failed in the middle of its work (`EX_TEMPFAIL`): start the worker again.
const DEVICE_FAILED: u8 = 75;
/// A new process would fail in the same way (`EX_CONFIG`): do not start it again.
pub(crate) const FOR_GOOD: u8 = 78;

/// The exit code for an error.
pub(crate) fn code(error: &anyhow::Error) -> ExitCode {
    if let Some(loader::Error::Stopped { .. }) = error.downcast_ref() {
        return crate::commands::exit_code();
    }
    match error.downcast_ref() {
        Some(gpu_worker::Error::DeviceFault { .. }) => ExitCode::from(DEVICE_FAILED),
        Some(error) if error.is_for_good() => ExitCode::from(FOR_GOOD),
        _ => ExitCode::FAILURE,
    }
}
