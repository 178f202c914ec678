//! Spans for the coordinator: the making and sending of minibatches of timed steps.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use proto::timing::clock_ns;
use proto::wire::Span;
use tokio::sync::mpsc;
use tokio_stream::Stream;

use crate::batch::TimedMinibatch;

/// Spans queued for the coordinator, a few timed steps' worth; further ones are dropped.
const QUEUED_SPANS: usize = 64;

/// The sender of spans, which never blocks.
#[derive(Debug, Clone)]
pub(super) struct Trace(mpsc::Sender<Span>);

/// The receiver of spans.
pub(super) type Spans = mpsc::Receiver<Span>;

pub(super) fn trace() -> (Trace, Spans) {
    let (trace, spans) = mpsc::channel(QUEUED_SPANS);
    (Trace(trace), spans)
}

impl Trace {
    /// Reports that a minibatch was made: once, however many clients ask for it.
    pub(super) fn made(&self, made: &TimedMinibatch, step: u64) {
        if made.first_report() {
            self.report("make", step, made.began, made.ended, made.minibatch.pixels.len());
        }
    }

    /// Wraps the chunks of a minibatch of `bytes`; the sending is reported after the last chunk.
    pub(super) fn sending<S>(self, chunks: S, step: u64, bytes: usize) -> Sending<S> {
        Sending { chunks, began: None, step, bytes, trace: Some(self) }
    }

    fn report(&self, row: &str, step: u64, began: Instant, ended: Instant, bytes: usize) {
        let span = Span {
            row: row.into(),
            name: format!("minibatch {step}"),
            from_ns: clock_ns(began),
            ns: (ended - began).as_nanos() as u64,
            step,
            bytes: bytes as u64,
            ..Span::default()
        };
        // Without a coordinator nobody takes the spans; the newest are dropped.
        let _ = self.0.try_send(span);
    }
}

/// A stream of chunks that reports how long sending took.
#[derive(Debug)]
pub(super) struct Sending<S> {
    chunks: S,
    began: Option<Instant>,
    step: u64,
    bytes: usize,
    trace: Option<Trace>,
}

impl<S: Stream + Unpin> Stream for Sending<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let chunk = ready!(Pin::new(&mut self.chunks).poll_next(cx));
        if chunk.is_none()
            && let Some(trace) = self.trace.take()
        {
            trace.report("send", self.step, began, Instant::now(), self.bytes);
        }
        Poll::Ready(chunk)
    }
}
