//! GPUs for tests: the emulated driver, or with `CUDA_TEST=real` the machine's own; and NVRTC.

use std::path::{Path, PathBuf};

use gpu_worker::backend::cuda::{Cuda, Gpu, Options, Search};

/// What a process needs to find GPUs: variables and arguments.
#[derive(Debug, Clone)]
pub struct Gpus {
    /// The wheels' folder.
    pub tools: PathBuf,
    /// Folder with `libcuda.so`, for `LD_LIBRARY_PATH`; None on a real GPU.
    driver: Option<PathBuf>,
}

impl Gpus {
    /// For processes; None, with a line that says so, where NVRTC is not installed.
    pub fn for_processes(folder: &Path) -> Option<Self> {
        let tools = cuda_emulator::tools()?;
        let driver = (!cuda_emulator::is_real()).then(|| {
            let driver = folder.join("driver");
            cuda_emulator::folder(&driver).expect("the test's own folder");
            driver
        });
        Some(Self { tools, driver })
    }

    /// Environment of a process with this emulated driver and its settings.
    pub fn environment(&self, settings: &str) -> Vec<(&'static str, String)> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let mut variables = vec![("CUDA_EMULATOR", settings.to_owned())];
        variables.extend(self.driver.iter().map(|driver| ("LD_LIBRARY_PATH", path(driver))));
        variables
    }

    /// `--nvrtc` and a cache that all tests share.
    pub fn arguments(&self) -> Vec<String> {
        let nvrtc = self.tools.join("nvidia/cuda_nvrtc/lib");
        ["--nvrtc", &nvrtc.to_string_lossy(), "--kernel-cache", &kernel_cache().to_string_lossy()]
            .map(String::from)
            .into()
    }
}

/// The GPU with this number in the test's own process; None, with a line that says so, where NVRTC
/// is not installed.
pub fn open(ordinal: usize) -> Option<Cuda> {
    let tools = cuda_emulator::tools()?;
    if !cuda_emulator::is_real() {
        cuda_emulator::install();
    }
    let options = Options {
        search: Search { nvrtc: Some(tools.join("nvidia/cuda_nvrtc/lib")), ..Search::default() },
        cache: Some(kernel_cache()),
        ..Options::new(Gpu::Ordinal(ordinal))
    };
    Some(Cuda::new(&options).expect("a GPU"))
}

fn kernel_cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/kernel-cache")
}
