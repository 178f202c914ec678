//! What every process does at start and stop: tracing, signals, settings of connections.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Status, Streaming};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::trust::{DialError, Role, Trust};

/// The program's version: both ends of every connection must run the same.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Largest message any service takes: one chunk and its header, with room.
pub const MESSAGE_LIMIT: usize = 4 << 20;

/// Largest description of a data set: a mean image of side 2,048 has 50 MB.
pub const DESCRIPTION_LIMIT: usize = 64 << 20;

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

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people, with room.
    #[default]
    Pretty,
    /// One short line an event.
    Compact,
    /// One JSON object a line.
    Json,
}

/// Name of events that only the formats for people show: whole sentences and tables. Records hold
/// the same numbers.
pub const FOR_PEOPLE: &str = "for people";
/// Name of events that only the JSON format shows: records of many numbers.
pub const FOR_MACHINES: &str = "for machines";
/// Name of the span around all of a coordinator's work, which carries the run's id. The formats for
/// people leave it out.
pub const RUN: &str = "run";

impl LogFormat {
    /// Whether a format shows events and spans of this name.
    fn shows(self, name: &str) -> bool {
        match self {
            LogFormat::Json => name != FOR_PEOPLE,
            LogFormat::Pretty | LogFormat::Compact => name != FOR_MACHINES && name != RUN,
        }
    }
}

/// The time of a log line for people, to the second.
#[derive(Debug)]
struct Seconds;

impl FormatTime for Seconds {
    fn format_time(&self, to: &mut Writer<'_>) -> std::fmt::Result {
        let now = time::OffsetDateTime::now_utc();
        let (date, (hour, minute, second)) = (now.date(), now.to_hms());
        write!(to, "{date}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Starts logging to standard error; `filter` as in `RUST_LOG`, e.g. `info,gpu_worker=debug`.
///
/// # Errors
/// A sentence if the filter can't be read or logging was started before.
pub fn start_tracing(format: LogFormat, filter: &str) -> Result<(), String> {
    use tracing_subscriber::filter::{EnvFilter, filter_fn};
    use tracing_subscriber::fmt;
    use tracing_subscriber::prelude::*;
    let filter = EnvFilter::try_new(filter).map_err(|e| {
        format!("RUST_LOG={filter:?} is not a filter like info or loader=debug: {e}")
    })?;
    // A log on a full disk must not end the process: the library would report the failed write by
    // a print that panics where that fails too.
    let lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let shown = filter_fn(move |what| format.shows(what.name()));
    let registry = tracing_subscriber::registry().with(filter).with(shown);
    match format {
        LogFormat::Pretty => registry.with(lines.with_target(false).with_timer(Seconds)).try_init(),
        LogFormat::Compact => {
            registry.with(lines.compact().with_target(false).with_timer(Seconds)).try_init()
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(|e| format!("logging can't be started: {e}"))
}

/// Resolves at the first SIGTERM or Ctrl-C.
///
/// # Errors
/// If the handlers can't be installed.
pub async fn asked_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    Ok(())
}

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

/// An endpoint for `host:port`, with the same settings; [`crate::trust`] makes the connection.
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

/// Dials `host:port` once, without TLS.
///
/// # Errors
/// If nobody answers there in five seconds.
pub async fn dial(address: &str) -> Result<Channel, DialError> {
    Trust::default().dial(Role::Coordinator, address).await
}

/// A run of pauses between tries: 0.05 s, doubling up to 2 s.
#[derive(Debug, Clone)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Duration::from_millis(50))
    }
}

impl Backoff {
    /// Waits the next pause.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(2));
    }
}
