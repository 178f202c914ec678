//! `trace.json`: a Chrome trace of the first timed steps, all processes on one clock. Opens in
//! Perfetto.
//!
//! An array of events, one a line, whole after each addition. Times are microseconds since the run
//! began. A process is a process, a stream a thread of it; an arrow leads from where a tensor began
//! to be sent to where it was received.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use proto::timing::clock_ns;
use serde_json::{Value, json};

use crate::timing::Span;

/// Steps in the trace: the first that are timed; some megabytes.
const STEPS: usize = 32;
/// The coordinator's own spans in it.
const OWN: usize = 100;
/// Rows in this order, then others.
const ROWS: [&str; 6] = ["step", "compute", "send", "receive", "make", "run"];
/// Processes in this order, then loaders.
const PROCESSES: [&str; 4] = ["half A", "half B", "the network", "coordinator"];

const OPENING: &str = "[\n";
const CLOSING: &str = "\n]\n";

/// The open trace.
#[derive(Debug)]
pub(crate) struct Trace {
    path: PathBuf,
    file: Option<File>,
    /// Bytes before the closing bracket.
    len: u64,
    failed: bool,
    /// When the run began, on our clock.
    start_ns: i64,
    steps: BTreeSet<u64>,
    own: usize,
    granted: u64,
    /// A process's number is its place, from 1.
    processes: Vec<String>,
    rows: Vec<Row>,
    /// Ends of arrows whose other end isn't known yet.
    loose: HashMap<String, End>,
    out: Vec<Value>,
}

#[derive(Debug)]
struct Row {
    pid: usize,
    tid: usize,
    name: String,
    /// From when until when it is taken.
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
    /// The trace of a run that began so many seconds after 1970; the file is created when there is
    /// something to write.
    pub(crate) fn new(path: PathBuf, began_s: u64) -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_begin = since_1970.as_nanos() as i64 - began_s as i64 * 1_000_000_000;
        Self {
            path,
            file: None,
            len: 0,
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

    /// Adds spans of a process, those of steps that are in the trace or fit into it.
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
            ns: to_ns - from_ns,
            step,
            ..Span::default()
        };
        self.span("coordinator", &span, None);
        self.write();
    }

    /// Adds the moment at which a step was granted.
    pub(crate) fn grant(&mut self, until: u64, at_ns: i64) {
        // Each half has the same order.
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
        let (pid, tid) = self.row(process, &span.row, Some((span.from_ns, span.ns)));
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

    /// Numbers of a process and of a row of it that is free for the time; says their names once.
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

    /// Opens the file, once; what an earlier coordinator wrote stays.
    fn is_open(&mut self) -> bool {
        if self.file.is_none() {
            let opened = self.open();
            self.note(opened);
        }
        !self.failed
    }

    fn open(&mut self) -> std::io::Result<()> {
        let mut file = File::options().create(true).truncate(false).write(true).open(&self.path)?;
        let text = std::fs::read_to_string(&self.path)?;
        let whole = |line: &str| serde_json::from_str::<Value>(line.trim_end_matches(',')).ok();
        let events: Vec<Value> = text.lines().filter_map(whole).filter(Value::is_object).collect();
        events.iter().for_each(|event| self.recall(event));
        // Rewritten, since a crash may have cut off the last line.
        let body: Vec<String> = events.iter().map(Value::to_string).collect();
        let body = format!("{OPENING}{}", body.join(",\n"));
        file.set_len(0)?;
        file.write_all(body.as_bytes())?;
        file.write_all(CLOSING.as_bytes())?;
        self.len = body.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Takes over what an event says of processes, rows and steps.
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
        if events.is_empty() {
            return;
        }
        let between = if self.len > OPENING.len() as u64 { ",\n" } else { "" };
        let text = format!("{between}{}", events.join(",\n"));
        let len = self.len;
        let wrote = self.file.as_mut().map_or(Ok(()), |file| {
            file.seek(SeekFrom::Start(len))?;
            file.write_all(text.as_bytes())?;
            file.write_all(CLOSING.as_bytes())
        });
        self.len += text.len() as u64;
        self.note(wrote);
    }

    /// A trace that can't be written is no reason to stop training.
    fn note(&mut self, done: std::io::Result<()>) {
        if let Err(error) = done {
            tracing::error!(path = %self.path.display(), %error, "the trace can't be written any more");
            self.failed = true;
        }
    }
}

#[cfg(test)]
mod tests;
