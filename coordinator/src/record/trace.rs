//! `trace.json`: a Chrome trace of the first timed steps, all processes on one clock. Opens in
//! Perfetto.
//!
//! An array of events, one per line, whole after each addition. Times are microseconds since the
//! run began. Processes are shown as processes, their streams as threads; an arrow leads from the
//! beginning of a tensor's sending to the end of its receiving.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use proto::step::Span;
use proto::timing::clock_ns;
use serde_json::{Value, json};

use super::append::AppendFile;

/// Steps in the trace: the first that are timed; some megabytes.
const STEPS: usize = 32;
/// Most spans of the coordinator itself.
const OWN: usize = 100;
/// Rows that come first, in this order.
const ROWS: [&str; 6] = ["step", "compute", "send", "receive", "make", "run"];
/// Processes that come before the loaders, in this order.
const PROCESSES: [&str; 4] = ["half A", "half B", "the network", "coordinator"];

const OPENING: &str = "[\n";
const CLOSING: &str = "\n]\n";

/// The open trace.
#[derive(Debug)]
pub(crate) struct Trace {
    path: PathBuf,
    /// `None` before the first addition.
    file: Option<AppendFile>,
    failed: bool,
    /// Beginning of the run, on this process's clock.
    start_ns: i64,
    steps: BTreeSet<u64>,
    own: usize,
    granted: u64,
    /// Names of processes; the number of a process is its position here, from 1.
    processes: Vec<String>,
    rows: Vec<Row>,
    /// Ends of arrows whose other end is not known yet, by flow.
    loose: HashMap<String, End>,
    out: Vec<Value>,
}

#[derive(Debug)]
struct Row {
    pid: usize,
    tid: usize,
    name: String,
    /// Times that are taken, from beginning to end.
    taken: BTreeMap<i64, i64>,
}

/// One end of an arrow.
#[derive(Debug, Clone, Copy)]
struct End {
    is_send: bool,
    pid: usize,
    tid: usize,
    at_us: f64,
}

