//! The roles of a run's processes.

use std::fmt;
use std::str::FromStr;

use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;

/// The role of a process, as its certificate states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The owner of the run directory.
    Coordinator,
    /// A process that trains a partition of the network.
    Worker,
    /// A process that serves minibatches.
    Loader,
    /// A person who asks for the status of a run or stops it.
    Operator,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Coordinator, Self::Worker, Self::Loader, Self::Operator];

    /// Name in certificates and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Loader => "loader",
            Self::Operator => "operator",
        }
    }

    /// The role that a certificate of the run's authority names.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        Self::ALL.into_iter().find(|role| verify_server_name(&parsed, &role.server_name()).is_ok())
    }

    pub(crate) fn server_name(self) -> ServerName<'static> {
        ServerName::try_from(self.name()).expect("a role is a word of letters")
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| {
            format!("{text:?} is no role; there are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}
