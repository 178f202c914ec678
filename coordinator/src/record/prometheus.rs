//! The page that Prometheus reads: `GET /metrics`. The run does not depend on it in any way.

mod page; // the text of the page

use std::net::TcpListener;
use std::time::SystemTime;

use net::http::{self, Page, StatusCode};
use tokio::sync::watch;

use crate::run::status::RunStatus;

const PATH: &str = "/metrics";

/// Answers Prometheus for as long as the future is polled.
pub(crate) async fn serve(listener: TcpListener, status: watch::Receiver<RunStatus>) {
    let metrics = move |_: &str| match page::text(&status.borrow(), SystemTime::now()) {
        Ok(text) => Page { status: StatusCode::OK, kind: page::CONTENT_TYPE, text },
        Err(error) => {
            let why = format!("the metrics can't be written: {error}\n");
            Page::sentence(StatusCode::INTERNAL_SERVER_ERROR, why)
        }
    };
    http::serve(listener, "metrics", &[PATH], metrics).await;
}
