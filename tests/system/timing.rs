//! The timing of steps: records, table and trace of one run agree, and timing changes no bit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use crate::program;
use coordinator::timing::{HalfStep, LayerTime};
use gpu_worker::Rates;
use gpu_worker::backend::Backend;
use gpu_worker::pair::Pair;
use harness::gpu::{self, Gpus};
use harness::process::small_run;
use harness::small;
use harness::trace::Trace;
use serde_json::Value;

/// Of a step, in no layer and no wait: what the acceptance allows.
const REST: f64 = 0.03;
/// Forty numbers rounded to a thousandth.
const ROUNDING_MS: f64 = 0.025;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn timed(run: &Path) -> Vec<HalfStep> {
    let lines = lines(&run.join("timing.jsonl"));
    lines.into_iter().map(|line| serde_json::from_value(line).unwrap()).collect()
}

fn ms(row: &LayerTime) -> f64 {
    row.compute_ms + row.wait_ms + row.peer_late_ms
}

/// Layers and waits and the rest are the step; the metrics' step is the longer half's.
fn assert_adds_up(run: &Path, steps: &[u64]) {
    let timed = timed(run);
    for half in ["half A", "half B"] {
        let of: Vec<u64> = timed.iter().filter(|t| t.half == half).map(|t| t.step).collect();
        assert_eq!(of, steps, "{half}");
    }
    for HalfStep { half, step, step_ms, rest_ms, layers, .. } in &timed {
        let sum: f64 = layers.iter().map(ms).sum();
        let off = (sum + rest_ms - step_ms).abs();
        assert!(off < ROUNDING_MS, "{half} step {step}: {sum} + {rest_ms} is not {step_ms}");
        let share = rest_ms / step_ms;
        assert!((-0.001..REST).contains(&share), "{half} step {step}: rest {rest_ms} of {step_ms}");
        let late = layers.iter().filter(|row| row.wait_ms > step_ms + off).count();
        assert_eq!(late, 0);
    }
    for line in lines(&run.join("metrics.jsonl")).iter().filter(|line| line["kind"] == "step") {
        let here = timed.iter().filter(|t| line["step"] == t.step).map(|t| t.step_ms);
        if let Some(longest) = here.reduce(f64::max) {
            assert_eq!(line["step_ms"].as_f64(), Some(longest), "step {}", line["step"]);
        }
    }
}

/// The log's records of a half, by step, as what they say of each layer.
fn logged(run: &Path, message: &str) -> BTreeMap<(String, u64), Vec<Value>> {
    let mut records: BTreeMap<_, Vec<Value>> = BTreeMap::new();
    for worker in ["worker-0", "worker-1"] {
        for line in lines(&run.join(format!("logs/{worker}.log"))) {
            if line["message"] == message {
                let span = |key: &str| line["spans"].as_array()?.iter().find_map(|s| s.get(key));
                let half = format!("half {}", span("half").unwrap().as_str().unwrap());
                let step = span("step").unwrap().as_u64().unwrap() + 1;
                records.entry((half, step)).or_default().push(line.clone());
            }
        }
    }
    records
}

