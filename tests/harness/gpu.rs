//! GPUs for tests: the two of the emulated driver, or with `CUDA_TEST=real` the machine's own.
//!
//! One real GPU is enough, since it can stand for both. With `CUDA_TEST=real` a missing driver, GPU
//! or NVRTC fails the test; otherwise a missing NVRTC skips it, with a line that says so.

use std::path::{Path, PathBuf};

use cuda_emulator::Nvrtc;
use gpu_worker::backend::cuda::{Cuda, Gpu, Options, Search, usable};

/// The variables and arguments with which a process finds GPUs.
#[derive(Debug, Clone)]
pub struct Gpus {
    nvrtc: Nvrtc,
    /// Folder with the emulated `libcuda.so`, for `LD_LIBRARY_PATH`; None on a real GPU.
    driver: Option<PathBuf>,
    /// The number of the GPU that stands for the second.
    second: usize,
}

impl Gpus {
    /// Prepares GPUs for processes; None, with a line that says so, if NVRTC is not installed.
    ///
    /// # Panics
    /// With `CUDA_TEST=real`, if there is no usable GPU; the message has a remedy.
    pub fn for_processes(folder: &Path) -> Option<Self> {
        let nvrtc = cuda_emulator::nvrtc()?;
        let driver = (!cuda_emulator::is_real()).then(|| {
            let driver = folder.join("driver");
            cuda_emulator::folder(&driver).expect("the test's own folder");
            driver
        });
        let second = second(&nvrtc);
        Some(Self { nvrtc, driver, second })
    }

    /// Two GPUs as `--devices` takes them; a machine's only GPU is named twice.
    pub fn pair(&self) -> &'static str {
        if self.second == 0 { "cuda:0,cuda:0" } else { "cuda:0,cuda:1" }
    }

    /// The second GPU; on a machine with one GPU, that one.
    pub fn second(&self) -> &'static str {
        if self.second == 0 { "cuda:0" } else { "cuda:1" }
    }

    /// Environment of a process with the emulated driver and its settings; empty on a real GPU.
    pub fn environment(&self, settings: &str) -> Vec<(&'static str, String)> {
        let Some(driver) = &self.driver else { return Vec::new() };
        let driver = driver.to_string_lossy().into_owned();
        vec![("CUDA_EMULATOR", settings.to_owned()), ("LD_LIBRARY_PATH", driver)]
    }

    /// The argument `--nvrtc`, unless the program must find it, and a cache shared by all tests.
    pub fn arguments(&self) -> Vec<String> {
        let cache = cuda_emulator::kernel_cache();
        let nvrtc = self.nvrtc.path.iter().flat_map(|path| ["--nvrtc".as_ref(), path.as_path()]);
        let all = nvrtc.chain(["--kernel-cache".as_ref(), cache.as_path()]);
        all.map(|argument: &Path| argument.to_string_lossy().into_owned()).collect()
    }
}

/// Opens the GPU with this number in the test's own process; None, with a line that says so, if
/// NVRTC is not installed.
///
/// # Panics
/// With `CUDA_TEST=real`, if the GPU cannot be used; the message has a remedy.
pub fn open(ordinal: usize) -> Option<Cuda> {
    cuda_emulator::nvrtc().map(|nvrtc| opened(nvrtc, ordinal))
}

/// Opens two GPUs in the test's own process, or a machine's only GPU twice; see [`open`].
pub fn pair() -> Option<[Cuda; 2]> {
    let nvrtc = cuda_emulator::nvrtc()?;
    let second = second(&nvrtc);
    Some([0, second].map(|ordinal| opened(nvrtc.clone(), ordinal)))
}

fn opened(nvrtc: Nvrtc, ordinal: usize) -> Cuda {
    if !cuda_emulator::is_real() {
        cuda_emulator::install();
    }
    let options = Options {
        search: search(nvrtc),
        cache: Some(cuda_emulator::kernel_cache()),
        ..Options::new(Gpu::Ordinal(ordinal))
    };
    Cuda::new(&options).unwrap_or_else(|why| panic!("no GPU to test on: {why}"))
}

/// A search for NVRTC like the program's.
#[expect(clippy::disallowed_methods, reason = "stands in for the program's own main")]
fn search(nvrtc: Nvrtc) -> Search {
    let environment = alexnet::Environment::read(|name| std::env::var_os(name));
    Search { nvrtc: nvrtc.path, ..environment.search }
}

/// The number of the second GPU: the emulated driver has two, a machine perhaps only one.
fn second(nvrtc: &Nvrtc) -> usize {
    if !cuda_emulator::is_real() {
        return 1;
    }
    let found = usable(&search(nvrtc.clone()));
    let found = found.unwrap_or_else(|why| panic!("CUDA_TEST=real: no GPU to test on: {why}"));
    usize::from(found.iter().any(|gpu| gpu.ordinal == 1))
}
