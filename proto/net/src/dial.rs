//! The client's end: connects, shakes hands, waits for the server's first bytes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::{Channel, Uri};

use crate::certificates::Tls;
use crate::explain::{self, Failure, explain};
use crate::role::Role;
use crate::server::{SILENCE, endpoint};
use crate::stream::{Io, Stream};
use crate::trust::Trust;

/// Time limit for the TCP connection, and again for the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The bytes with which HTTP/2 begins. They are sent at once on plain connections, since a TLS
/// server waits for the client.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// First byte of a TLS alert, and of HTTP/2's settings.
const TLS_ALERT: u8 = 0x15;
const SETTINGS: u8 = 0;

/// A connection that could not be made. The text is a sentence without its subject: "can't reach
/// the worker at …"; [`DialError::by`] adds one.
#[derive(Debug, Clone, thiserror::Error)]
#[error("can't reach the {role} at {address}: {why}")]
pub struct DialError {
    /// The role that was expected there.
    pub role: Role,
    /// `host:port`.
    pub address: String,
    /// The reason and a remedy.
    pub why: String,
    /// Whether another attempt can't help, because the two ends don't trust each other.
    pub permanent: bool,
}

impl DialError {
    /// The whole sentence, with the process that tried as its subject, such as `this worker
    /// (10.0.0.2:4002)`.
    pub fn by(&self, who: &str) -> String {
        format!("{who} {self}")
    }
}

impl From<DialError> for Status {
    fn from(error: DialError) -> Self {
        match error.permanent {
            true => Self::unauthenticated(error.to_string()),
            false => Self::unavailable(error.to_string()),
        }
    }
}

impl Trust {
    /// Dials `host:port`, where a `role` is expected, once.
    ///
    /// # Errors
    /// If there is no answer within 5 s, or the two ends don't trust each other.
    pub async fn dial(&self, role: Role, address: &str) -> Result<Channel, DialError> {
        dial(self, role, address, SILENCE).await
    }

    /// Dials as [`Trust::dial`] does; the connection is lost once the server has been silent for
    /// `silence`.
    ///
    /// # Errors
    /// As [`Trust::dial`].
    pub async fn dial_patiently(
        &self,
        role: Role,
        address: &str,
        silence: Duration,
    ) -> Result<Channel, DialError> {
        dial(self, role, address, silence).await
    }

    /// Returns a connection that is made when it is first used, and again after it was lost.
    ///
    /// # Errors
    /// If the address can't be read.
    pub fn dial_lazily(&self, role: Role, address: &str) -> Result<Channel, DialError> {
        lazily(self, role, address)
    }
}

async fn dial(
    trust: &Trust,
    role: Role,
    address: &str,
    silence: Duration,
) -> Result<Channel, DialError> {
    let connector = connector(trust.clone(), role, address.to_owned());
    let connected = parsed(role, address, silence)?.connect_with_connector(connector).await;
    connected.map_err(|error| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(next) = cause {
            if let Some(found) = next.downcast_ref::<DialError>() {
                return found.clone();
            }
            cause = next.source();
        }
        DialError { role, address: address.into(), why: error.to_string(), permanent: false }
    })
}

fn lazily(trust: &Trust, role: Role, address: &str) -> Result<Channel, DialError> {
    let connector = connector(trust.clone(), role, address.to_owned());
    Ok(parsed(role, address, SILENCE)?.connect_with_connector_lazy(connector))
}

fn parsed(
    role: Role,
    address: &str,
    silence: Duration,
) -> Result<tonic::transport::Endpoint, DialError> {
    let port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    endpoint(address, silence).ok().filter(|_| port).ok_or_else(|| DialError {
        role,
        address: address.into(),
        why: "that is not an address like 10.0.0.1:4000".into(),
        permanent: true,
    })
}

fn connector(
    trust: Trust,
    role: Role,
    address: String,
) -> impl tower::Service<
    Uri,
    Response = TokioIo<Stream>,
    Error = DialError,
    Future = impl Future<Output = Result<TokioIo<Stream>, DialError>> + Send,
