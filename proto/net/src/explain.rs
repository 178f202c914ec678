//! Explains failed handshakes to people, with a remedy.

use std::io;

use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use crate::certificates::{Own, date, renewing, valid_now};
use crate::role::Role;

/// A connection attempt that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The reason and a remedy, as a sentence.
    pub(super) why: String,
    /// Whether another attempt can't help, because the two ends don't trust each other.
    pub(super) permanent: bool,
}

impl Failure {
    pub(super) fn permanent(why: impl Into<String>) -> Self {
        Self { why: why.into(), permanent: true }
    }

    pub(super) fn transient(why: impl Into<String>) -> Self {
        Self { why: why.into(), permanent: false }
    }
}

/// The TLS error inside an I/O error.
fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Explains why a handshake, or the first read after it, failed; `own` is this end's certificate.
pub(super) fn explain(error: &io::Error, own: &Own) -> Failure {
    match tls_error(error) {
        Some(Error::InvalidCertificate(why)) => Failure::permanent(certificate(why)),
        Some(Error::NoCertificatesPresented) => {
            Failure::permanent("it showed no certificate; start it with --certs")
        }
        Some(Error::AlertReceived(alert)) => Failure::permanent(refusal(*alert, own)),
        Some(Error::InvalidMessage(_)) => {
            Failure::permanent("it speaks without TLS; start it with --certs too")
        }
        Some(other) => Failure::permanent(format!("the TLS handshake failed: {other}")),
        None if is_end(error) => {
            Failure::transient("it broke off the handshake; its log may say why")
        }
        None => Failure::transient(error.to_string()),
    }
}

/// Whether an error means that the other end closed the connection.
pub(super) fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// Explains what is wrong with the other end's certificate.
fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "its certificate expired on {}, and it is {}; {}",
            date(*not_after),
            date(*time),
            renewing("DIR", "ROLE")
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is valid from {} only, and this machine's clock says {}: one of the \
             two machines' clocks is wrong",
            date(*not_before),
            date(*time)
        ),
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is another authority's, so it belongs to another run; all processes \
             of a run take theirs from one `alexnet certs` folder"
                .into()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let expected = match expected {
                ServerName::DnsName(name) => name.as_ref(),
                _ => "another",
            };
            let shown = Role::ALL.iter().find(|r| presented.iter().any(|p| p.contains(r.name())));
            let shown = shown.map_or("nobody's of a run", |role| role.name());
            format!(
                "a {expected} is expected there, its certificate says {shown}: \
                 is the address right?"
            )
        }
        other => format!("its certificate can't be used: {other}"),
    }
}

/// Explains an alert by which the other end refused this end's certificate; TLS alerts say little.
fn refusal(alert: AlertDescription, own: &Own) -> String {
    let Own { role, valid, .. } = own;
    match alert {
        AlertDescription::CertificateExpired => match valid_now(own) {
            Err(why) => format!("it refuses this {role}'s certificate: {why}"),
            Ok(()) => format!(
                "it refuses this {role}'s certificate as expired or not yet valid, but it is \
                 valid from {} to {} and the clock here says {}: compare `date` on both machines",
                date(valid.0),
                date(valid.1),
                date(UnixTime::now())
            ),
        },
        AlertDescription::BadCertificate => format!(
            "it refuses this {role}'s certificate, as a rule because it looks for another role at \
             this address"
        ),
        AlertDescription::UnknownCA | AlertDescription::DecryptError => format!(
            "it refuses this {role}'s certificate as another authority's, so it belongs to \
             another run; all processes of a run take theirs from one `alexnet certs` folder"
        ),
        AlertDescription::CertificateRequired => {
            format!("it wants a certificate, and this {role} showed none")
        }
        other => format!("it ends the handshake: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(days: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(days * 86_400))
    }

    fn said(error: Error, own: &Own) -> String {
        explain(&io::Error::new(io::ErrorKind::InvalidData, error), own).why
    }

    fn worker() -> Own {
        Own { role: Role::Worker, folder: "certs".into(), valid: (at(0), at(100_000)) }
    }

    /// Both ends notice a wrong clock, and both messages state both times.
    #[test]
    fn a_wrong_clock_is_reported_with_both_times() {
        let why = CertificateError::NotValidYetContext { time: at(20_000), not_before: at(20_001) };
        let said_here = said(Error::InvalidCertificate(why), &worker());
        for words in ["2024-10-04 00:00 UTC", "2024-10-05 00:00 UTC", "clocks"] {
            assert!(said_here.contains(words), "{said_here}");
        }
        let there = said(Error::AlertReceived(AlertDescription::CertificateExpired), &worker());
        for words in ["1970-01-01", "2243-10-17", "compare `date` on both machines"] {
            assert!(there.contains(words), "{there}");
        }
    }

    #[test]
    fn an_expired_certificate_is_reported_with_its_end_and_the_way_to_renew_it() {
        let why = CertificateError::ExpiredContext { time: at(20_001), not_after: at(20_000) };
        let here = said(Error::InvalidCertificate(why), &worker());
        assert!(here.contains("expired on 2024-10-04") && here.contains("--renew"), "{here}");
        let own = Own { valid: (at(0), at(1)), ..worker() };
        let there = said(Error::AlertReceived(AlertDescription::CertificateExpired), &own);
        for words in ["this worker's certificate", "expired on 1970-01-02", "--roles worker"] {
            assert!(there.contains(words), "{there}");
        }
    }
}
