//! An exported folder holds everything that PyTorch needs.

use std::path::Path;
use std::process::Command;

use super::{alexnet, done, kinds, predicted, same_logits};
use harness::{golden, small, untrained};
use serde_json::Value;

/// The output of `tests/formats/hub_run.py`; None, with a line that says so, without PyTorch.
fn run(folder: &Path, pixels: &Path, n: usize) -> Option<Value> {
    let tools = cuda_emulator::root().join("target/torch-tools");
    let python = || {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &tools).env("PYTHONDONTWRITEBYTECODE", "1");
        python
    };
    // To import it takes seconds.
    let find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)";
    let has = python().args(["-c", find]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "skipped: python3 has no PyTorch; pip install --target {} torch",
            tools.display()
        );
        return None;
    }
    let script = cuda_emulator::root().join("tests/formats/hub_run.py");
    let output = python().arg(script).arg(folder).arg(pixels).arg(n.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn the_module_in_the_folder_has_the_logits_of_predict_for_every_kind_of_network() {
    for (name, recipe, classes) in kinds() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        untrained::run(&at.join("run"), &recipe, classes);
        let pictures = untrained::pictures(at, recipe.crop + untrained::ROOM, 3);
        std::fs::write(at.join("pixels"), untrained::pixels(&pictures, recipe.crop)).unwrap();
        done(at, &["export", "run", "--hub", "hub"]);
        let Some(got) = run(&at.join("hub"), &at.join("pixels"), pictures.len()) else { return };
        let expected = predicted(at, "run", &pictures, classes);
        let furthest = same_logits(name, &got["logits"], &expected);
        eprintln!("{name}: logits of PyTorch and predict differ by at most {furthest:.1e}");
        assert_eq!(got["differs_in_training"], got["dropout"].as_f64().unwrap() > 0.0, "{name}");
    }
}

#[test]
fn a_folder_has_weights_configuration_module_and_a_card_that_people_may_edit() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    untrained::run(&at.join("run"), &small::recipe(), 10);
    done(at, &["export", "run", "--hub", "hub"]);
    let read = |name: &str| std::fs::read_to_string(at.join("hub").join(name)).unwrap();
    let config: Value = serde_json::from_str(&read("config.json")).unwrap();
    assert_eq!(config["id2label"]["9"], "class 9");
    assert_eq!(config["layers"][0]["pads"], serde_json::json!([0, 3, 0, 3]));
    assert_eq!(config["layers"][1]["groups"], 2);
    let tensors = golden::read(&at.join("hub/model.safetensors"));
    assert_eq!((tensors.len(), &tensors["mean"].0[..]), (17, &[3, 72, 72][..]));
    let card = read("README.md");
    for words in ["library_name: pytorch", "recipe `small`", "\"untrained\"", "None was measured"] {
        assert!(card.contains(words), "{words}: {card}");
    }
    assert!(read("modeling_alexnet.py").contains("class AlexNet"));

    std::fs::write(at.join("hub/README.md"), "my words").unwrap();
    let output = alexnet(at, &["export", "run", "--hub", "hub"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("README.md is there already"));
    assert_eq!(read("README.md"), "my words");
}
