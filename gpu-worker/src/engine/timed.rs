//! The report of a timed step: one log record per layer and pass, and a message to the coordinator,
//! whose log has the table for people.

use std::time::{Duration, Instant};

use net::FOR_MACHINES;
use proto::timing::clock_ns;
use proto::wire::{self, Span};
use tracing::info;

use super::rounded;
use crate::exchange::{BatchId, Transfer};
use crate::step::Done;
use crate::timing::{Lap, LayerTime, Pass, Timing};

/// Logs each pass of each layer.
pub(super) fn record(layers: &[LayerTime]) {
    for row in layers {
        info!(
            name: FOR_MACHINES,
            layer = row.layer,
            pass = row.pass.name(),
            compute_ms = rounded(row.compute_ms),
            transfer_ms = rounded(row.transfer_ms),
            wait_ms = rounded(row.wait_ms),
            peer_late_ms = rounded(row.late_ms),
            bytes = row.bytes,
            gb_per_s = rounded(row.gb_per_s()),
            gflop_per_s = rounded(row.gflop_per_s()),
            "layer timing"
        );
    }
}

/// The rows of the log as a message for the coordinator.
pub(super) fn layers(layers: &[LayerTime]) -> Vec<wire::LayerTime> {
    let message = |row: &LayerTime| wire::LayerTime {
        layer: row.layer.into(),
        pass: row.pass.name().into(),
        compute_ms: rounded(row.compute_ms),
        transfer_ms: rounded(row.transfer_ms),
        wait_ms: rounded(row.wait_ms),
        peer_late_ms: rounded(row.late_ms),
        bytes: row.bytes,
        gb_per_s: rounded(row.gb_per_s()),
        gflop_per_s: rounded(row.gflop_per_s()),
    };
    layers.iter().map(message).collect()
}

/// The wait for a step's minibatch, with which the step begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct DataWait {
    pub(super) began: Instant,
    pub(super) took: Duration,
}

/// The spans of one timed step: operations, waits and received tensors.
pub(super) fn spans(
    half: &str,
    step: u64,
    data: DataWait,
    done: &Done,
    timing: &Timing,
) -> Vec<Span> {
    let DataWait { began, took } = data;
    let whole = took + Duration::from_secs_f64(done.step_ms / 1e3);
    let mut spans = vec![span("step", format!("step {step}"), began, whole, step)];
    spans.push(span("compute", "wait data".into(), began, took, step));
    spans.extend(timing.laps.iter().map(|lap| {
        let what = match (lap.late, lap.pass) {
            (None, pass) => format!("{} {}", lap.layer, pass.name()),
            (Some(_), Pass::Forward) => format!("wait {} activations", lap.layer),
            (Some(_), _) => format!("wait {} gradient", lap.layer),
        };
        let Lap { from, took, .. } = *lap;
        span("compute", what, from, took, step)
    }));
    let other = if half == "A" { "B" } else { "A" };
    spans.extend(
        done.received.iter().filter_map(|transfer| transfer_span("receive", other, transfer)),
    );
    spans.retain(|span| span.ns > 0);
    spans
}

/// The spans of the tensors that were sent in timed steps.
pub(super) fn sent(half: &str, sent: Vec<Transfer>, timed: impl Fn(u64) -> bool) -> Vec<Span> {
    let spans = sent.iter().filter_map(|transfer| transfer_span("send", half, transfer));
    spans.filter(|span| timed(span.step)).collect()
}

fn span(row: &str, name: String, from: Instant, took: Duration, step: u64) -> Span {
    let (from_ns, ns) = (clock_ns(from), took.as_nanos() as u64);
    Span { row: row.into(), name, from_ns, ns, step, ..Span::default() }
}

/// The span of a transfer from half `sender`, with the same flow name at both ends.
fn transfer_span(row: &str, sender: &str, transfer: &Transfer) -> Option<Span> {
    let Transfer { key, bytes, began, ended } = transfer;
    let BatchId::Train(before) = key.batch else { return None };
    let (step, name) = (before + 1, format!("{} {} {}", key.at, key.direction, key.micro_batch));
    let flow = format!("{step} {sender} {name}");
    Some(Span { bytes: *bytes, flow, ..span(row, name, *began, *ended - *began, step) })
}
