//! `alexnet bench`: images/s on this machine, where the time goes, what memory it takes.
//!
//! Everything is measured as it runs: matrix products in as many processes as there are workers,
//! all busy at once; a loader by itself, its minibatches streamed; then a real run.

mod memory; // the most each process used
mod streaming; // a loader by itself
mod products; // the floor

use anyhow::{Context, Result};
use model::shape::Network;

use crate::args::{BenchArgs, DEFAULT_SEED, LogFormat, RecipeArgs};
use crate::certs::CertsArgs;
use crate::devices::devices;
use crate::metrics::{Metrics, Step};
use crate::patience::{LossArgs, WaitArgs};
use crate::roles::one_thread;
use crate::up::Plan;
use crate::{prepare, recipe, say};

pub(crate) use products::product_rate;

/// Steps before caches, memory and connections are warm.
const WARM_UP: u64 = 2;
/// Built-in pictures: few to measure with, since evaluation is not what is measured.
const PICTURES: &str = "4096:128";

/// Measures and prints a table.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let recipe = recipe::load(&args.recipe, &args.sets)?;
    let data = match &args.data {
        Some(data) => prepare::ready(data, &recipe)?,
        None => format!("{}:{PICTURES}", recipe::built_in_pictures(&recipe)),
    };
    let devices = devices(&args.devices, recipe.columns, &args.gpu)?;
    let folder = tempfile::tempdir().context("no room for a temporary run directory")?;
    let runtime = one_thread()?;

    say::line(format_args!("matrix products in {} processes at once …", devices.names.len()));
    let gflops = runtime.block_on(products::of_all(&devices.names, &args.gpu, folder.path()))?;
    say::line("a loader, streamed …");
    let loader = runtime.block_on(streaming::measure(&data, &recipe, folder.path()))?;
    say::line(format_args!("{} steps …", WARM_UP + args.steps));
    let plan = Plan {
        recipe_name: args.recipe.clone(),
        typed: RecipeArgs {
            recipe: Some(args.recipe.clone()),
            sets: args.sets.clone(),
            wire: None,
            seed: None,
            epochs: None,
            steps: Some(WARM_UP + args.steps),
            checkpoint_every: None,
            timing_every: None,
            keep: None,
        },
        seed: DEFAULT_SEED,
        data,
        run: folder.path().join("run"),
        devices,
        gpu: args.gpu.clone(),
        certs: CertsArgs::default(),
        loaders: 1,
        metrics: None,
        loss: LossArgs::default(),
        wait: WaitArgs::default(),
        log_format: LogFormat::Compact,
        recipe,
    };
    std::fs::create_dir_all(&plan.run).context("no room for a temporary run directory")?;
    let (peaks, watching) = memory::watch();
    runtime.block_on(plan.train(watching))?;
    let peaks = peaks.end();

    let metrics = Metrics::read(&plan.run.join("metrics.jsonl"))?;
    let steps: Vec<Step> = metrics.steps.into_iter().filter(|step| step.step > WARM_UP).collect();
    let classes = coordinator::run_dir::RunDir::open(&plan.run)?.data_set()?.classes.len();
    let network = Network::new(&plan.recipe, classes)?;
    let gflop = network.training_flop() as f64 * plan.recipe.batch as f64 / 1e9;
    let rows = rows(&steps, gflop, gflops, plan.recipe.batch)?;
    say::line(format_args!(
        "\n{}, {} classes, batch {}, {} steps after {WARM_UP}, devices {}\n",
        plan.recipe.name,
        classes,
        plan.recipe.batch,
        steps.len(),
        plan.devices.names.join(",")
    ));
    say::line("| what | measured |\n|---|---|");
    let row = |what: &str, value: &str| say::line(format_args!("| {what} | {value} |"));
    rows.iter().for_each(|(what, value)| row(what, value));
    row("loader, streamed", &format!("{:.0} images/s ({:.0} a core)", loader.rate, loader.a_core));
    for (name, megabytes) in peaks {
        row(&format!("peak memory, {name}"), &format!("{megabytes:.0} MB"));
    }
    Ok(())
}

/// What the steps say, for the table.
fn rows(steps: &[Step], gflop: f64, gflops: f64, batch: usize) -> Result<Vec<(String, String)>> {
    let mean = |value: fn(&Step) -> f64| -> f64 {
        steps.iter().map(value).sum::<f64>() / steps.len().max(1) as f64
    };
    let step_ms = mean(|s| s.step_ms);
    anyhow::ensure!(step_ms > 0.0, "no step was measured");
    let floor_ms = 1e3 * gflop / gflops;
    let share = |ms: f64| format!("{:.2} % of a step", 100.0 * ms / step_ms);
    let of = |what: &str, value: String| (what.to_owned(), value);
    Ok(vec![
        of("training", format!("{:.1} images/s", 1e3 * batch as f64 / step_ms)),
        of("a step", format!("{:.2} s", step_ms / 1e3)),
        of(
            "matrix products alone",
            format!("{:.2} s ({gflop:.1} GFLOP at {gflops:.0} GFLOP/s)", floor_ms / 1e3),
        ),
        of("a step, in those", format!("{:.2} ×", step_ms / floor_ms)),
        of("wait on bytes being sent", share(mean(|s| s.exchange_wait_ms))),
        of("wait on the other half's work", share(mean(|s| s.peer_late_ms))),
        of("wait on data", share(mean(|s| s.data_wait_ms))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_in_matrix_products() {
        let step = Step { step_ms: 6000.0, data_wait_ms: 30.0, ..Step::default() };
        let rows = rows(&[step.clone(), step], 500.0, 125.0, 128).unwrap();
        let value = |what: &str| rows.iter().find(|r| r.0 == what).unwrap().1.as_str();
        assert_eq!(value("training"), "21.3 images/s");
        assert_eq!(value("a step, in those"), "1.50 ×");
        assert_eq!(value("wait on data"), "0.50 % of a step");
    }

    #[test]
    fn no_step_is_an_error() {
        assert!(rows(&[], 1.0, 1.0, 1).is_err());
    }
}
