//! The result of `alexnet bench`: one JSON object, or a table for people.
//!
//! docs/speed.md lists the keys. They have their units in their names; a share is a fraction of the
//! limit that its name says. `None` is null: not measured here.

use serde::Serialize;

use super::layers::LayerPass;
use super::memory::Peaks;

/// Changes when a key of the object changes its meaning or goes.
pub(super) const FORMAT: u32 = 1;

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub format: u32,
    /// Name of this build.
    pub version: &'static str,
    pub recipe: String,
    pub classes: usize,
    /// Images of a minibatch.
    pub batch: usize,
    /// One per half.
    pub devices: Vec<String>,
    pub data: String,
    /// Number of steps that were measured.
    pub steps: usize,
    pub machine: Machine,
    pub step: StepTime,
    pub layers: Vec<LayerPass>,
    pub update: Update,
    pub loader: Loader,
    pub exchange: Option<Exchange>,
    /// Peak memory in MB by process.
    pub peak_memory_mb: Peaks,
}

/// The limits of this machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Machine {
    /// Matrix products of the first process while the others rest.
    pub products_alone_gflop_per_s: f64,
    /// Matrix products of all processes at once.
    pub products_gflop_per_s: f64,
    /// Bytes read and written by `a += b` over long arrays, in all processes at once.
    pub memory_gb_per_s: f64,
    /// Plain TCP over loopback, both directions together.
    pub socket_gb_per_s: f64,
    /// Stored pictures that one core decodes by itself; `None` unless they are JPEG files.
    pub jpeg_images_per_core_s: Option<f64>,
}

/// A step, waits included: the mean.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StepTime {
    pub images_per_s: f64,
    pub ms: f64,
    /// Operations of all layers, counted as those of one layer are.
    pub gflop: f64,
    /// Time of those operations as matrix products of all processes, as a share of the step.
    pub products_share: f64,
    /// Wait for bytes in transit, of the half that waits longer.
    pub exchange_wait_ms: f64,
    /// Wait before the other half begins to send.
    pub peer_late_ms: f64,
    /// Wait for the minibatch.
    pub data_wait_ms: f64,
}

/// The updates of all layers, both halves together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Update {
    pub ms: f64,
    /// Bytes that are read and written.
    pub gb: f64,
    pub gb_per_s: f64,
    pub memory_share: f64,
}

/// A loader by itself, with one thread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Loader {
    /// By the clock.
    pub images_per_s: f64,
    /// Per second of a core's time.
    pub images_per_core_s: f64,
    pub jpeg_share: Option<f64>,
}

/// The exchange by itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Exchange {
    /// Both directions together.
    pub gb_per_s: f64,
    pub socket_share: f64,
}

impl Update {
    /// Bytes per parameter: weight, momentum and gradient are read, weight and momentum written.
    const BYTES: usize = 5 * size_of::<f32>();

    /// The updates among these passes, of a network with so many parameters.
    pub(super) fn of(passes: &[LayerPass], parameters: usize, memory_gb_per_s: f64) -> Self {
        let ms = passes.iter().filter(|pass| pass.pass == "update").map(|pass| pass.ms).sum();
        let gb = (Self::BYTES * parameters) as f64 / 1e9;
        let gb_per_s = 1e3 * gb / ms;
        Self { ms, gb, gb_per_s, memory_share: gb_per_s / memory_gb_per_s }
    }
}

/// A row of the table: measurement, result, share of its limit.
pub(super) type Row = [String; 3];

fn row(what: impl Into<String>, result: String, share: Option<(f64, &str)>) -> Row {
    let share = share.map(|(share, of)| format!("{} % of {of}", digits(100.0 * share)));
    [what.into(), result, share.unwrap_or_default()]
}

const PRODUCTS: &str = "the products";

impl Report {
    /// The table in Markdown, under a line about the run.
    pub(super) fn table(&self) -> String {
        let Self { recipe, classes, batch, steps, devices, .. } = self;
        let devices = devices.join(",");
        let mut text = format!(
            "{recipe}, {classes} classes, batch {batch}, {steps} steps, devices {devices}\n\n\
             | measurement | result | share of its limit |\n|---|---|---|"
        );
        for [what, result, share] in self.rows() {
            text.push_str(&format!("\n| {what} | {result} | {share} |"));
        }
        text
    }

    /// All rows: first the limits, then what was reached.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = self.machine.rows();
        rows.extend(self.step.rows());
        rows.extend(self.layers.iter().map(layer));
        let Update { ms, gb, gb_per_s, memory_share } = self.update;
        let moved = format!("{} ({gb:.2} GB at {gb_per_s:.1} GB/s)", milliseconds(ms));
        rows.push(row("all updates", moved, Some((memory_share, "the memory"))));
        rows.push(self.loader.row());
        rows.extend(self.exchange.iter().map(|exchange| {
            let share = Some((exchange.socket_share, "the socket"));
            row("exchange by itself", format!("{:.2} GB/s", exchange.gb_per_s), share)
        }));
        let peak = |(name, mb): (&String, &f64)| {
            row(format!("peak memory, {name}"), format!("{mb:.0} MB"), None)
        };
        rows.extend(self.peak_memory_mb.iter().map(peak));
        rows
    }
}

