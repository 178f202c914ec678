//! Prometheus and TensorBoard show the progress of a run as it is recorded.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::program;
use coordinator::Until;
use coordinator::run_dir::RunDir;
use harness::cluster::Cluster;
use harness::process::{Up, signal, wait};
use harness::scrape::{Samples, page, parse};
use serde_json::Value;

/// The output of `tests/watch/read.py`; None, with a line that says so, if its tools aren't
/// installed.
fn read(what: &str, path: &Path) -> Option<Value> {
    let tools = cuda_emulator::root().join("target/watch-tools");
    if !tools.join("tensorboard").is_dir() {
        eprintln!(
            "skipped: no tensorboard in {}; pip install --target target/watch-tools -r \
             tests/watch-tools.txt",
            tools.display()
        );
        return None;
    }
    let script = cuda_emulator::root().join("tests/watch/read.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(what).arg(path).env("PYTHONPATH", tools);
    let output = python.output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// The lines of `metrics.jsonl` of one kind.
fn record(run_dir: &Path, kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == kind).collect()
}

fn at_step(lines: &[Value], step: f64) -> &Value {
    lines.iter().find(|line| line["step"].as_f64() == Some(step)).unwrap()
}

#[test]
fn every_scrape_agrees_with_the_record_and_is_what_prometheus_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Cluster::small(&folder.path().join("run"));
    run.until = Until::Steps(60);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let (coordinator, progress) = run.coordinator_with(|config| config.metrics = Some(listener));
    let loader = run.loader(&coordinator.address);
    let workers = [run.worker(&coordinator.address), run.worker(&coordinator.address)];
    let mut pages = Vec::new();
    while progress.has_changed().is_ok() {
        // At its very end nobody answers any more.
        pages.extend(page(&at).map(|page| (parse(&page), page)));
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    loader.join().unwrap();
    coordinator.join().unwrap();

    let (steps, evals) = (record(&run.run_dir, "step"), record(&run.run_dir, "eval"));
    let known: Vec<&Samples> = pages.iter().map(|(samples, _)| samples).collect();
    let trained: Vec<_> =
        known.iter().filter(|page| page.contains_key("alexnet_training_loss")).collect();
    assert!(trained.len() >= 5, "{} of {} scrapes saw a step", trained.len(), pages.len());
    for page in &trained {
        let line = at_step(&steps, page["alexnet_step"]);
        for (metric, field) in [
            ("alexnet_epoch", "epoch"),
            ("alexnet_training_loss", "loss"),
            ("alexnet_training_top1_error_ratio", "top1_error"),
            ("alexnet_training_top5_error_ratio", "top5_error"),
            ("alexnet_learning_rate", "rate"),
            ("alexnet_images_per_second", "images_per_s"),
        ] {
            assert_eq!(Some(page[metric]), line[field].as_f64(), "{metric} at {line}");
        }
    }
    let evaluated: Vec<_> =
        trained.iter().filter(|page| page.contains_key("alexnet_evaluation_step")).collect();
    assert!(!evaluated.is_empty(), "some scrape saw an evaluation");
    for page in evaluated {
        let line = at_step(&evals, page["alexnet_evaluation_step"]);
        for (metric, field) in [
            ("alexnet_evaluation_loss", "loss"),
            ("alexnet_evaluation_top1_error_ratio", "top1_error"),
            ("alexnet_evaluation_top5_error_ratio", "top5_error"),
        ] {
            assert_eq!(Some(page[metric]), line[field].as_f64(), "{metric} at {line}");
        }
    }
    halves_agree(&trained, &steps);
    let (last, text) = pages.iter().rev().find(|(samples, _)| trained.contains(&&samples)).unwrap();
    what_people_are_given_asks_for_nothing_else(last);
    let file = folder.path().join("page.txt");
    std::fs::write(&file, text).unwrap();
    let Some(families) = read("scrape", &file) else { return };
    let families = families.as_object().unwrap();
    assert!(families.values().all(|family| family["type"] != "unknown" && family["help"] != ""));
    let samples = families.values().flat_map(|family| family["samples"].as_array().unwrap());
    assert_eq!(samples.clone().count(), last.len());
    let step = samples.clone().find(|sample| sample[0] == "alexnet_step").unwrap();
    assert_eq!(step[2].as_f64(), Some(last["alexnet_step"]));
}

/// Asserts that the record has the slower half's times, on pages where both are at the same step.
fn halves_agree(pages: &[&&Samples], steps: &[Value]) {
    let mut compared = 0;
    for page in pages {
        let of =
            |name: &str| ["A", "B"].map(|half| page[&format!("alexnet_{name}{{half=\"{half}\"}}")]);
        if of("steps_total") != [page["alexnet_step"]; 2] {
            continue;
        }
        let line = at_step(steps, page["alexnet_step"]);
        for (name, field) in [
            ("step", "step_ms"),
            ("compute", "compute_ms"),
            ("exchange_wait", "exchange_wait_ms"),
            ("peer_late", "peer_late_ms"),
            ("data_wait", "data_wait_ms"),
        ] {
            let [a, b] = of(&format!("last_{name}_seconds"));
            let recorded = line[field].as_f64().unwrap() / 1000.0;
            assert_eq!(a.max(b), recorded, "{name} at {line}");
            let before = steps.iter().filter(|l| l["step"].as_f64() <= line["step"].as_f64());
            let all: f64 = before.map(|l| l[field].as_f64().unwrap() / 1000.0).sum();
            let [a, b] = of(&format!("{name}_seconds_total"));
            assert!(
                a.max(b) <= all * 1.000_001 && a + b >= all * 0.999_999,
                "{name}: {a}, {b}, {all}"
            );
        }
        let [a, b] = of("exchange_received_bytes_total");
        assert!(a > 0.0 && b > 0.0 && of("exchange_bytes_per_second").iter().all(|v| *v > 0.0));
        compared += 1;
    }
    assert!(compared > 0, "no scrape of {} saw both halves at one step", pages.len());
}

/// Every metric that `deploy/observe` and docs/watching.md name is on a page of a run that has
/// begun.
fn what_people_are_given_asks_for_nothing_else(page: &Samples) {
    let there: BTreeSet<&str> = page.keys().filter_map(|name| name.split('{').next()).collect();
    for file in ["deploy/observe/dashboard.json", "deploy/observe/alerts.yml", "docs/watching.md"] {
        let text = std::fs::read_to_string(cuda_emulator::root().join(file)).unwrap();
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let mut asked = 0;
        for name in words.filter(|word| word.starts_with("alexnet_")) {
            assert!(there.contains(name), "{file}: there is no metric {name}");
            asked += 1;
        }
        assert!(asked > 0, "{file} names metrics");
    }
    let dashboard =
        std::fs::read(cuda_emulator::root().join("deploy/observe/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_slice(&dashboard).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let asks = target["expr"].as_str().unwrap();
            assert!(asks.contains("alexnet_"), "{} asks {asks:?}", panel["title"]);
        }
    }
}

#[test]
fn up_says_where_its_metrics_are_and_a_coordinator_started_again_has_them_there() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--steps", "60", "--checkpoint-every", "10", "--metrics", "0"];
    let up = Up::start(program(), folder.path(), &more);
    up.wait_for_step(12);
    let log = std::fs::read_to_string(up.run_dir().join("logs/coordinator.log")).unwrap();
    let url = log.split("address=").nth(1).expect("its address is logged");
    let url = url.split_whitespace().next().unwrap().trim_matches('"').to_string();
    let at = url.trim_start_matches("http://").trim_end_matches("/metrics").to_string();
    assert!(at.starts_with("127.0.0.1:"), "a port alone is on the loopback: {at}");
    let begun = |more_than: f64| {
        let page = page(&at).map(|page| parse(&page));
        page.is_some_and(|samples| samples["alexnet_incarnation"] > more_than)
    };
    assert!(begun(0.0));
    signal(up.role("coordinator"), "KILL");
    wait("metrics of the next coordinator", || begun(1.0));
    let output = up.end();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("metrics at {url}\n")), "{said}");
}

