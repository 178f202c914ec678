//! `alexnet` as a person runs it: real processes, real signals, real files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::program;
use harness::cluster::{Cluster, shards};
use harness::golden::{self, Tensors, further_than};
use harness::process::{Up, lives, signal, small_run, wait};
use harness::small;
use model::recipe::Recipe;

/// Processes that lost their parent, or their peer, notice within seconds.
const SECONDS: Duration = Duration::from_secs(15);

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn alexnet(args: &[&str]) -> Output {
    Command::new(program()).args(args).output().expect("the program starts")
}

fn up_to_the_end(folder: &Path, more: &[&str]) -> String {
    let output = Up::start(program(), folder, more).end();
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// An undisturbed run of 60 steps, to compare with.
fn undisturbed(folder: &Path) -> Vec<Vec<u8>> {
    let mut cluster = Cluster::small(&folder.join("undisturbed"));
    cluster.until = coordinator::Until::Steps(60);
    cluster.run();
    cluster.shards(60)
}

#[test]
fn a_killed_worker_and_a_killed_coordinator_leave_no_trace_in_the_bits() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(program(), folder.path(), &["--steps", "60", "--checkpoint-every", "10"]);
    up.wait_for_step(12);
    signal(up.role("worker"), "KILL");
    up.wait_for_step(25);
    signal(up.role("coordinator"), "KILL");
    up.wait_for_step(40);
    signal(up.role("loader"), "KILL");
    let run = up.run_dir();
    let output = up.end();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("restarting it"), "{}", text(&output));
    assert!(undisturbed(folder.path()) == shards(&run, 60), "recovered, other bits");
}

#[test]
fn a_killed_up_leaves_no_orphans_and_resumes_bitwise() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--steps", "60", "--checkpoint-every", "10"];
    let up = Up::start(program(), folder.path(), &more);
    up.wait_for_step(15);
    let (run, roles) = (up.run_dir(), up.roles());
    assert_eq!(roles.len(), 4, "coordinator, loader and two workers");
    let killed = Instant::now();
    up.signal("KILL");
    up.end();
    wait("end of the orphans", || !roles.iter().any(|pid| lives(*pid)));
    assert!(killed.elapsed() < SECONDS, "orphans lived {:?}", killed.elapsed());

    let up = Up::start(program(), folder.path(), &more);
    up.wait_for_step(33);
    up.signal("TERM");
    let output = up.end();
    assert!(text(&output).contains("stopping after step"), "{}", text(&output));
    up_to_the_end(folder.path(), &more);
    assert!(undisturbed(folder.path()) == shards(&run, 60), "resumed, other bits");
    let again = up_to_the_end(folder.path(), &more);
    assert!(again.contains("finished"), "a finished run says so: {again}");
}

/// Two processes against the uncut network: weights, momentum (whose first is the gradient),
/// losses.
#[test]
fn two_processes_step_like_one_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = small::recipe();
    recipe.decay = 0.0;
    let toml = folder.path().join("cut.toml");
    std::fs::write(&toml, recipe.to_toml()).unwrap();
    let run = folder.path().join("run");
    let data = "synthetic:72:200:40";
    for steps in ["1", "10"] {
        let args = ["up", "--recipe", path(&toml), "--run", path(&run), "--data", data];
        let more = ["--seed", "7", "--steps", steps, "--keep", "9"];
        let output = alexnet(&[&args[..], &more[..]].concat());
        assert!(output.status.success(), "{}", text(&output));
    }
    let (whole, losses) = whole_run(&recipe, data);
    for (step, limit) in [(1, 1e-4), (10, 1e-4)] {
        let halves: Vec<Tensors> = shards(&run, step).iter().map(|s| golden::parse(s)).collect();
        let cut = golden::join(&halves);
        let of_momentum = |tensors: &Tensors| -> Tensors {
            tensors
                .iter()
                .filter(|(name, _)| name.ends_with(".momentum"))
                .map(|(name, tensor)| (name.clone(), tensor.clone()))
                .collect()
        };
        let (cut, whole) = (of_momentum(&cut), of_momentum(&whole[&step]));
        assert_eq!(whole.len(), 16);
        assert_eq!(further_than(limit, &cut, &whole), [], "after step {step}");
    }
    let halves: Vec<Tensors> = shards(&run, 10).iter().map(|s| golden::parse(s)).collect();
    let (cut, whole) = (update(&recipe, &golden::join(&halves)), update(&recipe, &whole[&10]));
    assert_eq!(further_than(1e-3, &cut, &whole), [], "w10 - w0");
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let said: Vec<f64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["kind"] == "step")
        .map(|line| line["loss"].as_f64().unwrap())
        .collect();
    assert_eq!(said.len(), 10);
    for (got, want) in said.iter().zip(&losses) {
        assert!((got - want).abs() <= 1e-5 * want, "loss {got}, whole {want}");
    }
}

