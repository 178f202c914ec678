//! What a timed step tells: a record a layer and pass in the log, all of it to the coordinator,
//! whose log has the table for people.

use std::time::{Duration, Instant};

use net::FOR_MACHINES;
use proto::timing::clock_ns;
use proto::wire::{self, Span};
use tracing::info;

use super::tidy;
use crate::exchange::{BatchId, Transfer};
use crate::step::Done;
use crate::timing::{Lap, LayerTime, Pass, Timing};

/// Says each layer's pass to the log.
pub(super) fn record(layers: &[LayerTime]) {
    for row in layers {
        info!(
            name: FOR_MACHINES,
            layer = row.layer,
            pass = row.pass.name(),
            compute_ms = tidy(row.compute_ms),
            transfer_ms = tidy(row.transfer_ms),
            wait_ms = tidy(row.wait_ms),
            peer_late_ms = tidy(row.late_ms),
            bytes = row.bytes,
            gb_per_s = tidy(row.gb_per_s()),
            gflop_per_s = tidy(row.gflop_per_s()),
            "layer timing"
        );
    }
}

/// Each layer's pass for the coordinator: the numbers of the log.
pub(super) fn layers(layers: &[LayerTime]) -> Vec<wire::LayerTime> {
    let told = |row: &LayerTime| wire::LayerTime {
        layer: row.layer.into(),
        pass: row.pass.name().into(),
        compute_ms: tidy(row.compute_ms),
        transfer_ms: tidy(row.transfer_ms),
        wait_ms: tidy(row.wait_ms),
        peer_late_ms: tidy(row.late_ms),
        bytes: row.bytes,
        gb_per_s: tidy(row.gb_per_s()),
        gflop_per_s: tidy(row.gflop_per_s()),
    };
    layers.iter().map(told).collect()
}

/// When a step's minibatch was waited for, which begins the step.
#[derive(Debug, Clone, Copy)]
pub(super) struct DataWait {
    pub(super) began: Instant,
    pub(super) took: Duration,
}

/// The streams of one timed step: what was computed and waited for, and what came.
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
    spans.extend(done.received.iter().filter_map(|transfer| along("receive", other, transfer)));
    spans.retain(|span| span.ns > 0);
    spans
}

/// What was sent in steps that `timed` says are timed.
pub(super) fn sent(half: &str, sent: Vec<Transfer>, timed: impl Fn(u64) -> bool) -> Vec<Span> {
    let spans = sent.iter().filter_map(|transfer| along("send", half, transfer));
    spans.filter(|span| timed(span.step)).collect()
}

fn span(row: &str, name: String, from: Instant, took: Duration, step: u64) -> Span {
    let (from_ns, ns) = (clock_ns(from), took.as_nanos() as u64);
    Span { row: row.into(), name, from_ns, ns, step, ..Span::default() }
}

/// A tensor's way from half `sender`, named alike at both ends.
fn along(row: &str, sender: &str, transfer: &Transfer) -> Option<Span> {
    let Transfer { key, bytes, began, ended } = transfer;
    let BatchId::Train(before) = key.batch else { return None };
    let (step, name) = (before + 1, format!("{} {} {}", key.at, key.direction, key.micro_batch));
    let flow = format!("{step} {sender} {name}");
    Some(Span { bytes: *bytes, flow, ..span(row, name, *began, *ended - *began, step) })
}
