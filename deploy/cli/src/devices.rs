//! Which device each half gets, and where the GPU's libraries are.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use gpu_worker::Device;
use gpu_worker::backend::cuda::{self, Search};

use crate::certs::CERTS_VARIABLE;
use crate::say;

mod pythons; // on PATH

/// Folders in which toolkits lie.
const TOOLKITS: [&str; 2] = ["/usr/local", "/opt"];
/// The cache of the system's dynamic loader.
const LOADER_CACHE: &str = "/etc/ld.so.cache";

/// What the program reads of its environment.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `RUST_LOG`: what is logged.
    pub rust_log: Option<String>,
    /// `ALEXNET_CERTS`: a folder of certificates.
    pub certs: Option<PathBuf>,
    /// Where programs keep what they can make again: compiled kernels.
    pub cache: Option<PathBuf>,
    /// Places to search for NVRTC.
    pub search: Search,
}

impl Environment {
    /// From the values of environment variables.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME");
        let in_home = |folder| home.as_ref().map(|home| home.join(folder));
        let active = [path("VIRTUAL_ENV"), path("CONDA_PREFIX"), in_home(".local")];
        let on_path = variable("PATH").map(|path| pythons::on_path(&path)).unwrap_or_default();
        let system = ["/usr/local", "/usr"].map(PathBuf::from);
        let library_path = variable("LD_LIBRARY_PATH").unwrap_or_default();
        let folders = std::env::split_paths(&library_path);
        Self {
            rust_log: variable("RUST_LOG").and_then(|value| value.into_string().ok()),
            certs: path(CERTS_VARIABLE),
            cache: path("XDG_CACHE_HOME").or_else(|| in_home(".cache")),
            search: Search {
                nvrtc: None,
                library_path: folders.filter(|folder| !folder.as_os_str().is_empty()).collect(),
                loader_cache: Some(LOADER_CACHE.into()),
                pythons: active.into_iter().flatten().chain(on_path).chain(system).collect(),
                toolkits: TOOLKITS.map(PathBuf::from).into(),
            },
        }
    }
}

/// Where a GPU's kernels are compiled and kept.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct GpuArgs {
    /// NVRTC, which compiles the kernels: the library (libnvrtc.so, libnvrtc.so.12, libnvrtc.so.13 or
    /// later) or the folder it lies in [default: of all that are found, the newest that is not newer
    /// than the driver and knows the card. Found are those on LD_LIBRARY_PATH and the system's
    /// library path, in the wheels nvidia-cuda-nvrtc (CUDA 13) and nvidia-cuda-nvrtc-cu12 (CUDA 12)
    /// of the active Python environment, of ~/.local and of every python3 on PATH, in conda, and in
    /// toolkits in /usr/local/cuda* and /opt/cuda*]
    #[arg(long, value_name = "PATH")]
    pub nvrtc: Option<PathBuf>,
    /// Where compiled kernels are kept [default: ~/.cache/alexnet/kernels]
    #[arg(long, value_name = "DIR")]
    pub kernel_cache: Option<PathBuf>,
    /// A GPU that doesn't come back from a call for so long counts as broken; its worker ends, to be
    /// started again
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    pub device_deadline: u64,
    #[arg(skip)]
    search: Search,
}

impl GpuArgs {
    /// Fills in what the environment says.
    pub(crate) fn settle(&mut self, environment: &Environment) {
        let default = || Some(environment.cache.as_ref()?.join("alexnet").join("kernels"));
        self.kernel_cache = self.kernel_cache.take().or_else(default);
        self.search.clone_from(&environment.search);
    }

    /// Where NVRTC may be.
    pub(crate) fn search(&self) -> Search {
        Search { nvrtc: self.nvrtc.clone(), ..self.search.clone() }
    }

    /// The same for a child's command line.
    pub(crate) fn typed(&self) -> Vec<OsString> {
        let put = |name: &str, path: &Option<PathBuf>| -> Vec<OsString> {
            path.iter().flat_map(|path| [name.into(), path.into()]).collect()
        };
        let deadline = ["--device-deadline".into(), self.device_deadline.to_string().into()];
        [put("--nvrtc", &self.nvrtc), put("--kernel-cache", &self.kernel_cache), deadline.into()]
            .concat()
    }
}

/// The devices of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Devices {
    /// One a half, as a worker's `--device` takes it.
    pub names: Vec<String>,
    /// Why these, where nobody chose.
    pub why: Option<String>,
}

