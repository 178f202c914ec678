//! Timed steps on their way into `timing.jsonl`, the trace and, now and then, the log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use model::halves::Partition;
use net::FOR_PEOPLE;
use proto::command::Command;
use proto::step::Span;
use proto::timing::{clock_ns, is_timed};

use super::append::{AppendFile, whole_lines};
use super::metrics::Line;
use super::timing::{HalfStep, Timing, earlier, table};
use super::trace::Trace;
use crate::disk::run_dir::RunDir;
use crate::run::event::Action;

/// Number of regular timed steps between two tables in the log. A table has a dozen lines per half.
/// With the default of `every`, tables come at step 50 and then every 5,000 steps: hours apart on
/// CPUs, minutes on GPUs. `timing.jsonl` has every timed step.
const PER_TABLE: u64 = 100;

/// Length, in bytes, at which `timing.jsonl` is begun anew. The file before it is kept, so a run
/// keeps between one and two times as much, which is the times of some ten thousand steps.
const LONGEST: u64 = 64 << 20;

/// Writes both files.
#[derive(Debug)]
pub(crate) struct Recorder {
    /// `timing.jsonl`; `None` if the existing one can't be read.
    lines: Option<AppendFile>,
    /// The file before it.
    earlier: PathBuf,
    longest: u64,
    trace: Trace,
    every: u64,
    /// The step of the newest table in the log.
    table: Option<u64>,
    /// Present work of the whole run: its step and its beginning, by name.
    busy: BTreeMap<&'static str, (u64, i64)>,
}

impl Recorder {
    /// Continues the files of a run directory, or creates them with the first timed step.
    pub(crate) fn new(dir: &RunDir, every: u64) -> Self {
        let path = dir.timing_path();
        let lines = match whole_lines(&path) {
            Ok(bytes) => Some(AppendFile::lazy(&path, bytes)),
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "timing can't be written");
                None
            }
        };
        Self {
            lines,
            earlier: earlier(&path),
            longest: LONGEST,
            trace: Trace::new(&dir.trace_path(), dir.record.started),
            every,
            table: None,
            busy: BTreeMap::new(),
        }
    }

    /// Takes a partition's times.
    pub(crate) fn partition(&mut self, partition: Partition, timing: Timing) {
        let half = partition.to_string();
        self.trace.add(
            &half,
            &timing.spans,
            timing.step.as_ref().and_then(|s| s.clock_uncertainty_ms),
        );
        if let Some(step) = timing.step {
            let step = HalfStep { half, ..step };
            if let Some(lines) = &mut self.lines {
                // Numbers, names and no maps: this can't fail.
                let mut text = serde_json::to_vec(&step).unwrap_or_default();
                text.push(b'\n');
                lines.append(&text);
                if lines.length() >= self.longest
                    && let Err(error) = lines.set_aside(&self.earlier)
                {
                    // Tried again when as much has been added.
                    self.longest += LONGEST;
                    tracing::error!(%error, "timing.jsonl can't be begun anew and grows");
                }
            }
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

    /// Takes a loader's spans.
    pub(crate) fn loader(&mut self, address: &str, spans: &[Span]) {
        self.trace.add(&format!("loader {address}"), spans, None);
    }

    /// Looks at an action before it is carried out: grants, evaluations and checkpoints are the
    /// coordinator's own spans.
    pub(crate) fn observe(&mut self, action: &Action) {
        let now = clock_ns(Instant::now());
        match action {
            Action::Send { command, .. } => match &**command {
                Command::Train(train) if is_timed(train.until, self.every) => {
                    self.trace.grant(train.until, now);
                }
                Command::Evaluate(evaluate) => self.begin("evaluation", evaluate.step, now),
                Command::Checkpoint(checkpoint) => self.begin("checkpoint", checkpoint.step, now),
                _ => {}
            },
            Action::AppendMetrics(Line::Eval(_)) => self.end("evaluation", now),
            // Interrupted work makes no span.
            Action::RecordStart { .. } => self.busy.clear(),
            _ => {}
        }
    }

    /// Takes note that a checkpoint is on the disk.
    pub(crate) fn checkpoint_written(&mut self) {
        self.end("checkpoint", clock_ns(Instant::now()));
    }

    fn begin(&mut self, what: &'static str, step: u64, now: i64) {
        // Each half gets the same command.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proto::step::LayerTime;

    #[test]
    fn the_log_has_a_table_of_each_half_of_a_few_timed_steps() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = model::recipe::Recipe::default();
        let owned = crate::disk::run_dir::Owned::open(dir.path(), &recipe, 1, None).unwrap();
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
    fn timed_steps_beyond_a_limit_begin_a_new_file_and_the_one_before_stays() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = model::recipe::Recipe::default();
        let owned = crate::disk::run_dir::Owned::open(dir.path(), &recipe, 1, None).unwrap();
        let path = owned.dir.timing_path();
        let add = |recorder: &mut Recorder, step| {
            let step = Some(HalfStep { step, ..Default::default() });
            let half = Partition::Half(model::halves::Half::A);
            recorder.partition(half, Timing { step, spans: Vec::new() });
        };
        add(&mut Recorder::new(&owned.dir, 1), 0);
        let line = std::fs::metadata(&path).unwrap().len();
        // Three lines to a file.
        let mut recorder = Recorder { longest: 3 * line, ..Recorder::new(&owned.dir, 1) };
        (1..8).for_each(|step| add(&mut recorder, step));
        let steps = |path: &std::path::Path| -> Vec<u64> {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(|l| serde_json::from_str::<HalfStep>(l).unwrap().step).collect()
        };
        assert_eq!((steps(&earlier(&path)), steps(&path)), (vec![3, 4, 5], vec![6, 7]));
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_removed_and_zeros_are_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = model::recipe::Recipe::default();
        let owned = crate::disk::run_dir::Owned::open(dir.path(), &recipe, 1, None).unwrap();
        let path = owned.dir.timing_path();
        let layer = LayerTime { layer: "fc8".into(), pass: "update".into(), ..Default::default() };
        let step = HalfStep { step: 2, layers: vec![layer], ..Default::default() };
        let write = |step: &HalfStep| {
            let timing = Timing { step: Some(step.clone()), spans: Vec::new() };
            let half = Partition::Half(model::halves::Half::A);
            Recorder::new(&owned.dir, 50).partition(half, timing);
        };
        write(&step);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"half\":\"ha");
        std::fs::write(&path, text).unwrap();
        write(&HalfStep { step: 3, ..step.clone() });
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<HalfStep> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let step = HalfStep { half: "half A".into(), ..step };
        assert_eq!(lines, [step.clone(), HalfStep { step: 3, ..step }]);
        assert!(text.contains(r#""layers":[{"layer":"fc8","pass":"update"}]"#), "{text}");
    }
}
