//! Options of the bench.

use std::path::PathBuf;

use gpu_worker::backend::cpu::Convolution;
use gpu_worker::backend::cuda::Gpu;

/// Usage of the bench.
pub(crate) const USAGE: &str = "\
cargo bench -p gpu-worker --bench ops -- [OPTIONS]

  --device DEVICE  Compute on cpu, cpu:THREADS, cuda:NUMBER or cuda:UUID [default: cpu]
  --convolve HOW   On a CPU, compute convolutions as fastest, product, direct or frequency
  --images N       Take N images at once [default: 128]
  --nvrtc PATH     Compile kernels with this NVRTC: the library or its folder
  --once           Run each operation once, without a run to warm up: for a checker or a profiler";

/// Device, images and repetitions of one run of the bench.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) device: Device,
    pub(crate) convolve: Convolution,
    pub(crate) images: usize,
    pub(crate) nvrtc: Option<PathBuf>,
    pub(crate) once: bool,
}

/// Device on which the operations run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// On the CPU with so many threads.
    Cpu(usize),
    /// On this GPU.
    Cuda(Gpu),
}

impl Options {
    /// Reads the arguments; `--bench`, which cargo adds, means nothing here.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            device: Device::Cpu(1),
            convolve: Convolution::Fastest,
            images: 128,
            nvrtc: None,
            once: false,
        };
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--device" => options.device = device(&value()?)?,
                "--convolve" => options.convolve = convolution(&value()?)?,
                "--images" => options.images = positive(&value()?)?,
                "--nvrtc" => options.nvrtc = Some(value()?.into()),
                "--once" => options.once = true,
                _ => return Err(format!("there is no option {name}")),
            }
        }
        let is_cpu = matches!(options.device, Device::Cpu(_));
        if options.convolve != Convolution::Fastest && !is_cpu {
            return Err("--convolve is for CPUs; a GPU has one method".into());
        }
        Ok(options)
    }
}

fn convolution(text: &str) -> Result<Convolution, String> {
    match text {
        "fastest" => Ok(Convolution::Fastest),
        "product" => Ok(Convolution::Product),
        "direct" => Ok(Convolution::Direct),
        "frequency" => Ok(Convolution::Frequency),
        _ => Err(format!("{text} is not fastest, product, direct or frequency")),
    }
}

fn device(text: &str) -> Result<Device, String> {
    match text.split_once(':') {
        None if text == "cpu" => Ok(Device::Cpu(1)),
        Some(("cpu", threads)) => positive(threads).map(Device::Cpu),
        Some(("cuda", gpu)) => gpu.parse().map(Device::Cuda),
        _ => Err(format!("{text} is no device: cpu, cpu:THREADS, cuda:NUMBER, cuda:UUID")),
    }
}

fn positive(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text} is no number above 0"))
}