/// One device a half. `auto` takes the GPUs if the driver and NVRTC are there, else shares the
/// CPU's cores out.
///
/// # Errors
/// If what was typed is no list of devices, or not one for each half.
pub(crate) fn devices(typed: &str, columns: usize, gpu: &GpuArgs) -> Result<Devices> {
    if typed == "auto" {
        return Ok(auto(columns, cuda::usable(&gpu.search())));
    }
    let names: Vec<String> = typed.split(',').map(|device| device.trim().to_owned()).collect();
    if names.len() != columns {
        bail!(
            "--devices {typed} names {}, the recipe has {}: write one for each, such as {}",
            say::count(names.len() as u64, "device", "devices"),
            say::count(columns as u64, "column", "columns"),
            vec!["cpu"; columns].join(",")
        );
    }
    for device in &names {
        // What isn't there is better said here than in ten restarts of a worker.
        if let Device::Cuda(wanted) = device.parse()? {
            cuda::check(&wanted, &gpu.search())?;
        }
    }
    Ok(Devices { names, why: None })
}

fn auto(columns: usize, found: gpu_worker::Result<Vec<cuda::Found>>) -> Devices {
    match found {
        Ok(gpus) => {
            // With fewer GPUs than halves they share: slower than two, faster than a CPU.
            let taken = (0..columns).map(|i| &gpus[i % gpus.len()]);
            let here = say::count(gpus.len() as u64, "GPU", "GPUs");
            let first = &gpus[0].name;
            let shared = if gpus.len() < columns { ", which the halves share" } else { "" };
            Devices {
                names: taken.map(|gpu| format!("cuda:{}", gpu.ordinal)).collect(),
                why: Some(format!("{here} here ({first}){shared}")),
            }
        }
        Err(error) => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            let why = match error {
                gpu_worker::Error::Device { why, .. }
                | gpu_worker::Error::DeviceUnusable { why, .. } => why,
                other => other.to_string(),
            };
            // The advice to use the CPU is already taken.
            let why = why.trim_end_matches(", or use cpu").to_owned();
            let threads = (cores / columns).max(1);
            Devices { names: vec![format!("cpu:{threads}"); columns], why: Some(why) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(n: usize) -> gpu_worker::Result<Vec<cuda::Found>> {
        let gpu = |ordinal| cuda::Found {
            ordinal,
            name: "H".into(),
            uuid: "GPU-0".into(),
            capability: 90,
            memory: 1 << 34,
        };
        Ok((0..n).map(gpu).collect())
    }

    #[test]
    fn every_column_has_its_device() {
        let devices = |typed, columns| devices(typed, columns, &GpuArgs::default());
        assert_eq!(devices("cpu,cpu:2", 2).unwrap().names, ["cpu", "cpu:2"]);
        let said = devices("cpu", 2).unwrap_err().to_string();
        assert!(said.contains("1 device") && said.contains("cpu,cpu"), "{said}");
        assert!(devices("tpu,cpu", 2).is_err());
    }

    #[test]
    fn auto_takes_gpus_where_they_are_and_says_why_not_where_they_are_not() {
        assert_eq!(auto(2, found(3)).names, ["cuda:0", "cuda:1"]);
        let shared = auto(2, found(1));
        assert_eq!(shared.names, ["cuda:0", "cuda:0"]);
        assert!(shared.why.unwrap().contains("share"));
        let why = "no driver; install it, or use cpu".to_owned();
        let none = auto(2, Err(gpu_worker::Error::Device { device: "auto".into(), why }));
        assert!(none.names.iter().all(|name| name.starts_with("cpu:")));
        assert_eq!(none.why.unwrap(), "no driver; install it");
    }

    #[test]
    fn the_environment_says_where_wheels_and_caches_are() {
        let variables = |name: &str| match name {
            "HOME" => Some("/home/a".into()),
            "VIRTUAL_ENV" => Some("/v".into()),
            "XDG_CACHE_HOME" => Some("".into()),
            "LD_LIBRARY_PATH" => Some("/a::/b".into()),
            _ => None,
        };
        let environment = Environment::read(variables);
        assert_eq!(environment.cache, Some("/home/a/.cache".into()));
        let pythons = ["/v", "/home/a/.local", "/usr/local", "/usr"].map(PathBuf::from);
        assert_eq!(environment.search.pythons, pythons);
        assert_eq!(environment.search.library_path, ["/a", "/b"].map(PathBuf::from));
        let mut gpu = GpuArgs::default();
        gpu.settle(&environment);
        let typed = ["--kernel-cache", "/home/a/.cache/alexnet/kernels", "--device-deadline", "0"];
        assert_eq!(gpu.typed(), typed);
    }
}
