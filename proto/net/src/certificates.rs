//! The folder of certificates: `authority.pem`, `<role>.pem`, `<role>-key.pem`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use time::OffsetDateTime;

use crate::role::Role;

/// The authority's certificate.
pub const AUTHORITY: &str = "authority.pem";
const VERSIONS: [&SupportedProtocolVersion; 1] = [&TLS13];
/// Before this end of its own certificate a process begins to warn.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// The year 2200: after the end of any certificate.
const FAR: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(7_258_118_400));

/// Where a role's certificate is.
pub fn certificate_file(folder: &Path, role: Role) -> PathBuf {
    folder.join(format!("{role}.pem"))
}

/// Where its key is.
pub fn key_file(folder: &Path, role: Role) -> PathBuf {
    folder.join(format!("{role}-key.pem"))
}

/// A file of certificates that can't be used, why, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{path}: {why}")]
pub struct Refused {
    /// The file.
    pub path: PathBuf,
    /// In a sentence.
    pub why: String,
}

/// A process's own certificate.
pub(super) struct Own {
    pub(super) role: Role,
    pub(super) folder: PathBuf,
    /// First and last moment.
    pub(super) valid: (UnixTime, UnixTime),
}

/// A process's own certificate, and how it judges those of others.
pub(super) struct Tls {
    pub(super) own: Own,
    pub(super) connector: TlsConnector,
    pub(super) acceptor: TlsAcceptor,
}

impl Tls {
    pub(super) fn read(folder: &Path, role: Role) -> Result<Self, Refused> {
        let (authority, certificate) = (folder.join(AUTHORITY), certificate_file(folder, role));
        let key = key_file(folder, role);
        let missing = |path: &Path, error: std::io::Error| Refused {
            path: path.to_owned(),
            why: match error.kind() {
                std::io::ErrorKind::NotFound => format!(
                    "not there; `alexnet certs {}` makes a run's certificates, and this machine \
                     needs {AUTHORITY}, {role}.pem and {role}-key.pem of them",
                    folder.display()
                ),
                _ => format!("can't be read: {error}"),
            },
        };
        let read = |path: &Path| fs::read(path).map_err(|e| missing(path, e));
        let root = pem(&authority, &read(&authority)?)?;
        let own = pem(&certificate, &read(&certificate)?)?;
        let bytes = read(&key)?;
        for_own_eyes(&key)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|e| Refused { path: key, why: format!("not a private key in PEM: {e}") })?;
        let mut roots = RootCertStore::empty();
        roots.add(root).map_err(|e| Refused { path: authority, why: e.to_string() })?;
        let refused = |why: String| Refused { path: certificate.clone(), why };
        let roots = Arc::new(roots);
        let valid = validity(&roots, &own, role).map_err(refused)?;
        let about = Own { role, folder: folder.to_owned(), valid };
        valid_now(&about).map_err(refused)?;
        if UnixTime::now().as_secs() + SOON.as_secs() > valid.1.as_secs() {
            tracing::warn!(until = date(valid.1), "this {role}'s certificate ends soon");
        }
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

fn pem(path: &Path, bytes: &[u8]) -> Result<CertificateDer<'static>, Refused> {
    CertificateDer::from_pem_slice(bytes).map_err(|e| Refused {
        path: path.to_owned(),
        why: format!("not a certificate in PEM ({e}); copy it again from where it was made"),
    })
}

/// Others who read a key are whoever it names.
fn for_own_eyes(key: &Path) -> Result<(), Refused> {
    let refused = |why| Refused { path: key.to_owned(), why };
    let mode = fs::metadata(key).map_err(|e| refused(e.to_string()))?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let path = key.display();
        return Err(refused(format!(
            "every user of this machine can use this key (mode {mode:03o}): chmod 600 {path}"
        )));
    }
    if mode & 0o070 != 0 {
        tracing::warn!(key = %key.display(), "its group can use this key (mode {mode:03o})");
    }
    Ok(())
}

/// First and last moment of a certificate; the verifier is asked about times before and after all,
/// since its answer names them.
fn validity(
    roots: &Arc<RootCertStore>,
    own: &CertificateDer<'_>,
    role: Role,
) -> Result<(UnixTime, UnixTime), String> {
    let judge = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
        .build()
        .map_err(|e| e.to_string())?;
    let at = |time| judge.verify_server_cert(own, &[], &role.server_name(), &[], time).err();
    let early = at(UnixTime::since_unix_epoch(Duration::ZERO));
    let late = at(FAR);
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
            "not made by the authority of {AUTHORITY} beside it: copy both from one `alexnet \
             certs` folder"
        )),
        Some(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })) => {
            Err(format!("not a {role}'s certificate, whatever its name: copy {role}.pem again"))
        }
        Some(other) => Err(other.to_string()),
    }
}

fn configure(
    roots: Arc<RootCertStore>,
    own: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<(TlsConnector, TlsAcceptor), Error> {
    let judge = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![own.clone()], key.clone_key())?;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&VERSIONS)?
        .with_client_cert_verifier(judge)
        .with_single_cert(vec![own], key)?;
    // Resumed sessions would skip the certificates, so that an expired one lived on.
    client.resumption = Resumption::disabled();
    server.send_tls13_tickets = 0;
    client.alpn_protocols = vec![b"h2".to_vec()];
    server.alpn_protocols = vec![b"h2".to_vec()];
    Ok((TlsConnector::from(Arc::new(client)), TlsAcceptor::from(Arc::new(server))))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A moment, as people write it.
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

/// How to renew a certificate.
pub(super) fn renewing(folder: &str, role: &str) -> String {
    format!("renew it where authority-key.pem is: alexnet certs {folder} --renew --roles {role}")
}

/// Whether a process's own certificate can be used at this moment.
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
