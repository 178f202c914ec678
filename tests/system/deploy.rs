//! The image and the compose files, in containers. Skipped where there is no Docker Engine.

use std::path::Path;

use harness::cluster::shards;
use harness::docker::{Card, Docker, Ended, Project, docker, root, text};
use harness::process::wait;

const CPU: &str = "deploy/compose.cpu.yaml";
const GPU: &str = "deploy/compose.yaml";
/// The image beside its base: program, C library's little, script.
const LARGEST_IMAGE: u64 = 200_000_000;

/// Everyone left with code 0, and nobody was started twice.
fn assert_all_ended_well(project: &Project, said: &str) {
    for Ended { service, code, restarts } in project.ended() {
        assert_eq!((code, restarts), (0, 0), "{service}: {said}");
    }
}

fn services(project: &Project) -> Vec<String> {
    project.ended().into_iter().map(|ended| ended.service).collect()
}

fn refused(project: &Project, args: &[&str], says: &[&str]) {
    let output = project.compose(args);
    let said = text(&output);
    for word in says {
        assert!(said.contains(word), "{args:?} should mention {word:?}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn the_image_holds_the_program_and_nothing_of_the_tests() {
    let Some(docker_here) = Docker::here() else { return };
    for (image, bytes) in &docker_here.images {
        eprintln!("{image}: {} MB", bytes / 1_000_000);
        if image.ends_with(":cpu") {
            assert!(*bytes < LARGEST_IMAGE, "{image} has {bytes} bytes");
        }
        let run = |entry: &[&str]| {
            let args = ["run", "--rm", "--network", "none", "--user", "0", "--entrypoint"];
            docker(&[&args[..], &entry[..1], &[image], &entry[1..]].concat())
        };
        let user = docker(&["image", "inspect", "--format", "{{.Config.User}}", image]);
        assert_eq!(user, "10001", "{image} runs as another user");
        assert!(run(&["alexnet", "--version"]).contains(env!("CARGO_PKG_VERSION")));
        let names =
            ["(", "-iname", "*emulator*", "-o", "-name", "Cargo.*", "-o", "-name", "*.rs", ")"];
        let find = ["find", "/", "-xdev", "-path", "/proc", "-prune", "-o"];
        assert_eq!(run(&[&find[..], &names, &["-print"]].concat()), "", "left in {image}");
        let program = ["grep", "-c", "-a", "-e", "CUDA_EMULATOR", "/usr/local/bin/alexnet"];
        let found = std::process::Command::new("docker")
            .args([&["run", "--rm", "--entrypoint", program[0], image][..], &program[1..]].concat())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), "0", "the emulator in {image}");
    }
}

/// Every own crate has a new line, and still the layer with all others' crates is the one that is
/// there.
#[test]
fn a_changed_source_compiles_no_dependency_again() {
    let Some(docker_here) = Docker::here() else { return };
    let folder = tempfile::tempdir().unwrap();
    let homes = [
        "proto",
        "proto/model",
        "proto/net",
        "loader",
        "loader/picture",
        "gpu-worker",
        "coordinator",
        "deploy/cli",
    ];
    let copy = "tar -c .dockerignore Cargo.* tests/Cargo.toml tests/cuda-emulator/Cargo.toml deploy proto \
                loader gpu-worker coordinator | tar -x -C \"$0\"";
    let mut sh = std::process::Command::new("sh");
    let copied = sh.args(["-c", copy]).arg(folder.path()).current_dir(root()).output().unwrap();
    assert!(copied.status.success(), "{}", text(&copied));
    for home in homes {
        let file = folder.path().join(home).join("src/lib.rs");
        let changed = std::fs::read_to_string(&file).unwrap() + "// changed\n";
        std::fs::write(file, changed).unwrap();
    }
    let there = docker(&["image", "inspect", "--format", "{{.Id}}", "alexnet-test:dependencies"]);
    assert_eq!(docker_here.build("dependencies", folder.path()), there);
}

