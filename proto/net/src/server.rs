//! Settings of both ends of a connection, chosen so that large tensors are not held up.

use std::time::Duration;

use tonic::transport::{Endpoint, Server};
use tonic::{Status, Streaming};

/// Window of one stream: tonic's 64 KiB would stop a sender after each 64 KiB.
const STREAM_WINDOW: u32 = 32 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// The receiver's frame size: larger than HTTP/2's 16 KiB, small enough to stay in cache.
const FRAME: u32 = 64 << 10;
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Calls at once on one connection; ours have three.
const CALLS: u32 = 32;
/// Metadata of a call: ours have 200 bytes.
const HEADERS: u32 = 16 << 10;
/// Calls that a client has taken back before they were answered, and errors answered by resets.
const RESETS: usize = 20;
/// How long a stream may take to its first message.
const INTRODUCTION: Duration = Duration::from_secs(10);

/// A server with the settings that make 11 MB tensors as fast as on a raw socket.
pub fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(CALLS)
        .http2_max_header_list_size(HEADERS)
        .http2_max_pending_accept_reset_streams(Some(RESETS))
        .http2_max_local_error_reset_streams(Some(RESETS))
        .tcp_nodelay(true)
}

/// A stream's first message, which says who speaks.
///
/// # Errors
/// `DEADLINE_EXCEEDED` if it doesn't come in seconds, `INVALID_ARGUMENT` if the stream ends without.
pub async fn introduction<T>(stream: &mut Streaming<T>) -> Result<T, Status> {
    let first = tokio::time::timeout(INTRODUCTION, stream.message()).await;
    let late =
        || Status::deadline_exceeded(format!("said nothing for {} s", INTRODUCTION.as_secs()));
    first.map_err(|_| late())??.ok_or_else(|| Status::invalid_argument("left without a word"))
}

/// An endpoint for `host:port`, with the same settings; [`crate::Trust`] makes the connection.
///
/// # Errors
/// If the address can't be read.
pub(crate) fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true))
}
