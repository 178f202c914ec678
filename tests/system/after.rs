//! After training: `predict` on folders as they are, `eval` on any split, and both while a training
//! replaces its checkpoints.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::program;
use harness::gpu::Gpus;
use harness::process::{ENDLESS, Up};

fn alexnet(folder: &Path, args: &[&str]) -> Output {
    Command::new(program()).current_dir(folder).args(args).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn done(folder: &Path, args: &[&str]) -> String {
    let output = alexnet(folder, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    stdout(&output)
}

/// A short run in `run`, and `n` pictures of different brightness in `photos/a` and `photos/b`.
fn trained(folder: &Path, more: &[&str], n: u32) {
    let output = Up::start(program(), folder, &[&["--steps", "2"], more].concat()).end();
    assert!(output.status.success(), "{}", stderr(&output));
    for i in 0..n {
        let at = folder.join(["photos/a", "photos/b"][i as usize % 2]);
        std::fs::create_dir_all(&at).unwrap();
        let color = |x, y| [x * (i + 1), y * 3 + i * 31, (x ^ y) * i].map(|v| v as u8);
        let picture = image::RgbImage::from_fn(80, 72 + i, |x, y| image::Rgb(color(x, y)));
        picture.save(at.join(format!("{i:02}.png"))).unwrap();
    }
}

/// JSON has every bit of a probability. With f16 between the halves, a batch would change some.
#[test]
fn a_picture_has_the_same_bits_alone_and_among_others() {
    for encoding in ["wire=f32", "wire=f16"] {
        let folder = tempfile::tempdir().unwrap();
        trained(folder.path(), &["--set", encoding], 21); // more than a batch of 16
        for views in ["1", "10"] {
            let predict = |path: &str| {
                let more = ["--format", "json", "--top", "10", "--views", views];
                done(folder.path(), &[&["predict", "run", path], &more[..]].concat())
            };
            let together = predict("photos");
            assert_eq!(together.lines().count(), 21);
            for line in together.lines().step_by(5) {
                let picture: serde_json::Value = serde_json::from_str(line).unwrap();
                let alone = predict(picture["path"].as_str().unwrap());
                assert_eq!(alone.trim_end(), line, "{encoding}, {views} views");
            }
        }
    }
}

#[test]
fn nothing_that_was_asked_for_is_lost_without_an_error() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), &[], 4);
    let at = folder.path();
    std::fs::write(at.join("photos/broken.jpg"), "no picture").unwrap();
    std::fs::write(at.join("photos/.DS_Store"), "x").unwrap();
    assert!(Command::new("mkfifo").arg(at.join("pipe.png")).status().unwrap().success());
    std::fs::create_dir(at.join("empty")).unwrap();

    let paths = ["pipe.png", "photos", "nowhere", "empty", "*.gif"];
    let output = alexnet(at, &[&["predict", "run"], &paths[..], &["--format", "csv"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let (table, said) = (stdout(&output), stderr(&output));
    assert!(table.starts_with("path,class,probability,class_2,"), "{table}");
    assert_eq!(table.lines().count(), 1 + 4, "the header and the pictures: {table}");
    for name in ["broken.jpg", "pipe.png: not a file", "nowhere", "empty", "*.gif", ".DS_Store"] {
        assert!(said.contains(name), "{name} should be named: {said}");
    }
    assert!(said.contains("2 of 6 pictures") && said.contains("3 paths"), "{said}");
}

#[test]
fn a_list_comes_from_a_file_or_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), &[], 3);
    let list = "photos/a/00.png\r\nphotos/b\r\n";
    std::fs::write(folder.path().join("list"), list).unwrap();
    let args = ["predict", "run", "--format", "json", "--list"];
    let by_file = done(folder.path(), &[&args[..], &["list"]].concat());
    assert_eq!(by_file.lines().count(), 2, "{by_file}");
    let input = std::fs::File::open(folder.path().join("list")).unwrap();
    let mut command = Command::new(program());
    command.current_dir(folder.path()).args(args).arg("-").stdin(input);
    assert_eq!(stdout(&command.output().unwrap()), by_file);
}

