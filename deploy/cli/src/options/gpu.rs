//! The libraries of a GPU and the cache of its compiled kernels.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use gpu_worker::backend::cuda::{Gpu, Options, Search};

use crate::environment::Environment;

/// Options of every process that may use a GPU.
#[derive(Debug, Clone, Args)]
pub(crate) struct GpuArgs {
    /// NVRTC library that compiles the GPU kernels, or its folder [default: search for it]
    ///
    /// The file is named libnvrtc.so, libnvrtc.so.12, libnvrtc.so.13 or later. Without this option,
    /// the newest NVRTC that is not newer than the driver and knows the card is used. The search
    /// covers LD_LIBRARY_PATH; the system's library path; the wheels nvidia-cuda-nvrtc (CUDA 13)
    /// and nvidia-cuda-nvrtc-cu12 (CUDA 12) of the active Python environment, of ~/.local and of
    /// every python3 on PATH; conda; and toolkits in /usr/local/cuda* and /opt/cuda*.
    #[arg(long, value_name = "PATH")]
    nvrtc: Option<PathBuf>,

    /// Keep compiled kernels in this folder [default: ~/.cache/alexnet/kernels]
    #[arg(long, value_name = "DIR")]
    kernel_cache: Option<PathBuf>,

    /// Treat a device without progress for longer than this as hung and restart the worker
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = gpu_worker::Config::DEVICE_DEADLINE.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    device_deadline: u64,
}

impl GpuArgs {
    /// The places to search for NVRTC.
    pub(crate) fn search(&self, environment: &Environment) -> Search {
        Search { nvrtc: self.nvrtc.clone(), ..environment.search.clone() }
    }

    /// The folder of compiled kernels, if there is a place for one.
    pub(crate) fn kernel_cache(&self, environment: &Environment) -> Option<PathBuf> {
        let default = || Some(environment.cache.as_ref()?.join("alexnet").join("kernels"));
        self.kernel_cache.clone().or_else(default)
    }

    /// The options with which a process opens a GPU.
    pub(crate) fn open(&self, environment: &Environment, gpu: Gpu) -> Options {
        Options {
            search: self.search(environment),
            cache: self.kernel_cache(environment),
            ..Options::new(gpu)
        }
    }

    /// Writes the values into a worker's configuration.
    pub(crate) fn set(&self, environment: &Environment, config: &mut gpu_worker::Config) {
        config.search = self.search(environment);
        config.kernel_cache = self.kernel_cache(environment);
        config.device_deadline = Duration::from_secs(self.device_deadline);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_kept_where_the_options_or_else_the_environment_say() {
        let environment = Environment { cache: Some("/c".into()), ..Environment::default() };
        let mut gpu = GpuArgs { nvrtc: None, kernel_cache: None, device_deadline: 1 };
        assert_eq!(gpu.kernel_cache(&environment), Some("/c/alexnet/kernels".into()));
        assert_eq!(gpu.kernel_cache(&Environment::default()), None);
        gpu.kernel_cache = Some("/mine".into());
        assert_eq!(gpu.kernel_cache(&environment), Some("/mine".into()));
    }
}