#[test]
fn a_port_in_use_is_refused_before_anything_begins() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let (run, port) = (folder.path().join("run"), at.port().to_string());
    for [role, metrics] in [["up", &*port], ["coordinator", &*at.to_string()]] {
        let mut command = Command::new(program());
        command.args([role, "--recipe", "demo", "--metrics", metrics, "--run"]).arg(&run);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{role}: {said}");
        for word in [&*at.to_string(), "in use", "--metrics"] {
            assert!(said.contains(word), "{role} should mention {word:?}: {said}");
        }
    }
    assert!(!run.join("run.json").exists(), "nothing has begun");
}

#[test]
fn tensorboard_draws_every_step_once_despite_kills() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--steps", "60", "--checkpoint-every", "10"];
    let up = Up::start(program(), folder.path(), &more);
    up.wait_for_step(12);
    signal(up.role("worker"), "KILL");
    up.wait_for_step(25);
    signal(up.role("coordinator"), "KILL");
    up.wait_for_step(38);
    let (run, roles) = (up.run_dir(), up.roles());
    up.signal("KILL");
    up.end();
    wait("end of the orphans", || !roles.iter().any(|pid| harness::process::lives(*pid)));
    tear_last_record(&run.join("tensorboard/train"));
    let output = Up::start(program(), folder.path(), &more).end();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let (steps, evals) = (record(&run, "step"), record(&run, "eval"));
    assert_eq!((steps.len(), evals.len()), (60, 5), "the record itself");
    let Some(read) = read("events", &run.join("tensorboard")) else { return };
    let drawn = &read["runs"];
    for (tag, field) in [
        ("loss", "loss"),
        ("top1_error", "top1_error"),
        ("top5_error", "top5_error"),
        ("rate", "rate"),
        ("epoch", "epoch"),
        ("speed/images_per_s", "images_per_s"),
        ("speed/step_ms", "step_ms"),
        ("speed/compute_ms", "compute_ms"),
        ("wait/exchange_ms", "exchange_wait_ms"),
        ("wait/peer_late_ms", "peer_late_ms"),
        ("wait/data_ms", "data_wait_ms"),
    ] {
        assert_eq!(points(&drawn["train"][tag]), recorded(&steps, field), "{tag}");
    }
    for tag in ["loss", "top1_error", "top5_error"] {
        assert_eq!(points(&drawn["val"][tag]), recorded(&evals, tag), "val: {tag}");
    }
    for kind in ["weights", "updates"] {
        let of_fc8 = |line: &Value| serde_json::json!({"step": line["step"], kind: line["magnitudes"]["fc8"][kind]});
        let of_fc8: Vec<Value> = evals.iter().map(of_fc8).collect();
        let tag = format!("{kind}/fc8");
        assert_eq!(points(&drawn["val"][&tag]), recorded(&of_fc8, kind), "val: {tag}");
    }
    assert_eq!(drawn["train"].as_object().unwrap().len(), 11);
    // Three scores, and two means for each of eight layers.
    assert_eq!(drawn["val"].as_object().unwrap().len(), 3 + 2 * 8);
    let written = read["written"].as_u64().unwrap();
    assert!(written > 65, "{written} records: some steps were done twice");
}