/// The difference of weights and biases from their initial values.
fn update(recipe: &Recipe, after: &Tensors) -> Tensors {
    let network = model::shape::Network::new(recipe, 10).unwrap();
    let plan = model::halves::Plan::new(&network, recipe, model::halves::Partition::Whole);
    plan.params()
        .map(|param| {
            let (shape, values) = &after[&param.name];
            let start = param.initial(7);
            let moved = values.iter().zip(&start).map(|(now, then)| now - then).collect();
            (param.name.clone(), (shape.clone(), moved))
        })
        .collect()
}

/// The uncut network on the same minibatches, in this process.
fn whole_run(recipe: &Recipe, data: &str) -> (std::collections::BTreeMap<u64, Tensors>, Vec<f64>) {
    let source = loader::Source::open(&data.parse().unwrap()).unwrap();
    let about = source.describe().clone();
    let mean = gpu_worker::network::Mean { side: about.side, values: about.mean.to_vec() };
    let network = model::shape::Network::new(recipe, about.classes.len()).unwrap();
    let device = || Ok(gpu_worker::backend::cpu::Cpu::new(1));
    let mut pair = gpu_worker::pair::Pair::new(recipe, &network, 7, &mean, true, device).unwrap();
    let rates = gpu_worker::Rates { weights: recipe.rate, biases: recipe.rate };
    let mut shards = std::collections::BTreeMap::new();
    let mut losses = Vec::new();
    for step in 0..10 {
        let minibatch = small::training_minibatch(&source, recipe, 7, step);
        losses.push(pair.step(&minibatch, step, rates).unwrap().loss);
        shards.insert(step + 1, golden::parse(&pair.shards(step + 1).unwrap()[0]));
    }
    (shards, losses)
}

#[test]
fn impossible_requests_are_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    up_to_the_end(folder.path(), &["--steps", "4"]);
    let refused = |args: &[&str], says: &[&str]| {
        let output = alexnet(args);
        let said = text(&output);
        assert!(!output.status.success(), "{args:?} was taken: {said}");
        assert!(!said.contains("panicked"), "{said}");
        for word in says {
            assert!(said.contains(word), "{args:?} should mention {word:?}: {said}");
        }
    };
    // a recipe with an unknown key, or an impossible value
    refused(&["up", "--set", "dropuot=0"], &["dropuot", "dropout"]);
    refused(&["up", "--set", "dropout=1.5"], &["dropout", "1.5"]);
    refused(&["up", "--recipe", "papre"], &["papre", "paper"]);
    // a run directory of another recipe
    let small = small_run(folder.path());
    let mut other: Vec<&str> = small.iter().map(String::as_str).collect();
    other.extend(["--set", "rate=0.5"]);
    refused(&other, &["rate"]);
    // a port in use
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let free = folder.path().join("free");
    refused(&["coordinator", "--run", path(&free), "--listen", &at], &[&at, "in use"]);
    // a data set whose class count does not fit
    let pictures = pictures(&folder.path().join("three"), 3);
    refused(&["eval", path(&run), "--data", &pictures], &["10", "3"]);
    // no picture at all, no run at all
    let file = folder.path().join("not-a-picture.jpg");
    std::fs::write(&file, b"this is text").unwrap();
    refused(&["predict", path(&run), path(&file)], &["not-a-picture.jpg"]);
    refused(&["eval", path(&folder.path().join("nowhere"))], &["nowhere"]);
}

/// The newest checkpoint has a flipped byte: it is named, and the one before is used.
#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
    let folder = tempfile::tempdir().unwrap();
    up_to_the_end(folder.path(), &["--steps", "20", "--checkpoint-every", "10"]);
    let run = folder.path().join("run");
    let shard = run.join("checkpoints/step-00000020/half-b.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let said = up_to_the_end(folder.path(), &["--steps", "60", "--checkpoint-every", "10"]);
    assert!(said.contains("half-b") || said.contains("step 20"), "the damage is named: {said}");
    assert!(undisturbed(folder.path()) == shards(&run, 60), "resumed, other bits");
}

