//! Who may talk to whom: every connection of the program is dialled and accepted here.
//!
//! With certificates both ends show one, and it names a role, not an address: the dialler asks for
//! the role it wants, the service says which roles it takes ([`only`]). The authority is the run's
//! own, so another run's certificates are nobody's. Without certificates connections are plain.
//!
//! A connection counts as made once the server has spoken: HTTP/2 servers do so unasked, and a
//! TLS 1.3 client learns only then that its certificate was refused.

mod files; // the folder of certificates, read and checked
mod dial; // client's end
mod listen; // server's end: limits before the handshake, refusals in the log
mod places; // how many there may be
mod stream; // a connection, plain or not
mod words; // what a failed handshake means

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub use dial::DialError;
pub use files::{AUTHORITY, Refused, certificate_file, key_file};
pub use listen::Incoming;
pub use stream::{Peer, Stream};
pub use words::date;

use files::Tls;

/// What a certificate says of its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Owns the run directory.
    Coordinator,
    /// Trains a half.
    Worker,
    /// Serves minibatches.
    Loader,
    /// Asks how the run stands, and stops it.
    Operator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Coordinator, Self::Worker, Self::Loader, Self::Operator];

    /// As certificates and files call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Loader => "loader",
            Self::Operator => "operator",
        }
    }

    /// What a certificate of the run's authority says.
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        Self::ALL.into_iter().find(|role| verify_server_name(&parsed, &role.server_name()).is_ok())
    }

    fn server_name(self) -> ServerName<'static> {
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

/// Whom a process trusts, and how it shows who it is; by default connections are plain.
#[derive(Clone, Default)]
pub struct Trust(Option<Arc<Tls>>);

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

    /// Dials `host:port`, where a `role` is expected, once.
    ///
    /// # Errors
    /// If nobody answers within seconds, or the two ends don't trust each other.
    pub async fn dial(&self, role: Role, address: &str) -> Result<Channel, DialError> {
        dial::dial(self, role, address).await
    }

    /// A connection that is made when it is first used, and again when it was lost.
    ///
    /// # Errors
    /// If the address can't be read.
    pub fn dial_lazily(&self, role: Role, address: &str) -> Result<Channel, DialError> {
        dial::lazily(self, role, address)
    }

    /// Connections for a server to serve.
    pub fn accept(&self, listener: TcpListener) -> Incoming {
        Incoming::new(self.clone(), listener)
    }
}

/// Every call's first question: refuses one of a role that has no business here (without TLS there
/// are no roles); a connection that has called keeps its place.
///
/// # Errors
/// `PERMISSION_DENIED`, with both roles; `RESOURCE_EXHAUSTED` if there are too many connections.
pub fn only<T>(request: &Request<T>, what: &str, roles: &[Role]) -> Result<(), Status> {
    let Some(peer) = request.extensions().get::<Peer>() else { return Ok(()) };
    let Some(role) = peer.role.filter(|role| !roles.contains(role)) else {
        let kept = peer.place.as_ref().map_or(Ok(()), |place| place.call());
        return kept.map_err(|why| {
            tracing::warn!(from = %peer.address, what, "a call is refused: {why}");
            Status::resource_exhausted(why)
        });
    };
    let wanted: Vec<_> = roles.iter().map(|role| role.name()).collect();
    let wanted = wanted.join("'s or a ");
    tracing::warn!(from = %peer.address, %role, what, "refused: it takes a {wanted}'s certificate");
    Err(Status::permission_denied(format!(
        "{what} takes a {wanted}'s certificate, this one is a {role}'s: start each process as the \
         role it is"
    )))
}

/// The address others are told: `advertise`, or the listener's own where that means something on
/// another machine. An `advertise` without a port gets the listener's.
///
/// # Errors
/// A sentence that says what to do, if neither can be dialled.
pub fn advertised(own: SocketAddr, advertise: Option<&str>) -> Result<String, String> {
    let Some(given) = advertise else {
        return match own.ip().is_unspecified() {
            false => Ok(own.to_string()),
            true => Err(format!(
                "listening on {own} says nothing about how others reach this machine: add \
                 --advertise HOST:PORT as they dial it, or --listen on one address of it"
            )),
        };
    };
    let address = match given.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, own.port()).to_string(),
        Err(_) if given.contains(':') => given.to_owned(),
        Err(_) => format!("{given}:{}", own.port()),
    };
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let nowhere = address.parse::<SocketAddr>().is_ok_and(|a| a.ip().is_unspecified());
    if nowhere || port.unwrap_or(0) == 0 {
        return Err(format!(
            "--advertise {given} can't be dialled; give HOST:PORT as others reach this machine, \
             such as 10.0.0.2:4002"
        ));
    }
    Ok(address)
}
