//! The trust between processes: the certificates that a process shows and checks, or none.
//!
//! A process reads its certificates anew once their files have changed, so that renewing them needs
//! no restart. Connections that are open stay as they are.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::certificates::{
    AUTHORITY, Tls, UnusableCertificate, certificate_file, date, ends_soon, key_file,
};
use crate::role::Role;

/// Longest time for which a change of the files goes unnoticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The certificates that a process shows and checks; by default there are none, and connections
/// are plain.
#[derive(Clone, Default)]
pub struct Trust(Option<Arc<Certificates>>);

/// The certificates of a folder, as they are now.
struct Certificates {
    folder: PathBuf,
    role: Role,
    present: Mutex<Present>,
}

struct Present {
    tls: Arc<Tls>,
    /// The files, as they were before they were last read.
    files: Files,
    looked: Instant,
    /// A warning has said that the certificate ends soon.
    warned: bool,
}

/// Device, inode, length and time of change of each file; None for one that is not there.
type Files = [Option<(u64, u64, u64, i64, i64)>; 3];

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Trust(plain)"),
            Some(there) => write!(f, "Trust({} of {})", there.role, there.folder.display()),
        }
    }
}

impl Trust {
    /// Reads `role`'s certificate, its key and the authority's certificate from a folder.
    ///
    /// # Errors
    /// If a file is missing, readable by others, or not what its name says, or if the certificate
    /// is expired or another authority's.
    pub fn read(folder: &Path, role: Role) -> Result<Self, UnusableCertificate> {
        let files = files(folder, role);
        let tls = Arc::new(Tls::read(folder, role)?);
        let present = Present { tls, files, looked: Instant::now(), warned: false };
        let (folder, present) = (folder.to_owned(), Mutex::new(present));
        let there = Certificates { folder, role, present };
        there.now();
        Ok(Self(Some(Arc::new(there))))
    }

    /// Whether connections are encrypted.
    pub fn is_secure(&self) -> bool {
        self.0.is_some()
    }

    /// End of validity of the process's own certificate; None without one.
    pub fn valid_until(&self) -> Option<String> {
        self.tls().map(|tls| date(tls.own.valid.1))
    }

    /// The certificates for the next connection.
    pub(crate) fn tls(&self) -> Option<Arc<Tls>> {
        self.0.as_ref().map(|there| there.now())
    }
}

impl Certificates {
    /// The certificates, read anew if their files have changed. Files that can't be used, such as
    /// one of two that is still being copied, leave the certificates as they were.
    fn now(&self) -> Arc<Tls> {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if present.looked.elapsed() >= LOOK_EVERY {
            present.looked = Instant::now();
            let files = files(&self.folder, self.role);
            if files != present.files {
                present.files = files;
                self.replace(&mut present);
            }
        }
        if !present.warned && ends_soon(&present.tls.own) {
            present.warned = true;
            let until = date(present.tls.own.valid.1);
            tracing::warn!(until, "this {}'s certificate ends soon", self.role);
        }
        present.tls.clone()
    }

    fn replace(&self, present: &mut Present) {
        match Tls::read(&self.folder, self.role) {
            Ok(tls) => {
                let until = date(tls.own.valid.1);
                tracing::info!(until, "the certificates have changed and were read anew");
                (present.tls, present.warned) = (Arc::new(tls), false);
            }
            Err(error) => {
                tracing::warn!(%error, "the certificates have changed and can't be used, so those \
                    before stay in use");
            }
        }
    }
}

fn files(folder: &Path, role: Role) -> Files {
    let paths = [folder.join(AUTHORITY), certificate_file(folder, role), key_file(folder, role)];
    paths.map(|path| {
        let about = fs::metadata(path).ok()?;
        Some((about.dev(), about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
    })
}
