//! Client's end: connects, shakes hands, waits for the server's first words.

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
use crate::explain::{self, explain};
use crate::role::Role;
use crate::server::endpoint;
use crate::stream::{Io, Stream};
use crate::trust::Trust;

/// For the connection, and once more for the handshake.
const PATIENCE: Duration = Duration::from_secs(5);
/// With which HTTP/2 begins. Sent ahead on plain connections, since a TLS server waits for a word.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// First byte of a TLS alert, and of HTTP/2's settings.
const TLS_ALERT: u8 = 0x15;
const SETTINGS: u8 = 0;

/// Why a connection did not come about. Its text goes on after a subject: "can't reach the worker
/// at …".
#[derive(Debug, Clone, thiserror::Error)]
#[error("can't reach the {role} at {address}: {why}")]
pub struct DialError {
    /// Who was expected there.
    pub role: Role,
    /// `host:port`.
    pub address: String,
    /// What happened, and what to do.
    pub why: String,
    /// The ends don't trust each other: trying again can't help.
    pub refused: bool,
}

impl DialError {
    /// The same with its subject, such as `this worker (10.0.0.2:4002)`: who tried.
    pub fn by(&self, who: &str) -> String {
        format!("{who} {self}")
    }
}

impl From<DialError> for Status {
    fn from(error: DialError) -> Self {
        match error.refused {
            true => Self::unauthenticated(error.to_string()),
            false => Self::unavailable(error.to_string()),
        }
    }
}

impl Trust {
    /// Dials `host:port`, where a `role` is expected, once.
    ///
    /// # Errors
    /// If nobody answers within seconds, or the two ends don't trust each other.
    pub async fn dial(&self, role: Role, address: &str) -> Result<Channel, DialError> {
        dial(self, role, address).await
    }

    /// A connection that is made when it is first used, and again when it was lost.
    ///
    /// # Errors
    /// If the address can't be read.
    pub fn dial_lazily(&self, role: Role, address: &str) -> Result<Channel, DialError> {
        lazily(self, role, address)
    }
}

async fn dial(trust: &Trust, role: Role, address: &str) -> Result<Channel, DialError> {
    let connector = connector(trust.clone(), role, address.to_owned());
    let connected = readable(role, address)?.connect_with_connector(connector).await;
    connected.map_err(|error| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(next) = cause {
            if let Some(found) = next.downcast_ref::<DialError>() {
                return found.clone();
            }
            cause = next.source();
        }
        DialError { role, address: address.into(), why: error.to_string(), refused: false }
    })
}

fn lazily(trust: &Trust, role: Role, address: &str) -> Result<Channel, DialError> {
    let connector = connector(trust.clone(), role, address.to_owned());
    Ok(readable(role, address)?.connect_with_connector_lazy(connector))
}

fn readable(role: Role, address: &str) -> Result<tonic::transport::Endpoint, DialError> {
    let port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    endpoint(address).ok().filter(|_| port).ok_or_else(|| DialError {
        role,
        address: address.into(),
        why: "that is not an address like 10.0.0.1:4000".into(),
        refused: true,
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
            opened.map(TokioIo::new).map_err(|(why, refused)| DialError {
                role,
                address,
                why,
                refused,
            })
        }
    })
}

/// What happened, and whether trying again can't help.
type Why = (String, bool);

async fn open(trust: &Trust, role: Role, address: &str) -> Result<Stream, Why> {
    let tcp = match timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Err((unreachable(&error, address), false)),
        Err(_) => return Err((unreachable(&io::ErrorKind::TimedOut.into(), address), false)),
    };
    let _ = tcp.set_nodelay(true);
    let to = tcp.peer_addr().map_err(|e| (e.to_string(), false))?;
    let spoken = match &trust.0 {
        None => timeout(PATIENCE, plain(tcp, to)).await,
        Some(tls) => timeout(PATIENCE, secured(tls, role, tcp, to)).await,
    };
    spoken.unwrap_or_else(|_| {
        let s = PATIENCE.as_secs();
        Err((format!("it took the connection but said nothing for {s} s; does it hang?"), false))
    })
}

async fn plain(mut tcp: TcpStream, to: SocketAddr) -> Result<Stream, Why> {
    let first = match tcp.write_all(PREFACE).await {
        Ok(()) => first_words(&mut tcp).await,
        Err(error) => Err(error),
    };
    match first {
        Ok(words) if words[0] == SETTINGS => {
            Ok(Stream::dialed(Io::Plain(tcp), to, words, PREFACE.len()))
        }
        Ok(words) if words[0] == TLS_ALERT => {
            Err(("it takes TLS connections only; start this process with --certs".into(), true))
        }
        Ok(_) => Err(("something else answers there; is the port right?".into(), true)),
        Err(error) if explain::is_end(&error) => {
            Err(("it closed the connection at once; is it just ending?".into(), false))
        }
        Err(error) => Err((error.to_string(), false)),
    }
}

async fn secured(tls: &Tls, role: Role, tcp: TcpStream, to: SocketAddr) -> Result<Stream, Why> {
    let why = |error: io::Error| explain(&error, &tls.own);
    let mut io = tls.connector.connect(role.server_name(), tcp).await.map_err(why)?;
    // Nothing is sent before: a server that refuses would answer unread bytes by a reset, and its
    // reason could be lost.
    let words = first_words(&mut io).await.map_err(why)?;
    Ok(Stream::dialed(Io::Tls(Box::new(io.into())), to, words, 0))
}

async fn first_words(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut words = vec![0; 64];
    match io.read(&mut words).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => {
            words.truncate(n);
            Ok(words)
        }
    }
}

/// Why no connection comes about, and what that points to.
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
            format!("nobody listens there; is it running, and is the port right?{hint}")
        }
        TimedOut => format!(
            "no answer within {} s: a firewall, or an address that isn't reachable from this \
             machine; behind NAT, start it with --advertise HOST:PORT as this machine reaches it",
            PATIENCE.as_secs()
        ),
        HostUnreachable | NetworkUnreachable => format!(
            "this machine has no way to {host} ({error}); start it with --advertise HOST:PORT as \
             this machine reaches it"
        ),
        _ if error.to_string().contains("lookup") => format!(
            "this machine doesn't know the name {host}; use its number, or add the name to DNS or \
             /etc/hosts"
        ),
        _ => error.to_string(),
    }
}
