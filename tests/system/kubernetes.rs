//! `deploy/kubernetes`: every overlay rendered by kustomize and checked strictly against the API,
//! and the command lines of its containers, which train to the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program;
use alexnet::CertificateRequest;
use harness::process::{last_step, lives, signal_all, wait};
use model::recipe::Recipe;
use serde_json::Value;

/// The oldest version that the overlays are for, the newest there is, and some between.
const VERSIONS: [&str; 5] = ["1.29", "1.31", "1.33", "1.35", "1.37"];
const OVERLAYS: [&str; 4] = ["cpu", "gpu", "jobset", "kueue"];

/// `deploy/kubernetes` with certificates, and the tools to look at it.
struct Manifests {
    folder: tempfile::TempDir,
    target: PathBuf,
}

impl Manifests {
    /// None, with a line that says why, if the tools are missing.
    fn new() -> Option<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target = repository.join("target");
        if !target.join("kubernetes-tools/bin/kubectl").is_file() {
            eprintln!("skipped: no kubectl in target/; tests/kubernetes/tools.sh fetches it");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let manifests = repository.join("deploy/kubernetes/.");
        let copied = Command::new("cp").arg("-r").arg(manifests).arg(folder.path()).status();
        assert!(copied.unwrap().success());
        let certs = folder.path().join("base/certs");
        let _ = std::fs::remove_dir_all(&certs);
        let now = std::time::SystemTime::now();
        let request = CertificateRequest {
            folder: certs,
            roles: net::Role::ALL.to_vec(),
            renew: false,
            from: now,
            until: now + std::time::Duration::from_secs(3600),
        };
        request.make().unwrap();
        Some(Self { folder, target })
    }

    /// The objects of an overlay or of the base, as YAML; or the error.
    fn render(&self, what: &str) -> Result<String, String> {
        let mut kubectl = Command::new(self.target.join("kubernetes-tools/bin/kubectl"));
        let output = kubectl.arg("kustomize").arg(self.folder.path().join(what)).output().unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Checks objects; returns whether they are right, and what was printed.
    fn check(&self, objects: &str, versions: &[&str]) -> (bool, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/check.py");
        // Kubernetes 1.20 is known to an older release of the same package only.
        let folders = match versions {
            ["1.20"] => vec!["kubernetes-1.20-tools", "kubernetes-tools"],
            _ => vec!["kubernetes-tools"],
        };
        let folders = folders.into_iter().map(|folder| self.target.join(folder));
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", std::env::join_paths(folders).unwrap()).arg(script);
        let file = self.folder.path().join("objects.yaml");
        std::fs::write(&file, objects).unwrap();
        python.args(versions).stdin(std::fs::File::open(file).unwrap());
        let output = python.output().unwrap();
        let both = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&both).into_owned())
    }
}

/// Adds a component to an overlay, as the page in `docs` says.
fn with_component(manifests: &Manifests, overlay: &str, component: &str) {
    let file = manifests.folder.path().join(format!("overlays/{overlay}/kustomization.yaml"));
    let text = std::fs::read_to_string(&file).unwrap();
    let listed = format!("components: [../../components/{component}, ");
    let added = match text.contains("components: [") {
        true => text.replace("components: [", &listed),
        false => format!("{text}{listed}]\n"),
    };
    std::fs::write(file, added).unwrap();
}

#[test]
fn every_overlay_is_right_for_five_versions_of_kubernetes() {
    let Some(manifests) = Manifests::new() else { return };
    let right = |what: &str, versions: &[&str]| {
        let (right, said) = manifests.check(&manifests.render(what).unwrap(), versions);
        assert!(right, "{what}: {said}");
    };
    right("base", &["1.20"]);
    right("base", &VERSIONS);
    OVERLAYS.iter().for_each(|overlay| right(&format!("overlays/{overlay}"), &VERSIONS));
    for component in ["monitoring", "pictures"] {
        for overlay in ["cpu", "jobset"] {
            with_component(&manifests, overlay, component);
            right(&format!("overlays/{overlay}"), &VERSIONS);
        }
    }
    let pictures = manifests.render("overlays/jobset").unwrap();
    assert!(pictures.contains("claimName: alexnet-pictures"), "{pictures}");
    let claim = manifests.folder.path().join("overlays/jobset/claim.yaml");
    let (is_right, said) = manifests.check(&std::fs::read_to_string(claim).unwrap(), &VERSIONS);
    assert!(is_right, "{said}");
}