/// A shard of the data set with flipped bytes is named, and the run ends instead of hanging.
#[test]
fn a_damaged_data_shard_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = pictures(&folder.path().join("data"), 10);
    let damaged = training_shard(&pictures);
    let mut bytes = std::fs::read(&damaged).unwrap();
    for at in (600..bytes.len()).step_by(997) {
        bytes[at] ^= 0x55;
    }
    std::fs::write(&damaged, bytes).unwrap();
    let mut args = small_run(folder.path());
    let data = args.iter().position(|a| a.starts_with("synthetic")).unwrap();
    args[data] = pictures;
    let output = Command::new(program()).args(&args).args(["--steps", "5"]).output().unwrap();
    let name = damaged.file_name().unwrap().to_string_lossy().into_owned();
    assert!(!output.status.success());
    assert!(text(&output).contains(&name), "{} should be named: {}", name, text(&output));
}

/// A file with training pictures.
pub(crate) fn training_shard(pictures: &str) -> PathBuf {
    let entries = std::fs::read_dir(pictures).unwrap().map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == "tar") && path.to_string_lossy().contains("train")
    };
    entries.into_iter().find(is_one).expect("a shard")
}

/// A prepared folder of made-up pictures with this many classes.
pub(crate) fn pictures(folder: &Path, classes: usize) -> String {
    for split in ["train", "val"] {
        for class in 0..classes {
            let at = folder.join(format!("{split}/class{class}"));
            std::fs::create_dir_all(&at).unwrap();
            for i in 0..4_u32 {
                let color = |x, y| [x * (class as u32 + 1) + i * 37, y, x + y].map(|v| v as u8);
                let picture = image::RgbImage::from_fn(72, 72, |x, y| image::Rgb(color(x, y)));
                picture.save(at.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    let prepared = folder.with_extension("prepared");
    let output = alexnet(&["prepare", path(folder), path(&prepared), "--side", "72"]);
    assert!(output.status.success(), "{}", text(&output));
    path(&prepared).to_string()
}

/// The most probable label's line of `predict`, from the picture by way of the whole network.
fn predicted_here(run: &Path, picture: &Path) -> String {
    let source = loader::Source::open(&"synthetic:72:200:40".parse().unwrap()).unwrap();
    let about = source.describe().clone();
    let (side, crop) = (about.side, small::SIDE);
    let stored = image::open(picture).unwrap().to_rgb8();
    assert_eq!(stored.dimensions(), (72, 72), "needs no resize");
    let room = (side - crop) / 2;
    let plane = |c: usize| {
        let stored = &stored;
        (0..crop).flat_map(move |y| {
            (0..crop).map(move |x| stored.get_pixel((room + x) as u32, (room + y) as u32)[c])
        })
    };
    let pixels: Vec<u8> = (0..3).flat_map(plane).collect();
    let minibatch = gpu_worker::receive::Minibatch {
        labels: vec![0],
        crops: vec![[room as f32, room as f32, 0.0, 0.0, 0.0, 0.0]],
        crop,
        pixels: vec![pixels.into()],
        digest: 0,
    };
    let mean = gpu_worker::network::Mean { side, values: about.mean.to_vec() };
    let recipe = small::recipe();
    let network = model::shape::Network::new(&recipe, about.classes.len()).unwrap();
    let device = || Ok(gpu_worker::backend::cpu::Cpu::new(1));
    let mut pair = gpu_worker::pair::Pair::new(&recipe, &network, 7, &mean, false, device).unwrap();
    let shards = shards(run, 12).into_iter().map(|s| ("shard".to_string(), s.into()));
    pair.restore(&shards.collect::<Vec<_>>()).unwrap();
    let p = pair.test(&minibatch, 0, 0).unwrap().probabilities;
    let best = (0..p.len()).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
    format!("{:.2} %  {}", 100.0 * p[best], about.classes[best])
}

#[test]
fn a_result_is_used_by_eval_predict_export_plot_and_status() {
    let folder = tempfile::tempdir().unwrap();
    up_to_the_end(folder.path(), &["--steps", "12"]);
    let run = folder.path().join("run");
    let done = |args: &[&str]| {
        let output = alexnet(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        text(&output)
    };
    let said = done(&["eval", path(&run)]);
    assert!(said.contains("top-1"), "{said}");
    done(&["eval", path(&run), "--views", "10"]);
    let files: Vec<_> = std::fs::read_dir(run.join("eval")).unwrap().flatten().collect();
    assert!(files.len() >= 2, "confusion matrix as CSV and PNG");
    let picture = folder.path().join("picture.png");
    image::RgbImage::from_fn(72, 72, |x, y| image::Rgb([3 * x as u8, 2 * y as u8, 9]))
        .save(&picture)
        .unwrap();
    let said = done(&["predict", path(&run), path(&picture)]);
    assert!(said.matches('%').count() >= 5, "five labels with probabilities: {said}");
    assert!(
        said.contains(&predicted_here(&run, &picture)),
        "other pixels than training saw: {said}"
    );
    done(&["plot", path(&run)]);

    let out = folder.path().join("net.safetensors");
    done(&["export", path(&run), path(&out)]);
    let net = golden::read(&out);
    assert_eq!(net["conv2.weight"].0, [16, 3, 5, 5], "groups of two");
    assert_eq!(net["fc8.weight"].0, [10, 256]);
    let first: Vec<Tensors> = shards(&run, 12).iter().map(|s| golden::parse(s)).collect();
    let joined = golden::join(&first);
    assert_eq!(net["mean"].0, [3, 72, 72]);
    for (name, tensor) in net.iter().filter(|(name, _)| *name != "mean") {
        assert_eq!(tensor, &joined[name], "{name}");
    }

    let start = folder.path().join("start.safetensors");
    done(&["export", path(&run), path(&start), "--step", "0"]);
    let recipe = small::recipe();
    let network = model::shape::Network::new(&recipe, 10).unwrap();
    let plan = model::halves::Plan::new(&network, &recipe, model::halves::Partition::Whole);
    let start = golden::read(&start);
    for param in plan.params() {
        assert_eq!(start[&param.name].1, param.initial(7), "{}", param.name);
    }
}

/// `preview --tensors` is the very minibatch of that step, and `input` what the network sees of it.
#[test]
fn preview_gives_the_exact_minibatch_of_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut recipe = small::recipe();
    (recipe.crop_offsets, recipe.flip, recipe.color_noise) = (0, true, 0.1);
    let toml = folder.path().join("preview.toml");
    std::fs::write(&toml, recipe.to_toml()).unwrap();
    let (sheet, tensors) = (folder.path().join("sheet.png"), folder.path().join("b.safetensors"));
    let data = "synthetic:72:200:40";
    let args = ["preview", data, path(&sheet), "--recipe", path(&toml), "--seed", "7"];
    let more = ["--step", "3", "--tensors", path(&tensors)];
    let output = alexnet(&[&args[..], &more[..]].concat());
    assert!(output.status.success(), "{}", text(&output));
    assert!(image::open(&sheet).unwrap().width() > 64);

    let source = loader::Source::open(&data.parse().unwrap()).unwrap();
    let mean = source.describe().mean.clone();
    let want = small::training_minibatch(&source, &recipe, 7, 3);
    let bytes = std::fs::read(&tensors).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let raw = |name: &str| file.tensor(name).unwrap().data().to_vec();
    let floats = |name: &str| proto::chunk::bytes_to_floats(&raw(name)).unwrap();
    let whole = |name: &str| -> Vec<i32> {
        raw(name).as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect()
    };
    let side = small::SIDE;
    assert_eq!(file.tensor("pixels").unwrap().shape(), [small::BATCH, side, side, 3]);
    let (interleaved, plane) = (raw("pixels"), side * side);
    let same = |(i, p): (usize, &u8)| {
        let (n, at, c) = (i / 3 / plane, i / 3 % plane, i % 3);
        *p == want.pixels[0][(n * 3 + c) * plane + at]
    };
    assert!(interleaved.iter().enumerate().all(same), "pixels");
    assert_eq!(whole("label"), want.labels.iter().map(|l| *l as i32).collect::<Vec<_>>());
    let crops = want.crops.iter();
    assert_eq!(raw("flip"), crops.clone().map(|p| p[2] as u8).collect::<Vec<_>>());
    let offsets: Vec<i32> = crops.clone().flat_map(|p| [p[0] as i32, p[1] as i32]).collect();
    assert_eq!(whole("offset"), offsets);
    assert_eq!(floats("shift"), crops.flat_map(|p| [p[3], p[4], p[5]]).collect::<Vec<_>>());
    assert!(raw("flip").contains(&0) && raw("flip").contains(&1), "some are mirrored");

    let (input, stored) = (floats("input"), source.describe().side);
    for (n, place) in want.crops.iter().enumerate() {
        for (c, y, x) in [(0, 0, 0), (1, 17, 40), (2, side - 1, side - 1)] {
            let at = |column| ((n * 3 + c) * side + y) * side + column;
            let from = if place[2] == 1.0 { side - 1 - x } else { x };
            let below =
                mean[(c * stored + place[0] as usize + y) * stored + place[1] as usize + from];
            let sees = f32::from(want.pixels[0][at(from)]) - below + place[3 + c];
            assert!((input[at(x)] - sees).abs() < 1e-3, "image {n}: {} and {sees}", input[at(x)]);
        }
    }
}
