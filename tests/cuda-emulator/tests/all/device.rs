//! What tests need: the driver in place, NVRTC where there is one.

use cuda_emulator::{NAME, Settings};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream};
use cudarc::nvrtc::{CompileOptions, Ptx, compile_ptx_with_opts};
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Opens a device nobody else in this process uses: an error breaks it for good.
pub(crate) fn context() -> Arc<CudaContext> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    install();
    CudaContext::new(NEXT.fetch_add(1, Relaxed)).expect("there are more devices than tests")
}

/// Puts the driver in place, once, with many devices that take all PTX; a test's parent may say otherwise.
pub(crate) fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        if std::env::var_os(NAME).is_none() {
            let settings = Settings { devices: 64, arch: 120, ..Settings::default() };
            // SAFETY: before the driver is there nobody else reads or writes the environment.
            unsafe { std::env::set_var(NAME, settings.to_string()) };
        }
        cuda_emulator::install();
    });
}

/// A context, a stream of its own, and a module.
pub(crate) struct Device {
    pub(crate) context: Arc<CudaContext>,
    pub(crate) stream: Arc<CudaStream>,
    pub(crate) module: Arc<CudaModule>,
}

impl Device {
    /// Loads PTX on a fresh device.
    pub(crate) fn of_ptx(text: impl Into<String>) -> Self {
        let context = context();
        let stream = context.new_stream().unwrap();
        let module = context.load_module(Ptx::from_src(text.into())).unwrap();
        Self { context, stream, module }
    }

    /// Compiles CUDA C for `arch`; `None` where there is no NVRTC.
    pub(crate) fn of_cuda(source: &str, arch: &'static str) -> Option<Self> {
        Some(Self::of_ptx(compile(source, arch)?))
    }

    pub(crate) fn function(&self, name: &str) -> CudaFunction {
        self.module.load_function(name).unwrap()
    }
}

/// CUDA C to PTX; `None` where there is no NVRTC.
pub(crate) fn compile(source: &str, arch: &'static str) -> Option<String> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    install();
    if !FOUND.get_or_init(|| nvrtc().is_some_and(|path| load(&path))) {
        return None;
    }
    let options = CompileOptions { arch: Some(arch), ..CompileOptions::default() };
    Some(compile_ptx_with_opts(source, options).unwrap().to_src())
}

fn nvrtc() -> Option<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/cuda-tools");
    #[expect(clippy::disallowed_methods, reason = "a test's main is the test")]
    let said = std::env::var("CUDA_TOOLS").ok().map(PathBuf::from);
    let folders = [said, Some(here), Some("/tmp/cuda-tools".into())];
    folders
        .into_iter()
        .flatten()
        .map(|folder| folder.join("nvidia/cuda_nvrtc/lib/libnvrtc.so.12"))
        .find(|path| path.is_file())
}

fn load(path: &Path) -> bool {
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: NVRTC runs no code when loaded that needs anything from here.
    !unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) }.is_null()
}
