//! Runs that start from the weights of another run, and layers that do not learn.

use std::collections::BTreeMap;
use std::path::Path;

use crate::program;
use coordinator::run_dir::RunDir;
use harness::process::{Up, unprivileged};
use harness::roles::Machine;
use safetensors::SafeTensors;

use crate::trust::{says, text};

type Tensors = BTreeMap<String, Vec<u8>>;

fn tensors(file: &Path) -> Tensors {
    let bytes = std::fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect()
}

/// The weights of a run after a step, as `export` writes them beside the mean image.
fn exported(machine: &Machine, run: &Path, step: &str) -> Tensors {
    let out = run.join("whole.safetensors");
    let (well, said) = machine.run(&["export", text(run), text(&out), "--step", step]);
    assert!(well, "{said}");
    let mut all = tensors(&out);
    assert!(all.remove("mean").is_some());
    all
}

/// Trains `up` on the small network to its end; returns all that it said.
fn trained(folder: &Path, data: &str, more: &[&str]) -> String {
    std::fs::create_dir_all(folder).unwrap();
    let output = Up::start_on(program(), folder, data, more).end();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

const PICTURES: &str = "synthetic:72:200:40";

/// From a run and from its exported file: every layer continues where the other run ended, and a
/// frozen one stays there.
#[test]
fn a_run_starts_from_the_weights_of_another_and_frozen_layers_keep_them() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second, third) =
        (folder.path().join("first"), folder.path().join("second"), folder.path().join("third"));
    let machine = Machine::here(program(), folder.path());
    trained(&first, PICTURES, &["--steps", "6"]);
    let source = first.join("run");
    let before = exported(&machine, &source, "6");
    let from = ["--from", text(&source), "--steps", "4", "--set", "rates.conv1=0"];
    trained(&second, PICTURES, &[&from[..], &["--set", "rates.fc6=0"]].concat());
    assert!(exported(&machine, &second.join("run"), "0") == before, "the weights at its start");
    let after = exported(&machine, &second.join("run"), "4");
    for (name, values) in &before {
        let frozen = name.starts_with("conv1.") || name.starts_with("fc6.");
        assert_eq!(*values == after[name], frozen, "{name}");
    }
    let record = RunDir::open(&second.join("run")).unwrap().record;
    let start = record.start.expect("the run knows what it started from");
    assert_eq!((start.from.as_str(), start.step), (text(&source), Some(6)));

    // The same start by a file, and the same bits.
    let file = source.join("whole.safetensors");
    let by_file = ["--from", text(&file), "--steps", "4", "--set", "rates.conv1=0"];
    trained(&third, PICTURES, &[&by_file[..], &["--set", "rates.fc6=0"]].concat());
    assert!(exported(&machine, &third.join("run"), "4") == after, "other bits");

    // Resumed without the other run, with or without the option; other weights are refused.
    std::fs::rename(&first, folder.path().join("moved")).unwrap();
    let longer = [&from[..2], &["--steps", "8"]].concat();
    let set = ["--set", "rates.conv1=0", "--set", "rates.fc6=0"];
    trained(&second, PICTURES, &[&longer[..], &set].concat());
    trained(&second, PICTURES, &[&["--steps", "10"], &set[..]].concat());
    let said = Up::start(program(), &second, &[&["--from", "/other"], &set[..]].concat()).end();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    says(&said, &["started from", text(&source), "after 6 steps", "not from /other"]);
}

/// A killed run starts again from the weights that it keeps, before its first checkpoint.
#[test]
fn a_rollback_to_the_start_has_the_bits_of_an_undisturbed_run() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::here(program(), folder.path());
    let source = folder.path().join("source");
    trained(&source, PICTURES, &["--steps", "5"]);
    let from = source.join("run");
    let more = ["--from", text(&from), "--steps", "40", "--checkpoint-every", "1000"];
    let calm = folder.path().join("calm");
    trained(&calm, PICTURES, &more);
    let killed = folder.path().join("killed");
    std::fs::create_dir(&killed).unwrap();
    let up = Up::start(program(), &killed, &more);
    up.wait_for_step(3);
    up.kill(harness::schedule::Process::SecondWorker);
    let output = up.end();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let end = |folder: &Path| exported(&machine, &folder.join("run"), "40");
    assert!(end(&calm) == end(&killed), "other bits");
}

/// Another number of classes: the last layer begins anew, and the run says so.
#[test]
fn layers_that_do_not_fit_begin_anew_and_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::here(program(), folder.path());
    let source = folder.path().join("source");
    trained(&source, PICTURES, &["--steps", "3"]);
    let before = exported(&machine, &source.join("run"), "3");
    let pictures = folder.path().join("pictures");
    for split in ["train", "val"] {
        for class in 0..3_u8 {
            let at = pictures.join(format!("{split}/class-{class}"));
            std::fs::create_dir_all(&at).unwrap();
            for i in 0..20_u8 {
                let color = image::Rgb([80 * class, 10 * i, 7 * i]);
                image::RgbImage::from_pixel(72, 72, color)
                    .save(at.join(format!("{i}.png")))
                    .unwrap();
            }
        }
    }
    let other = folder.path().join("other");
    let from = source.join("run");
    let frozen = ["conv1", "fc7"].map(|layer| format!("rates.{layer}=0"));
    // Long enough for `up` to ask how it is.
    let steps = ["--steps", "400", "--set", "patience=1000"];
    let start = ["--from", text(&from), "--set", &frozen[0], "--set", &frozen[1]];
    let more = [&start[..], &steps].concat();
    let said = trained(&other, text(&pictures), &more);
    says(&said, &["starting from the weights of", "fc8 begins anew: fc8.weight is 10 ×"]);
    assert!(said.contains("there and 3 ×"), "{said}");
    let after = exported(&machine, &other.join("run"), "400");
    for name in ["conv1.weight", "conv1.bias", "fc7.weight", "fc7.bias"] {
        assert!(before[name] == after[name], "{name} was taken");
    }

    // Nothing fits a network of another width.
    let wide = folder.path().join("wide");
    std::fs::create_dir(&wide).unwrap();
    let output = Up::start(program(), &wide, &["--from", text(&from), "--set", "width=0.5"]).end();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    says(&said, &["none of its layers fits this network", "conv1 begins anew: conv1.weight is"]);
}

#[test]
fn weights_that_can_not_be_read_are_refused_before_a_run_begins() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("text"), "no weights").unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    for (name, words) in [
        ("absent", "there is no such run or file"),
        ("text", "is no safetensors file"),
        ("empty", "it has no run.json"),
    ] {
        let from = at(name);
        let run = at("run");
        let args = ["up", "--from", text(&from), "--run", text(&run)];
        let output = unprivileged(program()).args(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{name}: {said}");
        assert!(!run.join("run.json").exists(), "{name}: a run was begun");
    }
}