> + Send
+ 'static {
    tower::service_fn(move |_: Uri| {
        let (trust, address) = (trust.clone(), address.clone());
        async move {
            let opened = open(&trust, role, &address).await;
            opened.map(TokioIo::new).map_err(|Failure { why, permanent }| DialError {
                role,
                address,
                why,
                permanent,
            })
        }
    })
}

async fn open(trust: &Trust, role: Role, address: &str) -> Result<Stream, Failure> {
    let tcp = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Err(Failure::transient(unreachable(&error, address))),
        Err(_) => {
            let late = io::ErrorKind::TimedOut.into();
            return Err(Failure::transient(unreachable(&late, address)));
        }
    };
    let _ = tcp.set_nodelay(true);
    let to = tcp.peer_addr().map_err(|e| Failure::transient(e.to_string()))?;
    let answered = match trust.tls() {
        None => timeout(CONNECT_TIMEOUT, plain(tcp, to)).await,
        Some(tls) => timeout(CONNECT_TIMEOUT, secured(&tls, role, tcp, to)).await,
    };
    answered.unwrap_or_else(|_| {
        let s = CONNECT_TIMEOUT.as_secs();
        let why = format!("it accepted the connection but sent nothing for {s} s; does it hang?");
        Err(Failure::transient(why))
    })
}

async fn plain(mut tcp: TcpStream, to: SocketAddr) -> Result<Stream, Failure> {
    let first = match tcp.write_all(PREFACE).await {
        Ok(()) => first_bytes(&mut tcp).await,
        Err(error) => Err(error),
    };
    match first {
        Ok(bytes) if bytes[0] == SETTINGS => {
            Ok(Stream::dialed(Io::Plain(tcp), to, bytes, PREFACE.len()))
        }
        Ok(bytes) if bytes[0] == TLS_ALERT => Err(Failure::permanent(
            "it takes TLS connections only; start this process with --certs",
        )),
        Ok(_) => Err(Failure::permanent("another program answers there; is the port right?")),
        Err(error) if explain::is_end(&error) => {
            Err(Failure::transient("it closed the connection at once; is it just ending?"))
        }
        Err(error) => Err(Failure::transient(error.to_string())),
    }
}

async fn secured(tls: &Tls, role: Role, tcp: TcpStream, to: SocketAddr) -> Result<Stream, Failure> {
    let why = |error: io::Error| explain(&error, &tls.own);
    let mut io = tls.connector.connect(role.server_name(), tcp).await.map_err(why)?;
    // Nothing may be sent before this: a server that refuses would answer unread bytes by a reset,
    // and its reason could be lost.
    let bytes = first_bytes(&mut io).await.map_err(why)?;
    Ok(Stream::dialed(Io::Tls(Box::new(io.into())), to, bytes, 0))
}

async fn first_bytes(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 64];
    match io.read(&mut bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => {
            bytes.truncate(n);
            Ok(bytes)
        }
    }
}

/// Explains why a connection could not be made, with a remedy.
fn unreachable(error: &io::Error, address: &str) -> String {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let own = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    let hint = if own {
        "; that address means this machine itself: if it runs on another, start it with --listen \
         or --advertise HOST:PORT as this machine reaches it"
    } else {
        ""
    };
    match error.kind() {
        ConnectionRefused => {
            format!("nothing listens there; is it running, and is the port right?{hint}")
        }
        TimedOut => format!(
            "no answer within {} s: a firewall, or an address that isn't reachable from this \
             machine; behind NAT, start it with --advertise HOST:PORT as this machine reaches it",
            CONNECT_TIMEOUT.as_secs()
        ),
        HostUnreachable | NetworkUnreachable => format!(
            "this machine has no route to {host} ({error}); start it with --advertise HOST:PORT as \
             this machine reaches it"
        ),
        _ if error.to_string().contains("lookup") => format!(
            "this machine doesn't know the name {host}; use its number, or add the name to DNS or \
             /etc/hosts"
        ),
        _ => error.to_string(),
    }
}
