//! Settings of both ends of a connection, chosen so that large tensors are not delayed; and the
//! first message of a stream.

use std::time::Duration;

use tonic::transport::{Endpoint, Server};
use tonic::{Status, Streaming};

/// Window of one stream, in bytes: with tonic's 64 KiB, a sender would stop after each 64 KiB.
const STREAM_WINDOW: u32 = 32 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Frame size in bytes: larger than HTTP/2's 16 KiB, small enough to stay in cache.
const FRAME: u32 = 64 << 10;
/// Concurrent HTTP/2 streams per connection; we use three.
const MAX_STREAMS: u32 = 32;
/// Largest metadata of a call, in bytes; ours have 200.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// Streams that a client may reset before they are answered, and errors that we answer by resets.
const MAX_RESETS: usize = 20;
/// Time within which the first message of a stream must arrive.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Usual time without a sign of life after which a connection counts as lost.
pub const SILENCE: Duration = Duration::from_secs(10);

/// A server with settings that make tensors of 11 MB as fast as on a raw socket.
pub fn server() -> Server {
    patient_server(SILENCE)
}

/// The same server, whose connections count as lost once the client has been silent for `silence`.
pub fn patient_server(silence: Duration) -> Server {
    let keepalive = keepalive(silence);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_keepalive_interval(Some(keepalive))
        .http2_keepalive_timeout(Some(keepalive))
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(MAX_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_RESETS))
        .tcp_nodelay(true)
}

/// Waits for the first message of a stream, the hello, which says who speaks.
///
/// # Errors
/// `DEADLINE_EXCEEDED` if the message does not arrive within 10 s, `INVALID_ARGUMENT` if the stream
/// ends without one.
pub async fn first_message<T>(stream: &mut Streaming<T>) -> Result<T, Status> {
    let first = tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, stream.message()).await;
    let late = || {
        Status::deadline_exceeded(format!(
            "no message within {} s",
            FIRST_MESSAGE_TIMEOUT.as_secs()
        ))
    };
    first
        .map_err(|_| late())??
        .ok_or_else(|| Status::invalid_argument("stream closed before its first message"))
}

/// Half of the silence passes before a ping, the other half while it is not answered.
fn keepalive(silence: Duration) -> Duration {
    (silence / 2).max(Duration::from_millis(1))
}

/// An endpoint for `host:port`, with the same settings as [`server`]; [`crate::Trust`] makes the
/// connection.
///
/// # Errors
/// If the address can't be read.
pub(crate) fn endpoint(
    address: &str,
    silence: Duration,
) -> Result<Endpoint, tonic::transport::Error> {
    let keepalive = keepalive(silence);
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_keep_alive_interval(keepalive)
        .keep_alive_timeout(keepalive)
        .keep_alive_while_idle(true))
}
