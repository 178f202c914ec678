//! A connection, plain or under TLS, and what is known of its other end.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

use crate::limits::{DISPLACED, Displaced, Place};
use crate::refusals::Refusals;
use crate::role::Role;

/// The first byte of a TLS client's first message.
pub(super) const TLS_HELLO: u8 = 0x16;
/// How long an accepted connection may go without a call; ours are dialed for one.
const FIRST_CALL: Duration = Duration::from_secs(10);

/// The other end of an accepted connection; services find it among a request's extensions.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// What its certificate says; None without TLS.
    pub role: Option<Role>,
    /// None at a dialler's end.
    pub(super) place: Option<Arc<Place>>,
}

pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that was made.
pub struct Stream {
    io: Io,
    peer: Peer,
    /// What was read to see that the connection works, and is to be read again.
    unread: Vec<u8>,
    /// How many bytes were written ahead of the one who thinks that it writes them.
    sent_ahead: usize,
    /// Until its first call.
    stranger: Option<Stranger>,
}

/// A connection that has to call soon, and goes first where there are too many.
pub(super) struct Stranger {
    until: Pin<Box<Sleep>>,
    displaced: Displaced,
    refusals: Arc<Refusals>,
}

impl Stranger {
    pub(super) fn new(displaced: Displaced, refusals: Arc<Refusals>) -> Self {
        Self { until: Box::pin(tokio::time::sleep(FIRST_CALL)), displaced, refusals }
    }

    /// Why it can't stay.
    fn has_to_go(&mut self, cx: &mut Context<'_>) -> Option<String> {
        if Pin::new(&mut self.displaced).poll(cx).is_ready() {
            return Some(DISPLACED.into());
        }
        let late = self.until.as_mut().poll(cx).is_ready();
        late.then(|| format!("no call within {} s", FIRST_CALL.as_secs()))
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({:?})", self.peer)
    }
}

impl Stream {
    /// One that was accepted.
    pub(super) fn accepted(io: Io, peer: Peer, stranger: Stranger) -> Self {
        Self { io, peer, unread: Vec::new(), sent_ahead: 0, stranger: Some(stranger) }
    }

    /// One that was dialed.
    pub(super) fn dialed(io: Io, address: SocketAddr, unread: Vec<u8>, sent_ahead: usize) -> Self {
        let peer = Peer { address, role: None, place: None };
        Self { io, peer, unread, sent_ahead, stranger: None }
    }

    /// An error once a stranger can't stay; a guest may.
    fn may_stay(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(stranger) = &mut self.stranger else { return Ok(()) };
        if self.peer.place.as_ref().is_some_and(|place| place.is_guest()) {
            self.stranger = None;
        } else if let Some(why) = stranger.has_to_go(cx) {
            stranger.refusals.tell(self.peer.address, &why);
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(())
    }
}

impl Connected for Stream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let n = buf.remaining().min(self.unread.len());
            buf.put_slice(&self.unread[..n]);
            self.unread.drain(..n);
            return Poll::Ready(Ok(()));
        }
        self.may_stay(cx)?;
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.sent_ahead > 0 {
            let n = self.sent_ahead.min(buf.len());
            self.sent_ahead -= n;
            return Poll::Ready(Ok(n));
        }
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.sent_ahead > 0 {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return self.poll_write(cx, first);
        }
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(cx),
            Io::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Io::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
