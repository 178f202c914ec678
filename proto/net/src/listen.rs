//! Server's end: accepts, shakes hands with a few at a time, says whom it refused and why.

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
use crate::limits::{DISPLACED, Places};
use crate::refusals::Refusals;
use crate::role::Role;
use crate::stream::{Io, Peer, Stranger, Stream, TLS_HELLO};
use crate::trust::Trust;

const HANDSHAKE: Duration = Duration::from_secs(5);
/// After an `accept` that failed, for want of file descriptors as a rule, and where there is no
/// room: who comes then waits in the system's queue.
const PAUSE: Duration = Duration::from_millis(100);
/// A TLS alert, unencrypted and fatal: `protocol_version`.
const ALERT: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 70];
/// How an HTTP/2 server begins, if it has no wishes.
const NO_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Connections as they come, those that were refused left out.
#[derive(Debug)]
pub struct Incoming {
    trust: Trust,
    listener: TcpListener,
    handshakes: JoinSet<Option<Stream>>,
    refusals: Arc<Refusals>,
    places: Places,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Trust {
    /// Connections for a server to serve.
    pub fn accept(&self, listener: TcpListener) -> Incoming {
        Incoming::new(self.clone(), listener)
    }
}

impl Incoming {
    fn new(trust: Trust, listener: TcpListener) -> Self {
        let (handshakes, refusals) = (JoinSet::new(), Arc::default());
        Self { trust, listener, handshakes, refusals, places: Places::default(), pause: None }
    }

    fn begin(&mut self, tcp: TcpStream, address: SocketAddr) {
        let _ = tcp.set_nodelay(true);
        let (refusals, trust) = (self.refusals.clone(), self.trust.clone());
        let (place, mut displaced) = self.places.take(address.ip());
        self.handshakes.spawn(async move {
            let why = tokio::select! {
                greeted = tokio::time::timeout(HANDSHAKE, greet(&trust, tcp)) => match greeted {
                    Ok(Ok(Some((io, role)))) => {
                        let peer = Peer { address, role, place: Some(place.into()) };
                        let stranger = Stranger::new(displaced, refusals);
                        return Some(Stream::accepted(io, peer, stranger));
                    }
                    Ok(Ok(None)) => return None,
                    Ok(Err(why)) => why,
                    Err(_) => format!("no handshake within {} s", HANDSHAKE.as_secs()),
                },
                _ = &mut displaced => DISPLACED.into(),
            };
            refusals.tell(address, &why);
            None
        });
    }
}

/// A connection, and the role its certificate names.
type Greeted = (Io, Option<Role>);

/// Shakes hands; None for one that left without a word, as port scans and health checks do.
async fn greet(trust: &Trust, tcp: TcpStream) -> Result<Option<Greeted>, String> {
    let Some(tls) = &trust.0 else { return greet_plainly(tcp).await };
    match first_byte(&tcp).await {
        Some(TLS_HELLO) => {}
        Some(_) => {
            turn_away(tcp, &ALERT).await;
            return Err("it speaks without TLS; start it with --certs".into());
        }
        None => return Ok(None),
    }
    let shaken = tls.acceptor.accept(tcp).await;
    let io = shaken.map_err(|error| explain(&error, &tls.own).0)?;
    let shown = io.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let role = shown.and_then(Role::of).ok_or("its certificate names no role of a run")?;
    Ok(Some((Io::Tls(Box::new(io.into())), Some(role))))
}

async fn first_byte(tcp: &TcpStream) -> Option<u8> {
    let mut first = [0];
    tcp.peek(&mut first).await.ok().filter(|n| *n == 1).map(|_| first[0])
}

/// Without TLS the client speaks first, and HTTP/2 begins with the same letter always.
async fn greet_plainly(tcp: TcpStream) -> Result<Option<Greeted>, String> {
    match first_byte(&tcp).await {
        Some(b'P') => Ok(Some((Io::Plain(tcp), None))),
        Some(TLS_HELLO) => {
            turn_away(tcp, &NO_SETTINGS).await;
            Err("it speaks TLS, and this process was started without --certs".into())
        }
        Some(_) => Err("it doesn't speak HTTP/2; is it meant for another port?".into()),
        None => Ok(None),
    }
}

/// Tells a client that it needs TLS, or that it doesn't, in the words that ours understand.
async fn turn_away(mut tcp: TcpStream, words: &[u8]) {
    let _ = tcp.read(&mut [0; 1024]).await; // unread bytes would turn the end into a reset
    let _ = tcp.write_all(words).await;
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
            if !self.places.has_room() {
                self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
                continue;
            }
            match std::task::ready!(self.listener.poll_accept(cx)) {
                Ok((tcp, address)) => self.begin(tcp, address),
                Err(error) => {
                    tracing::warn!(%error, "a connection can't be accepted");
                    self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
                }
            }
        }
    }
}
