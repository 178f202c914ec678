//! NVRTC: found in every way in which people have it, the right one of several taken, its refusals
//! final, and the same kernels and bits from CUDA 12's and CUDA 13's.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::program;
use alexnet::Environment;
use gpu_worker::backend::cuda::compile::{Compiler, OLDEST};
use gpu_worker::backend::cuda::program::PROGRAMS;
use gpu_worker::backend::cuda::{Candidate, Needs, Place, Search, Version, install_nvrtc, survey};
use harness::cluster::shards;
use harness::gpu::Gpus;
use harness::process::small_run;

/// A PTX version that is later than any: the emulated driver takes what every NVRTC makes.
const ANY_PTX: &str = "ptx_version=999";

/// The folders of the installed NVRTC 12.9 and 13; None, with a line that says so, where one isn't.
fn installed() -> Option<(PathBuf, PathBuf)> {
    if cuda_emulator::only_emulated("NVRTC is looked for on made-up machines") {
        return None;
    }
    let twelve = cuda_emulator::tools()?.join("nvidia/cuda_nvrtc/lib");
    let thirteen = cuda_emulator::tools_13()?.join("nvidia/cu13/lib");
    Some((twelve, thirteen))
}

/// A made-up machine: a folder that stands for `/`, with links to the installed NVRTCs.
struct Machine {
    root: tempfile::TempDir,
    twelve: PathBuf,
    thirteen: PathBuf,
}

impl Machine {
    fn new() -> Option<Self> {
        let (twelve, thirteen) = installed()?;
        Some(Self { root: tempfile::tempdir().unwrap(), twelve, thirteen })
    }

    fn path(&self, at: &str) -> PathBuf {
        self.root.path().join(at)
    }

    /// Links a library of `from` and its builtins into the folder `at`, under other names.
    fn link(&self, from: &Path, at: &str, names: &[(&str, &str)]) {
        let folder = self.path(at);
        std::fs::create_dir_all(&folder).unwrap();
        for (file, name) in names {
            symlink(from.join(file), folder.join(name)).unwrap();
        }
    }

    /// The wheel of CUDA 12, with the second build and the builtins that must not be taken.
    fn wheel_12(&self, packages: &str) {
        let (nvrtc, builtins) = ("libnvrtc.so.12", "libnvrtc-builtins.so.12.9");
        let names = [(nvrtc, nvrtc), (builtins, builtins), (builtins, "libnvrtc.alt.so.12")];
        self.link(&self.twelve, &format!("{packages}/nvidia/cuda_nvrtc/lib"), &names);
    }

    /// The wheel of CUDA 13.
    fn wheel_13(&self, packages: &str) {
        let (nvrtc, builtins) = ("libnvrtc.so.13", "libnvrtc-builtins.so.13.5");
        let names = [(nvrtc, nvrtc), (builtins, builtins), (builtins, "libnvrtc.alt.so.13")];
        self.link(&self.thirteen, &format!("{packages}/nvidia/cu13/lib"), &names);
    }

    /// Adds the other folders that PyTorch's wheels bring.
    fn pytorch(&self, packages: &str, cublas: &str) {
        let folder = self.path(packages).join(cublas);
        std::fs::create_dir_all(self.path(packages).join("torch/lib")).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("libcublas.so"), "").unwrap();
    }

    /// The search of a process in this environment, whose values are folders under the root; none
    /// of the real machine's folders is in it.
    fn search(&self, environment: &[(&str, &str)]) -> Search {
        let variable = |name: &str| -> Option<OsString> {
            let (_, at) = environment.iter().find(|(known, _)| *known == name)?;
            Some(self.path(at).into())
        };
        let search = Environment::read(variable).search;
        let is_made_up = |path: &PathBuf| path.starts_with(self.root.path());
        Search {
            pythons: search.pythons.into_iter().filter(is_made_up).collect(),
            library_path: search.library_path.into_iter().filter(is_made_up).collect(),
            loader_cache: Some(self.path("etc/ld.so.cache")),
            toolkits: vec![self.path("usr/local"), self.path("opt")],
            nvrtc: None,
        }
    }
}

