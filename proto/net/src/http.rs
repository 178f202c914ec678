//! Pages for machines over plain HTTP: metrics for Prometheus, health for the engine that runs this
//! process. `GET` only, one answer per connection; the run does not depend on it in any way.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
pub use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Backoff;

/// Most clients that are answered at the same time; more wait for their turn.
const CONNECTIONS: usize = 8;
/// Longest time from the first byte to the last; an answer takes a millisecond.
const DEADLINE: Duration = Duration::from_secs(3);
/// Most bytes of request line and headers; hyper accepts no smaller limit.
const REQUEST_LIMIT: usize = 8 << 10;

/// Content type of a page for people.
pub const PLAIN: &str = "text/plain; charset=utf-8";

/// A page and its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// HTTP status, such as 200 or 503.
    pub status: StatusCode,
    /// Content type.
    pub kind: &'static str,
    /// Content.
    pub text: String,
}

impl Page {
    /// A sentence for people.
    pub fn sentence(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, kind: PLAIN, text: text.into() }
    }
}

/// Answers clients for as long as the future is polled: `page` has the pages at `paths`.
///
/// `what` names the pages in the log, such as `metrics`.
pub async fn serve(
    listener: TcpListener,
    what: &'static str,
    paths: &'static [&'static str],
    page: impl Fn(&str) -> Page + Clone + Send + 'static,
) {
    let listener = listener.set_nonblocking(true).map(|()| listener);
    let listener = match listener.and_then(tokio::net::TcpListener::from_std) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "{what}: the socket can't be used"),
    };
    if let Ok(at) = listener.local_addr() {
        let addresses: Vec<_> = paths.iter().map(|path| format!("http://{at}{path}")).collect();
        tracing::info!(address = addresses.join(", "), "serving {what}");
    }
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut backoff = Backoff::default();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                backoff = Backoff::default();
                let page = page.clone();
                connections.spawn(async move {
                    answer(stream, what, paths, page).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "{what}: a client can't be let in");
                backoff.pause().await;
            }
        }
    }
}

/// Answers one request and closes the connection.
async fn answer(stream: TcpStream, what: &str, paths: &[&str], page: impl Fn(&str) -> Page) {
    let respond = service_fn(move |request: Request<_>| {
        let response = response(&request, paths, &page);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(REQUEST_LIMIT)
        .timer(TokioTimer::new())
        .header_read_timeout(DEADLINE)
        .serve_connection(TokioIo::new(stream), respond);
    match tokio::time::timeout(DEADLINE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "{what}: a client was not answered"),
        Err(_) => tracing::debug!("{what}: a client was too slow"),
    }
}

fn response<B>(
    request: &Request<B>,
    paths: &[&str],
    page: impl Fn(&str) -> Page,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !paths.contains(&path) {
        let why = format!("there is no {path} here; there is {}\n", paths.join(" and "));
        return reply(Page::sentence(StatusCode::NOT_FOUND, why));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let why = format!("{path} can be read by GET, not changed by {}\n", request.method());
        let mut refused = reply(Page::sentence(StatusCode::METHOD_NOT_ALLOWED, why));
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    reply(page(path))
}

fn reply(page: Page) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(page.text)));
    *response.status_mut() = page.status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page.kind));
    response
}
