//! The server's end: accepts connections, shakes hands, logs the connections that it refused.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use crate::explain::explain;
use crate::limits::{Connections, EVICTED};
use crate::refusals::Refusals;
use crate::role::Role;
use crate::stream::{Guest, Io, Remote, Stream, TLS_HELLO};
use crate::trust::Trust;

/// Time limit of a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after an `accept` that failed (usually for lack of file descriptors) and while the limits
/// are reached; new connections wait in the system's queue meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A TLS alert, unencrypted and fatal: `protocol_version`.
const ALERT: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 70];
/// The first bytes of an HTTP/2 server without settings of its own.
const NO_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A stream of accepted connections, without those that were refused.
#[derive(Debug)]
pub struct Incoming {
    trust: Trust,
    listener: TcpListener,
    handshakes: JoinSet<Option<Stream>>,
    refusals: Arc<Refusals>,
    connections: Connections,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Trust {
    /// Accepts connections on `listener`, for a server to serve.
    pub fn accept(&self, listener: TcpListener) -> Incoming {
        Incoming::new(self.clone(), listener)
    }
}

impl Incoming {
    fn new(trust: Trust, listener: TcpListener) -> Self {
        let (handshakes, refusals) = (JoinSet::new(), Arc::default());
        let connections = Connections::default();
        Self { trust, listener, handshakes, refusals, connections, pause: None }
    }

    fn begin(&mut self, tcp: TcpStream, address: SocketAddr) {
        let _ = tcp.set_nodelay(true);
        let (refusals, trust) = (self.refusals.clone(), self.trust.clone());
        let (slot, mut eviction) = self.connections.add(address.ip());
        self.handshakes.spawn(async move {
            let why = tokio::select! {
                shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(&trust, tcp)) => match shaken {
                    Ok(Ok(Some((io, role)))) => {
                        let remote = Remote { address, role, slot: Some(slot.into()), refusals };
                        return Some(Stream::accepted(io, remote, Guest::new(eviction)));
                    }
                    Ok(Ok(None)) => return None,
                    Ok(Err(why)) => why,
                    Err(_) => format!("no handshake within {} s", HANDSHAKE_TIMEOUT.as_secs()),
                },
                _ = &mut eviction => EVICTED.into(),
            };
            refusals.log(address, &why);
            None
        });
    }
}

/// A connection after its handshake, and the role that its certificate names.
type Accepted = (Io, Option<Role>);

/// Shakes hands; None if the client closed the connection without sending anything, as port scans
/// and health checks do.
async fn handshake(trust: &Trust, tcp: TcpStream) -> Result<Option<Accepted>, String> {
    let Some(tls) = trust.tls() else { return handshake_plain(tcp).await };
    match first_byte(&tcp).await {
        Some(TLS_HELLO) => {}
        Some(_) => {
            reject(tcp, &ALERT).await;
            return Err("it speaks without TLS; start it with --certs".into());
        }
        None => return Ok(None),
    }
    let shaken = tls.acceptor.accept(tcp).await;
    let io = shaken.map_err(|error| explain(&error, &tls.own).why)?;
    let shown = io.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let role = shown.and_then(Role::of).ok_or("its certificate names no role of a run")?;
    Ok(Some((Io::Tls(Box::new(io.into())), Some(role))))
}

async fn first_byte(tcp: &TcpStream) -> Option<u8> {
    let mut first = [0];
    tcp.peek(&mut first).await.ok().filter(|n| *n == 1).map(|_| first[0])
}

/// Checks the first byte of a plain client, which sends first; HTTP/2 always begins with `P`.
async fn handshake_plain(tcp: TcpStream) -> Result<Option<Accepted>, String> {
    match first_byte(&tcp).await {
        Some(b'P') => Ok(Some((Io::Plain(tcp), None))),
        Some(TLS_HELLO) => {
            reject(tcp, &NO_SETTINGS).await;
            Err("it speaks TLS, and this process was started without --certs".into())
        }
        Some(_) => Err("it doesn't speak HTTP/2; is it meant for another port?".into()),
        None => Ok(None),
    }
}

/// Rejects a client that needs TLS, or must not use it, with an answer that our `dial` understands.
async fn reject(mut tcp: TcpStream, answer: &[u8]) {
    let _ = tcp.read(&mut [0; 1024]).await; // unread bytes would turn the close into a reset
    let _ = tcp.write_all(answer).await;
    let _ = tcp.shutdown().await;
}

impl tokio_stream::Stream for Incoming {
    type Item = io::Result<Stream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            while let Poll::Ready(Some(done)) = self.handshakes.poll_join_next(cx) {
                if let Ok(Some(stream)) = done {
                    return Poll::Ready(Some(Ok(stream)));
                }
            }
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if !self.connections.has_room() {
                self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                continue;
            }
            match std::task::ready!(self.listener.poll_accept(cx)) {
                Ok((tcp, address)) => self.begin(tcp, address),
                Err(error) => {
                    if let Some(unsaid) = self.refusals.permit() {
                        tracing::warn!(%error, unsaid, "a connection can't be accepted");
                    }
                    self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                }
            }
        }
    }
}
