//! `alexnet bench`: the limits of this machine, and the share of each that training reaches.
//!
//! The measurements come one after the other, so that none disturbs another: first the limits, then
//! a loader and the exchange by themselves, last a real run.

mod report; // the result: JSON, or a table
mod device_rate; // the speed of products and of memory
mod jpeg; // the decoder by itself
mod streaming; // a loader by itself
mod exchange; // the exchange by itself
mod training; // a real run
mod layers; // its time per layer and pass
mod memory; // peak memory of each process

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use loader::Source;
use model::halves::Plan;
use model::params::Param;
use model::recipe::Recipe;
use model::shape::Network;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::prepare;
use crate::devices::{Devices, devices};
use crate::loopback::{self, Directions};
use crate::options::{Call, GpuArgs, forward};
use crate::runtime::one_thread;
use crate::{print, recipe};
use device_rate::Work;
use report::{Exchange, Loader, Machine, Report, StepTime, Update};
use training::{Trained, Training};

pub(super) use device_rate::{DeviceRateArgs, device_rate};

/// Built-in pictures, with few for validation: evaluation is not measured.
const PICTURES: &str = "4096:128";

const NOTES: &str = "\
The first rows are the limits of this machine. The others are what training reaches, with a share of
a limit. A convolution is counted as if every window were multiplied by the weights, although CPUs
compute most convolutions with fewer operations: shares of the products may exceed 100 %.

Progress goes to standard error. docs/speed.md explains the rows and the keys of --json.";

/// Arguments of `alexnet bench`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(super) struct BenchArgs {
    /// One device per half, such as cuda:0,cuda:1 or cpu:4,cpu:4; auto takes the GPUs, or all CPU
    /// cores if there is no GPU
    #[arg(long, default_value = "auto", value_name = "DEVICE,DEVICE")]
    devices: String,

    /// Libraries of the GPUs.
    #[command(flatten)]
    gpu: GpuArgs,

    /// Steps to measure, after two for warming up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// Built-in recipe or TOML file
    #[arg(long, default_value = "caffe", value_name = "NAME|FILE")]
    recipe: String,

    /// Change one value of the recipe
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,

    /// Pictures, as for `up` [default: built-in pictures]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Seconds of each measurement beside the steps
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = seconds)]
    seconds: f64,

    /// Print one JSON object instead (docs/speed.md lists its keys)
    #[arg(long)]
    json: bool,
}

/// Seconds that a measurement may take.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected 0.001 to 3600 seconds".into()),
    }
}

/// Measures and prints the result; everything else goes to standard error.
pub(super) fn run(args: &BenchArgs, call: Call<'_>) -> Result<()> {
    print::only_result();
    let report = Bench::new(args, call)?.report(args)?;
    match args.json {
        true => print::result(serde_json::to_string_pretty(&report)?),
        false => print::result(report.table()),
    }
    Ok(())
}

/// The subject of all measurements.
struct Bench {
    recipe: Recipe,
    network: Network,
    /// A prepared folder, or `synthetic:SIDE…`.
    data: String,
    source: Source,
    devices: Devices,
    /// Options of the GPUs, as typed.
    gpu: Vec<OsString>,
    /// Length of each measurement beside the steps.
    measured: Duration,
    folder: TempDir,
    runtime: Runtime,
}

impl Bench {
    fn new(args: &BenchArgs, call: Call<'_>) -> Result<Self> {
        let recipe = recipe::load(&args.recipe, &args.sets)?;
        let data = match &args.data {
            Some(data) => prepare::ready(data, &recipe, &prepare::Asked::default())?,
            None => format!("{}:{PICTURES}", recipe::built_in_pictures(&recipe)),
        };
        let devices = devices(&args.devices, recipe.columns, &args.gpu.search(call.environment))?;
        let source = Source::open(&data.parse()?)?;
        Ok(Self {
            network: Network::new(&recipe, source.describe().classes.len())?,
            recipe,
            data,
            source,
            devices,
            gpu: forward::<GpuArgs>(call.typed),
            measured: Duration::from_secs_f64(args.seconds),
            folder: tempfile::tempdir().context("a temporary run directory can't be made")?,
            runtime: one_thread()?,
        })
    }

