//! A connection, plain or under TLS, and what is known about its other end.

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

use crate::limits::{EVICTED, Eviction, Kind, Slot, VISITED};
use crate::refusals::Refusals;
use crate::role::Role;

/// The first byte of a TLS client's first message.
pub(super) const TLS_HELLO: u8 = 0x16;
/// Time within which an accepted connection must make its first call.
const FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The other end of an accepted connection, which services find among a request's extensions.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Address of the other end.
    pub address: SocketAddr,
    /// Role that its certificate names; None without TLS.
    pub role: Option<Role>,
    /// Slot in the table of connections; None at the client's end.
    pub(super) slot: Option<Arc<Slot>>,
    /// The log of what its listener refuses.
    pub(super) refusals: Arc<Refusals>,
}

pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection after its handshake.
pub struct Stream {
    io: Io,
    remote: Remote,
    /// Bytes that were read to see that the connection works, to be read again.
    unread: Vec<u8>,
    /// Number of bytes already sent that the user of this stream has yet to write.
    sent_ahead: usize,
    /// Present until the connection is a member's.
    guest: Option<Guest>,
}

/// The conditions under which a connection that is no member's is closed.
pub(super) struct Guest {
    /// Time for its first call; None once it is a visitor's.
    until: Option<Pin<Box<Sleep>>>,
    eviction: Eviction,
}

impl Guest {
    pub(super) fn new(eviction: Eviction) -> Self {
        Self { until: Some(Box::pin(tokio::time::sleep(FIRST_CALL_TIMEOUT))), eviction }
    }

    /// The reason to close the connection now, if there is one.
    fn reason_to_close(&mut self, kind: Kind, cx: &mut Context<'_>) -> Option<String> {
        if kind == Kind::Visitor {
            self.until = None;
        }
        let is_evicted = Pin::new(&mut self.eviction).poll(cx).is_ready();
        match &mut self.until {
            None => is_evicted.then(|| VISITED.into()),
            Some(_) if is_evicted => Some(EVICTED.into()),
            Some(until) => until
                .as_mut()
                .poll(cx)
                .is_ready()
                .then(|| format!("no call within {} s", FIRST_CALL_TIMEOUT.as_secs())),
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({:?})", self.remote)
    }
}

impl Stream {
    /// A connection that was accepted.
    pub(super) fn accepted(io: Io, remote: Remote, guest: Guest) -> Self {
        Self { io, remote, unread: Vec::new(), sent_ahead: 0, guest: Some(guest) }
    }

    /// A connection that was dialed.
    pub(super) fn dialed(io: Io, address: SocketAddr, unread: Vec<u8>, sent_ahead: usize) -> Self {
        let remote = Remote { address, role: None, slot: None, refusals: Arc::default() };
        Self { io, remote, unread, sent_ahead, guest: None }
    }

    /// Fails once a connection that is no member's must be closed.
    fn check_guest(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(guest) = &mut self.guest else { return Ok(()) };
        let kind = self.remote.slot.as_ref().map_or(Kind::Member, |slot| slot.kind());
        if kind == Kind::Member {
            self.guest = None;
        } else if let Some(why) = guest.reason_to_close(kind, cx) {
            self.remote.refusals.log(self.remote.address, &why);
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(())
    }
}

impl Connected for Stream {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        self.remote.clone()
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
        self.check_guest(cx)?;
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