/// The candidate that a search takes, for a driver and a GPU that suit all candidates.
fn taken(search: &Search) -> Candidate {
    let needs = Needs { driver: Some(Version { major: 99, minor: 0 }), capability: Some(80) };
    let found = survey(search, needs);
    let taken: Vec<_> = found.iter().filter(|c| c.verdict.is_taken()).collect();
    assert_eq!(taken.len(), 1, "{found:#?}");
    assert_eq!(found.len(), 1, "a companion was taken for NVRTC: {found:#?}");
    taken[0].clone()
}

fn assert_found(search: &Search, major: i32, place: Place, way: &str) {
    let taken = taken(search);
    let version = taken.version.unwrap();
    assert_eq!((version.major, taken.place), (major, place), "{way}: {taken}");
}

const PACKAGES: &str = "lib/python3.12/site-packages";

#[test]
fn the_wheel_of_cuda_12_is_found_in_an_active_environment_the_home_and_conda() {
    for (variable, packages) in [
        ("VIRTUAL_ENV", format!("x/{PACKAGES}")),
        ("HOME", format!("x/.local/{PACKAGES}")),
        ("CONDA_PREFIX", format!("x/{PACKAGES}")),
    ] {
        let Some(machine) = Machine::new() else { return };
        machine.wheel_12(&packages);
        assert_found(&machine.search(&[(variable, "x")]), 12, Place::Wheel, variable);
    }
    let Some(machine) = Machine::new() else { return };
    machine.link(&machine.twelve, "conda/lib", &[("libnvrtc.so.12", "libnvrtc.so.12.9.86")]);
    let search = machine.search(&[("CONDA_PREFIX", "conda")]);
    assert_found(&search, 12, Place::Conda, "conda's own package");
}

#[test]
fn the_wheel_of_cuda_13_is_found_in_an_active_environment() {
    let Some(machine) = Machine::new() else { return };
    machine.wheel_13(&format!("venv/{PACKAGES}"));
    assert_found(&machine.search(&[("VIRTUAL_ENV", "venv")]), 13, Place::Wheel, "wheel");
}

#[test]
fn the_nvrtc_of_pytorch_is_found_with_wheels_of_cuda_13_and_of_cuda_12() {
    let packages = format!("venv/{PACKAGES}");
    let Some(machine) = Machine::new() else { return };
    machine.wheel_13(&packages);
    machine.pytorch(&packages, "nvidia/cu13/lib");
    assert_found(&machine.search(&[("VIRTUAL_ENV", "venv")]), 13, Place::Wheel, "CUDA 13");
    let Some(machine) = Machine::new() else { return };
    machine.wheel_12(&packages);
    machine.pytorch(&packages, "nvidia/cublas/lib");
    assert_found(&machine.search(&[("VIRTUAL_ENV", "venv")]), 12, Place::Wheel, "CUDA 12");
}

#[test]
fn nvrtc_is_named_by_its_folder_or_by_its_file() {
    let Some((twelve, thirteen)) = installed() else { return };
    for (named, major) in [
        (twelve.clone(), 12),
        (twelve.join("libnvrtc.so.12"), 12),
        (thirteen.clone(), 13),
        (thirteen.join("libnvrtc.so.13"), 13),
    ] {
        let search = Search { nvrtc: Some(named), ..Search::default() };
        assert_found(&search, major, Place::Named, "--nvrtc");
    }
}