#[test]
fn a_misspelt_key_a_wrong_name_and_missing_certificates_are_noticed() {
    let Some(manifests) = Manifests::new() else { return };
    for (overlay, key, wrong) in [
        ("cpu", "readOnlyRootFilesystem", "readOnlyRootFilesytem"),
        ("jobset", "readOnlyRootFilesystem", "readOnlyRootFilesytem"),
        ("gpu", "terminationGracePeriodSeconds", "terminationGracePeriod"),
        ("cpu", "port: health", "port: helth"),
        ("cpu", "$(DEVICE)", "$(DEVISE)"),
        ("kueue", "RestartJob", "RestartOneJob"),
        ("jobset", "key: worker-key.pem", "key: worker.key"),
    ] {
        let rendered = manifests.render(&format!("overlays/{overlay}")).unwrap();
        let misspelt = rendered.replace(key, wrong);
        assert_ne!(misspelt, rendered, "{key}");
        let (right, said) = manifests.check(&misspelt, &["1.29"]);
        let named = wrong.trim_start_matches("port: ").trim_start_matches("key: ");
        let says = said.contains(named) || said.contains("asks a port that is not there");
        assert!(!right && says, "{wrong}: {said}");
    }
    std::fs::remove_file(manifests.folder.path().join("base/certs/worker-key.pem")).unwrap();
    let said = manifests.render("overlays/cpu").unwrap_err();
    assert!(said.contains("certs/worker-key.pem"), "{said}");
}

/// A container of the rendered objects as a process: its command line, with what Kubernetes would
/// put in place.
struct Container {
    name: String,
    args: Vec<String>,
}

fn containers(objects: &str, target: &Path) -> Vec<Container> {
    let read = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let mut python = Command::new("python3");
    python.args(["-c", read]).env("PYTHONPATH", target.join("kubernetes-tools"));
    let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), objects.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    let objects: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let settings = objects.iter().find(|one| one["kind"] == "ConfigMap").unwrap();
    let settings: BTreeMap<String, String> =
        serde_json::from_value(settings["data"].clone()).unwrap();
    let mut found = Vec::new();
    for one in &objects {
        let pod = &one["spec"]["template"]["spec"];
        let Some(containers) = pod["containers"].as_array() else { continue };
        for container in containers {
            let args: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
            let filled = args.into_iter().map(|arg| {
                let fill = |arg: String, (name, value): (&String, &String)| {
                    arg.replace(&format!("$({name})"), value)
                };
                settings.iter().fold(arg, fill)
            });
            for replica in 0..one["spec"]["replicas"].as_u64().unwrap() {
                let name = format!("{}-{replica}", container["name"].as_str().unwrap());
                found.push(Container { name, args: filled.clone().collect() });
            }
        }
    }
    found
}

/// `GET` of a page of plain HTTP: status and content.
fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    std::io::Write::write_all(&mut stream, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .ok()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).ok()?;
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, text.split_once("\r\n\r\n")?.1.trim().to_owned()))
}