#[test]
fn the_demonstration_trains_to_its_end_is_stopped_and_resumes_with_any_number_of_loaders() {
    let Some(docker_here) = Docker::here() else { return };
    // Long enough that a stop, which takes Compose seconds, comes in mid-run.
    const STEPS: u64 = 1000;
    let steps = STEPS.to_string();
    let settings = [("STEPS", &*steps), ("SET", "batch=32"), ("CHECKPOINT_EVERY", "10000")];
    let disturbed = docker_here.project("disturbed", &[CPU], &settings);
    disturbed.done(&["up", "--detach"]);
    wait("a step in containers", || {
        let status = disturbed.inside("coordinator", &["alexnet", "status", "localhost:4000"]);
        text(&status).lines().any(|line| line.starts_with("progress"))
    });
    let said = disturbed.done(&["stop"]);
    assert_all_ended_well(&disturbed, &said);
    let stopped_at = newest_step(disturbed.run_dir().path());
    assert!((1..STEPS).contains(&stopped_at), "stopped in mid-run, at step {stopped_at}");
    disturbed.done(&["down"]);
    let said = disturbed.done(&["up"]);
    assert_all_ended_well(&disturbed, &said);
    for words in ["steps to do of 1,000", "  loss ", " images/s", " left", "finished after step"] {
        assert!(said.contains(words), "a person sees no {words:?}: {said}");
    }
    assert_eq!(services(&disturbed), ["coordinator", "loader", "worker-a", "worker-b"]);

    let many = docker_here.project("many", &[CPU], &settings);
    let said = many.done(&["up", "--scale", "loader=3"]);
    assert_all_ended_well(&many, &said);
    assert_eq!(services(&many).len(), 6);
    let (one, three) = (disturbed.run_dir(), many.run_dir());
    assert_eq!(newest_step(one.path()), STEPS);
    assert!(
        shards(one.path(), STEPS) == shards(three.path(), STEPS),
        "resumed or three loaders: other bits"
    );

    // A finished run says so, and everyone leaves.
    let said = many.done(&["up"]);
    assert!(said.contains("already finished"), "{said}");
    assert_all_ended_well(&many, &said);
    questions(&many);
}

#[test]
fn compose_1_still_trains_the_demonstration() {
    let Some(docker_here) = Docker::here().and_then(Docker::with_compose_1) else { return };
    let settings = [("STEPS", "3"), ("SET", "batch=32")];
    let project = docker_here.project("compose-1", &[CPU], &settings);
    let said = project.done(&["up"]);
    assert_all_ended_well(&project, &said);
}