#[test]
fn a_runtime_library_is_found_on_the_library_path_and_in_the_loaders_cache() {
    let Some(machine) = Machine::new() else { return };
    machine.link(&machine.thirteen, "cuda/lib", &[("libnvrtc.so.13", "libnvrtc.so.13")]);
    let search = machine.search(&[("LD_LIBRARY_PATH", "cuda/lib")]);
    assert_found(&search, 13, Place::LibraryPath, "LD_LIBRARY_PATH");

    let Some(machine) = Machine::new() else { return };
    machine.link(&machine.thirteen, "cuda/lib", &[("libnvrtc.so.13", "libnvrtc.so.13")]);
    let listed = |name: &str| machine.path("cuda/lib").join(name).to_string_lossy().into_owned();
    // The real cache: a header and a table of numbers, then names and paths, each ended by a zero.
    let names = ["libnvrtc-builtins.so.13.5", "libnvrtc.so.13"].map(|n| [n.into(), listed(n)]);
    let cache = ["glibc-ld.so.cache1.1\u{1}".into(), names.concat().join("\0"), String::new()];
    std::fs::create_dir_all(machine.path("etc")).unwrap();
    std::fs::write(machine.path("etc/ld.so.cache"), cache.join("\0")).unwrap();
    assert_found(&machine.search(&[]), 13, Place::System, "ld.so.cache");
}

#[test]
fn a_toolkit_is_found_whatever_its_version() {
    for folder in [
        "usr/local/cuda/lib64",
        "usr/local/cuda-13.5/lib64",
        "usr/local/cuda-13.5/targets/x86_64-linux/lib",
        "opt/cuda/lib64",
    ] {
        let Some(machine) = Machine::new() else { return };
        let names = ["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.13.5.37"];
        machine.link(&machine.thirteen, folder, &names.map(|name| ("libnvrtc.so.13", name)));
        assert_found(&machine.search(&[]), 13, Place::Toolkit, folder);
    }
}

#[test]
fn the_wheel_of_an_environment_that_is_not_active_is_found_by_its_python_on_the_path() {
    let Some(machine) = Machine::new() else { return };
    machine.wheel_13(&format!("venv/{PACKAGES}"));
    for bin in ["base/bin", "venv/bin"] {
        std::fs::create_dir_all(machine.path(bin)).unwrap();
    }
    std::fs::write(machine.path("base/bin/python3"), "").unwrap();
    symlink(machine.path("base/bin/python3"), machine.path("venv/bin/python3")).unwrap();
    assert_found(&machine.search(&[("PATH", "venv/bin")]), 13, Place::Wheel, "PATH");
}

/// A file that is of no use does not hide one that is; without either, both wheels are named.
#[test]
fn without_a_usable_nvrtc_the_error_says_what_to_install() {
    let Some(machine) = Machine::new() else { return };
    let refused = |search: &Search| Compiler::new("cuda:0", 80, search).unwrap_err().to_string();
    let search = machine.search(&[("VIRTUAL_ENV", "venv")]);
    let wheels = ["nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12", "--nvrtc"];
    let assert_says = |said: String, more: &str| {
        for words in wheels.iter().chain([&more]) {
            assert!(said.contains(words), "{words}? {said}");
        }
    };
    assert_says(refused(&search), "NVRTC, which compiles the kernels, was not found: ");
    let wheel = machine.path(&format!("venv/{PACKAGES}/nvidia/cuda_nvrtc/lib"));
    std::fs::create_dir_all(&wheel).unwrap();
    std::fs::copy(cuda_emulator::library(), wheel.join("libnvrtc.so.12")).unwrap();
    assert_says(refused(&search), "this is not NVRTC");
    let named = Search { nvrtc: Some(machine.path("venv")), ..Search::default() };
    assert_says(refused(&named), "this folder has no libnvrtc.so, libnvrtc.so.12, libnvrtc.so.13");

    machine.wheel_13(&format!("venv/{PACKAGES}"));
    assert_eq!(Compiler::new("cuda:0", 80, &search).unwrap().taken().version.unwrap().major, 13);
}