impl Trace {
    /// The trace of a run that began `began_s` seconds after 1970; the first addition creates the
    /// file.
    pub(crate) fn new(path: &Path, began_s: u64) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_begin = since_1970.as_nanos() as i64 - began_s as i64 * 1_000_000_000;
        Self {
            path: path.to_path_buf(),
            file: None,
            failed: false,
            start_ns: clock_ns(Instant::now()) - since_begin,
            steps: BTreeSet::new(),
            own: 0,
            granted: 0,
            processes: Vec::new(),
            rows: Vec::new(),
            loose: HashMap::new(),
            out: Vec::new(),
        }
    }

    /// Adds the spans of a process that belong to steps in the trace, or to steps that still fit.
    pub(crate) fn add(&mut self, process: &str, spans: &[Span], uncertainty_ms: Option<f64>) {
        if self.failed || spans.is_empty() || !self.is_open() {
            return;
        }
        for span in spans {
            if self.admits(span.step) {
                self.span(process, span, uncertainty_ms);
            }
        }
        self.write();
    }

    /// Adds a span of the coordinator's own.
    pub(crate) fn own(&mut self, what: &str, step: u64, from_ns: i64, to_ns: i64) {
        if self.failed || self.own >= OWN || !self.is_open() {
            return;
        }
        self.own += 1;
        let span = Span {
            row: "run".into(),
            name: what.into(),
            from_ns,
            ns: u64::try_from(to_ns - from_ns).unwrap_or_default(),
            step,
            ..Span::default()
        };
        self.span("coordinator", &span, None);
        self.write();
    }

    /// Adds the moment at which a step was granted.
    pub(crate) fn grant(&mut self, until: u64, at_ns: i64) {
        // Each half gets the same command.
        if self.failed || self.granted == until || !self.is_open() || !self.admits(until) {
            return;
        }
        self.granted = until;
        let (pid, tid) = self.row("coordinator", "grants", None);
        let name = format!("up to step {until}");
        let ts = self.us(at_ns);
        self.out.push(json!({"name": name, "cat": "grants", "ph": "i", "s": "t", "ts": ts,
            "pid": pid, "tid": tid, "args": {"step": until}}));
        self.write();
    }

    fn admits(&mut self, step: u64) -> bool {
        self.steps.contains(&step) || (self.steps.len() < STEPS && self.steps.insert(step))
    }

    fn us(&self, ns: i64) -> f64 {
        ns.saturating_sub(self.start_ns) as f64 / 1e3
    }

    fn span(&mut self, process: &str, span: &Span, uncertainty_ms: Option<f64>) {
        let ns = i64::try_from(span.ns).unwrap_or(i64::MAX);
        let (pid, tid) = self.row(process, &span.row, Some((span.from_ns, ns)));
        let (ts, dur) = (self.us(span.from_ns), span.ns as f64 / 1e3);
        let mut args = json!({"step": span.step});
        if span.bytes > 0 {
            args["bytes"] = span.bytes.into();
        }
        if let (Some(ms), "step") = (uncertainty_ms, span.row.as_str()) {
            args["clock_uncertainty_us"] = (1e3 * ms).into();
        }
        let cat = if span.name.starts_with("wait ") { "wait" } else { &span.row };
        self.out.push(json!({"name": span.name, "cat": cat, "ph": "X", "ts": ts, "dur": dur,
            "pid": pid, "tid": tid, "args": args}));
        if !span.flow.is_empty() {
            let is_send = span.row == "send";
            // An arrow's head must lie inside its span to belong to it.
            let at_us = if is_send { ts } else { ts + dur - (dur / 2.0).min(1.0) };
            self.arrow(span, End { is_send, pid, tid, at_us });
        }
    }

    /// Draws an arrow once both of its ends are known.
    fn arrow(&mut self, span: &Span, end: End) {
        let other = match self.loose.remove(&span.flow) {
            Some(other) if other.is_send != end.is_send => other,
            _ => {
                self.loose.insert(span.flow.clone(), end);
                return;
            }
        };
        for End { is_send, pid, tid, at_us } in [end, other] {
            let mut event = json!({"name": span.name, "cat": "exchange", "id": span.flow,
                "ph": if is_send { "s" } else { "f" }, "ts": at_us, "pid": pid, "tid": tid});
            if !is_send {
                event["bp"] = "e".into();
            }
            self.out.push(event);
        }
    }

    /// Numbers of a process and of one of its rows that is free at the time. Writes the names of
    /// new ones.
    fn row(&mut self, process: &str, row: &str, time: Option<(i64, i64)>) -> (usize, usize) {
        let pid = self.process(process);
        for lane in 1.. {
            let name = if lane == 1 { row.to_string() } else { format!("{row} {lane}") };
            let known = self.rows.iter().position(|r| r.pid == pid && r.name == name);
            let at = known.unwrap_or_else(|| self.new_row(pid, row, name));
            let row = &mut self.rows[at];
            let Some((from, ns)) = time else { return (pid, row.tid) };
            let before = row.taken.range(..=from).next_back().is_some_and(|(_, to)| *to > from);
            let after = row
                .taken
                .range(from..)
                .next()
                .is_some_and(|(next, _)| *next < from.saturating_add(ns));
            if !before && !after {
                row.taken.insert(from, from.saturating_add(ns));
                return (pid, row.tid);
            }
        }
        unreachable!("some lane is free")
    }

    fn process(&mut self, name: &str) -> usize {
        if let Some(at) = self.processes.iter().position(|known| known == name) {
            return at + 1;
        }
        self.processes.push(name.to_string());
        let pid = self.processes.len();
        let order = PROCESSES.iter().position(|known| *known == name).unwrap_or(PROCESSES.len());
        self.say("process_name", pid, 0, json!({"name": name}));
        self.say("process_sort_index", pid, 0, json!({"sort_index": order}));
        pid
    }

    fn new_row(&mut self, pid: usize, kind: &str, name: String) -> usize {
        let tid = 1 + self.rows.iter().filter(|row| row.pid == pid).count();
        let order = ROWS.iter().position(|known| *known == kind).unwrap_or(ROWS.len());
        self.say("thread_name", pid, tid, json!({"name": name}));
        self.say("thread_sort_index", pid, tid, json!({"sort_index": order}));
        self.rows.push(Row { pid, tid, name, taken: BTreeMap::new() });
        self.rows.len() - 1
    }

    fn say(&mut self, what: &str, pid: usize, tid: usize, args: Value) {
        self.out
            .push(json!({"name": what, "ph": "M", "ts": 0, "pid": pid, "tid": tid, "args": args}));
    }

    /// Opens the file, once; the events of an earlier coordinator stay.
    fn is_open(&mut self) -> bool {
        if self.file.is_none() && !self.failed {
            match std::fs::read_to_string(&self.path) {
                Ok(text) => self.open(&text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.open(""),
                Err(error) => {
                    tracing::error!(path = %self.path.display(), %error, "no trace is written");
                    self.failed = true;
                }
            }
        }
        !self.failed
    }

    /// Continues after the last whole event: a crash may have cut off the last line.
    fn open(&mut self, text: &str) {
        let mut whole = 0;
        if let Some(mut events) = text.strip_prefix(OPENING) {
            while let Some(line) = events.lines().next() {
                let event = line.trim_end_matches(',');
                match serde_json::from_str::<Value>(event) {
                    Ok(value) if value.is_object() => self.recall(&value),
                    _ => break,
                }
                whole = text.len() - events.len() + event.len();
                events = events[line.len()..].trim_start_matches('\n');
            }
        }
        self.file = Some(AppendFile::lazy(&self.path, whole as u64).closed_by(CLOSING));
    }

    /// Takes note of the processes, rows and steps in an event.
    fn recall(&mut self, event: &Value) {
        let number = |key: &str| event[key].as_u64().unwrap_or(0) as usize;
        let name = event["args"]["name"].as_str().unwrap_or_default().to_string();
        match event["name"].as_str() {
            Some("process_name") => self.processes.push(name),
            Some("thread_name") => {
                let (pid, tid) = (number("pid"), number("tid"));
                self.rows.push(Row { pid, tid, name, taken: BTreeMap::new() });
            }
            _ => match (event["cat"].as_str(), event["args"]["step"].as_u64()) {
                (Some("run"), _) => self.own += 1,
                (_, Some(step)) => drop(self.steps.insert(step)),
                _ => {}
            },
        }
    }

    fn write(&mut self) {
        let events: Vec<String> = self.out.drain(..).map(|event| event.to_string()).collect();
        if let Some(file) = self.file.as_mut().filter(|_| !events.is_empty()) {
            let before = if file.length() == 0 { OPENING } else { ",\n" };
            file.append(format!("{before}{}", events.join(",\n")).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
