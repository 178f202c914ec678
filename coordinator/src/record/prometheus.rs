//! The endpoint that Prometheus scrapes: `GET /metrics`, and nothing more. The run does not depend
//! on it in any way.

mod page; // the text of the page

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use net::Backoff;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::run::status::RunStatus;

/// Most scrapers that are answered at the same time; more wait for their turn.
const CONNECTIONS: usize = 8;
/// Longest time from the first byte to the last; a scrape takes a millisecond.
const DEADLINE: Duration = Duration::from_secs(3);
/// Most bytes of request line and headers; hyper accepts no smaller limit.
const REQUEST_LIMIT: usize = 8 << 10;

const PATH: &str = "/metrics";
const SENTENCE: &str = "text/plain; charset=utf-8";

/// Answers scrapers for as long as the future is polled.
pub(crate) async fn serve(listener: TcpListener, status: watch::Receiver<RunStatus>) {
    let listener = listener.set_nonblocking(true).map(|()| listener);
    let listener = match listener.and_then(tokio::net::TcpListener::from_std) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "no metrics: their socket can't be used"),
    };
    if let Ok(at) = listener.local_addr() {
        tracing::info!(address = format!("http://{at}{PATH}"), "answering Prometheus");
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
                let status = status.clone();
                connections.spawn(async move {
                    answer(stream, status).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a scraper can't be let in");
                backoff.pause().await;
            }
        }
    }
}

/// Answers one request and closes the connection.
async fn answer(stream: TcpStream, status: watch::Receiver<RunStatus>) {
    let respond = service_fn(move |request: Request<_>| {
        let response = response(&request, &status.borrow());
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
        Ok(Err(error)) => tracing::debug!(%error, "a scraper was not answered"),
        Err(_) => tracing::debug!("a scraper was too slow"),
    }
}

fn response<B>(request: &Request<B>, status: &RunStatus) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path != PATH {
        let why = format!("there is no {path} here; the metrics are at {PATH}\n");
        return reply(StatusCode::NOT_FOUND, SENTENCE, why);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let why = format!("{PATH} can be read by GET, not changed by {}\n", request.method());
        let mut refused = reply(StatusCode::METHOD_NOT_ALLOWED, SENTENCE, why);
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match page::text(status, SystemTime::now()) {
        Ok(text) => reply(StatusCode::OK, page::CONTENT_TYPE, text),
        Err(error) => {
            let why = format!("the metrics can't be written: {error}\n");
            reply(StatusCode::INTERNAL_SERVER_ERROR, SENTENCE, why)
        }
    }
}

fn reply(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
