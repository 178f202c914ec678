//! The speed of matrix products when every worker multiplies at once: a step is compared with it.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use gpu_worker::Device;
use gpu_worker::backend::Backend;
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::backend::cuda::Cuda;
use gpu_worker::ops::{Accumulate, Fc, FcForward, InputRange};
use tokio::process::Command;

use crate::options::{Call, GpuArgs};
use crate::print;

/// Side of the matrices: those of a fully-connected layer without bias.
const SIDE: usize = 1024;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);

/// Arguments of `alexnet product-rate`.
#[derive(Debug, Args)]
pub(crate) struct ProductRateArgs {
    /// Device, as for a worker
    #[arg(long, default_value = "cpu")]
    device: String,

    /// Libraries of the GPU.
    #[command(flatten)]
    gpu: GpuArgs,
}

/// GFLOP/s of all devices together, each measured in a process of its own.
pub(super) async fn of_all(devices: &[String], gpu: &[OsString], folder: &Path) -> Result<f64> {
    let program = std::env::current_exe().context("this program's own file can't be found")?;
    let start = |device: &String| {
        Command::new(&program)
            .args(["product-rate", "--device", device])
            .args(gpu)
            .current_dir(folder)
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    };
    let running: Vec<_> = devices.iter().map(start).collect::<Result<_, _>>()?;
    let mut sum = 0.0;
    for child in running {
        let output = child.wait_with_output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        sum += text
            .trim()
            .parse::<f64>()
            .context("a process that measures matrix products printed no result")?;
    }
    if sum <= 0.0 {
        bail!("the matrix products were not measured");
    }
    Ok(sum)
}

/// `alexnet product-rate`: prints the GFLOP/s of one device.
pub(crate) fn product_rate(args: &ProductRateArgs, call: Call<'_>) -> Result<()> {
    let gflops = match args.device.parse()? {
        Device::Cpu { threads } => rate(Cpu::new(threads))?,
        Device::Cuda(gpu) => rate(Cuda::new(&args.gpu.open(call.environment, gpu))?)?,
    };
    print::line(gflops);
    Ok(())
}

fn rate<B: Backend>(mut dev: B) -> Result<f64> {
    let (fc, range) = (&Fc { inputs: SIDE, units: SIDE }, &InputRange(0..SIDE));
    let mut floats = || dev.floats("product", SIDE * SIDE);
    let (x, w, mut y) = (floats()?, floats()?, floats()?);
    let mut times = |at_least: Duration| -> Result<(u32, Duration)> {
        let (started, mut n) = (Instant::now(), 0);
        while started.elapsed() < at_least {
            let (images, x, w, y) = (0..SIDE, &x, &w, &mut y);
            let (accumulate, epilogue) = (Accumulate::Overwrite, None);
            dev.run(FcForward { fc, images, x, range, w, accumulate, epilogue, y })?;
            dev.finish()?;
            n += 1;
        }
        Ok((n, started.elapsed()))
    };
    times(WARM_UP)?;
    let (n, took) = times(MEASURED)?;
    let flop = 2.0 * (SIDE as f64).powi(3) * f64::from(n);
    Ok(flop / took.as_secs_f64() / 1e9)
}
