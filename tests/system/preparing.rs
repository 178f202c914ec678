//! `alexnet prepare` as a person runs it: killed, interrupted, repeated, with changed pictures.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::program;
use harness::process::{signal, wait};

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn alexnet(folder: &Path, args: &[&str]) -> Output {
    Command::new(program()).args(args).current_dir(folder).output().expect("the program starts")
}

fn works(folder: &Path, args: &[&str]) -> String {
    let output = alexnet(folder, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    text(&output)
}

/// Adds made-up pictures to a class folder.
fn pictures(class: &Path, numbers: std::ops::Range<u32>) {
    std::fs::create_dir_all(class).unwrap();
    for i in numbers {
        let color = |x, y| [x * (i % 7 + 1), y * (i % 5 + 1), x * y + i * 37].map(|v: u32| v as u8);
        let picture = image::RgbImage::from_fn(80, 80, |x, y| image::Rgb(color(x, y)));
        picture.save(class.join(format!("{i}.bmp"))).unwrap();
    }
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| (path.strip_prefix(folder).unwrap().into(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

const COMMAND: [&str; 9] =
    ["prepare", "d", "out", "--side", "128", "--shard-bytes", "200000", "--threads", "1"];

/// Starts the preparation, sends a signal once so many more shards are noted, and waits for the
/// end; `None` if it was done before.
fn interrupt(folder: &Path, name: &str, more: usize) -> Option<Output> {
    let noted = || {
        let entries = std::fs::read_dir(folder.join(".out.partial")).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".done")).count()
    };
    let enough = noted() + more;
    let mut child = Command::new(program())
        .args(COMMAND)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait("shards, or the end", || noted() >= enough || child.try_wait().unwrap().is_some());
    let over = child.try_wait().unwrap().is_some();
    if !over {
        signal(child.id(), name);
    }
    let output = child.wait_with_output().unwrap();
    (!over && !output.status.success()).then_some(output)
}

#[test]
fn killed_and_interrupted_ten_times_and_finished_the_data_set_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, often) = (folder.path().join("whole"), folder.path().join("often"));
    for (place, class) in [(&whole, "a"), (&whole, "b"), (&often, "a"), (&often, "b")] {
        std::fs::create_dir_all(place).unwrap();
        if place == &whole {
            pictures(&place.join("d").join(class), 0..400);
        }
    }
    std::os::unix::fs::symlink(whole.join("d"), often.join("d")).unwrap();
    works(&whole, &COMMAND);
    let mut interrupted = 0;
    for i in 0..10 {
        let name = ["KILL", "INT", "KILL", "TERM"][i % 4];
        let Some(output) = interrupt(&often, name, 1 + i % 3) else { continue };
        interrupted += 1;
        let said = text(&output);
        match name {
            "KILL" => assert_eq!(output.status.signal(), Some(9), "{said}"),
            "INT" => assert_eq!(output.status.code(), Some(130), "{said}"),
            _ => assert_eq!(output.status.code(), Some(143), "{said}"),
        }
        assert!(name == "KILL" || said.contains("the same command continues"), "{said}");
        assert!(interrupted == 1 || said.contains("resuming an interrupted"), "{said}");
    }
    assert!(interrupted >= 5, "{interrupted} interruptions");
    if !often.join("out").exists() {
        let said = works(&often, &COMMAND);
        assert!(said.contains("resuming an interrupted preparation"), "{said}");
    }
    let (want, got) = (files(&whole.join("out")), files(&often.join("out")));
    for (want, got) in want.iter().zip(&got) {
        // The description names the place of the source.
        let place = ["dataset.json", "SHA256SUMS"].contains(&want.0.to_str().unwrap());
        assert!(want.0 == got.0 && (place || want.1 == got.1), "{:?}", want.0);
    }
    assert_eq!(want.len(), got.len());
    works(&often, &["inspect", "out", "--verify"]);
    assert!(!often.join(".out.partial").exists());
}

