//! Networks in other programs' files: ONNX and model hubs, out; PyTorch's and Caffe's weights, in.

mod onnx; // exported graphs, run by onnxruntime
mod hub; // exported folders, loaded by PyTorch
mod import; // safetensors, there and back
mod caffe; // a .caffemodel that the test writes

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::program;
use harness::small;
use model::recipe::{Activation, Init, Lrn, MeanPart, NetworkName, OpOrder, Recipe};

/// Largest difference of two programs' logits.
const CLOSE: f64 = 1e-4;

fn alexnet(folder: &Path, args: &[&str]) -> Output {
    Command::new(program()).current_dir(folder).args(args).output().expect("the program starts")
}

fn done(folder: &Path, args: &[&str]) -> String {
    let output = alexnet(folder, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The error of a command that must fail.
fn refused(folder: &Path, args: &[&str]) -> String {
    let output = alexnet(folder, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Probabilities by label as `alexnet predict` has them, for each picture.
fn predicted(folder: &Path, run: &str, pictures: &[PathBuf], classes: usize) -> Vec<Vec<f64>> {
    let paths: Vec<&str> = pictures.iter().map(|path| path.to_str().unwrap()).collect();
    let top = classes.to_string();
    let more = ["--format", "json", "--top", &top];
    let said = done(folder, &[&["predict", run], &paths[..], &more[..]].concat());
    let lines = said.lines().map(|line| {
        let picture: serde_json::Value = serde_json::from_str(line).unwrap();
        let mut probabilities = vec![f64::NAN; classes];
        for prediction in picture["predictions"].as_array().unwrap() {
            let label = prediction["label"].as_u64().unwrap() as usize;
            probabilities[label] = prediction["probability"].as_f64().unwrap();
        }
        probabilities
    });
    lines.collect()
}

/// Asserts that logits are those of the probabilities: logits are known up to a common summand.
fn same_logits(name: &str, logits: &serde_json::Value, probabilities: &[Vec<f64>]) -> f64 {
    let rows = logits.as_array().unwrap();
    assert_eq!(rows.len(), probabilities.len(), "{name}");
    let (mut furthest, mut change) = (0.0_f64, 0.0_f64);
    let first = rows[0].as_array().unwrap();
    for (row, probabilities) in rows.iter().zip(probabilities) {
        let row: Vec<f64> = row.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let most = row.iter().copied().fold(f64::MIN, f64::max);
        let log_sum = most + row.iter().map(|v| (v - most).exp()).sum::<f64>().ln();
        assert_eq!(row.len(), probabilities.len(), "{name}");
        let apart = row.iter().zip(first).map(|(a, b)| (a - b.as_f64().unwrap()).abs());
        change = apart.fold(change, f64::max);
        for (logit, probability) in row.iter().zip(probabilities) {
            furthest = furthest.max((logit - log_sum - probability.ln()).abs());
        }
    }
    assert!(furthest <= CLOSE, "{name}: logits differ by {furthest}");
    assert!(change > 1000.0 * CLOSE, "{name}: logits hardly depend on the picture: {change}");
    furthest
}

/// Every kind of network that a recipe can describe, with a name and a number of classes.
fn kinds() -> Vec<(&'static str, Recipe, usize)> {
    // Starting values that make the logits of untrained networks differ.
    let small = Recipe { lrn_alpha: 1e-3, ..small::recipe() };
    let original = Recipe {
        order: OpOrder::AsRun,
        lrn: Lrn::Original,
        lrn_k: 1.0,
        mean: MeanPart::Center,
        ..small.clone()
    };
    let tanh = Recipe {
        activation: Activation::Tanh,
        lrn: Lrn::None,
        dropout: 0.0,
        pool_size: 2,
        ..small.clone()
    };
    // Pixels are large numbers.
    let weight_stds = BTreeMap::from([("conv1".to_owned(), 0.002)]);
    let tanh = Recipe { weight_stds: weight_stds.clone(), ..tanh };
    let cifar = Recipe::builtin("cifar10-relu").unwrap();
    let cifar = Recipe { width: 0.5, init: Init::FanIn, weight_stds, ..cifar };
    assert_eq!(cifar.network, NetworkName::Cifar10);
    let changed = |changes: &[&str]| {
        let mut recipe = small.clone();
        recipe.set_all(changes).unwrap();
        recipe
    };
    vec![
        ("without links", changed(&["unlinked=[conv3, fc6, fc7]"]), 10),
        ("without a link in the middle", changed(&["unlinked=fc7"]), 7),
        ("without two layers", changed(&["without=[conv4, fc7]"]), 10),
        ("six convolutions", changed(&["conv6=true", "biases.conv6=0.1"]), 10),
        ("paper", small.clone(), 10),
        ("an odd number of classes", small.clone(), 7),
        ("as the authors ran it", original, 10),
        ("tanh", tanh, 5),
        ("one column", Recipe { columns: 1, ..small.clone() }, 10),
        ("a crop without overhang", Recipe { crop: 67, lrn_size: 3, ..small.clone() }, 10),
        ("CIFAR-10", cifar, 10),
    ]
}
