//! Server's end: accepts, shakes hands with a few at a time, says whom it refused and why.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use super::files::Tls;
use super::stream::{Io, Peer, Stream, TLS_HELLO};
use super::{Role, Trust, words};

/// Handshakes at once; who comes later waits in the system's queue.
const MOST_HANDSHAKES: usize = 64;
const HANDSHAKE: Duration = Duration::from_secs(5);
/// After an `accept` that failed, for want of file descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(100);
/// Refusals told one after another before there is one a second.
const AT_ONCE: f64 = 20.0;
/// A TLS alert, unencrypted and fatal: `protocol_version`.
const ALERT: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 70];

/// Connections as they come, those that were refused left out.
#[derive(Debug)]
pub struct Incoming {
    trust: Trust,
    listener: TcpListener,
    handshakes: JoinSet<Option<Stream>>,
    refusals: Arc<Refusals>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Incoming {
    pub(super) fn new(trust: Trust, listener: TcpListener) -> Self {
        let (handshakes, refusals) = (JoinSet::new(), Arc::default());
        Self { trust, listener, handshakes, refusals, pause: None }
    }

    fn begin(&mut self, tcp: TcpStream, address: SocketAddr) -> Option<Stream> {
        let _ = tcp.set_nodelay(true);
        let refusals = self.refusals.clone();
        let Some(tls) = self.trust.0.clone() else {
            let peer = Peer { address, role: None };
            return Some(Stream::accepted(Io::Plain(tcp), peer, Some(refusals)));
        };
        self.handshakes.spawn(async move {
            let why = match tokio::time::timeout(HANDSHAKE, greet(&tls, tcp, address)).await {
                Ok(Ok(stream)) => return stream,
                Ok(Err(why)) => why,
                Err(_) => format!("no handshake within {} s", HANDSHAKE.as_secs()),
            };
            refusals.tell(address, &why);
            None
        });
        None
    }
}

/// Shakes hands; None for one that left without a word, as port scans and health checks do.
async fn greet(tls: &Tls, tcp: TcpStream, address: SocketAddr) -> Result<Option<Stream>, String> {
    let mut first = [0];
    match tcp.peek(&mut first).await {
        Ok(1) if first[0] == TLS_HELLO => {}
        Ok(1..) => {
            turn_away(tcp).await;
            return Err("it speaks without TLS; start it with --certs".into());
        }
        Ok(0) | Err(_) => return Ok(None),
    }
    let shaken = tls.acceptor.accept(tcp).await;
    let io = shaken.map_err(|error| words::explain(&error, &tls.own).0)?;
    let shown = io.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let role = shown.and_then(Role::of).ok_or("its certificate names no role of a run")?;
    let peer = Peer { address, role: Some(role) };
    Ok(Some(Stream::accepted(Io::Tls(Box::new(io.into())), peer, None)))
}

/// Tells a client without TLS that it needs it: with a TLS alert, which ours understands.
async fn turn_away(mut tcp: TcpStream) {
    let _ = tcp.read(&mut [0; 1024]).await; // unread bytes would turn the end into a reset
    let _ = tcp.write_all(&ALERT).await;
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
            if self.handshakes.len() >= MOST_HANDSHAKES {
                return Poll::Pending;
            }
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match std::task::ready!(self.listener.poll_accept(cx)) {
                Ok((tcp, address)) => {
                    if let Some(stream) = self.begin(tcp, address) {
                        return Poll::Ready(Some(Ok(stream)));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection can't be accepted");
                    self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
                }
            }
        }
    }
}

/// Who was refused, in the log: after some lines at once, one a second.
#[derive(Debug)]
pub(super) struct Refusals {
    state: Mutex<Said>,
}

#[derive(Debug)]
struct Said {
    /// Lines that may be said now, as of `since`.
    left: f64,
    since: Instant,
    unsaid: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { state: Mutex::new(Said { left: AT_ONCE, since: Instant::now(), unsaid: 0 }) }
    }
}

impl Refusals {
    pub(super) fn tell(&self, from: SocketAddr, why: &str) {
        let mut said = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        said.left = (said.left + said.since.elapsed().as_secs_f64()).min(AT_ONCE);
        said.since = Instant::now();
        if said.left < 1.0 {
            said.unsaid += 1;
            return;
        }
        said.left -= 1.0;
        let unsaid = std::mem::take(&mut said.unsaid);
        tracing::warn!(%from, unsaid, "a connection is refused: {why}");
    }
}
