//! Docker for tests: the images of `deploy/Dockerfile`, and runs of the compose files that leave
//! nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tempfile::TempDir;

/// Time limit of each command, in seconds, far longer than any of them needs.
const TIMEOUT_SECONDS: &str = "300";
/// Serializes these tests, since two of them at once would only share the cores.
static ALONE: Mutex<()> = Mutex::new(());

/// A Docker Engine with a compose tool and this source's images.
#[derive(Debug)]
pub struct Docker {
    /// `docker compose` or `docker-compose`.
    compose: &'static [&'static str],
    /// Variables such as `BUILD_BASE` and `RUN_BASE`: the bases of the images.
    bases: Vec<(String, String)>,
    /// Images and their sizes in bytes.
    pub images: Vec<(String, u64)>,
    _alone: MutexGuard<'static, ()>,
}

impl Docker {
    /// Finds Docker; None, with a line that says so, if there is no Docker Engine or no compose
    /// tool.
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's own switch; the program doesn't see it"
    )]
    pub fn here() -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        if std::env::var_os("DOCKER_TEST").is_none() {
            eprintln!("skipped: DOCKER_TEST=1 builds the images and starts containers");
            return None;
        }
        if !succeeds(&["docker", "version"]) {
            eprintln!("skipped: no Docker Engine answers");
            return None;
        }
        let tools: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
        let Some(compose) =
            tools.into_iter().find(|tool| succeeds(&[tool, &["version"][..]].concat()))
        else {
            eprintln!("skipped: neither `docker compose` nor docker-compose is here");
            return None;
        };
        let Some((bases, images)) = built().clone() else {
            eprintln!("skipped: no images; tests/harness/image.sh makes them, or says why not");
            return None;
        };
        Some(Self { compose, bases, images, _alone: alone })
    }

    /// Docker with Compose 1, which ended in 2023 and is still on some machines; None, with a line
    /// that says so, if this machine does not have it.
    pub fn with_compose_1(self) -> Option<Self> {
        let version = Command::new("docker-compose").args(["version", "--short"]).output();
        if !version.is_ok_and(|version| version.stdout.starts_with(b"1.")) {
            eprintln!("skipped: no docker-compose 1 is here");
            return None;
        }
        Some(Self { compose: &["docker-compose"], ..self })
    }

    /// Whether there is an image with NVRTC; prints a line if there is none.
    pub fn has_gpu_image(&self) -> bool {
        let has = self.images.iter().any(|(name, _)| name.ends_with(":gpu"));
        if !has {
            eprintln!("skipped: no NVRTC for the GPU image in target/cuda-tools");
        }
        has
    }

    /// Builds a stage of the Dockerfile in `source`, on the tests' bases, and returns its id.
    pub fn build(&self, target: &str, source: &Path) -> String {
        let file = source.join("deploy/Dockerfile");
        let mut command = Command::new("docker");
        command
            .env("DOCKER_BUILDKIT", "0")
            .args(["build", "--quiet", "--target", target, "--file"]);
        command.arg(file).arg(source);
        if !self.bases.is_empty() {
            command.args(["--network", "none"]);
        }
        for (name, image) in &self.bases {
            command.arg("--build-arg").arg(format!("{name}={image}"));
        }
        let output = command.output().expect("docker starts");
        assert!(output.status.success(), "{target}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Creates a project with a unique name, without starting anything.
    pub fn project(&self, name: &str, files: &[&str], settings: &[(&str, &str)]) -> Project<'_> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("env"), "").expect("an empty .env");
        let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let mut environment = self.bases.clone();
        environment.extend([("IMAGE", "alexnet-test"), ("PORT", "0")].iter().map(own));
        environment.extend(settings.iter().map(own));
        let files = files.iter().map(|file| root().join(file)).collect();
        let name = format!("alexnet-test-{}-{name}", std::process::id());
        Project { docker: self, name, files, environment, folder }
    }
}

/// The settings and images that `image.sh` prints.
type Built = (Vec<(String, String)>, Vec<(String, u64)>);

/// Builds the images, once per process.
fn built() -> &'static Option<Built> {
    static BUILT: OnceLock<Option<Built>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let output = Command::new(root().join("tests/harness/image.sh")).output().expect("bash");
        if !output.status.success() {
            eprintln!("{}", text(&output));
            return None;
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let pairs = |between| said.lines().filter_map(move |line| line.split_once(between));
        let bases = pairs('=').map(|(name, image)| (name.into(), image.into())).collect();
        let images = pairs(' ').map(|(name, size)| (name.into(), size.parse().expect("bytes")));
        Some((bases, images.collect()))
    })
}

