//! `alexnet reproduce`: small experiments from their trainings to their reports.

use std::path::{Path, PathBuf};

use crate::program;
use harness::process::{signal, wait};
use harness::roles::Machine;

use crate::trust::{says, text};

/// Runs an experiment of this text in `folder`; the pictures are few, and so are the steps.
struct Bench {
    machine: Machine,
    folder: tempfile::TempDir,
}

/// The beginning of every description here: twelve steps of 16 pictures per epoch.
const HEAD: &str = r#"
title = "t"
part = "p"
paper = "The paper says so."
pictures = "any"
cost = "little"
recipe = "demo"
set = ["batch=16"]
epochs = 1
seeds = [1, 2]
"#;

const PICTURES: &str = "synthetic:72:200:40";

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { machine: Machine::here(program(), folder.path()), folder }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn args(&self, experiment: &str, more: &[&str]) -> Vec<String> {
        let file = self.folder.path().join("mine.toml");
        std::fs::write(&file, format!("{HEAD}{experiment}")).unwrap();
        let out = self.out();
        let all = ["reproduce", text(&file), "--data", PICTURES, "--devices", "cpu:1,cpu:1"];
        let all = all.into_iter().chain(["--out", text(&out)]).chain(more.iter().copied());
        all.map(str::to_owned).collect()
    }

    fn run(&self, experiment: &str, more: &[&str]) -> (bool, String) {
        let args = self.args(experiment, more);
        self.machine.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn report(&self) -> (String, serde_json::Value) {
        let json = std::fs::read(self.out().join("report.json")).unwrap();
        let page = std::fs::read_to_string(self.out().join("report.md")).unwrap();
        (page, serde_json::from_slice(&json).unwrap())
    }
}

fn exists(folder: &Path, names: &[&str]) {
    names.iter().for_each(|name| assert!(folder.join(name).is_file(), "{name}"));
}

const DIFFERENCES: &str = r#"
measure = "differences"
[[variants]]
name = "whole"
[[variants]]
name = "no-conv4"
set = ["without=conv4", "columns=1"]
paper = 2.0
"#;

/// Interrupted in the second of four trainings, and resumed; then asked for with other options.
#[test]
fn an_interrupted_experiment_is_resumed_and_one_report_never_mixes_two() {
    let bench = Bench::new();
    let (well, said) = bench.run(DIFFERENCES, &["--dry-run"]);
    assert!(well && said.matches("alexnet up --run").count() == 4, "{said}");
    assert!(!bench.out().exists(), "a dry run writes nothing");
    let args = bench.args(DIFFERENCES, &[]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut child = bench.machine.command(&args).spawn().unwrap();
    let second = bench.out().join("runs").join("no-conv4-seed-1").join("metrics.jsonl");
    wait("the second training", || second.exists());
    signal(child.id(), "TERM");
    assert!(!child.wait().unwrap().success());
    let (well, said) = bench.run(DIFFERENCES, &[]);
    assert!(well, "{said}");
    says(&said, &["report.md", "report.json", "curves.svg"]);
    let (page, json) = bench.report();
    says(&page, &["| no-conv4 | ", "± ", "--set without=conv4", "--seed 2", "The paper says so."]);
    let rows = json["table"]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1][1]["n"], 2, "{json}");
    assert_eq!(json["trainings"].as_array().unwrap().len(), 4);

    let printed = std::fs::read_to_string(bench.out().join("output.txt")).unwrap();
    let (well, said) = bench.run(DIFFERENCES, &[]);
    assert!(well, "{said}");
    let again = std::fs::read_to_string(bench.out().join("output.txt")).unwrap();
    assert_eq!(printed, again, "nothing is trained twice");
    let (well, said) = bench.run(DIFFERENCES, &["--set", "rate=0.1"]);
    assert!(!well);
    says(&said, &["was begun with another description", "--out"]);
}

#[test]
fn pictures_without_the_measured_split_are_refused_before_any_training() {
    let bench = Bench::new();
    let test = DIFFERENCES.replace("\"differences\"", "\"errors\"\nsplit = \"test\"")
        + "[[rows]]\nname = \"r\"\nof = [{ variant = \"whole\", seeds = 1 }]\nviews = 1\n";
    let (well, said) = bench.run(&test, &[]);
    assert!(!well && !bench.out().join("runs").exists(), "{said}");
    says(&said, &["has no test pictures, on which this experiment measures"]);
}