/// Leaves half a record at the end of the newest file, as a power cut would.
fn tear_last_record(folder: &Path) {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let newest = files.max().expect("a file");
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, [&bytes[..], &bytes[..20]].concat()).unwrap();
}

/// Steps and values, as TensorBoard keeps them: single precision.
fn points(drawn: &Value) -> Vec<(u64, f32)> {
    let points = drawn.as_array().expect("a tag");
    points.iter().map(|p| (p[0].as_u64().unwrap(), p[1].as_f64().unwrap() as f32)).collect()
}

fn recorded(lines: &[Value], field: &str) -> Vec<(u64, f32)> {
    let value = |line: &Value| line[field].as_f64().unwrap() as f32;
    lines.iter().map(|line| (line["step"].as_u64().unwrap(), value(line))).collect()
}

/// The means that an evaluation records are those of the checkpoint of its step.
#[test]
fn an_evaluation_records_the_means_of_weights_and_of_their_last_changes() {
    let folder = tempfile::tempdir().unwrap();
    // An epoch of 200 pictures in minibatches of 16.
    let up = Up::start(program(), folder.path(), &["--steps", "13"]);
    let run = up.run_dir();
    assert!(up.end().status.success());
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let eval = lines.rfind(|line| line["kind"] == "eval").unwrap();
    assert_eq!(eval["step"], 13);
    let (_, shards) = RunDir::open(&run).unwrap().load_at(13).unwrap();
    let mean = |name: &str| {
        let of_half = |shard: &bytes::Bytes| {
            let file = safetensors::SafeTensors::deserialize(shard).unwrap();
            let values = file.tensor(name).unwrap().data().as_chunks().0;
            values.iter().map(|b| f64::from(f32::from_le_bytes(*b).abs())).collect::<Vec<_>>()
        };
        let all: Vec<f64> = shards.iter().flat_map(of_half).collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    for layer in ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"] {
        for (key, tensor) in [("weights", "weight"), ("updates", "weight.momentum")] {
            let recorded = eval["magnitudes"][layer][key].as_f64().unwrap();
            let expected = mean(&format!("{layer}.{tensor}"));
            // The sums over the halves round in another order.
            assert!(
                (recorded / expected - 1.0).abs() < 1e-9,
                "{layer} {key}: {recorded}, {expected}"
            );
        }
    }
    let log = std::fs::read_to_string(run.join("logs/coordinator.log")).unwrap();
    assert!(log.contains("mean |w|, and mean |Δw| in relation to it: conv1 "), "{log}");
}
