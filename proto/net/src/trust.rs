//! Whom a process trusts: the certificates that it shows and checks, or nobody in particular.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::certificates::{Refused, Tls, date};
use crate::role::Role;

/// Whom a process trusts, and how it shows who it is; by default connections are plain.
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
    /// If a file is missing, readable by others, or not what its name says; if the certificate is
    /// expired or another authority's.
    pub fn read(folder: &Path, role: Role) -> Result<Self, Refused> {
        Tls::read(folder, role).map(|tls| Self(Some(Arc::new(tls))))
    }

    /// Whether connections are encrypted.
    pub fn is_secure(&self) -> bool {
        self.0.is_some()
    }

    /// The time after which its own certificate is worth nothing; None without one.
    pub fn valid_until(&self) -> Option<String> {
        self.0.as_ref().map(|tls| date(tls.own.valid.1))
    }
}