/// Asks the questions that people ask about a run on a volume.
fn questions(project: &Project) {
    let said = project.done(&["run", "--rm", "eval"]);
    assert!(said.contains("top-1 error"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.png");
    image::RgbImage::from_fn(72, 72, |x, y| image::Rgb([3 * x as u8, 2 * y as u8, 9]))
        .save(&picture)
        .unwrap();
    let volume = format!("{}:/pictures", folder.path().display());
    let said = project.done(&["run", "--rm", "--volume", &volume, "predict", "picture.png"]);
    assert!(said.matches('%').count() >= 5, "{said}");
    let export = ["run", "--rm", "--user", "0", "--volume", &volume, "export", "out.safetensors"];
    project.done(&export);
    let bytes = std::fs::read(folder.path().join("out.safetensors")).unwrap();
    assert_eq!(safetensors::SafeTensors::deserialize(&bytes).unwrap().len(), 17);
    // No coordinator answers any more: the run directory does.
    let said = project.done(&["run", "--rm", "status"]);
    for words in ["finished", "step 1,000/1,000", "loss ", "to continue"] {
        assert!(said.contains(words), "{words:?} should be in {said}");
    }
}

#[test]
fn the_gpu_file_trains_on_an_emulated_driver() {
    let Some(docker_here) = Docker::here() else { return };
    if !docker_here.has_gpu_image() {
        return;
    }
    let emulator = cuda_emulator::library().to_string_lossy().into_owned();
    let settings =
        [("GPUS", "roles.yaml"), ("EMULATOR", &emulator), ("SET", "batch=16"), ("STEPS", "3")];
    let files = [GPU, "tests/system/emulated-gpus.yaml"];
    let project = docker_here.project("gpu", &files, &settings);
    let said = project.done(&["up"]);
    assert_all_ended_well(&project, &said);
    let run = project.run_dir();
    assert_eq!(newest_step(run.path()), 3);
    let record = std::fs::read_to_string(run.path().join("run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let devices = record["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2, "{record}");
    for device in devices {
        assert!(device.as_str().unwrap().contains("cuda:0"), "{record}");
    }
}

#[test]
fn own_pictures_are_prepared_once_and_bad_ones_are_reported() {
    let Some(docker_here) = Docker::here() else { return };
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("own");
    pictures(&own);
    let own = own.to_string_lossy().into_owned();
    let settings = [("RECIPE", "demo"), ("SET", "batch=16"), ("STEPS", "2"), ("DATA", &own)];
    let mut project = docker_here.project("own", &[CPU], &settings);
    let said = project.done(&["up", "--scale", "loader=2"]);
    assert_all_ended_well(&project, &said);
    assert_eq!(said.matches("is not prepared yet").count(), 1, "{said}");
    project.set("STEPS", "3");
    let said = project.done(&["up"]);
    assert_all_ended_well(&project, &said);
    assert_eq!(said.matches("is not prepared yet").count(), 0, "{said}");
    assert_eq!(newest_step(project.run_dir().path()), 3);

    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let empty = empty.to_string_lossy().into_owned();
    project.set("RESTART", "no");
    project.set("DATA", &empty);
    refused(&project, &["run", "--rm", "loader"], &[&empty, "empty folder", "train/<class>"]);
    let nowhere = folder.path().join("nowhere").to_string_lossy().into_owned();
    project.set("DATA", &nowhere);
    refused(&project, &["run", "--rm", "loader"], &[&nowhere, "does not exist"]);
}

#[test]
fn a_missing_gpu_and_a_port_in_use_are_reported() {
    let Some(docker_here) = Docker::here() else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let project = docker_here.project("taken", &[CPU], &[("PORT", &port)]);
    refused(&project, &["up", "--no-deps", "coordinator"], &[&port, "in use"]);
    if !docker_here.has_gpu_image() {
        return;
    }
    // Reserved where Docker has none to give; not reserved, and no driver in the container.
    let project = docker_here.project("no-gpu", &[GPU], &[]);
    refused(&project, &["run", "--rm", "worker-a"], &["could not select device driver", "gpu"]);
    let project = docker_here.project("no-driver", &[GPU], &[("GPUS", "roles.yaml")]);
    refused(&project, &["run", "--rm", "worker-a"], &["cuda:0", "no NVIDIA driver", "--gpus"]);
}

/// Each machine is a project on its own network, which the other's containers can't reach except
/// through published ports, with certificates. The bits are those of one machine.
#[test]
fn two_machines_train_the_same_weights_as_one() {
    let Some(docker_here) = Docker::here() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    pictures(&folder.path().join("own"));
    let certs = harness::certs::certificates(folder.path(), "certs");
    for file in std::fs::read_dir(&certs).unwrap() {
        std::os::unix::fs::chown(file.unwrap().path(), Some(10001), None).unwrap();
    }
    std::os::unix::fs::chown(&certs, Some(10001), None).unwrap();
    let volume = format!("{}:/here", folder.path().display());
    let alone = |args: &[&str]| {
        let run = ["run", "--rm", "--network", "none", "--user", "0", "--volume", &volume];
        docker(&[&run[..], &["alexnet-test:cpu"], args].concat())
    };
    alone(&["prepare", "/here/own", "/here/prepared", "--side", "72"]);
    let whole = ["up", "--data", "/here/prepared", "--recipe", "demo", "--epochs", "80"];
    alone(&[&whole[..], &["--run", "/here/one"]].concat());

    let (card_a, card_b) = (Card::new("card-a"), Card::new("card-b"));
    let (data, certs) = (path("prepared"), certs.to_string_lossy().into_owned());
    let settings = |card: &Card| {
        let image = "alexnet-test:cpu".to_string();
        [("ALEXNET_IMAGE", image), ("RECIPE", "demo".into()), ("EPOCHS", "80".into())]
            .into_iter()
            .chain([("HOST_A", card_a.address.clone()), ("HOST_B", card_b.address.clone())])
            .chain([("DATA", data.clone()), ("CERTS", certs.clone())])
            .chain([("PUBLISH", card.address.clone())])
            .collect::<Vec<_>>()
    };
    let project = |name, card: &Card| {
        let own = settings(card);
        let settings: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        docker_here.project(name, &[&format!("deploy/two-machines/{}.yaml", name)], &settings)
    };
    let (a, b) = (project("a", &card_a), project("b", &card_b));
    b.done(&["up", "--detach"]);
    let said = a.done(&["up"]);
    wait("machine B's end", || !b.is_up());
    assert_eq!(services(&a), ["coordinator", "loader", "worker"]);
    assert_eq!(services(&b), ["loader", "worker"]);
    // B's may have come before there was a coordinator, and been started again until there was.
    let ended = a.ended().into_iter().chain(b.ended());
    ended.for_each(|ended| assert_eq!(ended.code, 0, "{}: {said}", ended.service));
    let run = a.run_dir();
    let step = newest_step(run.path());
    assert_eq!(step, 20, "{said}");
    let one = folder.path().join("one");
    assert!(shards(run.path(), step) == shards(&one, step), "other bits than on one machine");
}

/// The step of the newest checkpoint.
fn newest_step(run: &Path) -> u64 {
    let checkpoints = std::fs::read_dir(run.join("checkpoints")).unwrap().flatten();
    let steps = checkpoints.filter_map(|entry| {
        entry.path().join("manifest.json").is_file().then_some(())?;
        entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok()
    });
    steps.max().unwrap_or(0)
}

/// Made-up pictures of two classes, as a person has them.
fn pictures(folder: &Path) {
    for (split, class) in [("train", 0), ("train", 1), ("val", 0), ("val", 1)] {
        let at = folder.join(format!("{split}/class{class}"));
        std::fs::create_dir_all(&at).unwrap();
        for i in 0..8_u32 {
            let color = |x, y| [x * (class + 1) + i * 37, y, x + y].map(|v| v as u8);
            let picture = image::RgbImage::from_fn(80, 80, |x, y| image::Rgb(color(x, y)));
            picture.save(at.join(format!("{i}.png"))).unwrap();
        }
    }
}