/// The containers of the base as processes of this machine: all become ready and train. The
/// coordinator is asked to stop and started again, as when its pod moves, and the others find it.
/// All stay after the end, and end when they are asked to.
#[test]
fn the_command_lines_of_the_pods_train_to_the_end_and_answer_probes() {
    let Some(manifests) = Manifests::new() else { return };
    let folder = manifests.folder.path();
    let recipe = folder.join("small.toml");
    let patient = Recipe { patience: 1_000_000, ..harness::small::recipe() };
    std::fs::write(&recipe, patient.to_toml()).unwrap();
    let base = manifests.render("base").unwrap();
    let base = base
        .replace("RECIPE: demo", &format!("RECIPE: {}", recipe.display()))
        .replace("EPOCHS: \"14\"", "EPOCHS: \"20\"")
        .replace("STOPPED_CODE: \"0\"", "STOPPED_CODE: \"75\"")
        .replace("synthetic:72", "synthetic:72:200:40");
    let ports = harness::slurm::free_ports(1);
    let coordinator = format!("127.0.0.1:{}", ports[0]);
    let run = folder.join("run");
    let here = |arg: &String| match arg.split_once("=0.0.0.0:") {
        Some((listen, "4000")) => format!("{listen}={coordinator}"),
        Some((option, _)) => format!("{option}=127.0.0.1:0"),
        None => arg
            .replace("alexnet-coordinator:4000", &coordinator)
            .replace("/run/alexnet", &run.display().to_string()),
    };
    let start = |container: &Container| {
        let path = folder.join(&container.name);
        let log = std::fs::File::options().create(true).append(true).open(path).unwrap();
        let mut command = Command::new(program());
        command.args(container.args.iter().map(here)).env("NO_COLOR", "1");
        command.env("ALEXNET_CERTS", folder.join("base/certs"));
        command.stdout(log.try_clone().unwrap()).stderr(log);
        (container.name.clone(), command.spawn().unwrap())
    };
    let containers = containers(&base, &manifests.target);
    let mut started: Vec<_> = containers.iter().map(start).collect();
    let log = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    assert_eq!(started.len(), 6, "a coordinator, three workers, two loaders");
    for (name, _) in &started {
        let mut health = None;
        wait(&format!("health of {name}"), || {
            let text = log(name);
            let line = text.lines().find_map(|line| line.strip_prefix("health http://"));
            health = line.map(str::to_owned);
            health.is_some()
        });
        let health = health.unwrap();
        wait(&format!("{name} to be ready"), || {
            get(&health, "/readyz").is_some_and(|(status, _)| status == 200)
        });
        assert_eq!(get(&health, "/livez").unwrap(), (200, "live".into()), "{name}");
        assert_eq!(get(&health, "/").unwrap().0, 404);
    }

    wait("some steps", || last_step(&run) > 20);
    let moved = started.iter().position(|(name, _)| name.starts_with("coordinator")).unwrap();
    let (name, mut child) = started.remove(moved);
    signal_all(&[child.id()], "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(75), "{}", log(&name));
    assert!(log(&name).contains("stopped after step"), "{}", log(&name));
    started.push(start(containers.iter().find(|one| one.name == name).unwrap()));
    wait("the end of the run", || log(&name).contains("finished after step 250"));
    assert!(log(&name).contains("250 steps to do"), "{}", log(&name));

    let pids: Vec<_> = started.iter().map(|(_, child)| child.id()).collect();
    assert!(pids.iter().all(|pid| lives(*pid)), "all stay after the end");
    signal_all(&pids, "TERM");
    for (name, mut child) in started {
        let code = if name.starts_with("coordinator") { 0 } else { 75 };
        assert_eq!(child.wait().unwrap().code(), Some(code), "{name}: {}", log(&name));
    }
}

/// On a whole Kubernetes of this machine; see `tests/kubernetes/prove.sh`.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own switch; the program doesn't see it")]
fn pods_that_are_deleted_at_random_cost_no_bit() {
    if std::env::var_os("KUBERNETES_TEST").is_none() {
        return eprintln!("skipped: KUBERNETES_TEST=1 builds Kubernetes and trains on it");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/prove.sh");
    assert!(Command::new(script).status().unwrap().success());
}
