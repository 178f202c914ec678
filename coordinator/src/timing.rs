//! Timed steps: one line per half in `timing.jsonl`, spans for `trace`, and occasionally one table
//! per half in the log.

pub mod table; // timed steps as text

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use model::halves::Partition;
use net::FOR_PEOPLE;
use proto::timing::{clock_ns, is_timed};
use serde::{Deserialize, Serialize};

use crate::event::{Command, Order, part_name};
use crate::metrics::Line;
use crate::run_dir::RunDir;
use crate::trace::Trace;

/// A timed step as one half saw it: a line of `timing.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HalfStep {
    /// `half A`, `half B` or `the network`.
    pub half: String,
    /// Steps done.
    pub step: u64,
    /// The whole step, the wait for data with it.
    pub step_ms: f64,
    /// Of it, in no layer and no wait.
    pub rest_ms: f64,
    /// The most by which its clock's distance from the coordinator's may be wrong; unknown if the
    /// half was never asked.
    pub clock_uncertainty_ms: Option<f64>,
    /// Top to bottom, pass by pass; what took no time is left out.
    pub layers: Vec<LayerTime>,
}

/// A layer's pass in a timed step; what is zero isn't written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerTime {
    /// A layer, or `data`, `input`, `logits`, `softmax`.
    pub layer: String,
    /// `forward`, `backward_inputs`, `backward_weights` or `update`.
    pub pass: String,
    /// On the compute stream, copies to and from the exchange with it.
    #[serde(skip_serializing_if = "is_zero")]
    pub compute_ms: f64,
    /// From first to last byte received, summed over slices.
    #[serde(skip_serializing_if = "is_zero")]
    pub transfer_ms: f64,
    /// The stream stood still while the other half was sending.
    #[serde(skip_serializing_if = "is_zero")]
    pub wait_ms: f64,
    /// It stood still, and the other half had not begun to send.
    #[serde(skip_serializing_if = "is_zero")]
    pub peer_late_ms: f64,
    /// Received.
    #[serde(skip_serializing_if = "is_none")]
    pub bytes: u64,
    /// Received in a second of transfer.
    #[serde(skip_serializing_if = "is_zero")]
    pub gb_per_s: f64,
    /// Of the layer's products.
    #[serde(skip_serializing_if = "is_zero")]
    pub gflop_per_s: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(bytes: &u64) -> bool {
    *bytes == 0
}

/// Something that took time, on the coordinator's clock.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Span {
    /// A stream of its process.
    pub(crate) row: String,
    pub(crate) name: String,
    pub(crate) from_ns: i64,
    pub(crate) ns: i64,
    pub(crate) step: u64,
    pub(crate) bytes: u64,
    /// The same at both ends of a tensor's way.
    pub(crate) flow: String,
}

/// What a half says of a timed step; without the step: spans that ended after it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timing {
    pub(crate) step: Option<HalfStep>,
    pub(crate) spans: Vec<Span>,
}

/// Number of regular timed steps between two tables in the log. A table has a dozen lines per half.
/// With the default of `every`, tables come at step 50 and then every 5,000 steps: hours apart on
/// CPUs, minutes on GPUs. `timing.jsonl` has every timed step.
const PER_TABLE: u64 = 100;

/// Writes both files.
#[derive(Debug)]
pub(crate) struct Recorder {
    lines: Lines,
    trace: Trace,
    every: u64,
    /// The step of the newest table in the log.
    table: Option<u64>,
    /// What the whole run is busy with: at which step, and since when.
    busy: BTreeMap<&'static str, (u64, i64)>,
}

impl Recorder {
    /// Goes on with the files of a run directory, or begins them with the first timed step.
    pub(crate) fn new(dir: &RunDir, every: u64) -> Self {
        Self {
            lines: Lines::new(dir.timing_path()),
            trace: Trace::new(dir.trace_path(), dir.record.started),
            every,
            table: None,
            busy: BTreeMap::new(),
        }
    }

    /// Takes what a half says.
    pub(crate) fn half(&mut self, part: Partition, timing: Timing) {
        let half = part_name(part);
        self.trace.add(
            &half,
            &timing.spans,
            timing.step.as_ref().and_then(|s| s.clock_uncertainty_ms),
        );
        if let Some(step) = timing.step {
            let step = HalfStep { half, ..step };
            self.lines.write(&step);
            if self.shows(step.step) {
                tracing::info!(name: FOR_PEOPLE, parent: None, "{}", table::of_step(&step));
            }
        }
    }

