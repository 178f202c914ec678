//! `alexnet bench` on a small network: what it measures is there, as JSON and as a table.

use std::process::{Command, Output};

use crate::processes::pictures;
use crate::program;
use serde_json::Value;

/// Seconds of each measurement. Each does its work at least once, however short this is.
const SECONDS: &str = "0.1";

fn bench(data: &str, more: &[&str]) -> Output {
    let args = ["bench", "--recipe", "demo", "--data", data, "--devices", "cpu,cpu"];
    let short = ["--set", "batch=16", "--steps", "2", "--seconds", SECONDS];
    let output = Command::new(program()).args(args).args(short).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Every number of an object or list, with its path.
fn numbers(at: &str, value: &Value, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| numbers(&format!("{at}.{key}"), value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| numbers(at, item, found)),
        _ => found.extend(value.as_f64().map(|number| (at.to_owned(), number))),
    }
}

/// Every key of all objects.
fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| [vec![key.clone()], keys(value)].concat())
            .collect(),
        Value::Array(items) => items.iter().flat_map(keys).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn bench_measures_limits_and_shares_and_prints_them_as_json_and_as_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let data = pictures(&folder.path().join("pictures"), 3);
    let json = bench(&data, &["--json"]);
    // Nothing but the object.
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    let mut found = Vec::new();
    numbers("", &report, &mut found);
    for (name, number) in &found {
        let may_be_zero = name.ends_with("_wait_ms") || name.ends_with("_late_ms");
        assert!(*number > 0.0 || (may_be_zero && *number == 0.0), "{name}: {number}");
    }
    let shares: Vec<&str> = found
        .iter()
        .filter(|(name, _)| name.ends_with("_share"))
        .map(|(n, _)| n.as_str())
        .collect();
    for name in [
        ".step.products_share",
        ".layers.products_share",
        ".update.memory_share",
        ".loader.jpeg_share",
        ".exchange.socket_share",
    ] {
        assert!(shares.contains(&name), "{name} is not among {shares:?}");
    }
    assert_eq!(report["steps"], 2);
    assert_eq!(report["classes"], 3);
    assert_eq!(report["devices"], serde_json::json!(["cpu", "cpu"]));
    assert!(report["peak_memory_mb"]["worker-1"].as_f64() > Some(1.0), "{report:#}");

    // Each layer and pass once; the pictures have no gradient.
    let rows = report["layers"].as_array().unwrap();
    let name = |row: &Value| format!("{} {}", row["layer"], row["pass"]).replace('"', "");
    for pass in ["conv1 forward", "conv3 backward_inputs", "fc6 update"] {
        assert_eq!(rows.iter().filter(|row| name(row) == pass).count(), 1, "{pass}: {rows:#?}");
    }
    let gflop: f64 = rows.iter().filter_map(|row| row["gflop"].as_f64()).sum();
    let whole = report["step"]["gflop"].as_f64().unwrap();
    assert!((gflop - whole).abs() < 1e-6 * whole, "{gflop} in the layers, {whole} in a step");

    let page = std::fs::read_to_string(cuda_emulator::root().join("docs/speed.md")).unwrap();
    for key in keys(&report).iter().filter(|key| !key.contains('-') && *key != "coordinator") {
        assert!(page.contains(&format!("`{key}`")), "docs/speed.md does not explain {key}");
    }

    let text = bench(&data, &[]);
    let table = String::from_utf8(text.stdout).unwrap();
    // Others may take too little time to be recorded in every run.
    for row in rows.iter().filter(|row| row["ms"].as_f64() > Some(0.01)) {
        assert!(table.contains(&format!("\n| {} |", name(row))), "{}?\n{table}", name(row));
    }
    for what in [
        "limit: products, one process alone",
        "limit: products, all processes at once",
        "limit: memory, all processes at once",
        "limit: socket over loopback, both directions",
        "limit: JPEG decoding on one core",
        "training",
        "step",
        "waiting for minibatches",
        "all updates",
        "loader by itself",
        "exchange by itself",
        "peak memory, worker-0",
    ] {
        assert!(table.contains(&format!("\n| {what} |")), "{what}?\n{table}");
    }
}
