//! How the run stands, as a page of metrics: made anew for each scrape from one snapshot, so that all
//! its numbers belong together. What isn't known yet isn't on it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
pub(super) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use proto::VERSION;

use crate::metrics::StepReport;
use crate::status::{PartStatus, RunStatus};

/// What a run can be doing: the first words of [`RunStatus::phase`].
pub(crate) const PHASES: [&str; 7] =
    ["waiting", "starting", "training", "stopping", "evaluating", "checkpointing", "ended"];

/// The page.
///
/// # Errors
/// Never in practice: text is written to memory.
pub(super) fn text(status: &RunStatus, now: SystemTime) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot { status: status.clone(), now }));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot {
    status: RunStatus,
    now: SystemTime,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (mut page, status) = (Page(encoder), &self.status);
        page.run(status)?;
        page.progress(status)?;
        page.evaluation(status)?;
        page.checkpoint(status, self.now)?;
        page.members(status)?;
        page.work(&status.parts)
    }
}

type Labels<'a> = [(&'static str, &'a str); 1];

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn run(&mut self, status: &RunStatus) -> fmt::Result {
        let about =
            [("run_id", &*status.run_id), ("run_dir", &*status.run_dir), ("version", VERSION)];
        let one = ConstGauge::new(1_u64);
        let mut run = self.0.encode_descriptor(
            "alexnet_run_info",
            "Which run this is",
            None,
            one.metric_type(),
        )?;
        one.encode(run.encode_family(&about)?)?;
        let phase = status.phase.split(' ').next().unwrap_or_default();
        self.gauges(
            "alexnet_phase",
            "What the run is doing: 1 for that, 0 for the others",
            PHASES.iter().map(|name| ([("phase", *name)], f64::from(u8::from(*name == phase)))),
        )?;
        self.gauge(
            "alexnet_incarnation",
            "Times that work has begun in this run, resumes and recoveries included",
            status.incarnation as f64,
        )?;
        self.counter(
            "alexnet_restarts",
            "Returns to a checkpoint since the coordinator started",
            status.restarts as f64,
        )?;
        self.counter(
            "alexnet_notices",
            "Things out of the ordinary since the coordinator started; `alexnet status` says them",
            status.notices.len() as f64,
        )
    }

    fn progress(&mut self, status: &RunStatus) -> fmt::Result {
        self.gauge("alexnet_step", "Steps that all halves have done", status.step as f64)?;
        self.gauge("alexnet_epoch", "Passes over the training images done", status.epoch)?;
        self.gauge("alexnet_learning_rate", "Rate of the weights", status.rate)?;
        if status.steps > 0 {
            self.gauge(
                "alexnet_target_step",
                "Step after which the run ends",
                status.steps as f64,
            )?;
        }
        self.counter(
            "alexnet_images",
            "Images trained on since the coordinator started",
            status.images as f64,
        )?;
        if status.images == 0 {
            return Ok(()); // resumed: no loss is known before the next step
        }
        let of_batch = "of the last minibatch, as a fraction";
        self.gauge("alexnet_training_loss", "Mean loss of the last minibatch", status.loss)?;
        self.gauge(
            "alexnet_training_top1_error_ratio",
            &format!("Top-1 error {of_batch}"),
            status.top1_error,
        )?;
        self.gauge(
            "alexnet_training_top5_error_ratio",
            &format!("Top-5 error {of_batch}"),
            status.top5_error,
        )?;
        self.gauge(
            "alexnet_images_per_second",
            "Speed of the last step, by the slower half",
            status.images_per_s,
        )
    }

    fn evaluation(&mut self, status: &RunStatus) -> fmt::Result {
        if let Some(last) = &status.last {
            let of_val = "of the validation images at the last evaluation";
            self.gauge("alexnet_evaluation_step", "Step of the last evaluation", last.step as f64)?;
            self.gauge("alexnet_evaluation_loss", &format!("Mean loss {of_val}"), last.loss)?;
            self.gauge(
                "alexnet_evaluation_top1_error_ratio",
                &format!("Top-1 error {of_val}, as a fraction"),
                last.top1_error,
            )?;
            self.gauge(
                "alexnet_evaluation_top5_error_ratio",
                &format!("Top-5 error {of_val}, as a fraction"),
                last.top5_error,
            )?;
        }
        let Some(best) = &status.best else { return Ok(()) };
        self.gauge(
            "alexnet_best_evaluation_top1_error_ratio",
            "Lowest top-1 error of any evaluation, as a fraction",
            best.top1_error,
        )
    }

    fn checkpoint(&mut self, status: &RunStatus, now: SystemTime) -> fmt::Result {
        let step = status.checkpoint_step as f64;
        self.gauge("alexnet_checkpoint_step", "Step of the newest checkpoint; 0: none yet", step)?;
        let Some(at) = status.checkpoint_at else { return Ok(()) };
        self.gauge(
            "alexnet_checkpoint_timestamp_seconds",
            "When the newest checkpoint was made, in seconds since 1970",
            at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        )?;
        self.gauge(
            "alexnet_checkpoint_age_seconds",
            "How long ago the newest checkpoint was made",
            now.duration_since(at).unwrap_or_default().as_secs_f64(),
        )
    }

    fn members(&mut self, status: &RunStatus) -> fmt::Result {
        self.gauge(
            "alexnet_workers",
            "Workers that are connected, those who stand by included",
            status.workers.len() as f64,
        )?;
        let seated = |part: &PartStatus| f64::from(u8::from(part.seated));
        self.of_halves(
            "alexnet_worker_present",
            "Whether a worker has this half",
            &status.parts,
            seated,
        )?;
        self.gauge("alexnet_loaders", "Loaders that are connected", status.loaders.len() as f64)?;
        self.gauges(
            "alexnet_loader_present",
            "1 for each loader that is connected, by its address",
            status.loaders.iter().map(|address| ([("loader", &**address)], 1.0)),
        )
    }

    /// Per half: sums since the coordinator started, then the last step.
    fn work(&mut self, parts: &[PartStatus]) -> fmt::Result {
        let since = "since the coordinator started, repeated steps included";
        self.sums("alexnet_steps", &format!("Steps done {since}"), parts, |part| {
            part.work.steps as f64
        })?;
        for (name, what, seconds) in TIMES {
            let help = format!("{what}, {since}");
            self.sums(&format!("alexnet_{name}_seconds"), &help, parts, |part| {
                seconds(&part.work.total) / 1000.0
            })?;
        }
        self.sums(
            "alexnet_exchange_received_bytes",
            &format!("Bytes received from the other half {since}"),
            parts,
            |part| part.work.total.exchange_bytes as f64,
        )?;
        let begun: Vec<_> = parts.iter().filter(|part| part.work.steps > 0).cloned().collect();
        for (name, what, seconds) in TIMES {
            let help = format!("{what}, in the last step");
            self.of_halves(&format!("alexnet_last_{name}_seconds"), &help, &begun, |part| {
                seconds(&part.work.latest) / 1000.0
            })?;
        }
        let exchanging: Vec<_> =
            begun.into_iter().filter(|part| part.work.latest.transfer_ms > 0.0).collect();
        self.of_halves(
            "alexnet_exchange_bytes_per_second",
            "Speed at which the other half's tensors arrived in the last step",
            &exchanging,
            |part| {
                let latest = &part.work.latest;
                latest.exchange_bytes as f64 * 1000.0 / latest.transfer_ms
            },
        )
    }
}