#[test]
fn a_reader_who_leaves_is_no_error_and_a_full_disk_is_one() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), &[], 2);
    let predict = |out: Stdio| {
        let mut command = Command::new(program());
        command.current_dir(folder.path()).args(["predict", "run", "photos"]).stdout(out);
        command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap()
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let left = predict(writer.into());
    assert!(left.status.success(), "{}", stderr(&left));
    let full = std::fs::File::create("/dev/full").unwrap();
    let full = predict(full.into());
    assert_eq!(full.status.code(), Some(1));
    assert!(stderr(&full).contains("No space left"), "{}", stderr(&full));
}

#[test]
fn eval_measures_any_split_and_draws_the_worst_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), &[], 1);
    let said = done(folder.path(), &["eval", "run"]);
    assert!(said.contains("most confused") && said.contains("recall"), "{said}");
    let said = done(folder.path(), &["eval", "run", "--split", "train", "--devices", "cpu:2,cpu"]);
    assert!(said.contains("200 train pictures") && said.contains("cpu:2,cpu"), "{said}");
    for split in ["", "-train"] {
        let file = |end: &str| {
            let name = format!("run/eval/built-in{split}-step-00000002-views-1{end}");
            folder.path().join(name)
        };
        for end in ["-confusion.csv", "-confusion.png", "-classes.csv", "-mistakes.png"] {
            assert!(file(end).is_file(), "{}", file(end).display());
        }
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file(".json")).unwrap()).unwrap();
        let wrong = json["top1_error"].as_f64().unwrap() > 0.0;
        assert_eq!(wrong, !json["confused"].as_array().unwrap().is_empty());
        let classes = std::fs::read_to_string(file("-classes.csv")).unwrap();
        assert_eq!(classes.lines().count(), 1 + 10);
    }
}

#[test]
fn eval_on_two_gpus_has_the_cpus_errors() {
    let folder = tempfile::tempdir().unwrap();
    let Some(gpus) = Gpus::for_processes(folder.path()) else { return };
    trained(folder.path(), &[], 1);
    let loss = |devices: &str| {
        let mut command = Command::new(program());
        command.current_dir(folder.path()).args(["eval", "run", "--devices", devices]);
        let output = command.args(gpus.arguments()).envs(gpus.environment("")).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let json = folder.path().join("run/eval/built-in-step-00000002-views-1.json");
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
        assert_eq!(json["devices"], devices);
        json["loss"].as_f64().unwrap()
    };
    let (gpu, cpu) = (loss(gpus.pair()), loss("cpu,cpu"));
    assert!((gpu - cpu).abs() <= 1e-4 * cpu, "{gpu} on GPUs, {cpu} on CPUs");
}

/// The checkpoint that `predict` has chosen may be gone before it is read.
#[test]
fn a_training_that_keeps_one_checkpoint_does_not_disturb_predict_and_export() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), &ENDLESS[2..], 1);
    let more = [&ENDLESS[..], &["--checkpoint-every", "1", "--keep", "1"]].concat();
    let up = Up::start(program(), folder.path(), &more);
    up.wait_for_step(5);
    for _ in 0..10 {
        done(folder.path(), &["predict", "run", "photos", "--checkpoint", "last"]);
        done(folder.path(), &["predict", "run", "photos"]);
        done(folder.path(), &["export", "run", "net.safetensors"]);
    }
    assert!(!up.is_over(), "the training ran meanwhile");
    up.signal("TERM");
    up.end();
}

/// A folder of pictures in place of a prepared one: the advice works when it is pasted.
#[test]
fn eval_on_unprepared_pictures_says_how_to_prepare_them() {
    let folder = tempfile::tempdir().unwrap();
    trained(folder.path(), &[], 1);
    std::fs::rename(folder.path().join("photos"), folder.path().join("my photos")).unwrap();
    let said = stderr(&alexnet(folder.path(), &["eval", "run", "--data", "my photos"]));
    assert!(said.contains("`alexnet prepare 'my photos' DST`"), "{said}");
}