/// A compose project, removed completely when dropped.
#[derive(Debug)]
pub struct Project<'a> {
    docker: &'a Docker,
    /// Unique name of the project.
    pub name: String,
    files: Vec<PathBuf>,
    environment: Vec<(String, String)>,
    folder: TempDir,
}

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ended {
    /// Service of the container.
    pub service: String,
    /// Exit code.
    pub code: i32,
    /// Number of restarts.
    pub restarts: u32,
}

impl Project<'_> {
    /// Changes a setting from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Runs the compose tool.
    pub fn compose(&self, args: &[&str]) -> Output {
        let tool = self.docker.compose;
        let mut command = Command::new("timeout");
        command.args([&["--kill-after=20", TIMEOUT_SECONDS], tool].concat());
        command
            .args(["--project-name", &self.name, "--env-file"])
            .arg(self.folder.path().join("env"));
        for file in &self.files {
            command.arg("--file").arg(file);
        }
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.args(args).envs(environment).output().expect("the compose tool starts")
    }

    /// Runs the compose tool, which must succeed, and returns its output.
    pub fn done(&self, args: &[&str]) -> String {
        let output = self.compose(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        text(&output)
    }

    /// The ends of all containers of this project, in order.
    pub fn ended(&self) -> Vec<Ended> {
        let format = "{{index .Config.Labels \"com.docker.compose.service\"}} {{.State.ExitCode}} \
                      {{.RestartCount}} {{.State.Running}}";
        let told = self.containers().into_iter().map(|id| {
            let told = docker(&["inspect", "--format", format, &id]);
            let [service, code, restarts, running]: [&str; 4] =
                told.split_whitespace().collect::<Vec<_>>().try_into().expect("four words");
            assert_eq!(running, "false", "{service} still runs");
            let (code, restarts) = (code.parse().unwrap_or(-1), restarts.parse().unwrap_or(0));
            Ended { service: service.into(), code, restarts }
        });
        let mut ended: Vec<_> = told.collect();
        ended.sort();
        ended
    }

    /// Whether any container of this project is running.
    pub fn is_up(&self) -> bool {
        !docker(&["ps", "--quiet", "--filter", &self.label()]).is_empty()
    }

    /// Runs a command in the container of a running service.
    pub fn inside(&self, service: &str, command: &[&str]) -> Output {
        let filter = format!("label=com.docker.compose.service={service}");
        let ids = docker(&["ps", "-q", "--filter", &self.label(), "--filter", &filter]);
        let id = ids.lines().next().unwrap_or_default();
        Command::new("docker").args(["exec", id]).args(command).output().expect("docker starts")
    }

    /// A copy of the run on its volume.
    pub fn run_dir(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a folder");
        let (from, to) =
            (format!("{}_run:/from:ro", self.name), format!("{}:/to", copy.path().display()));
        let volumes =
            ["run", "--rm", "--network", "none", "--user", "0", "--volume", &from, "--volume", &to];
        docker(
            &[&volumes[..], &["--entrypoint", "cp", "alexnet-test:cpu", "-r", "/from/.", "/to"]]
                .concat(),
        );
        copy
    }

    fn label(&self) -> String {
        format!("label=com.docker.compose.project={}", self.name)
    }

    fn containers(&self) -> Vec<String> {
        let ids = docker(&["ps", "--all", "--quiet", "--filter", &self.label()]);
        ids.lines().map(str::to_owned).collect()
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        let output = self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "5"]);
        if !output.status.success() {
            eprintln!("{} may have left something behind: {}", self.name, text(&output));
        }
    }
}

/// An address of this machine that containers of every network can reach, like another machine's.
#[derive(Debug)]
pub struct Card {
    network: String,
    /// The IP address.
    pub address: String,
}

impl Card {
    /// Takes the gateway of a network without containers.
    pub fn new(name: &str) -> Self {
        let network = format!("alexnet-test-{}-{name}", std::process::id());
        docker(&["network", "create", &network]);
        let format = "{{(index .IPAM.Config 0).Gateway}}";
        let address = docker(&["network", "inspect", "--format", format, &network]);
        Self { network, address }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["network", "rm", &self.network]).output();
    }
}

/// The output of a program, standard output and standard error.
pub fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Runs `docker`, which must succeed, and returns its standard output.
///
/// # Panics
/// If the command fails.
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker starts");
    assert!(output.status.success(), "docker {args:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

fn succeeds(command: &[&str]) -> bool {
    let output = Command::new(command[0]).args(&command[1..]).output();
    output.is_ok_and(|output| output.status.success())
}
