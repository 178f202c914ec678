//! One CUDA device and our own kernels on it.
//!
//! Every operation is a launch, or a few, on one compute stream; numbers come and go on a stream
//! each beside it (`transfer.rs`). All kernels add in a fixed order and use no atomics on floats:
//! the bits are the same every run. This file is the list of operations; each has its own file
//! here and in `gpu-worker/kernels`, with its twin in [`super::cpu`].

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes as Piece;
use cudarc::driver::sys::{CUevent_flags, CUresult};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError};
use model::recipe::Encoding;
use tracing::{info, warn};

use super::{Backend, Buffers, Download};
use crate::error::{Error, Result};
use crate::ops::{Conv, Fc};
use crate::watch::Watch;

pub mod device; // which GPUs are here
pub mod libraries; // libcuda and NVRTC, found at run time
mod search; // for NVRTC's files
mod choice; // of one of several NVRTCs
pub mod measure; // free memory, page-locked copies, peers
mod nvrtc; // the library's functions
pub mod compile; // with it
mod cache; // what it made, on disk
pub mod program; // the kernels' texts, loaded on the device
mod memory; // buffers, and every check of a length
mod pinned; // page-locked host memory
mod launch; // one kernel launch
mod transfer;
mod input;
pub mod gemm; // what convolution and fully-connected layers share
pub mod conv;
pub mod fc;
mod reduce; // the sums of split-K products
mod bias;
mod activation;
mod lrn;
mod pool;
mod lrn_pool; // the two above as one
mod dropout;
mod scale;
mod add;
mod softmax;
mod sgd;

pub use choice::{Candidate, Needs, Verdict, Version};
pub use device::{Found, Gpu};
pub use libraries::{driver_version, install_nvrtc, survey};
pub use memory::{Bytes, Floats};
pub use search::{Place, Search};

/// Options for opening a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The GPU to open.
    pub gpu: Gpu,
    /// Places to search for NVRTC.
    pub search: Search,
    /// Folder for compiled kernels; None keeps none.
    pub cache: Option<PathBuf>,
    /// Kernels to be read instead of the built-in ones: files as in `gpu-worker/kernels`.
    pub kernels: Option<PathBuf>,
}

impl Options {
    /// The built-in kernels on `gpu`, compiled at every start.
    pub fn new(gpu: Gpu) -> Self {
        Self { gpu, search: Search::default(), cache: None, kernels: None }
    }
}

/// One CUDA device.
#[derive(Debug)]
pub struct Cuda {
    /// As asked for: `cuda:0`.
    label: String,
    name: String,
    watch: Watch,
    // In the order in which they must go: memory before streams before the context.
    scratch: memory::Scratch,
    slots: transfer::Slots,
    programs: program::Programs,
    compute: Arc<CudaStream>,
    up: Arc<CudaStream>,
    down: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

impl Cuda {
    /// Opens the device, compiles and loads the kernels, takes some memory for transfers.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver's library or the device is missing,
    /// [`Error::DeviceUnusable`] if NVRTC or a new enough driver is, with what to do;
    /// [`Error::DeviceFull`] if the device has no room; [`Error::Kernel`] if a kernel doesn't
    /// compile.
    pub fn new(options: &Options) -> Result<Self> {
        let label = options.gpu.to_string();
        let (found, compiler) = fitting(&options.gpu, &options.search)?;
        tell(compiler.taken());
        let context = device::open(&found, &label)?;
        // SAFETY: the streams are ordered by our own events: see transfer.rs, the only file that
        // uses another stream than `compute`, from which all memory is taken.
        unsafe { context.disable_event_tracking() };
        let stream = || context.new_stream().map_err(fault(&label, "new stream"));
        let (compute, up, down) = (stream()?, stream()?, stream()?);
        let folder = options.kernels.as_deref();
        let programs =
            program::Programs::load(&context, &label, &compiler, options.cache.as_deref(), folder)?;
        let (major, minor) = (found.capability / 10, found.capability % 10);
        // All that decides bits: run.json keeps it.
        let name = format!(
            "{label} ({}, compute capability {major}.{minor}, NVRTC {})",
            found.name,
            compiler.version()
        );
        info!(device = name, uuid = found.uuid, "opened");
        let mut dev = Self {
            label,
            name,
            watch: Watch::default(),
            scratch: memory::Scratch::default(),
            slots: transfer::Slots::default(),
            programs,
            compute,
            up,
            down,
            context,
        };
        transfer::reserve(&mut dev, transfer::USUAL.0, transfer::USUAL.1)?;
        Ok(dev)
    }
}

impl Cuda {
    /// Makes a call that comes back once the device has got somewhere.
    fn waited<T>(&self, call: impl FnOnce() -> T) -> T {
        let _call = self.watch.call();
        call()
    }

