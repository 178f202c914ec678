//! `alexnet bench`: images/s on this machine, where the time goes, what memory it takes.
//!
//! Three measurements come one after the other: matrix products, in as many processes as there are
//! workers, all busy at once; a loader by itself, which streams minibatches; and a real run.

mod memory; // peak memory of each process
mod streaming; // a loader by itself
mod products; // matrix products alone

use anyhow::{Context, Result};
use clap::Args;
use model::shape::Network;
use proto::step::StepFigures;

use super::prepare;
use crate::devices::devices;
use crate::metrics::{Metrics, Step};
use crate::options::{Call, DEFAULT_SEED, GpuArgs, forward};
use crate::runtime::one_thread;
use crate::up::{Certificates, ChildOptions, LocalRun};
use crate::{print, recipe};

pub(super) use products::{ProductRateArgs, product_rate};

/// Steps before caches, memory and connections are warm.
const WARM_UP: u64 = 2;
/// Built-in pictures, with few for validation: evaluation is not measured.
const PICTURES: &str = "4096:128";

/// Arguments of `alexnet bench`.
#[derive(Debug, Args)]
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
}

/// Measures and prints a table.
pub(super) fn run(args: &BenchArgs, call: Call<'_>) -> Result<()> {
    let recipe = recipe::load(&args.recipe, &args.sets)?;
    let data = match &args.data {
        Some(data) => prepare::ready(data, &recipe, &prepare::Asked::default())?,
        None => format!("{}:{PICTURES}", recipe::built_in_pictures(&recipe)),
    };
    let devices = devices(&args.devices, recipe.columns, &args.gpu.search(call.environment))?;
    let folder = tempfile::tempdir().context("a temporary run directory can't be made")?;
    let runtime = one_thread()?;

    print::line(format_args!(
        "measuring matrix products in {} processes at once …",
        devices.names.len()
    ));
    let gflops = runtime.block_on(products::of_all(
        &devices.names,
        &forward::<GpuArgs>(call.typed),
        folder.path(),
    ))?;
    print::line("measuring a loader by itself …");
    let loader = runtime.block_on(streaming::measure(&data, &recipe, folder.path()))?;
    print::line(format_args!("measuring {} steps …", WARM_UP + args.steps));
    let steps = ["--steps".into(), (WARM_UP + args.steps).to_string().into()];
    let changes = args.sets.iter().flat_map(|change| ["--set".into(), change.into()]);
    let run = LocalRun {
        grace: coordinator::Config::GRACE,
        recipe_name: args.recipe.clone(),
        seed: DEFAULT_SEED,
        data,
        dir: folder.path().join("run"),
        devices,
        certificates: Certificates::Own,
        loaders: 1,
        metrics: None,
        options: ChildOptions {
            coordinator: steps.into_iter().chain(changes).collect(),
            worker: forward::<GpuArgs>(call.typed),
            ..ChildOptions::default()
        },
        recipe,
    };
    std::fs::create_dir_all(&run.dir).context("a temporary run directory can't be made")?;
    let (peaks, watching) = memory::watch();
    runtime.block_on(run.train(watching))?;
    let peaks = peaks.end();

    let metrics = Metrics::read(&run.dir.join("metrics.jsonl"))?;
    let steps: Vec<Step> =
        metrics.steps.into_iter().filter(|step| step.figures.step > WARM_UP).collect();
    let classes = coordinator::run_dir::RunDir::open(&run.dir)?.data_set()?.classes.len();
    let network = Network::new(&run.recipe, classes)?;
    let gflop = network.training_flop() as f64 * run.recipe.batch as f64 / 1e9;
    let rows = rows(&steps, gflop, gflops, run.recipe.batch)?;
    print::line(format_args!(
        "\n{}, {} classes, batch {}, {} steps after {WARM_UP}, devices {}\n",
        run.recipe.name,
        classes,
        run.recipe.batch,
        steps.len(),
        run.devices.names.join(",")
    ));
    print::line("| measurement | result |\n|---|---|");
    let row = |what: &str, value: &str| print::line(format_args!("| {what} | {value} |"));
    rows.iter().for_each(|(what, value)| row(what, value));
    row(
        "loader by itself",
        &format!("{:.0} images/s ({:.0} per core)", loader.rate, loader.per_core),
    );
    for (name, megabytes) in peaks {
        row(&format!("peak memory, {name}"), &format!("{megabytes:.0} MB"));
    }
    Ok(())
}

/// Rows of the table that come from the measured steps.
fn rows(steps: &[Step], gflop: f64, gflops: f64, batch: usize) -> Result<Vec<(String, String)>> {
    let mean = |value: fn(&StepFigures) -> f64| -> f64 {
        steps.iter().map(|step| value(&step.figures)).sum::<f64>() / steps.len().max(1) as f64
    };
    let step_ms = mean(|s| s.step_ms);
    anyhow::ensure!(step_ms > 0.0, "no step was measured");
    let floor_ms = 1e3 * gflop / gflops;
    let share = |ms: f64| format!("{:.2} % of a step", 100.0 * ms / step_ms);
    let of = |what: &str, value: String| (what.to_owned(), value);
    Ok(vec![
        of("training", format!("{:.1} images/s", 1e3 * batch as f64 / step_ms)),
        of("time per step", format!("{:.2} s", step_ms / 1e3)),
        of(
            "matrix products alone",
            format!("{:.2} s ({gflop:.1} GFLOP at {gflops:.0} GFLOP/s)", floor_ms / 1e3),
        ),
        of("step / matrix products", format!("{:.2} ×", step_ms / floor_ms)),
        of("waiting for bytes in transit", share(mean(|s| s.exchange_wait_ms))),
        of("waiting for the other half", share(mean(|s| s.peer_late_ms))),
        of("waiting for minibatches", share(mean(|s| s.data_wait_ms))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_compared_with_its_matrix_products() {
        let figures = StepFigures { step_ms: 6000.0, data_wait_ms: 30.0, ..StepFigures::default() };
        let step = Step { figures, ..Step::default() };
        let rows = rows(&[step.clone(), step], 500.0, 125.0, 128).unwrap();
        let value = |what: &str| rows.iter().find(|r| r.0 == what).unwrap().1.as_str();
        assert_eq!(value("training"), "21.3 images/s");
        assert_eq!(value("step / matrix products"), "1.50 ×");
        assert_eq!(value("waiting for minibatches"), "0.50 % of a step");
    }

    #[test]
    fn no_step_is_an_error() {
        assert!(rows(&[], 1.0, 1.0, 1).is_err());
    }
}
