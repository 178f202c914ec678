//! A trained network, looked at: `filters`, `similar`, `features`, bars, curves, and several runs
//! measured together.

use std::path::Path;
use std::process::{Command, Output};

use image::RgbImage;
use safetensors::SafeTensors;

use crate::program;
use harness::gpu::Gpus;
use harness::process::Up;

/// f32 sums of a few hundred terms in another order.
const ROUNDING: f32 = 1e-5;

fn alexnet(folder: &Path, args: &[&str]) -> Output {
    Command::new(program()).current_dir(folder).args(args).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn done(folder: &Path, args: &[&str]) -> String {
    let output = alexnet(folder, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(folder: &Path, args: &[&str]) -> String {
    let output = alexnet(folder, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stderr(&output));
    stderr(&output)
}

/// A short run on built-in pictures in `folder/run`.
fn trained(folder: &Path, more: &[&str]) {
    let output = Up::start(program(), folder, &[&["--steps", "4"], more].concat()).end();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// A short run in `folder/run` on pictures of three classes, which are stored without loss.
fn trained_on_pictures(folder: &Path) {
    for (split, n) in [("train", 8), ("val", 4)] {
        for (class, name) in ["tench", "golf ball", "church"].into_iter().enumerate() {
            let at = folder.join(format!("pictures/{split}/{name}"));
            std::fs::create_dir_all(&at).unwrap();
            for i in 0..n {
                let seed = 5 * i + class as u32 + 3 * n;
                let color = |x, y| [x * (seed % 5 + 1), y * 3 + seed * 31, (x ^ y) * seed];
                let color = |x, y| image::Rgb(color(x, y).map(|v| v as u8));
                RgbImage::from_fn(64, 64, color).save(at.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    let data = folder.join("pictures").to_string_lossy().into_owned();
    let output = Up::start_on(program(), folder, &data, &["--steps", "4"]).end();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Shape and numbers of a tensor.
fn tensor(file: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let floats = proto::chunk::bytes_to_floats(tensor.data()).unwrap();
    (tensor.shape().to_vec(), floats)
}

/// Labels are I32, whose bytes are compared as they are.
fn labels(file: &Path) -> Vec<u8> {
    let bytes = std::fs::read(file).unwrap();
    SafeTensors::deserialize(&bytes).unwrap().tensor("labels").unwrap().data().to_vec()
}

/// Each kernel is looked for in the picture: the colors that its weights must have.
#[test]
fn filters_shows_the_weights_of_conv1_with_half_a_above_half_b() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    trained(at, &[]);
    for checkpoint in ["4", "0"] {
        done(at, &["export", "run", "net.safetensors", "--step", checkpoint]);
        let (shape, weights) = tensor(&at.join("net.safetensors"), "conv1.weight");
        assert_eq!(shape, [6, 3, 11, 11], "three kernels per half");
        done(at, &["filters", "run", "filters.png", "--checkpoint", checkpoint]);
        let picture = image::open(at.join("filters.png")).unwrap().to_rgb8();
        let places: Vec<(u32, u32)> =
            weights.chunks(3 * 121).map(|kernel| found(&picture, kernel)).collect();
        let ((ax, ay), (bx, by)) = (places[0], places[3]);
        let pitch = places[1].0 - ax;
        assert!(ax == bx && by > ay + 11 * ZOOM && pitch > 11 * ZOOM, "{places:?}");
        assert_eq!(places[..3], [(ax, ay), (ax + pitch, ay), (ax + 2 * pitch, ay)]);
        assert_eq!(places[3..], [(bx, by), (bx + pitch, by), (bx + 2 * pitch, by)]);
    }
    let said = refused(at, &["filters", "run", "filters.jpg"]);
    assert!(said.contains("must end in .png"), "{said}");
}

/// Side of a weight in the picture of so few kernels.
const ZOOM: u32 = 24;

/// The first place of a kernel `[3, 11, 11]` in a picture.
fn found(picture: &RgbImage, kernel: &[f32]) -> (u32, u32) {
    let largest = kernel.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
    let color = |x: usize, y: usize| {
        let weight = |c: usize| kernel[c * 121 + y * 11 + x] / largest;
        [0, 1, 2].map(|c| (128.0 + 127.0 * weight(c)).round() as u8)
    };
    // Rounding may differ by one level.
    let near = |a: [u8; 3], b: [u8; 3]| (0..3).all(|c| a[c].abs_diff(b[c]) <= 1);
    let here = |left: u32, top: u32| {
        let at = |x: usize, y: usize| (left + ZOOM * x as u32, top + ZOOM * y as u32);
        let mut all = (0..11).flat_map(|y| (0..11).map(move |x| (x, y)));
        all.all(|(x, y)| {
            let (px, py) = at(x, y);
            near(picture.get_pixel(px, py).0, color(x, y))
        })
    };
    let (width, height) = (picture.width() - 10 * ZOOM, picture.height() - 10 * ZOOM);
    let mut places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    places.find(|(x, y)| here(*x, *y)).expect("the kernel is in the picture")
}

#[test]
fn similar_finds_a_stored_picture_itself_first_with_distance_zero() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    trained_on_pictures(at);
    let args = ["similar", "run", "pictures/train/church", "pictures/train/tench/3.png"];
    let args = [&args[..], &["-n", "4", "--format", "json", "--out", "similar.png"]].concat();
    let said = done(at, &args);
    assert_eq!(said.lines().count(), 9);
    for line in said.lines() {
        let answer: serde_json::Value = serde_json::from_str(line).unwrap();
        let nearest = answer["nearest"].as_array().unwrap();
        assert_eq!((nearest.len(), &nearest[0]["distance"]), (4, &0.0.into()), "{line}");
        let path = answer["path"].as_str().unwrap();
        assert!(path.contains(nearest[0]["class"].as_str().unwrap()), "{line}");
        let distances: Vec<f64> = nearest.iter().map(|n| n["distance"].as_f64().unwrap()).collect();
        assert!(distances.is_sorted() && distances[3] > 0.0, "{line}");
    }
    assert!(image::open(at.join("similar.png")).unwrap().width() > 1000);
    // Validation pictures are not among those of training.
    let said = done(at, &["similar", "run", "pictures/val/church/0.png", "--format", "csv"]);
    assert_eq!(said.lines().count(), 1 + 6, "{said}");
    assert!(said.lines().nth(1).is_some_and(|row| !row.ends_with(",0")), "{said}");
}

#[test]
fn similar_names_a_picture_that_it_cannot_read_and_answers_for_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    trained_on_pictures(at);
    std::fs::write(at.join("broken.jpg"), "no picture").unwrap();
    let output = alexnet(at, &["similar", "run", "broken.jpg", "pictures/val/church/0.png"]);
    assert_eq!(output.status.code(), Some(1));
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.starts_with("pictures/val/church/0.png\n") && answer.lines().count() == 7);
    let said = stderr(&output);
    assert!(said.contains("broken.jpg: ") && said.contains("1 of 2 pictures"), "{said}");
    let said = refused(at, &["similar", "run", "broken.jpg", "--out", "x.png"]);
    assert!(said.contains("broken.jpg") && !at.join("x.png").exists(), "{said}");

    let said = refused(at, &["similar", "run", "pictures", "--layer", "fc9"]);
    assert!(said.contains("no layer fc9") && said.contains("conv1, conv2"), "{said}");
    let said = refused(at, &["similar", "run", "pictures", "--among", "synthetic:72:200:40"]);
    assert!(said.contains("side 72") && said.contains("needs 64"), "{said}");
    let said = refused(at, &["similar", "run", "pictures", "--split", "test"]);
    assert!(said.contains("no test pictures"), "{said}");
}

/// Independent of `eval`: fc8 and softmax are computed here, from the exported weights.
#[test]
fn features_and_the_weights_of_fc8_give_the_probabilities() {
    for columns in ["columns=2", "columns=1"] {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        trained(at, &["--set", columns]);
        done(at, &["export", "run", "net.safetensors"]);
        done(at, &["features", "run", "synthetic:72:200:40", "features.safetensors"]);
        done(at, &["eval", "run", "--save", "p.safetensors"]);
        let file = |name: &str| at.join(format!("{name}.safetensors"));
        let (shape, features) = tensor(&file("features"), "features");
        let (weight_shape, weight) = tensor(&file("net"), "fc8.weight");
        let (_, bias) = tensor(&file("net"), "fc8.bias");
        let (p_shape, p) = tensor(&file("p"), "probabilities");
        assert_eq!((shape[0], p_shape[..].to_vec()), (40, vec![40, 10]));
        assert_eq!(weight_shape, [10, shape[1]]);
        assert_eq!(labels(&file("features")), labels(&file("p")));
        for (row, p) in features.chunks(shape[1]).zip(p.chunks(10)) {
            let logit = |(weights, bias): (&[f32], &f32)| {
                bias + weights.iter().zip(row).map(|(w, x)| w * x).sum::<f32>()
            };
            let logits: Vec<f32> = weight.chunks(shape[1]).zip(&bias).map(logit).collect();
            let sum: f32 = logits.iter().map(|l| l.exp()).sum();
            for (logit, p) in logits.iter().zip(p) {
                assert!((logit.exp() / sum - p).abs() < ROUNDING, "{} {p}", logit.exp() / sum);
            }
        }
    }
}

#[test]
fn features_of_any_layer_are_those_of_a_batch_of_any_size() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    trained_on_pictures(at);
    let features = |layer: &str, split: &str| {
        let name = format!("{layer}-{split}.safetensors");
        let args = ["features", "run", "pictures-64", &name, "--layer", layer, "--split", split];
        done(at, &args);
        tensor(&at.join(name), "features")
    };
    // 24 pictures: a batch of 16, and one of 8; 12 pictures in one batch.
    for (layer, len) in [("conv1", 6 * 7 * 7), ("conv5", 16), ("fc6", 256), ("fc8", 3)] {
        assert_eq!(features(layer, "train").0, [24, len], "{layer}");
    }
    let (shape, values) = features("fc7", "val");
    assert_eq!(shape, [12, 256]);
    assert!(values.iter().any(|v| *v > 0.0) && values.iter().all(|v| *v >= 0.0), "after ReLU");
    let leftovers = std::fs::read_dir(at).unwrap().flatten();
    let leftovers =
        leftovers.filter(|file| file.path().extension().is_some_and(|e| e == "partial"));
    assert_eq!(leftovers.count(), 0);
}

#[test]
fn features_on_gpus_are_those_of_cpus() {
    let folder = tempfile::tempdir().unwrap();
    let Some(gpus) = Gpus::for_processes(folder.path()) else { return };
    let at = folder.path();
    trained(at, &[]);
    let features = |devices: &str, layer: &str| {
        let mut command = Command::new(program());
        command.current_dir(at).args(["features", "run", "synthetic:72:200:40", "f.safetensors"]);
        command.args(["--devices", devices, "--layer", layer]);
        let output = command.args(gpus.arguments()).envs(gpus.environment("")).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        tensor(&at.join("f.safetensors"), "features").1
    };
    for layer in ["conv2", "fc7"] {
        let (gpu, cpu) = (features(gpus.pair(), layer), features("cpu,cpu", layer));
        let most = cpu.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        let far = gpu.iter().zip(&cpu).filter(|(a, b)| (*a - *b).abs() > 1e-4 * most).count();
        assert_eq!((far, gpu.len(), most > 0.0), (0, cpu.len(), true), "{layer}");
    }
}

/// Two runs of different recipes, in `a` and `b`.
fn two_runs(folder: &Path) {
    for (name, change) in [("a", "dropout=0"), ("b", "width=0.125")] {
        std::fs::create_dir(folder.join(name)).unwrap();
        trained(&folder.join(name), &["--set", change]);
    }
}

#[test]
fn runs_together_have_the_mean_of_their_probabilities() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    two_runs(at);
    for views in ["1", "10"] {
        let probabilities = |runs: &[&str], save: &str| {
            let more = ["--views", views, "--save", save, "--out", "out"];
            let said = done(at, &[&["eval"], runs, &more[..]].concat());
            (said, tensor(&at.join(save), "probabilities").1)
        };
        let (alone, a) = probabilities(&["a/run"], "a.safetensors");
        let (_, b) = probabilities(&["b/run"], "b.safetensors");
        let (said, both) = probabilities(&["a/run", "b/run"], "both.safetensors");
        assert_eq!(a.len(), 400);
        assert_ne!(a, b, "two networks");
        let mean = a.iter().zip(&b).map(|(a, b)| ((f64::from(*a) + f64::from(*b)) / 2.0) as f32);
        assert_eq!(both, mean.collect::<Vec<_>>(), "{views} views");
        assert_eq!(labels(&at.join("a.safetensors")), labels(&at.join("both.safetensors")));
        // The line of a run alone is the same in both.
        let errors = alone.lines().nth(1).unwrap().split("   (chance").next().unwrap();
        assert!(errors.starts_with("top-1 error"), "{alone}");
        assert!(said.contains(&format!("{errors}   a/run, step 4")), "{alone}\n{said}");
        assert!(said.contains("mean of the 2 runs") && said.contains("together"), "{said}");
        let json = at.join(format!("out/built-in-2-runs-views-{views}.json"));
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
        let errors = top1(&both, &labels(&at.join("both.safetensors")));
        assert!((json["top1_error"].as_f64().unwrap() - errors).abs() < 1e-9, "{json}");
        assert_eq!(json["runs"][1]["run"], "b/run");
    }
}

/// Share of rows of ten whose largest number is not the label's.
fn top1(rows: &[f32], labels: &[u8]) -> f64 {
    let wrong = |(row, label): (&[f32], &[u8])| {
        let best = (0..10).rev().max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        usize::from(best != usize::from(label[0]))
    };
    let n = rows.len() / 10;
    rows.chunks(10).zip(labels.chunks(4)).map(wrong).sum::<usize>() as f64 / n as f64
}

#[test]
fn runs_that_do_not_fit_together_are_refused_with_the_first_difference() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (name, data) in [("a", "synthetic:72:200:40"), ("b", "synthetic:72:300:40")] {
        std::fs::create_dir(at.join(name)).unwrap();
        let up = Up::start_on(program(), &at.join(name), data, &["--steps", "2"]);
        assert!(up.end().status.success());
    }
    let c = at.join("c");
    std::fs::create_dir(&c).unwrap();
    let prepared = crate::processes::pictures(&c.join("pictures"), 3);
    assert!(Up::start_on(program(), &c, &prepared, &["--steps", "2"]).end().status.success());

    let said = refused(at, &["eval", "a/run", "b/run", "--save", "x.safetensors"]);
    assert!(said.contains("different pictures") && said.contains("--data DIR"), "{said}");
    assert!(!at.join("x.safetensors").exists());
    let said = done(at, &["eval", "a/run", "b/run", "--data", "synthetic:72:200:40"]);
    assert!(said.contains("together"), "on pictures that were named: {said}");
    let said = refused(at, &["eval", "a/run", "c/run"]);
    assert!(said.contains("class 0 is") && said.contains("c/run"), "{said}");
    std::fs::remove_dir_all(at.join("b/run/checkpoints")).unwrap();
    let said = refused(at, &["eval", "a/run", "b/run", "--data", "synthetic:72:200:40"]);
    assert!(said.contains("b/run") && !said.contains("1 of 2"), "before any is measured: {said}");
    let said = refused(at, &["eval", "a/run", "--save", "x.csv"]);
    assert!(said.contains("must end in .safetensors"), "{said}");
}

#[test]
fn predict_draws_bars_and_marks_the_class_that_the_folder_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    trained_on_pictures(at);
    let orange = |file: &str| {
        let picture = image::open(at.join(file)).unwrap().to_rgb8();
        picture.pixels().filter(|p| p.0 == [247, 170, 98]).count()
    };
    done(at, &["predict", "run", "pictures/val", "--plot", "known.png"]);
    assert!(orange("known.png") > 500, "three classes, so the right one is among the five");
    std::fs::create_dir(at.join("holiday")).unwrap();
    std::fs::copy(at.join("pictures/val/tench/0.png"), at.join("holiday/0.png")).unwrap();
    done(at, &["predict", "run", "holiday", "--plot", "unknown.png"]);
    assert_eq!(orange("unknown.png"), 0);
    std::fs::write(at.join("holiday/0.png"), "no picture").unwrap();
    let said = refused(at, &["predict", "run", "holiday", "--plot", "none.png"]);
    assert!(said.contains("0.png") && !at.join("none.png").exists(), "{said}");
}

#[test]
fn plot_draws_several_runs_in_one_picture() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    two_runs(at);
    let said = done(at, &["plot", "a/run", "b/run", "both.svg"]);
    assert_eq!(said, "both.svg\nboth.png\n");
    let text = std::fs::read_to_string(at.join("both.svg")).unwrap();
    assert!(text.contains("a/run") && text.contains("b/run"), "they share their last part");
    let said = refused(at, &["plot", "a/run", "b/run"]);
    assert!(said.contains("--out FILE.svg"), "{said}");
    let said = done(at, &["plot", "a/run"]);
    assert_eq!(said, "a/run/plot.svg\na/run/plot.png\n");
}
