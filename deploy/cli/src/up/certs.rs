//! The certificates of a run on this machine.
//!
//! Other users of the machine can connect to 127.0.0.1, too. So every start of a run makes
//! certificates of its own, which only the user can read. Nobody can make further ones, since their
//! authority's key is not kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use coordinator::run_dir::RunDir;
use net::{Role, Trust};

use crate::commands::{AUTHORITY_KEY, CertificateRequest};
use crate::files::is_there;

/// Folder of a run's own certificates, in the run directory.
const FOLDER: &str = "certs";
/// Validity of a run's own certificates: longer than any run.
const VALID: Duration = Duration::from_secs(3650 * 24 * 3600);

/// The certificates that the processes of a run on this machine show each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Certificates {
    /// Made by the run at its start.
    Own,
    /// Read from a folder.
    Of(PathBuf),
    /// Left out: connections are plain.
    None,
}

impl Certificates {
    /// The folder of a run's certificates.
    pub(crate) fn folder(&self, run: &Path) -> Option<PathBuf> {
        match self {
            Self::Own => Some(run.join(FOLDER)),
            Self::Of(folder) => Some(folder.clone()),
            Self::None => None,
        }
    }

    /// Makes the run's own certificates, if they are to be used, and removes old ones. Returns the
    /// operator's, for questions to the coordinator.
    ///
    /// # Errors
    /// If they can't be made or can't be used.
    pub(crate) fn ready(&self, run: &Path) -> Result<Trust> {
        let own = run.join(FOLDER);
        // Processes that work in this run directory use its certificates; the coordinator is about
        // to say so.
        let in_use = is_there(&own)? && RunDir::open(run).is_ok_and(|dir| dir.is_in_use());
        if !in_use {
            make(&own, *self == Self::Own)
                .with_context(|| format!("the certificates in {} can't be made", own.display()))?;
        }
        let Some(folder) = self.folder(run) else { return Ok(Trust::default()) };
        Trust::read(&folder, Role::Operator).context("the certificates of the run can't be used")
    }
}

/// The operator's certificate of a run that `up` started with certificates of its own; without
/// those, connections to its coordinator are plain.
///
/// # Errors
/// If the certificates can't be used.
pub(crate) fn operator(run: &Path) -> Result<Trust> {
    let folder = run.join(FOLDER);
    match is_there(&folder)? {
        true => Trust::read(&folder, Role::Operator).with_context(|| {
            format!(
                "the certificates of the run in {} can't be used: only the user who started it may \
                 ask its coordinator",
                run.display()
            )
        }),
        false => Ok(Trust::default()),
    }
}

/// Replaces the folder by one with new certificates, or by none.
fn make(folder: &Path, new: bool) -> Result<()> {
    let (beside, old) = (folder.with_extension("new"), folder.with_extension("old"));
    for left_over in [&beside, &old] {
        remove(left_over)?;
    }
    if new {
        let now = SystemTime::now();
        let roles = Role::ALL.to_vec();
        // Nobody else's clock matters.
        let (from, until) = (now - Duration::from_secs(24 * 3600), now + VALID);
        let folder = beside.clone();
        CertificateRequest { folder, roles, renew: false, from, until }.make()?;
        fs::remove_file(beside.join(AUTHORITY_KEY))?;
    }
    if is_there(folder)? {
        fs::rename(folder, &old)?;
    }
    if new {
        fs::rename(&beside, folder)?;
    }
    remove(&old)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_runs_own_certificates_are_made_anew_and_only_their_user_can_read_them() {
        let run = tempfile::tempdir().unwrap();
        let own = Certificates::Own;
        let folder = own.folder(run.path()).unwrap();
        let authority = || fs::read_to_string(folder.join(net::AUTHORITY)).unwrap();
        own.ready(run.path()).unwrap();
        let first = authority();
        own.ready(run.path()).unwrap();
        assert!(authority() != first, "each start has its own authority");
        assert!(!folder.join(AUTHORITY_KEY).exists(), "nobody can make further certificates");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        for role in Role::ALL {
            assert_eq!(mode(&net::key_file(&folder, role)), 0o600);
            Trust::read(&folder, role).unwrap();
        }
        assert!(operator(run.path()).unwrap().is_secure());
        assert!(!Certificates::None.ready(run.path()).unwrap().is_secure());
        assert!(!folder.exists() && !operator(run.path()).unwrap().is_secure());
    }
}
