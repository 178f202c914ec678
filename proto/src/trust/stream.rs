//! A connection, plain or under TLS, and what is known of its other end.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

use super::Role;
use super::listen::Refusals;

/// The first byte of a TLS client's first message.
pub(super) const TLS_HELLO: u8 = 0x16;

/// The other end of an accepted connection; services find it among a request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// What its certificate says; None without TLS.
    pub role: Option<Role>,
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
    /// Told if a plain server's client turns out to speak TLS.
    refusals: Option<Arc<Refusals>>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({:?})", self.peer)
    }
}

impl Stream {
    /// One that was accepted; `refusals` where its first bytes are still to be judged.
    pub(super) fn accepted(io: Io, peer: Peer, refusals: Option<Arc<Refusals>>) -> Self {
        Self { io, peer, unread: Vec::new(), sent_ahead: 0, refusals }
    }

    /// One that was dialled.
    pub(super) fn dialled(io: Io, address: SocketAddr, unread: Vec<u8>, sent_ahead: usize) -> Self {
        let peer = Peer { address, role: None };
        Self { io, peer, unread, sent_ahead, refusals: None }
    }

    fn judge(&mut self, first: Option<&u8>) -> io::Result<()> {
        if let Some(refusals) = self.refusals.take()
            && first == Some(&TLS_HELLO)
        {
            let why = "it speaks TLS, and this process was started without --certs";
            refusals.tell(self.peer.address, why);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(())
    }
}

impl Connected for Stream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
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
        let before = buf.filled().len();
        ready!(match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Io::Tls(io) => Pin::new(io).poll_read(cx, buf),
        })?;
        Poll::Ready(self.judge(buf.filled().get(before)))
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