    fn report(&self, args: &BenchArgs) -> Result<Report> {
        let machine = self.machine()?;
        let loader = self.loader(&machine)?;
        let exchange = self.exchange(&machine)?;
        let trained = self.train(args)?;
        let (batch, products) = (self.recipe.batch, machine.products_gflop_per_s);
        let layers = layers::passes(&trained.timed(), &self.network, batch, products);
        let plans = Plan::all(&self.network, &self.recipe);
        let parameters = plans.iter().flat_map(Plan::params).map(Param::len).sum();
        Ok(Report {
            format: report::FORMAT,
            version: crate::BUILD,
            recipe: self.recipe.name.clone(),
            classes: self.network.classes,
            batch,
            devices: self.devices.names.clone(),
            data: self.data.clone(),
            steps: trained.steps.len(),
            step: self.step(&trained, products),
            update: Update::of(&layers, parameters, machine.memory_gb_per_s),
            layers,
            loader,
            exchange,
            peak_memory_mb: trained.peaks,
            machine,
        })
    }

    /// Measures the limits of the machine.
    fn machine(&self) -> Result<Machine> {
        let names = &self.devices.names;
        let n = print::count(names.len() as u64, "process", "processes at once");
        let rate = |work, devices: &[String]| {
            let folder = self.folder.path();
            self.runtime.block_on(device_rate::of_all(
                work,
                devices,
                self.measured,
                &self.gpu,
                folder,
            ))
        };
        print::line("measuring matrix products in one process alone …");
        let products_alone_gflop_per_s = rate(Work::Products, &names[..1])?;
        print::line(format_args!("measuring matrix products in {n} …"));
        let products_gflop_per_s = rate(Work::Products, names)?;
        print::line(format_args!("measuring memory in {n} …"));
        let memory_gb_per_s = rate(Work::Memory, names)?;
        print::line("measuring a socket over loopback …");
        let socket = loopback::bytes_per_s(Directions::Both, self.measured);
        let socket = socket.context("127.0.0.1 can't be used: see `alexnet doctor`")?;
        print::line("measuring a decoder by itself …");
        Ok(Machine {
            products_alone_gflop_per_s,
            products_gflop_per_s,
            memory_gb_per_s,
            socket_gb_per_s: socket / 1e9,
            jpeg_images_per_core_s: jpeg::images_per_core_s(&self.source, self.measured)?,
        })
    }

    fn loader(&self, machine: &Machine) -> Result<Loader> {
        print::line("measuring a loader by itself …");
        let measured =
            streaming::measure(&self.data, &self.recipe, self.measured, self.folder.path());
        let rate = self.runtime.block_on(measured)?;
        Ok(Loader {
            images_per_s: rate.rate,
            images_per_core_s: rate.per_core,
            jpeg_share: machine.jpeg_images_per_core_s.map(|jpeg| rate.per_core / jpeg),
        })
    }

    fn exchange(&self, machine: &Machine) -> Result<Option<Exchange>> {
        print::line("measuring the exchange by itself …");
        let (measured, folder) = (self.measured, self.folder.path());
        let rate = exchange::bytes_per_s(&self.recipe, &self.network, measured, folder)?;
        Ok(rate.map(|bytes_per_s| {
            let gb_per_s = bytes_per_s / 1e9;
            Exchange { gb_per_s, socket_share: gb_per_s / machine.socket_gb_per_s }
        }))
    }

    fn train(&self, args: &BenchArgs) -> Result<Trained> {
        print::line(format_args!("measuring {} steps …", training::WARM_UP + args.steps));
        let training = Training {
            recipe: &self.recipe,
            recipe_name: &args.recipe,
            sets: &args.sets,
            data: &self.data,
            devices: &self.devices,
            gpu: &self.gpu,
            steps: args.steps,
        };
        training.run(&self.runtime, self.folder.path())
    }

    fn step(&self, trained: &Trained, products_gflop_per_s: f64) -> StepTime {
        let ms = trained.mean(|figures| figures.step_ms);
        let batch = self.recipe.batch as f64;
        let gflop = self.network.training_flop() as f64 * batch / 1e9;
        StepTime {
            images_per_s: 1e3 * batch / ms,
            ms,
            gflop,
            products_share: 1e3 * gflop / ms / products_gflop_per_s,
            exchange_wait_ms: trained.mean(|figures| figures.exchange_wait_ms),
            peer_late_ms: trained.mean(|figures| figures.peer_late_ms),
            data_wait_ms: trained.mean(|figures| figures.data_wait_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_takes_some_time_and_not_all_day() {
        assert_eq!(seconds("0.1"), Ok(0.1));
        for text in ["0", "1e-10", "-1", "nan", "1e9", "three"] {
            assert!(seconds(text).unwrap_err().contains("0.001 to 3600"), "{text}");
        }
    }
}