#[test]
fn changed_pictures_are_prepared_anew_and_a_run_keeps_those_that_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for class in ["a", "b"] {
        pictures(&at.join("d").join(class), 0..8);
    }
    let up = |run: &str, more: &[&str]| {
        let usual = ["up", "--recipe", "demo", "--set", "batch=4", "--devices", "cpu:1,cpu:1"];
        let args = [&usual[..], &["--data", "d", "--run", run], more].concat();
        alexnet(at, &args)
    };
    let said = |output: Output| {
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    assert!(said(up("one", &["--steps", "1"])).contains("is not prepared yet"));
    let again = said(up("two", &["--steps", "1"]));
    assert!(again.contains("prepared already") && !again.contains("changed"), "{again}");
    pictures(&at.join("d/c"), 0..8);
    // A run that has begun continues, before and after the pictures are prepared anew.
    let kept = said(up("one", &["--steps", "2"]));
    assert!(kept.contains("8 files added") && kept.contains("--run NAME"), "{kept}");
    let kept = said(up("three", &["--steps", "1", "--keep-prepared"]));
    assert!(kept.contains("--keep-prepared"), "{kept}");
    let new = said(up("four", &["--steps", "1"]));
    assert!(new.contains("8 files added (c/0.bmp") && new.contains("d-72.before"), "{new}");
    assert!(std::fs::read_to_string(at.join("four/run.json")).unwrap().contains("\"c\""));
    let old = said(up("one", &["--steps", "3"]));
    assert!(old.contains("d-72.before: using that"), "{old}");
    let inspected = works(at, &["inspect", "d-72", "--classes"]);
    assert!(inspected.contains("the source has not changed"), "{inspected}");
    let inspected = works(at, &["inspect", "d-72.before"]);
    assert!(inspected.contains("8 files added"), "{inspected}");
}

/// The folder that the role `loader` of a container would serve for some DATA.
fn served(folder: &Path, data: &str) -> String {
    let script = std::fs::read_to_string(cuda_emulator::root().join("deploy/role.sh")).unwrap();
    let place = folder.to_str().unwrap();
    let script = script.replace("/prepared", &format!("{place}/prepared"));
    // Paths in the container, not the words of messages or names of settings.
    let script = script.replace(" /data", &format!(" {place}/data"));
    let path = format!("{place}/bin:/usr/bin:/bin");
    let output = Command::new("sh")
        .args(["-c", &script, "role", "loader"])
        .env_clear()
        .envs([("PATH", path.as_str()), ("DATA", data), ("RECIPE", "demo"), ("HOSTNAME", "here")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    text(&output).lines().last().unwrap().to_owned()
}

#[test]
fn two_sources_never_share_a_prepared_folder_in_containers() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["bin", "prepared", "data/cat"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    // Stands in for the program: nothing is prepared yet; the last line names the folder.
    let fake = "#!/bin/sh\ncase $1 in inspect) exit 1 ;; prepare) echo said; echo \"$3\" ;; \
                loader) while [ \"$1\" != --data ]; do shift; done; echo \"$2\" ;; esac\n";
    std::fs::write(at("bin/alexnet"), fake).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(at("bin/alexnet"), mode).unwrap();
    let long = "x".repeat(70);
    let (one, other) = (format!("/1/{long}"), format!("/2/{long}"));
    let sources =
        ["/写真/犬", "/写真/猫", "/a/b", "/a_b", "/a b", "/A/b", "/a/b/", "/a\nb", &one, &other];
    let all: std::collections::BTreeSet<_> =
        sources.iter().map(|data| served(folder.path(), data)).collect();
    assert_eq!(all.len(), sources.len(), "{all:#?}");
    assert!(all.iter().all(|path| path.starts_with(at("prepared").to_str().unwrap())), "{all:#?}");
    assert_eq!(served(folder.path(), "/a/b"), served(folder.path(), "/a/b"));
}