#[test]
fn the_recommended_wheel_is_not_newer_than_the_driver() {
    let advised = |major, minor| install_nvrtc(Some(Version { major, minor }));
    assert!(advised(12, 4).starts_with("pip install 'nvidia-cuda-nvrtc-cu12<12.5'"));
    assert!(advised(13, 1).starts_with("pip install 'nvidia-cuda-nvrtc<13.2'"));
    assert!(advised(11, 8).starts_with("install a driver of CUDA 12.0 or later"));
    for said in [advised(12, 4), advised(13, 1), advised(11, 8), install_nvrtc(None)] {
        assert!(said.contains("nvidia-cuda-nvrtc-cu12"), "{said}");
        assert!(
            said.contains("nvidia-cuda-nvrtc ") || said.contains("nvidia-cuda-nvrtc<"),
            "{said}"
        );
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// One step of the small network on two emulated GPUs, with an environment that has these
/// packages active: what the first worker's log says of NVRTC.
fn said_of_nvrtc(gpus: &Gpus, settings: &str, machine: &Machine, environment: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(program())
        .args(small_run(folder.path()))
        .args(["--steps", "1", "--devices", "cuda:0,cuda:1"])
        .args(&gpus.arguments()[2..]) // the cache, and no --nvrtc
        .envs(gpus.environment(settings))
        .env("VIRTUAL_ENV", machine.path(environment))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let log = std::fs::read_to_string(folder.path().join("run/logs/worker-0.log")).unwrap();
    let line = log.lines().find(|line| line.contains("taken")).expect("what was taken");
    line.to_owned()
}

/// The emulated machine, and a folder with its driver; None, with a line that says so, where
/// NVRTC is missing or the driver is real.
fn emulated() -> Option<(Machine, tempfile::TempDir, Gpus)> {
    let machine = Machine::new()?;
    let folder = tempfile::tempdir().unwrap();
    let gpus = Gpus::for_processes(folder.path())?;
    Some((machine, folder, gpus))
}

#[test]
fn the_newest_nvrtc_that_the_driver_accepts_is_taken_and_the_log_says_why() {
    let Some((machine, _folder, gpus)) = emulated() else { return };
    machine.wheel_12(&format!("both/{PACKAGES}"));
    machine.wheel_13(&format!("both/{PACKAGES}"));
    for (driver, version, why) in [
        ("12090", "12.9", "taken, the newest that is not newer than the driver (CUDA 12.9)"),
        // A driver of CUDA 13 is accepted; NVRTC 13.5 is newer than this one.
        ("13010", "12.9", "taken, the newest that is not newer than the driver (CUDA 13.1)"),
        ("13050", "13.5", "taken, the newest that is not newer than the driver (CUDA 13.5)"),
    ] {
        let settings = format!("driver={driver},{ANY_PTX}");
        let said = said_of_nvrtc(&gpus, &settings, &machine, "both");
        assert!(said.contains(why) && said.contains(version), "driver {driver}: {said}");
        assert!(said.contains("INFO") && said.contains("compute capability 8.0"), "{said}");
    }
}

#[test]
fn an_nvrtc_newer_than_the_driver_is_taken_with_a_warning_if_there_is_no_other() {
    let Some((machine, _folder, gpus)) = emulated() else { return };
    machine.wheel_13(&format!("one/{PACKAGES}"));
    let said = said_of_nvrtc(&gpus, &format!("driver=13010,{ANY_PTX}"), &machine, "one");
    assert!(said.contains("WARN") && said.contains("13.5"), "{said}");
    assert!(said.contains("taken for lack of one that is not newer than the driver"), "{said}");
}

/// NVRTC 13.0 has no such path; here 12.9 loses its own.
#[test]
fn an_nvrtc_that_does_not_look_beside_itself_finds_its_builtins() {
    let Some((machine, folder, gpus)) = emulated() else { return };
    let builtins = "libnvrtc-builtins.so.12.9";
    machine.link(&machine.twelve, "plain", &[(builtins, builtins)]);
    let mut library = std::fs::read(machine.twelve.join("libnvrtc.so.12")).unwrap();
    let path = b"$ORIGIN";
    let at = library.windows(path.len()).position(|bytes| bytes == path).expect("a RUNPATH");
    library[at..at + path.len()].copy_from_slice(b"/nobody");
    let nvrtc = machine.path("plain/libnvrtc.so.12");
    std::fs::write(&nvrtc, library).unwrap();
    // Compiled anew: a cache would hide what a compilation needs.
    let output = Command::new(program())
        .args(small_run(folder.path()))
        .args(["--steps", "1", "--devices", "cuda:0,cuda:1", "--nvrtc"])
        .arg(&nvrtc)
        .arg("--kernel-cache")
        .arg(machine.path("cache"))
        .envs(gpus.environment(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// A new worker would be refused in the same way, so none is started.
#[test]
fn a_driver_that_refuses_the_kernels_ends_the_run_at_once_with_the_remedy() {
    let Some((_machine, folder, gpus)) = emulated() else { return };
    let output = Command::new(program())
        .args(small_run(folder.path()))
        .args(["--steps", "1", "--devices", "cuda:0,cuda:1"])
        .args(gpus.arguments())
        .envs(gpus.environment("ptx_version=70"))
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(!said.contains("restarting it"), "{said}");
    let refused = "the driver (CUDA 12.9) refuses";
    assert_eq!(said.matches(refused).count(), 1, "{said}");
    for words in ["CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "install a newer driver", "pip install"] {
        assert!(said.contains(words), "{words}? {said}");
    }
    for worker in ["worker-0", "worker-1"] {
        let log = folder.path().join(format!("run/logs/{worker}.log"));
        let log = std::fs::read_to_string(log).unwrap();
        assert!(log.matches(refused).count() <= 1, "{worker} was started again:\n{log}");
    }
}

/// To machine code, which checks what an architecture's assembler takes.
#[test]
fn every_kernel_compiles_with_both_nvrtcs_for_every_architecture_that_each_knows() {
    let Some((twelve, thirteen)) = installed() else { return };
    let compile = |folder: &Path| {
        let search = Search { nvrtc: Some(folder.to_owned()), ..Search::default() };
        let known = Compiler::new("test", 80, &search).unwrap().taken().architectures.clone();
        let known: Vec<u32> = known.into_iter().filter(|arch| *arch >= OLDEST).collect();
        for arch in &known {
            let compiler = Compiler::new("test", *arch, &search).unwrap();
            for program in PROGRAMS {
                let compiled = compiler.compile(program.name, &program.text(None).unwrap());
                let compiled = compiled.unwrap_or_else(|why| panic!("sm_{arch}: {why}"));
                let code = compiled.cubin.unwrap_or_default();
                assert!(!code.is_empty(), "{}.cu for sm_{arch}", program.name);
            }
        }
        eprintln!("{}: all programs for {known:?}", folder.display());
        assert!(known.len() >= 7, "{known:?}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| compile(&twelve));
        compile(&thirteen);
    });
}

/// On few pictures, since the emulated driver would take minutes to evaluate all of them.
#[test]
fn the_demonstration_has_the_same_bits_with_both_nvrtcs() {
    let Some((twelve, thirteen)) = installed() else { return };
    let folder = tempfile::tempdir().unwrap();
    let Some(gpus) = Gpus::for_processes(folder.path()) else { return };
    let run = |name: &str, nvrtc: &Path| {
        let run = folder.path().join(name);
        let output = Command::new(program())
            .args(["up", "--recipe", "demo", "--data", "synthetic:72:64:8"])
            .args(["--set", "batch=16", "--steps", "2"])
            .args(["--devices", "cuda:0,cuda:1", "--run"])
            .arg(&run)
            .arg("--nvrtc")
            .arg(nvrtc)
            .args(&gpus.arguments()[2..])
            .envs(gpus.environment(ANY_PTX))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let record = std::fs::read_to_string(run.join("run.json")).unwrap();
        assert!(record.contains(&format!("NVRTC {name}")), "{record}");
        shards(&run, 2)
    };
    assert!(run("12.9", &twelve) == run("13.5", &thirteen), "other bits");
}
