//! The status of the run as a page of metrics, made for each scrape from one snapshot, so that all
//! numbers belong together. Unknown numbers are left out.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
pub(super) use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use proto::VERSION;
use proto::status::{LoaderStatus, Phase, Standing};
use proto::step::{FIGURES, Figure, Unit};

use crate::run::status::{PartitionStatus, RunStatus};

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
        page.work(&status.partitions)
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
        let phase = status.phase.label();
        self.gauges(
            "alexnet_phase",
            "What the run is doing: 1 for that, 0 for the others",
            Phase::LABELS.map(|name| ([("phase", name)], f64::from(u8::from(name == phase)))),
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
        for Figure { metric, help, of, .. } in FIGURES.iter().filter(|f| f.unit == Unit::Number) {
            self.gauge(&format!("alexnet_training_{metric}"), help, of(&status.latest))?;
        }
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
            "Workers that are connected, standbys included",
            status.workers.len() as f64,
        )?;
        let seated = |of: &PartitionStatus| f64::from(u8::from(of.seated));
        self.of_halves(
            "alexnet_worker_present",
            "Whether a worker has this half",
            &status.partitions,
            seated,
        )?;
        self.gauge("alexnet_loaders", "Loaders that are connected", status.loaders.len() as f64)?;
        self.gauges(
            "alexnet_loader_present",
            "1 for each loader that is connected, by its address",
            status.loaders.iter().map(|loader| ([("loader", &*loader.address)], 1.0)),
        )?;
        self.loaders(
            "alexnet_loader_slow",
            "1 for a loader that is asked only if no other answers, because it was too slow",
            status,
            Standing::Slow,
        )?;
        self.loaders(
            "alexnet_loader_refused",
            "1 for a loader that is not asked any more, because its answers were wrong",
            status,
            Standing::Refused,
        )
    }

    /// For each loader, whether it has a standing.
    fn loaders(
        &mut self,
        name: &str,
        help: &str,
        status: &RunStatus,
        standing: Standing,
    ) -> fmt::Result {
        let has = |loader: &LoaderStatus| f64::from(u8::from(loader.standing == standing));
        let loaders = status.loaders.iter();
        self.gauges(name, help, loaders.map(|l| ([("loader", &*l.address)], has(l))))
    }

    /// Per partition: sums since the coordinator started, then the last step.
    fn work(&mut self, partitions: &[PartitionStatus]) -> fmt::Result {
        let since = "since the coordinator started, repeated steps included";
        self.sums("alexnet_steps", &format!("Steps done {since}"), partitions, |of| {
            of.work.steps as f64
        })?;
        for Figure { unit, metric, help, of: value, .. } in FIGURES {
            let (name, help, scale) = match unit {
                Unit::Number => continue,
                Unit::Milliseconds => {
                    (format!("alexnet_{metric}_seconds"), format!("{help}, {since}"), 1000.0)
                }
                Unit::Bytes => (format!("alexnet_{metric}_bytes"), format!("{help} {since}"), 1.0),
            };
            self.sums(&name, &help, partitions, |of| value(&of.work.total) / scale)?;
        }
        let begun: Vec<_> = partitions.iter().filter(|of| of.work.steps > 0).cloned().collect();
        let times = FIGURES.iter().filter(|figure| figure.unit == Unit::Milliseconds);
        for Figure { metric, help, of: value, .. } in times {
            let (name, help) =
                (format!("alexnet_last_{metric}_seconds"), format!("{help}, in the last step"));
            self.of_halves(&name, &help, &begun, |of| value(&of.work.latest) / 1000.0)?;
        }
        let exchanging: Vec<_> =
            begun.into_iter().filter(|of| of.work.latest.transfer_ms > 0.0).collect();
        self.of_halves(
            "alexnet_exchange_bytes_per_second",
            "Speed at which the other half's tensors arrived in the last step",
            &exchanging,
            |of| {
                let latest = &of.work.latest;
                latest.exchange_bytes as f64 * 1000.0 / latest.transfer_ms
            },
        )
    }
}

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, None, gauge.metric_type())?)
    }

    /// A counter; the library adds `_total` to the name.
    fn counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'a>, f64)>,
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
        partitions: &[PartitionStatus],
        value: impl Fn(&PartitionStatus) -> f64,
    ) -> fmt::Result {
        let values = partitions.iter().map(|of| ([("half", of.partition.label())], value(of)));
        self.gauges(name, help, values)
    }

    fn sums(
        &mut self,
        name: &str,
        help: &str,
        partitions: &[PartitionStatus],
        value: impl Fn(&PartitionStatus) -> f64,
    ) -> fmt::Result {
        let kind = ConstCounter::new(0.0).metric_type();
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for of in partitions {
            let labels: Labels<'_> = [("half", of.partition.label())];
            ConstCounter::new(value(of)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
