//! Exit codes with a meaning to the process that started this one.

use std::fmt;
use std::process::ExitCode;

/// A worker's device failed in the middle of its work (`EX_TEMPFAIL`): start the worker again.
const DEVICE_FAILED: u8 = 75;
/// A new process would fail in the same way (`EX_CONFIG`): do not start it again.
pub(crate) const FOR_GOOD: u8 = 78;

/// The coordinator refused this process, or ended the run with an error (`EX_UNAVAILABLE`): its own
/// message says why, and a new process would be told the same.
pub(crate) const REFUSED: u8 = 69;

/// The role was asked to stop before the end of the run, and this exit code was asked for.
#[derive(Debug)]
pub(crate) struct Stopped(pub(crate) u8);

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "asked to stop before the end of the run (--stopped-code {})", self.0)
    }
}

impl std::error::Error for Stopped {}

/// The exit code for an error.
pub(crate) fn code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(number(error))
}

fn number(error: &anyhow::Error) -> u8 {
    if let Some(Stopped(code)) = error.downcast_ref() {
        return *code;
    }
    if let Some(error) = error.downcast_ref::<gpu_worker::Error>() {
        return match error {
            gpu_worker::Error::DeviceFault { .. } => DEVICE_FAILED,
            gpu_worker::Error::RunFailed(_) | gpu_worker::Error::Refused { .. } => REFUSED,
            error if error.is_for_good() => FOR_GOOD,
            _ => 1,
        };
    }
    if let Some(error) = error.downcast_ref::<loader::Error>() {
        return match error {
            loader::Error::Refused { .. } => REFUSED,
            error if error.is_for_good() => FOR_GOOD,
            _ => 1,
        };
    }
    let run = error.downcast_ref::<coordinator::Error>();
    let is_for_good = run.is_some_and(coordinator::Error::is_for_good)
        || error.downcast_ref::<net::UnusableCertificate>().is_some();
    if is_for_good { FOR_GOOD } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_from_other_errors_by_its_exit_code() {
        let (address, why) = ("a:1".to_owned(), "another run".to_owned());
        let code = |error: anyhow::Error| number(&error);
        let refused = gpu_worker::Error::Refused { address: address.clone(), why: why.clone() };
        assert_eq!(code(refused.into()), REFUSED);
        assert_eq!(code(gpu_worker::Error::RunFailed(why.clone()).into()), REFUSED);
        let refused = loader::Error::Refused { address: address.clone(), why: why.clone() };
        assert_eq!(code(refused.into()), REFUSED);
        let unreachable = gpu_worker::Error::Coordinator { address, why };
        assert_eq!(code(unreachable.into()), 1);
    }

    #[test]
    fn a_run_directory_of_another_run_or_in_use_and_missing_certificates_stay_as_they_are() {
        let path = || std::path::PathBuf::from("d");
        let other = coordinator::Error::OtherRun { path: path(), differences: "seed".into() };
        assert_eq!(number(&other.into()), FOR_GOOD);
        let missing = net::UnusableCertificate { path: path(), why: "is missing".into() };
        let wrapped = anyhow::Error::from(missing).context("--certs can't be used");
        assert_eq!(number(&wrapped), FOR_GOOD);
        let locked = coordinator::Error::Locked { path: path(), by: String::new() };
        assert_eq!(number(&locked.into()), FOR_GOOD);
    }

    #[test]
    fn a_folder_that_is_no_data_set_stays_none_and_a_disk_may_answer_later() {
        let path = std::path::PathBuf::from("d");
        let none = loader::Error::NoDataSet { path: path.clone(), missing: "dataset.json" };
        assert_eq!(number(&none.into()), FOR_GOOD);
        let disk = loader::Error::Io { path, doing: "read", why: "it is away".into() };
        assert_eq!(number(&disk.into()), 1);
    }
}
