//! A run's metrics as Prometheus reads them: one request, and a strict parser for the answer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Samples by name and labels, as written: `alexnet_step`, `alexnet_steps_total{half="A"}`.
pub type Samples = BTreeMap<String, f64>;

/// Fetches `http://{at}/metrics`; None if there is no answer.
pub fn page(at: &str) -> Option<String> {
    let mut stream = TcpStream::connect(at).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {at}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    Some(body.to_string())
}

/// Parses a page strictly by the text format 0.0.4 and by Prometheus' naming conventions.
///
/// # Panics
/// If a line breaks the rules; the message names the line.
pub fn parse(page: &str) -> Samples {
    let (mut samples, mut families) = (Samples::new(), BTreeMap::new());
    let (mut helped, mut family) = (String::new(), (String::new(), String::new()));
    assert!(page.ends_with('\n'), "the last line ends");
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
            assert!(!help.is_empty(), "no help: {line}");
            helped = name.to_string();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
            assert_eq!(name, helped, "HELP comes before TYPE");
            assert!(["gauge", "counter"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(families.insert(name.to_string(), ()).is_none(), "twice: {line}");
            family = (name.to_string(), kind.to_string());
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let name = sample.split('{').next().unwrap_or_default();
            assert_eq!(name, family.0, "a sample outside its family: {line}");
            assert!(is_name(name) && name.starts_with("alexnet_"), "{line}");
            sample[name.len()..].split_terminator(['{', '}']).skip(1).for_each(check_labels);
            let number: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(family.1 == "gauge" || number >= 0.0, "{line}");
            assert!(samples.insert(sample.to_string(), number).is_none(), "twice: {line}");
        }
    }
    samples
}

fn check_labels(labels: &str) {
    for label in labels.split(',') {
        let (name, value) = label.split_once('=').unwrap_or_else(|| panic!("no label: {label}"));
        let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
        assert!(is_name(name) && quoted, "no label: {label}");
    }
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}