/// Name, help and milliseconds.
type Time = (&'static str, &'static str, fn(&StepReport) -> f64);

const TIMES: [Time; 6] = [
    ("step", "Duration of steps", |r| r.step_ms),
    ("compute", "Time in which the half computed", |r| r.compute_ms),
    ("exchange_wait", "Time blocked on bytes the other half had begun to send", |r| {
        r.exchange_wait_ms
    }),
    ("peer_late", "Time blocked before the other half began to send", |r| r.peer_late_ms),
    ("data_wait", "Time blocked on minibatches", |r| r.data_wait_ms),
    ("exchange_transfer", "Time from first to last byte received, summed over tensors", |r| {
        r.transfer_ms
    }),
];

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, None, gauge.metric_type())?)
    }

    /// The library adds `_total` to the name.
    fn counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (Labels<'a>, f64)>,
    ) -> fmt::Result {
        let kind = ConstGauge::new(0.0).metric_type();
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn of_halves(
        &mut self,
        name: &str,
        help: &str,
        parts: &[PartStatus],
        value: impl Fn(&PartStatus) -> f64,
    ) -> fmt::Result {
        self.gauges(name, help, parts.iter().map(|part| ([("half", &*part.name)], value(part))))
    }

    fn sums(
        &mut self,
        name: &str,
        help: &str,
        parts: &[PartStatus],
        value: impl Fn(&PartStatus) -> f64,
    ) -> fmt::Result {
        let kind = ConstCounter::new(0.0).metric_type();
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for part in parts {
            let labels: Labels<'_> = [("half", &*part.name)];
            ConstCounter::new(value(part)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
