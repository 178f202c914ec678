//! The folder of certificates: `authority.pem`, `<role>.pem`, `<role>-key.pem`.
//!
//! `authority.pem` may hold several certificates: while one authority follows another, processes
//! trust both.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use time::OffsetDateTime;

use crate::role::Role;

/// File name of the authority's certificate, or of those of several authorities.
pub const AUTHORITY: &str = "authority.pem";
const VERSIONS: [&SupportedProtocolVersion; 1] = [&TLS13];
/// Time before the end of its own certificate at which a process begins to warn.
const WARNING_TIME: Duration = Duration::from_secs(14 * 24 * 3600);
/// The year 2200, after the end of any certificate.
const FAR_FUTURE: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(7_258_118_400));

/// Path of a role's certificate.
pub fn certificate_file(folder: &Path, role: Role) -> PathBuf {
    folder.join(format!("{role}.pem"))
}

/// Path of a role's private key.
pub fn key_file(folder: &Path, role: Role) -> PathBuf {
    folder.join(format!("{role}-key.pem"))
}

/// A file of certificates that can't be used, with the reason and a remedy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {why}")]
pub struct UnusableCertificate {
    /// The file.
    pub path: PathBuf,
    /// The reason and a remedy, as a sentence.
    pub why: String,
}

/// A process's own certificate.
pub(super) struct Own {
    pub(super) role: Role,
    pub(super) folder: PathBuf,
    /// Begin and end of validity.
    pub(super) valid: (UnixTime, UnixTime),
}

/// A process's own certificate, and the means to check those of others.
pub(super) struct Tls {
    pub(super) own: Own,
    pub(super) connector: TlsConnector,
    pub(super) acceptor: TlsAcceptor,
}

impl Tls {
    pub(super) fn read(folder: &Path, role: Role) -> Result<Self, UnusableCertificate> {
        let (authority, certificate) = (folder.join(AUTHORITY), certificate_file(folder, role));
        let key = key_file(folder, role);
        let missing = |path: &Path, error: std::io::Error| UnusableCertificate {
            path: path.to_owned(),
            why: match error.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "not there; `alexnet certs {}` makes a run's certificates, and this machine \
                     needs {AUTHORITY}, {role}.pem and {role}-key.pem of them",
                    crate::quoted(folder)
                ),
                _ => format!("can't be read: {error}"),
            },
        };
        let read = |path: &Path| fs::read(path).map_err(|e| missing(path, e));
        let roots = authorities(&authority, &read(&authority)?)?;
        let own = pem(&certificate, &read(&certificate)?)?;
        let bytes = read(&key)?;
        check_private(&key)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| UnusableCertificate {
            path: key,
            why: format!("not a private key in PEM: {e}"),
        })?;
        let refused = |why: String| UnusableCertificate { path: certificate.clone(), why };
        let valid = validity(&roots, &own, role).map_err(refused)?;
        let about = Own { role, folder: folder.to_owned(), valid };
        valid_now(&about).map_err(refused)?;
        let (connector, acceptor) = configure(roots, own, key).map_err(|error| {
            refused(match error {
                Error::InconsistentKeys(_) => {
                    format!("{role}-key.pem beside it is the key of another certificate")
                }
                other => other.to_string(),
            })
        })?;
        Ok(Self { own: about, connector, acceptor })
    }
}

fn pem(path: &Path, bytes: &[u8]) -> Result<CertificateDer<'static>, UnusableCertificate> {
    CertificateDer::from_pem_slice(bytes).map_err(|e| not_pem(path, &e))
}

fn not_pem(path: &Path, error: &pem::Error) -> UnusableCertificate {
    UnusableCertificate {
        path: path.to_owned(),
        why: format!("not a certificate in PEM ({error}); copy it again from where it was made"),
    }
}

/// All authorities of the file, at least one.
fn authorities(path: &Path, bytes: &[u8]) -> Result<Arc<RootCertStore>, UnusableCertificate> {
    let mut roots = RootCertStore::empty();
    for found in CertificateDer::pem_slice_iter(bytes) {
        let root = found.map_err(|e| not_pem(path, &e))?;
        let refused = |e: Error| UnusableCertificate { path: path.to_owned(), why: e.to_string() };
        roots.add(root).map_err(refused)?;
    }
    match roots.is_empty() {
        true => Err(not_pem(path, &pem::Error::NoItemsFound)),
        false => Ok(Arc::new(roots)),
    }
}

