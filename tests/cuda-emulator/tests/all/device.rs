//! Helpers for tests: the installed driver, kernels, memory, launches, and child processes.

use cuda_emulator::{NAME, Settings, tools};
use cudarc::driver::sys::CUresult;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaStream, LaunchConfig, PushKernelArg, result,
};
use cudarc::nvrtc::{CompileOptions, Ptx, compile_ptx_with_opts};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::panic::Location;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

/// The result of a driver call.
pub(crate) type Outcome<T> = Result<T, CUresult>;

/// Devices of this process, taken in turn. Nothing may break one: faults happen in children.
const DEVICES: usize = 64;

/// Opens the next device.
pub(crate) fn context() -> Arc<CudaContext> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    install();
    let n_devices = CudaContext::device_count().unwrap() as usize;
    CudaContext::new(NEXT.fetch_add(1, Relaxed) % n_devices).unwrap()
}

/// Puts the driver in place, once, with many devices that take all PTX; a test's parent may say
/// otherwise.
pub(crate) fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        if !is_set(NAME) {
            let settings = Settings { devices: DEVICES, arch: 120, ..Settings::default() };
            // SAFETY: before the driver is there nobody else reads or writes the environment.
            unsafe { std::env::set_var(NAME, settings.to_string()) };
        }
        cuda_emulator::install();
    });
}

#[expect(clippy::disallowed_methods, reason = "a child is told by its environment that it is one")]
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

/// Runs `body`, written in a test, in a process of its own and gives what that said; `None` in
/// there.
///
/// Errors break a device for good, some settings hold for a whole process, and standard error can
/// only be read from outside: so the test starts itself again. In there the test ends with `body`:
/// a test has one place that calls this.
#[track_caller]
pub(crate) fn child<F: FnOnce()>(settings: impl ToString, body: F) -> Option<String> {
    let settings = settings.to_string();
    const INSIDE: &str = "CUDA_EMULATOR_CHILD";
    if is_set(INSIDE) {
        install();
        body();
        return None;
    }
    // A closure's type is called after the function it is written in:
    // all::theme::test::{{closure}}.
    let (_, path) = std::any::type_name::<F>().split_once("::").unwrap();
    let (test, _) = path.split_once("::{{closure}}").unwrap();
    static PLACES: Mutex<BTreeMap<&str, u32>> = Mutex::new(BTreeMap::new());
    let line = Location::caller().line();
    assert_eq!(*PLACES.lock().unwrap().entry(test).or_insert(line), line, "{test}: a second child");
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(NAME, &settings)
        .env(INSIDE, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let heard = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && heard.contains("1 passed"), "{settings}:\n{heard}{said}");
    Some(said)
}

/// A context, a stream of its own, and a module.
pub(crate) struct Device {
    pub(crate) context: Arc<CudaContext>,
    pub(crate) stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
}

impl Device {
    /// Loads PTX on the next device.
    pub(crate) fn of_ptx(text: impl Into<String>) -> Self {
        Self::on(context(), text)
    }

    /// Loads PTX on a device that is open.
    pub(crate) fn on(context: Arc<CudaContext>, text: impl Into<String>) -> Self {
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

    /// Memory that holds `values`; it is never given back.
    pub(crate) fn upload<T>(&self, values: &[T]) -> u64 {
        let at = self.blank(size_of_val(values));
        // SAFETY: so many bytes were just allocated.
        unsafe { result::memcpy_htod_sync(at, values) }.unwrap();
        at
    }

    /// Memory nobody has written.
    pub(crate) fn blank(&self, bytes: usize) -> u64 {
        self.context.bind_to_thread().unwrap();
        // SAFETY: nobody reads it before it is written, unless to be caught.
        unsafe { result::malloc_sync(bytes) }.unwrap()
    }

    pub(crate) fn download<T: Copy + Default>(&self, at: u64, n: usize) -> Outcome<Vec<T>> {
        let mut values = vec![T::default(); n];
        // SAFETY: `T` is a number, of which any bits are one; the driver checks the address.
        unsafe { result::memcpy_dtoh_sync(&mut values, at) }.map_err(|error| error.0)?;
        Ok(values)
    }

    /// Launches kernel `name` and waits for it; every parameter is given as 64 bits.
    pub(crate) fn launch(&self, name: &str, grid: u32, block: u32, args: &[u64]) -> Outcome<()> {
        self.launch_with(name, shape(grid, block), args)
    }

    pub(crate) fn launch_with(&self, name: &str, shape: LaunchConfig, args: &[u64]) -> Outcome<()> {
        self.enqueue(&self.stream, name, shape, args)?;
        self.stream.synchronize().map_err(|error| error.0)
    }

    /// Launches on a stream, without waiting.
    pub(crate) fn enqueue(
        &self,
        stream: &Arc<CudaStream>,
        name: &str,
        shape: LaunchConfig,
        args: &[u64],
    ) -> Outcome<()> {
        let function = self.module.load_function(name).map_err(|error| error.0)?;
        let mut call = stream.launch_builder(&function);
        args.iter().for_each(|arg| {
            call.arg(arg);
        });
        // SAFETY: no parameter is wider than 64 bits, and what a kernel may do wrong is caught.
        unsafe { call.launch(shape) }.map(drop).map_err(|error| error.0)
    }
}

pub(crate) fn shape(grid: u32, block: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (grid, 1, 1), block_dim: (block, 1, 1), shared_mem_bytes: 0 }
}

/// PTX with one kernel `k`: its parameters, 64 bits each, are in `%a0`, `%a1` …, the thread in `%t`
/// and four times its place in the grid in `%o`; `%p`, `%h`, `%r`, `%rd`, `%f` and `%d` are free.
pub(crate) fn kernel(n_params: usize, body: &str) -> String {
    let params: Vec<String> = (0..n_params).map(|i| format!(".param .u64 a{i}")).collect();
    let loads: String = (0..n_params).map(|i| format!("ld.param.u64 %a{i}, [a{i}];\n")).collect();
    format!(
        ".version 7.8\n.target sm_80\n.address_size 64\n\
         .visible .entry k({}) {{\n\
         .reg .pred %p<8>; .reg .b16 %h<16>; .reg .b32 %r<32>; .reg .b32 %t; .reg .b64 %a<8>;\n\
         .reg .b64 %o; .reg .b64 %rd<32>; .reg .f32 %f<32>; .reg .f64 %d<16>;\n\
         {loads}mov.u32 %t, %tid.x;\nmov.u32 %r30, %ctaid.x;\nmov.u32 %r31, %ntid.x;\n\
         mad.lo.u32 %r31, %r30, %r31, %t;\nmul.wide.u32 %o, %r31, 4;\n\
         {body}\nret;\n}}\n",
        params.join(", ")
    )
}

/// CUDA C to PTX; `None` where there is no NVRTC.
pub(crate) fn compile(source: &str, arch: &'static str) -> Option<String> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    install();
    if !FOUND.get_or_init(load_nvrtc) {
        return None;
    }
    let options = CompileOptions { arch: Some(arch), ..CompileOptions::default() };
    Some(compile_ptx_with_opts(source, options).unwrap().to_src())
}

/// Loads NVRTC before cudarc looks for it, which then finds this one.
fn load_nvrtc() -> bool {
    let Some(tools) = tools() else { return false };
    let path = tools.join("nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: NVRTC runs no code when loaded that needs anything from here.
    !unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) }.is_null()
}
