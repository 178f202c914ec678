//! Exported graphs compute what `alexnet predict` computes.

use std::path::Path;
use std::process::Command;

use super::{done, kinds, predicted, same_logits};
use harness::untrained;
use serde_json::Value;

/// The output of `tests/formats/onnx_run.py`; None, with a line that says so, without its wheels.
fn run(onnx: &Path, pixels: &Path, n: usize) -> Option<Value> {
    let tools = cuda_emulator::root().join("target/onnx-tools");
    if !tools.join("onnxruntime").is_dir() {
        eprintln!(
            "skipped: no onnxruntime in {}; pip install --target target/onnx-tools -r \
             tests/onnx-tools.txt",
            tools.display()
        );
        return None;
    }
    let script = cuda_emulator::root().join("tests/formats/onnx_run.py");
    let mut python = Command::new("python3");
    python.arg(script).arg(onnx).arg(pixels).arg(n.to_string()).env("PYTHONPATH", tools);
    let output = python.output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn onnxruntime_has_the_logits_of_predict_for_every_kind_of_network() {
    for (name, recipe, classes) in kinds() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        untrained::run(&at.join("run"), &recipe, classes);
        let pictures = untrained::pictures(at, recipe.crop + untrained::ROOM, 3);
        std::fs::write(at.join("pixels"), untrained::pixels(&pictures, recipe.crop)).unwrap();
        done(at, &["export", "run", "net.onnx"]);
        let Some(got) = run(&at.join("net.onnx"), &at.join("pixels"), pictures.len()) else {
            return;
        };
        let expected = predicted(at, "run", &pictures, classes);
        let furthest = same_logits(name, &got["logits"], &expected);
        eprintln!("{name}: logits of onnxruntime and predict differ by at most {furthest:.1e}");
        for (got, expected) in got["probabilities"].as_array().unwrap().iter().zip(&expected) {
            for (got, expected) in got.as_array().unwrap().iter().zip(expected) {
                assert!((got.as_f64().unwrap() - expected).abs() < 1e-5, "{name}");
            }
        }
        assert_eq!(got["input"][1], "tensor(uint8)", "{name}");
        let about = &got["metadata"];
        let class_names: Vec<String> =
            serde_json::from_str(about["classes"].as_str().unwrap()).unwrap();
        assert_eq!((class_names.len(), &class_names[1][..]), (classes, "class 1"), "{name}");
        assert_eq!(about["recipe"], recipe.name, "{name}");
        assert_eq!(about["step"], "0", "{name}");
    }
}