/// Refuses a key that other users can read, since a key is as good as an identity.
fn check_private(key: &Path) -> Result<(), UnusableCertificate> {
    let refused = |why| UnusableCertificate { path: key.to_owned(), why };
    let found = fs::metadata(key).map_err(|e| refused(e.to_string()))?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let path = key.display();
        return Err(refused(format!(
            "every user of this machine can use this key (mode {mode:03o}): chmod 600 {path}"
        )));
    }
    // Kubernetes gives a Secret's files to root, and the process reads them by its group.
    let is_own = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == found.uid());
    if mode & 0o070 != 0 && is_own {
        tracing::warn!(key = %key.display(), "its group can use this key (mode {mode:03o})");
    }
    Ok(())
}

/// Begin and end of validity of a certificate. The verifier is asked about a time before and a time
/// after any certificate, because its refusals state both.
fn validity(
    roots: &Arc<RootCertStore>,
    own: &CertificateDer<'_>,
    role: Role,
) -> Result<(UnixTime, UnixTime), String> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
        .build()
        .map_err(|e| e.to_string())?;
    let at = |time| verifier.verify_server_cert(own, &[], &role.server_name(), &[], time).err();
    let early = at(UnixTime::since_unix_epoch(Duration::ZERO));
    let late = at(FAR_FUTURE);
    let (
        Some(Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before, ..
        })),
        Some(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })),
    ) = (&early, &late)
    else {
        return Err("not a certificate with a beginning and an end".into());
    };
    match at(*not_before) {
        None => Ok((*not_before, *not_after)),
        Some(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => Err(format!(
            "not made by an authority of {AUTHORITY} beside it: copy both from one `alexnet \
             certs` folder"
        )),
        Some(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })) => {
            Err(format!("not a {role}'s certificate, despite its name: copy {role}.pem again"))
        }
        Some(other) => Err(other.to_string()),
    }
}

fn configure(
    roots: Arc<RootCertStore>,
    own: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<(TlsConnector, TlsAcceptor), Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![own.clone()], key.clone_key())?;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own], key)?;
    // A resumed session would skip the check of certificates, even of an expired one.
    client.resumption = Resumption::disabled();
    server.send_tls13_tickets = 0;
    client.alpn_protocols = vec![b"h2".to_vec()];
    server.alpn_protocols = vec![b"h2".to_vec()];
    Ok((TlsConnector::from(Arc::new(client)), TlsAcceptor::from(Arc::new(server))))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A time in words, such as `2024-10-04 00:00 UTC`.
pub fn date(time: UnixTime) -> String {
    match OffsetDateTime::from_unix_timestamp(time.as_secs().try_into().unwrap_or(i64::MAX)) {
        Ok(t) => format!(
            "{}-{:02}-{:02} {:02}:{:02} UTC",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute()
        ),
        Err(_) => format!("{} s after 1970", time.as_secs()),
    }
}

/// The command that renews a certificate, as a sentence.
pub(super) fn renewing(folder: &str, role: &str) -> String {
    format!("renew it where authority-key.pem is: alexnet certs {folder} --renew --roles {role}")
}

/// Returns true if a process's own certificate expires soon and should be renewed.
pub(super) fn ends_soon(own: &Own) -> bool {
    UnixTime::now().as_secs() + WARNING_TIME.as_secs() > own.valid.1.as_secs()
}

/// Checks that a process's own certificate is valid now.
pub(super) fn valid_now(own: &Own) -> Result<(), String> {
    let Own { role, folder, valid } = own;
    let now = UnixTime::now();
    if now.as_secs() > valid.1.as_secs() {
        let how = renewing(&folder.display().to_string(), role.name());
        let (end, now) = (date(valid.1), date(now));
        return Err(format!("expired on {end}, and it is {now}; {how}"));
    }
    if now.as_secs() < valid.0.as_secs() {
        return Err(format!(
            "valid from {} only, and this machine's clock says {}: set the clock",
            date(valid.0),
            date(now)
        ));
    }
    Ok(())
}