    /// Bytes of the device's memory that are free, and all of it.
    ///
    /// # Errors
    /// The driver's.
    pub fn memory(&self) -> Result<(usize, usize)> {
        self.context.mem_get_info().map_err(fault(&self.label, "memory"))
    }
}

/// Says in the log which NVRTC is taken and why.
fn tell(taken: &Candidate) {
    let (path, why) = (taken.path.display(), &taken.verdict);
    let version = taken.version.map(tracing::field::display);
    match taken.verdict {
        Verdict::LastResort(_) => warn!(version, %path, place = %taken.place, %why, "NVRTC"),
        _ => info!(version, %path, place = %taken.place, %why, "NVRTC"),
    }
}

/// Stops unless `gpu` can be used: driver, device and NVRTC are there and fit each other.
///
/// # Errors
/// As [`Cuda::new`], without opening the device.
pub fn check(gpu: &Gpu, search: &Search) -> Result<Found> {
    Ok(fitting(gpu, search)?.0)
}

fn fitting(gpu: &Gpu, search: &Search) -> Result<(Found, compile::Compiler)> {
    let found = device::find(gpu)?;
    let compiler = compile::Compiler::new(&gpu.to_string(), found.capability, search)?;
    Ok((found, compiler))
}

/// The GPUs here that can be used; never empty.
///
/// # Errors
/// Why none can.
pub fn usable(search: &Search) -> Result<Vec<Found>> {
    let (mut usable, mut why) = (Vec::new(), None);
    for found in device::list("auto")? {
        match check(&Gpu::Ordinal(found.ordinal), search) {
            Ok(found) => usable.push(found),
            Err(error) => why = Some(error),
        }
    }
    why.filter(|_| usable.is_empty()).map_or(Ok(usable), Err)
}

/// Explains an error of the driver, noticed while `doing`; it may belong to an earlier launch.
fn fault<'a>(device: &'a str, doing: &'a str) -> impl Fn(DriverError) -> Error + 'a {
    move |why| match why.0 {
        // Not a broken device: a new process would find it as full.
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::Device {
            device: device.into(),
            why: format!(
                "no room for {doing}; end what else runs on it (nvidia-smi lists it), or take fewer images at once (--set batch=…)"
            ),
        },
        _ => Error::DeviceFault { device: device.into(), doing: doing.into(), why: explain(why) },
    }
}

/// The driver's own words; the library must be there.
fn explain(why: DriverError) -> String {
    let name = why.error_name().map(|name| name.to_string_lossy().into_owned());
    let text = why.error_string().map(|text| text.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{name}: {text}"),
        _ => format!("error {} of the driver", why.0 as u32),
    }
}

impl Buffers for Cuda {
    type Floats = Floats;
    type Bytes = Bytes;
}

impl Backend for Cuda {
    type Mark = CudaEvent;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn floats(&mut self, tensor: &'static str, len: usize) -> Result<Floats> {
        Floats::zeros(self, tensor, len)
    }

    fn bytes(&mut self, tensor: &'static str, len: usize) -> Result<Bytes> {
        Bytes::zeros(self, tensor, len)
    }

    fn reserve(&mut self, conv: Option<&Conv>, fc: Option<&Fc>, batch: usize) -> Result<()> {
        let convs = conv.map_or(0, |conv| conv::scratch_len(conv, batch));
        let fcs = fc.map_or(0, |fc| fc::scratch_len(fc, batch));
        self.with_scratch(convs.max(fcs), |_, _| Ok(()))
    }

    fn reserve_transfers(&mut self, len: usize, n: usize) -> Result<()> {
        transfer::reserve(self, len, n)
    }

    fn watch(&self) -> &Watch {
        &self.watch
    }

    fn upload(
        &mut self,
        from: &[Piece],
        encoding: Encoding,
        exponent: i32,
        to: &mut Floats,
        at: usize,
    ) -> Result<()> {
        transfer::upload(self, from, encoding, exponent, to, at)
    }

    fn upload_bytes(&mut self, from: &[Piece], to: &mut Bytes) -> Result<()> {
        transfer::upload_bytes(self, from, to)
    }

    fn download(
        &mut self,
        from: &Floats,
        range: Range<usize>,
        encoding: Encoding,
    ) -> Result<Download> {
        transfer::download(self, from, range, encoding)
    }

    fn mark(&mut self) -> Result<CudaEvent> {
        let timed = Some(CUevent_flags::CU_EVENT_DEFAULT);
        self.compute.record_event(timed).map_err(fault(&self.label, "mark"))
    }

    fn ms_between(&mut self, from: &CudaEvent, to: &CudaEvent) -> Result<f64> {
        self.waited(|| from.elapsed_ms(to))
            .map(f64::from)
            .map_err(fault(&self.label, "time between marks"))
    }

    fn passed(&mut self, mark: &CudaEvent) -> Result<bool> {
        self.waited(|| mark.try_is_complete()).map_err(fault(&self.label, "exchange"))
    }

    fn finish(&mut self) -> Result<()> {
        self.waited(|| self.compute.synchronize()).map_err(fault(&self.label, "finish"))
    }
}
