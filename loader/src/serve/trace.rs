//! Spans of making and sending the minibatches of timed steps, on their way to the coordinator.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use proto::timing::clock_ns;
use proto::wire::Span;
use tokio::sync::mpsc;
use tokio_stream::Stream;

use crate::batch::Made;

/// Spans that wait for a coordinator; a few timed steps' worth, more are lost.
const WAITING: usize = 64;

/// Takes spans and never waits.
#[derive(Debug, Clone)]
pub(super) struct Trace(mpsc::Sender<Span>);

/// Where they come out.
pub(super) type Spans = mpsc::Receiver<Span>;

pub(super) fn trace() -> (Trace, Spans) {
    let (trace, spans) = mpsc::channel(WAITING);
    (Trace(trace), spans)
}

impl Trace {
    /// A minibatch was made: told once, however many ask for it.
    pub(super) fn made(&self, made: &Made, step: u64) {
        if made.first_told() {
            self.tell("make", step, made.began, made.ended, made.minibatch.pixels.len());
        }
    }

    /// `parts` of a minibatch of `bytes`, told once the last has been taken.
    pub(super) fn sending<S>(self, parts: S, step: u64, bytes: usize) -> Sending<S> {
        Sending { parts, began: None, step, bytes, trace: Some(self) }
    }

    fn tell(&self, row: &str, step: u64, began: Instant, ended: Instant, bytes: usize) {
        let span = Span {
            row: row.into(),
            name: format!("minibatch {step}"),
            from_ns: clock_ns(began),
            ns: (ended - began).as_nanos() as u64,
            step,
            bytes: bytes as u64,
            ..Span::default()
        };
        // Without a coordinator nobody takes them: the newest are lost.
        let _ = self.0.try_send(span);
    }
}

/// A stream that says how long it took.
#[derive(Debug)]
pub(super) struct Sending<S> {
    parts: S,
    began: Option<Instant>,
    step: u64,
    bytes: usize,
    trace: Option<Trace>,
}

impl<S: Stream + Unpin> Stream for Sending<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let part = ready!(Pin::new(&mut self.parts).poll_next(cx));
        if part.is_none()
            && let Some(trace) = self.trace.take()
        {
            trace.tell("send", self.step, began, Instant::now(), self.bytes);
        }
        Poll::Ready(part)
    }
}