fn assert_logged_alike(run: &Path) {
    let (records, done) = (logged(run, "layer timing"), logged(run, "step done"));
    for HalfStep { half, step, layers, .. } in timed(run) {
        let records = &records[&(half.clone(), step)];
        let said: Vec<LayerTime> =
            records.iter().map(|r| serde_json::from_value(r.clone()).unwrap()).collect();
        assert_eq!(said, layers, "{half} step {step}");
        // What the exchange itself counted, on another way: blocked in a receive.
        let done = &done[&(half.clone(), step)][0];
        let waits =
            done["exchange_wait_ms"].as_f64().unwrap() + done["peer_late_ms"].as_f64().unwrap();
        let here = layers.iter().filter(|row| row.layer != "data");
        let here: f64 = here.map(|row| row.wait_ms + row.peer_late_ms).sum();
        let off = 0.01 * done["step_ms"].as_f64().unwrap();
        assert!((here - waits).abs() < off, "{half} step {step}: waits {here}, {waits} counted");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    f64::midpoint(values[(n - 1) / 2], values[n / 2])
}

/// `alexnet timing` prints the medians of `timing.jsonl`.
fn assert_table(run: &Path) {
    let output = Command::new(program()).arg("timing").arg(run).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let table = text(&output);
    let timed = timed(run);
    let number = |line: &str, at: usize| {
        let cells: Vec<&str> = line.split_whitespace().filter(|c| *c != "pictures").collect();
        cells.get(at).and_then(|cell| cell.parse::<f64>().ok())
    };
    let of = |half: &str, value: &dyn Fn(&LayerTime) -> f64| {
        let steps = timed.iter().filter(|t| t.half == half);
        median(steps.map(|t| t.layers.iter().map(value).sum()).collect())
    };
    for (layer, column, pass) in [
        ("conv2", 1, "forward"),
        ("conv3", 2, "backward_inputs"),
        ("fc6", 3, "backward_weights"),
        ("fc7", 4, "update"),
    ] {
        let line = table.lines().find(|line| line.starts_with(&format!("{layer} "))).unwrap();
        for (half, columns) in [("half A", 0), ("half B", 6)] {
            let want = of(half, &|row: &LayerTime| {
                if row.layer == layer && row.pass == pass { row.compute_ms } else { 0.0 }
            });
            let got = number(line, column + columns).unwrap();
            assert!(
                (got - want).abs() <= 0.051,
                "{layer} {pass} {half}: {got}, not {want}\n{table}"
            );
        }
    }
    let all = table.lines().find(|line| line.starts_with("all ")).unwrap();
    let want = of("half B", &|row: &LayerTime| row.compute_ms);
    assert!((number(all, 11).unwrap() - want).abs() <= 0.051, "{all}, not {want}");
    for words in ["4 timed steps (2, 3, 4, 5)", "of the exchange lies under compute", "perfetto"] {
        assert!(table.contains(words), "{words}?\n{table}");
    }
}

/// AlexNet's own shapes at half its width, in real processes.
#[test]
fn records_table_and_trace_of_a_run_agree() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let args = ["up", "--recipe", "caffe", "--set", "width=0.5", "--set", "batch=16", "--run"];
    let more = ["--data", "synthetic:256:64:16", "--steps", "7", "--timing-every", "5"];
    let output = Command::new(program())
        .args(args)
        .arg(&run)
        .args(more)
        .args(["--log-format", "json", "--devices", "cpu,cpu"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let steps = [2, 3, 4, 5];
    assert_adds_up(&run, &steps);
    assert_logged_alike(&run);
    assert_table(&run);

    let trace = Trace::read(&run.join("trace.json"));
    trace.assert_sound();
    assert_eq!(trace.steps(), BTreeSet::from(steps));
    // conv3 in four slices up and down, fc6 up in conv5's four and down in one, fc7 and fc8 in one
    // each way, the logits: for each half.
    assert_eq!(trace.n_arrows(), steps.len() * 2 * (8 + 5 + 2 + 2 + 1));
    for row in [
        "half A compute",
        "half A send",
        "half A receive",
        "half B compute",
        "half B send",
        "half B receive",
        "loader make",
        "loader send",
        "coordinator run",
        "coordinator grants",
    ] {
        assert!(trace.rows().contains(row), "{row} is not among {:?}", trace.rows());
    }
    for what in ["evaluation at step 7", "checkpoint at step 7"] {
        assert!(trace.has_span("coordinator", what), "{what}");
    }
    // What a half's row of computing shows is what its record says.
    for HalfStep { half, step, layers, .. } in timed(&run) {
        for kind in ["compute", "wait"] {
            let sum = |row: &LayerTime| match kind {
                "compute" => row.compute_ms,
                _ => row.wait_ms + row.peer_late_ms,
            };
            let (drawn, said) = (trace.ms(&half, kind, step), layers.iter().map(sum).sum::<f64>());
            assert!((drawn - said).abs() < 0.05, "{half} step {step} {kind}: {drawn}, not {said}");
        }
    }

    let picture = folder.path().join("step");
    let drawn =
        Command::new(program()).arg("timing").arg(&run).arg("--picture").arg(&picture).output();
    assert!(drawn.unwrap().status.success());
    assert!(image::open(picture.with_extension("png")).unwrap().width() > 1000);
}

#[test]
fn a_run_that_is_not_timed_has_no_files_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut args = small_run(folder.path());
    args.extend(["--steps", "3", "--timing-every", "0"].map(String::from));
    let output = Command::new(program()).args(&args).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = folder.path().join("run");
    assert!(!run.join("timing.jsonl").exists() && !run.join("trace.json").exists());
    let refused = Command::new(program()).arg("timing").arg(&run).output().unwrap();
    assert!(!refused.status.success());
    assert!(text(&refused).contains("--timing-every"), "{}", text(&refused));
}

/// Events of the emulated driver, and a resumed run that goes on with the same files.
#[test]
fn gpus_are_timed_by_their_events_and_a_resumed_run_continues_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let Some(gpus) = Gpus::for_processes(folder.path()) else { return };
    let run = folder.path().join("run");
    for steps in ["3", "5"] {
        let mut command = Command::new(program());
        command.args(small_run(folder.path())).args(["--steps", steps, "--timing-every", "1"]);
        command.args(["--devices", gpus.pair()]).args(gpus.arguments());
        let output = command.envs(gpus.environment("")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    assert_adds_up(&run, &[1, 2, 3, 4, 5]);
    let trace = Trace::read(&run.join("trace.json"));
    trace.assert_sound();
    assert_eq!(trace.steps(), (1..=5).collect());
}

/// Two steps of the small network, timed or not: losses and all bits of the state.
fn two_steps<B: Backend>(mut pair: Pair<B>, timed: bool) -> (Vec<f64>, Vec<Vec<u8>>)
where
    B::Floats: Sync,
    B::Bytes: Sync,
{
    let recipe = small::recipe();
    let rates = Rates { weights: recipe.rate, biases: recipe.rate };
    pair.time(timed);
    let losses = (0..2).map(|step| {
        let done = pair.step(&small::minibatch(), step, rates).unwrap();
        assert_eq!(done.timing.is_some(), timed);
        done.loss
    });
    (losses.collect(), pair.shards(2).unwrap())
}

#[test]
fn timing_changes_no_bit() {
    let recipe = small::recipe();
    let on_cpus = || small::network(&recipe, small::SEED, false);
    assert!(two_steps(on_cpus(), true) == two_steps(on_cpus(), false), "other bits on the CPU");
    let on_gpus = || {
        let mut devices = gpu::pair()?.into_iter();
        Some(small::network_on(&recipe, small::SEED, false, || devices.next().expect("two halves")))
    };
    if let (Some(timed), Some(plain)) = (on_gpus(), on_gpus()) {
        assert!(two_steps(timed, true) == two_steps(plain, false), "other bits on GPUs");
    }
}

/// Steps with and without differ by less than a busy machine's noise, so this counts: marks of a
/// step, times what a mark, and all that is made of it, takes by itself.
#[test]
fn timing_costs_less_than_a_hundredth_of_a_step() {
    let recipe = small::recipe();
    let mut pair = small::network(&recipe, small::SEED, true);
    let rates = Rates { weights: recipe.rate, biases: recipe.rate };
    pair.time(true);
    let mut steps = (0..10).map(|step| pair.step(&small::minibatch(), step, rates).unwrap());
    let best = steps.by_ref().min_by(|a, b| a.step_ms.total_cmp(&b.step_ms)).unwrap();
    let marks = best.timing.unwrap().laps.len();
    let mut cpu = gpu_worker::backend::cpu::Cpu::new(1);
    let began = Instant::now();
    const TIMES: usize = 1000;
    for _ in 0..TIMES {
        let first = cpu.mark().unwrap();
        let laps: Vec<_> = (0..marks).map(|_| cpu.mark().unwrap()).collect();
        let all = laps.iter().map(|mark| cpu.ms_between(&first, mark).unwrap()).sum::<f64>();
        assert!(all >= 0.0);
    }
    let cost_ms = began.elapsed().as_secs_f64() * 1e3 / TIMES as f64;
    // A sixteenth of the width, so a step two hundred times shorter than AlexNet's.
    assert!(cost_ms < 0.01 * best.step_ms, "{marks} marks: {cost_ms} ms of {} ms", best.step_ms);
}