/// The description names a recipe file, which is changed between two trainings.
#[test]
fn a_recipe_that_changed_meanwhile_is_not_mixed_with_the_one_before() {
    let bench = Bench::new();
    let recipe = bench.folder.path().join("own.toml");
    let write = |rate| {
        let text = format!("name = \"own\"\nwidth = 0.125\ncrop = 64\nrate = {rate}\n");
        std::fs::write(&recipe, text).unwrap();
    };
    write(0.001);
    let options = ["--recipe", text(&recipe), "--seeds", "1"];
    let (well, said) = bench.run(DIFFERENCES, &options);
    assert!(well, "{said}");
    write(0.002);
    let (well, said) = bench.run(DIFFERENCES, &options);
    assert!(!well);
    says(&said, &["whole-seed-1 was trained with another recipe", "--out"]);
}

#[test]
fn the_best_candidate_is_found_and_the_others_end_with_it() {
    let bench = Bench::new();
    let search = r#"
measure = { epochs-to-error = 0.99 }
[[variants]]
name = "relu"
candidates = [["rate=1e-9"], ["rate=0.005"]]
[[variants]]
name = "tanh"
set = ["activation=tanh"]
"#;
    let (well, said) = bench.run(search, &["--seeds", "1"]);
    assert!(well, "{said}");
    let (page, json) = bench.report();
    says(&page, &["| relu-1-seed-1 | rate=1e-9 | 0.48 |", "| tanh-seed-1 |", "as many epochs as"]);
    assert_eq!(json["table"]["rows"].as_array().unwrap().len(), 3);
    exists(&bench.out(), &["curves.svg", "curves.png", "experiment.toml"]);
}

#[test]
fn networks_are_measured_together_and_drawn() {
    let bench = Bench::new();
    let errors = r#"
measure = "errors"
[[variants]]
name = "cnn"
[[variants]]
name = "tuned"
from = "cnn"
seeds = 1
set = ["conv6=true"]
[[rows]]
name = "each"
of = [{ variant = "cnn", seeds = 2 }]
views = 1
[[rows]]
name = "together"
of = [{ variant = "cnn", seeds = 2 }, { variant = "tuned", seeds = 1 }]
together = true
views = 10
paper = "1.0 / 2.0"
"#;
    let (well, said) = bench.run(errors, &[]);
    assert!(well, "{said}");
    let (page, json) = bench.report();
    says(&page, &["| together | ", "1.0 / 2.0", "--from"]);
    assert_eq!(json["table"]["rows"][0][1]["n"], 2);
    assert_eq!(json["table"]["rows"][1][1]["n"], 1);

    let run = bench.out().join("runs").join("cnn-seed-1");
    let drawn = bench.folder.path().join("drawn");
    let args = ["reproduce", "figure-3", "--run", text(&run), "--out", text(&drawn)];
    let (well, said) = bench.machine.run(&args);
    assert!(well, "{said}");
    exists(&drawn, &["report.md", "report.json", "figure-3.png", "figure-3-together.png"]);
    // An imported run has no metrics, and nothing here was trained for the report.
    let [weights, imported, out] =
        ["w.safetensors", "imported", "of-import"].map(|name| bench.folder.path().join(name));
    for args in [
        &["export", text(&run), text(&weights)][..],
        &["import", text(&weights), text(&imported)],
        &["reproduce", "figure-3", "--run", text(&imported), "--out", text(&out)],
    ] {
        let (well, said) = bench.machine.run(args);
        assert!(well, "{args:?}: {said}");
    }
    let page = std::fs::read_to_string(out.join("report.md")).unwrap();
    says(&page, &["Recipe: demo, as in "]);
    assert!(!page.contains("alexnet up"), "{page}");
    let (well, said) = bench.machine.run(&["reproduce", "figure-4", "--run", text(&run)]);
    assert!(!well);
    says(&said, &["--pictures"]);
}
