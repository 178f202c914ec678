//! Reads a Chrome trace and checks the properties on which viewers rely.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

/// Tolerance for times, which are written in microseconds with three digits.
const ROUNDING_US: f64 = 0.002;

/// A process and one of its rows, by number.
type Row = (u64, u64);

/// The events of a trace.
#[derive(Debug)]
pub struct Trace {
    events: Vec<Value>,
}

fn us(event: &Value, key: &str) -> f64 {
    event[key].as_f64().unwrap_or_else(|| panic!("no {key} in {event}"))
}

fn row(event: &Value) -> Row {
    let number = |key: &str| event[key].as_u64().unwrap_or_else(|| panic!("no {key} in {event}"));
    (number("pid"), number("tid"))
}

impl Trace {
    /// Reads a trace file.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("a trace");
        Self { events: serde_json::from_str(&text).expect("an array of events") }
    }

    fn all<'a>(&'a self, phase: &'static str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["ph"] == phase)
    }

    fn names(&self, what: &str) -> BTreeMap<Row, String> {
        let named = self.all("M").filter(|event| event["name"] == what);
        named.map(|e| (row(e), e["args"]["name"].as_str().expect("a name").to_string())).collect()
    }

    /// Names of processes and rows, such as `half A compute`; loaders without their address.
    pub fn rows(&self) -> BTreeSet<String> {
        let processes = self.names("process_name");
        let threads = self.names("thread_name").into_iter();
        let process = |pid| processes[&(pid, 0)].split(" 127.").next().expect("a part").to_string();
        threads.map(|((pid, _), name)| format!("{} {name}", process(pid))).collect()
    }

    /// Numbers of the steps that have spans.
    pub fn steps(&self) -> BTreeSet<u64> {
        let steps = self.all("X").filter(|e| e["cat"] == "step");
        steps.map(|e| e["args"]["step"].as_u64().expect("a step")).collect()
    }

    /// Number of arrows from a send to its receive.
    pub fn n_arrows(&self) -> usize {
        self.all("f").count()
    }

    /// Whether a process has a span of this name.
    pub fn has_span(&self, process: &str, name: &str) -> bool {
        let processes = self.names("process_name");
        self.all("X").any(|e| e["name"] == name && processes[&(row(e).0, 0)] == process)
    }

    /// Total duration of a process's spans of a category and step, in milliseconds.
    pub fn ms(&self, process: &str, category: &str, step: u64) -> f64 {
        let processes = self.names("process_name");
        let of = |e: &&Value| {
            e["cat"] == category
                && e["args"]["step"] == step
                && processes[&(row(e).0, 0)] == process
        };
        self.all("X").filter(of).map(|e| us(e, "dur")).sum::<f64>() / 1e3
    }

    /// Asserts that every event is of a known kind, that every row is named and without overlaps,
    /// and that every arrow is complete, inside a span at each end, and not backward in time.
    pub fn assert_sound(&self) {
        let (processes, threads) = (self.names("process_name"), self.names("thread_name"));
        let known = ["M", "X", "i", "s", "f"];
        for event in &self.events {
            assert!(known.iter().any(|phase| event["ph"] == *phase), "{event}");
            assert!(event["name"].is_string() && us(event, "ts").is_finite(), "{event}");
            let (pid, tid) = row(event);
            assert!(processes.contains_key(&(pid, 0)), "no name for the process of {event}");
            assert!(event["ph"] == "M" || threads.contains_key(&(pid, tid)), "no row for {event}");
        }
        let mut rows: BTreeMap<Row, Vec<&Value>> = BTreeMap::new();
        self.all("X").for_each(|e| rows.entry(row(e)).or_default().push(e));
        for spans in rows.values_mut() {
            spans.sort_by(|a, b| us(a, "ts").total_cmp(&us(b, "ts")));
            for pair in spans.windows(2) {
                let end = us(pair[0], "ts") + us(pair[0], "dur");
                assert!(us(pair[0], "dur") > 0.0, "{}", pair[0]);
                assert!(end <= us(pair[1], "ts") + ROUNDING_US, "{} overlaps {}", pair[0], pair[1]);
            }
        }
        self.assert_arrows(&rows);
    }

    fn assert_arrows(&self, rows: &BTreeMap<Row, Vec<&Value>>) {
        let of = |phase: &'static str| -> BTreeMap<String, &Value> {
            self.all(phase).map(|e| (e["id"].as_str().expect("an id").to_string(), e)).collect()
        };
        let (begins, ends) = (of("s"), of("f"));
        assert_eq!(begins.len(), self.all("s").count(), "an id twice");
        assert!(!begins.is_empty() && begins.keys().eq(ends.keys()), "{begins:?} {ends:?}");
        let around = |event: &Value| -> &Value {
            let at = us(event, "ts");
            let inside = |span: &&&Value| {
                us(span, "ts") - ROUNDING_US <= at && at <= us(span, "ts") + us(span, "dur")
            };
            rows[&row(event)].iter().find(inside).unwrap_or_else(|| panic!("{event} in no span"))
        };
        // Each end has its own process's clock.
        let uncertainty = self.all("X").filter_map(|e| e["args"]["clock_uncertainty_us"].as_f64());
        let uncertainty = 2.0 * uncertainty.fold(0.0, f64::max);
        assert!(uncertainty > 0.0 && uncertainty < 20e3, "clocks apart by {uncertainty} µs");
        for (id, begin) in begins {
            let (send, receive) = (around(begin), around(ends[&id]));
            assert_ne!(send["pid"], receive["pid"], "{id}");
            assert_eq!(send["name"], receive["name"], "{id}");
            let early = us(send, "ts") - us(receive, "ts");
            assert!(early <= uncertainty, "{id} is received {early} µs before it is sent");
            assert!(us(begin, "ts") <= us(ends[&id], "ts") + uncertainty, "{id} goes backwards");
        }
    }
}