impl Machine {
    fn rows(&self) -> Vec<Row> {
        let gflop = |rate: f64| format!("{rate:.1} GFLOP/s");
        let gb = |rate: f64| format!("{rate:.2} GB/s");
        let jpeg = self.jpeg_images_per_core_s;
        let jpeg = jpeg.map_or("not JPEG".into(), |rate| format!("{rate:.0} images/s"));
        let limits = [
            ("limit: products, one process alone", gflop(self.products_alone_gflop_per_s)),
            ("limit: products, all processes at once", gflop(self.products_gflop_per_s)),
            ("limit: memory, all processes at once", gb(self.memory_gb_per_s)),
            ("limit: socket over loopback, both directions", gb(self.socket_gb_per_s)),
            ("limit: JPEG decoding on one core", jpeg),
        ];
        limits.map(|(what, result)| row(what, result, None)).into()
    }
}

impl StepTime {
    fn rows(&self) -> Vec<Row> {
        let Self { images_per_s, ms, gflop, products_share, .. } = *self;
        let wait = |what: &str, wait_ms: f64| {
            row(what, milliseconds(wait_ms), Some((wait_ms / ms, "a step")))
        };
        vec![
            row("training", format!("{images_per_s:.1} images/s"), None),
            row("step", work(ms, Some(gflop)), Some((products_share, PRODUCTS))),
            wait("waiting for bytes in transit", self.exchange_wait_ms),
            wait("waiting for the other half", self.peer_late_ms),
            wait("waiting for minibatches", self.data_wait_ms),
        ]
    }
}

impl Loader {
    fn row(&self) -> Row {
        let Self { images_per_s, images_per_core_s, jpeg_share } = *self;
        let result = format!("{images_per_s:.0} images/s ({images_per_core_s:.0} per core)");
        row("loader by itself", result, jpeg_share.map(|share| (share, "JPEG decoding")))
    }
}

fn layer(pass: &LayerPass) -> Row {
    let what = format!("{} {}", pass.layer, pass.pass);
    row(what, work(pass.ms, pass.gflop), pass.products_share.map(|share| (share, PRODUCTS)))
}

/// `5.00 ms (1.23 GFLOP)`.
fn work(ms: f64, gflop: Option<f64>) -> String {
    match gflop {
        Some(gflop) => format!("{} ({} GFLOP)", milliseconds(ms), digits(gflop)),
        None => milliseconds(ms),
    }
}

fn milliseconds(ms: f64) -> String {
    format!("{} ms", digits(ms))
}

/// A number with as many digits as matter.
fn digits(number: f64) -> String {
    match number {
        n if n < 10.0 => format!("{n:.2}"),
        n if n < 100.0 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let pass = |layer: &str, pass: &str, ms, gflop: Option<f64>| LayerPass {
            layer: layer.into(),
            pass: pass.into(),
            ms,
            gflop,
            gflop_per_s: gflop.map(|gflop| 1e3 * gflop / ms),
            products_share: gflop.map(|gflop| 1e3 * gflop / ms / 200.0),
        };
        let layers = vec![
            pass("conv1", "forward", 250.0, Some(27.0)),
            pass("conv1", "update", 0.5, None),
            pass("fc6", "update", 9.5, None),
        ];
        Report {
            format: FORMAT,
            version: "1",
            recipe: "caffe".into(),
            classes: 10,
            batch: 128,
            devices: vec!["cpu:1".into(), "cpu:1".into()],
            data: "pictures".into(),
            steps: 5,
            machine: Machine {
                products_alone_gflop_per_s: 120.0,
                products_gflop_per_s: 200.0,
                memory_gb_per_s: 20.0,
                socket_gb_per_s: 4.0,
                jpeg_images_per_core_s: None,
            },
            step: StepTime {
                images_per_s: 40.0,
                ms: 3200.0,
                gflop: 526.2,
                products_share: 0.82,
                exchange_wait_ms: 3.2,
                peer_late_ms: 0.0,
                data_wait_ms: 16.0,
            },
            update: Update::of(&layers, 5_000_000, 20.0),
            layers,
            loader: Loader {
                images_per_s: 1300.0,
                images_per_core_s: 1100.0,
                jpeg_share: Some(0.9),
            },
            exchange: Some(Exchange { gb_per_s: 1.0, socket_share: 0.25 }),
            peak_memory_mb: [("worker-0".to_owned(), 1681.0)].into(),
        }
    }

    #[test]
    fn a_row_says_result_and_share() {
        let rows = report().rows();
        let of = |what: &str| {
            let [_, result, share] = rows.iter().find(|row| row[0] == what).expect(what);
            (result.as_str(), share.as_str())
        };
        assert_eq!(of("limit: memory, all processes at once"), ("20.00 GB/s", ""));
        assert_eq!(of("limit: JPEG decoding on one core"), ("not JPEG", ""));
        assert_eq!(of("step"), ("3200 ms (526 GFLOP)", "82.0 % of the products"));
        assert_eq!(of("waiting for minibatches"), ("16.0 ms", "0.50 % of a step"));
        assert_eq!(of("conv1 forward"), ("250 ms (27.0 GFLOP)", "54.0 % of the products"));
        assert_eq!(of("conv1 update"), ("0.50 ms", ""));
        let updates = ("10.0 ms (0.10 GB at 10.0 GB/s)", "50.0 % of the memory");
        assert_eq!(of("all updates"), updates);
        let loader = ("1300 images/s (1100 per core)", "90.0 % of JPEG decoding");
        assert_eq!(of("loader by itself"), loader);
        assert_eq!(of("exchange by itself"), ("1.00 GB/s", "25.0 % of the socket"));
        assert_eq!(of("peak memory, worker-0"), ("1681 MB", ""));
    }

    #[test]
    fn a_network_without_exchange_has_no_row_of_it_and_null() {
        let report = Report { exchange: None, ..report() };
        assert!(report.rows().iter().all(|row| !row[0].starts_with("exchange")));
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["exchange"].is_null() && json["machine"]["jpeg_images_per_core_s"].is_null());
    }
}
