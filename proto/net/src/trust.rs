//! The trust between processes: the certificates that a process shows and checks, or none.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::certificates::{Tls, UnusableCertificate, date};
use crate::role::Role;

/// The certificates that a process shows and checks; by default there are none, and connections
/// are plain.
#[derive(Clone, Default)]
pub struct Trust(pub(crate) Option<Arc<Tls>>);

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Trust(plain)"),
            Some(tls) => write!(f, "Trust({} of {})", tls.own.role, tls.own.folder.display()),
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
        Tls::read(folder, role).map(|tls| Self(Some(Arc::new(tls))))
    }

    /// Whether connections are encrypted.
    pub fn is_secure(&self) -> bool {
        self.0.is_some()
    }

    /// End of validity of the process's own certificate; None without one.
    pub fn valid_until(&self) -> Option<String> {
        self.0.as_ref().map(|tls| date(tls.own.valid.1))
    }
}