    /// Returns whether the log gets a table of this step. Both halves get theirs at the same steps.
    /// Steps 2 to 4 get none, because caches still fill.
    fn shows(&mut self, step: u64) -> bool {
        let regular = self.every > 0 && step.is_multiple_of(self.every);
        let due = |last| step == last || step >= last + PER_TABLE * self.every;
        let shows = regular && self.table.is_none_or(due);
        if shows {
            self.table = Some(step);
        }
        shows
    }

    /// Takes what a loader says.
    pub(crate) fn loader(&mut self, address: &str, spans: &[Span]) {
        self.trace.add(&format!("loader {address}"), spans, None);
    }

    /// Looks at what the coordinator is about to do: grants, evaluations and checkpoints are its
    /// own spans.
    pub(crate) fn sees(&mut self, command: &Command) {
        let now = clock_ns(Instant::now());
        match command {
            Command::Order { order: Order::Train { until, .. }, .. }
                if is_timed(*until, self.every) =>
            {
                self.trace.grant(*until, now);
            }
            Command::Order { order: Order::Evaluate { step, .. }, .. } => {
                self.begin("evaluation", *step, now);
            }
            Command::Order { order: Order::Checkpoint { step, .. }, .. } => {
                self.begin("checkpoint", *step, now);
            }
            Command::Write(Line::Eval { .. }) => self.end("evaluation", now),
            // Work that was broken off is no span.
            Command::RecordStart { .. } => self.busy.clear(),
            _ => {}
        }
    }

    /// A checkpoint is on the disk.
    pub(crate) fn kept(&mut self) {
        self.end("checkpoint", clock_ns(Instant::now()));
    }

    fn begin(&mut self, what: &'static str, step: u64, now: i64) {
        // Each half has the same order.
        if self.every > 0 && self.busy.get(what).is_none_or(|(at, _)| *at != step) {
            self.busy.insert(what, (step, now));
        }
    }

    fn end(&mut self, what: &str, now: i64) {
        if let Some((step, began)) = self.busy.remove(what) {
            self.trace.own(&format!("{what} at step {step}"), step, began, now);
        }
    }
}

/// A file of lines that is created with its first.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: Option<File>,
    failed: bool,
}

impl Lines {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, failed: false }
    }

    /// Appends a line; if that fails, training goes on without.
    fn write(&mut self, step: &HalfStep) {
        if self.failed {
            return;
        }
        // Numbers, names and no maps: this can't fail.
        let mut text = serde_json::to_vec(step).unwrap_or_default();
        text.push(b'\n');
        if let Err(error) = self.append(&text) {
            tracing::error!(path = %self.path.display(), %error, "timing can't be written any more");
            self.failed = true;
        }
    }

    fn append(&mut self, text: &[u8]) -> std::io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open_at_line(&self.path)?,
        };
        file.write_all(text)?;
        self.file = Some(file);
        Ok(())
    }
}

/// Opens a file to append lines; one that a crash cut off is removed.
fn open_at_line(path: &Path) -> std::io::Result<File> {
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
    file.set_len(whole)?;
    file.seek(SeekFrom::Start(whole))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_has_a_table_of_each_half_of_a_few_timed_steps() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = model::recipe::Recipe::default();
        let owned = crate::run_dir::Owned::open(dir.path(), &recipe, 1).unwrap();
        let shown = |every: u64, last: u64| -> Vec<u64> {
            let mut recorder = Recorder::new(&owned.dir, every);
            let both = (1..=last).filter(|step| is_timed(*step, every)).flat_map(|step| [step; 2]);
            both.filter(|step| recorder.shows(*step)).collect()
        };
        assert_eq!(shown(50, 875), [50, 50]);
        assert_eq!(shown(1, 201), [1, 1, 101, 101, 201, 201]);
        assert!(shown(50, 49).is_empty() && shown(0, 100).is_empty());
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_removed_and_zeros_are_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timing.jsonl");
        let layer = LayerTime { layer: "fc8".into(), pass: "update".into(), ..Default::default() };
        let step =
            HalfStep { half: "half A".into(), step: 2, layers: vec![layer], ..Default::default() };
        Lines::new(path.clone()).write(&step);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"half\":\"ha").unwrap();
        Lines::new(path.clone()).write(&HalfStep { step: 3, ..step.clone() });
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<HalfStep> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines, [step.clone(), HalfStep { step: 3, ..step }]);
        assert!(text.contains(r#""layers":[{"layer":"fc8","pass":"update"}]"#), "{text}");
    }
}
