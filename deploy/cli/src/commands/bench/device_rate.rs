//! The speed of the devices when they do one thing: multiply matrices, or read and write memory.
//! Each device works in a process of its own, as in a run.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use gpu_worker::Device;
use gpu_worker::backend::Backend;
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::backend::cuda::Cuda;
use gpu_worker::ops::{Accumulate, Add, Fc, FcForward, InputRange};
use tokio::process::Command;

use super::seconds;
use crate::options::{Call, GpuArgs};
use crate::print;

/// Side of the matrices: those of a fully-connected layer without bias.
const SIDE: usize = 1024;
/// Numbers in each of two arrays of 256 MiB, larger than the caches of processors.
const NUMBERS: usize = 64 << 20;
/// Numbers that one thread takes at least.
const PORTION: usize = 64 << 10;
/// Parts of a measurement: an odd number.
const PARTS: usize = 9;
/// Longest time for warming up.
const WARM_UP: Duration = Duration::from_millis(500);

/// Work whose speed is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Matrix products, in GFLOP/s
    Products,
    /// `a += b` over long arrays, in GB/s
    Memory,
}

/// Arguments of `alexnet device-rate`.
#[derive(Debug, Args)]
pub(crate) struct DeviceRateArgs {
    /// Work to measure
    #[arg(long, value_enum, default_value = "products")]
    work: Work,

    /// Device, as for a worker
    #[arg(long, default_value = "cpu")]
    device: String,

    /// Length of the measurement
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,

    /// Libraries of the GPU.
    #[command(flatten)]
    gpu: GpuArgs,
}

/// The rate of these devices together, all busy at once.
pub(super) async fn of_all(
    work: Work,
    devices: &[String],
    measured: Duration,
    gpu: &[OsString],
    folder: &Path,
) -> Result<f64> {
    let program = std::env::current_exe().context("this program's own file can't be found")?;
    let name = work.to_possible_value().context("no work is hidden")?;
    let start = |device: &String| {
        Command::new(&program)
            .args(["device-rate", "--work", name.get_name(), "--device", device])
            .args(["--seconds", &measured.as_secs_f64().to_string()])
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
        ensure!(output.status.success(), "`alexnet device-rate` ended with {}", output.status);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rate: f64 = text.trim().parse().with_context(|| {
            format!(
                "`alexnet device-rate --work {}` printed {text:?}, expected a number",
                name.get_name()
            )
        })?;
        sum += rate;
    }
    ensure!(sum > 0.0, "`alexnet device-rate --work {}` measured nothing", name.get_name());
    Ok(sum)
}

/// `alexnet device-rate`: prints the rate of one device.
pub(crate) fn device_rate(args: &DeviceRateArgs, call: Call<'_>) -> Result<()> {
    let measured = Duration::from_secs_f64(args.seconds);
    let rate = match args.device.parse()? {
        Device::Cpu { threads } => rate(Cpu::new(threads), args.work, measured)?,
        Device::Cuda(gpu) => {
            rate(Cuda::new(&args.gpu.open(call.environment, gpu))?, args.work, measured)?
        }
    };
    print::line(rate);
    Ok(())
}

fn rate<B: Backend>(dev: B, work: Work, measured: Duration) -> Result<f64> {
    match work {
        Work::Products => products(dev, measured),
        Work::Memory => memory(dev, measured),
    }
}

/// GFLOP/s of products of square matrices.
fn products<B: Backend>(mut dev: B, measured: Duration) -> Result<f64> {
    let (fc, range) = (&Fc { inputs: SIDE, units: SIDE }, &InputRange(0..SIDE));
    let mut floats = || dev.floats("product", SIDE * SIDE);
    let (x, w, mut y) = (floats()?, floats()?, floats()?);
    let per_s = calls_per_s(&mut dev, measured, |dev| {
        let (images, x, w, y) = (0..SIDE, &x, &w, &mut y);
        let (accumulate, epilogue) = (Accumulate::Overwrite, None);
        dev.run(FcForward { fc, images, x, range, w, accumulate, epilogue, y })
    })?;
    Ok(per_s * 2.0 * (SIDE as f64).powi(3) / 1e9)
}

/// GB/s of `to += from`: each number is read from both arrays and written to one.
fn memory<B: Backend>(mut dev: B, measured: Duration) -> Result<f64> {
    let (from, mut to) = (dev.floats("memory", NUMBERS)?, dev.floats("memory", NUMBERS)?);
    let per_s = calls_per_s(&mut dev, measured, |dev| {
        let images = 0..NUMBERS / PORTION;
        dev.run(Add { len: PORTION, images, from: &from, to: &mut to })
    })?;
    Ok(per_s * (3 * size_of::<f32>() * NUMBERS) as f64 / 1e9)
}

/// Calls of an operation per second, once it is warm: the median over some parts of the time, since
/// other programs may disturb a part.
fn calls_per_s<B: Backend>(
    dev: &mut B,
    measured: Duration,
    mut call: impl FnMut(&mut B) -> gpu_worker::Result<()>,
) -> Result<f64> {
    let mut call_for = |at_least: Duration| -> Result<f64> {
        let (started, mut n) = (Instant::now(), 0.0);
        while n == 0.0 || started.elapsed() < at_least {
            call(dev)?;
            dev.finish()?;
            n += 1.0;
        }
        Ok(n / started.elapsed().as_secs_f64())
    };
    call_for(measured.min(WARM_UP))?;
    let part = measured / PARTS as u32;
    let mut rates = (0..PARTS).map(|_| call_for(part)).collect::<Result<Vec<_>>>()?;
    rates.sort_by(f64::total_cmp);
    Ok(rates[PARTS / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_multiplies_and_moves_bytes() {
        for work in [Work::Products, Work::Memory] {
            let rate = rate(Cpu::new(1), work, Duration::from_millis(1)).unwrap();
            assert!(rate > 0.0, "{work:?}: {rate}");
        }
    }
}
