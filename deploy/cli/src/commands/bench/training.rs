//! A real run in a temporary run directory: its steps, each layer's time, and peak memory.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use coordinator::run_dir::RunDir;
use coordinator::timing::HalfStep;
use coordinator::timing::table::Halves;
use model::recipe::Recipe;
use proto::step::StepFigures;
use tokio::runtime::Runtime;

use super::memory::{self, Peaks};
use crate::commands::timing;
use crate::devices::Devices;
use crate::metrics::{Metrics, Step};
use crate::options::DEFAULT_SEED;
use crate::up::{Certificates, ChildOptions, LocalRun};

/// Steps before caches, memory and connections are warm.
pub(super) const WARM_UP: u64 = 2;

/// The record of a run, without the steps for warming up.
#[derive(Debug)]
pub(super) struct Trained {
    pub steps: Vec<Step>,
    halves: Halves,
    pub peaks: Peaks,
}

/// A run to be measured.
#[derive(Debug)]
pub(super) struct Training<'a> {
    pub recipe: &'a Recipe,
    /// Name of a built-in recipe, or a file.
    pub recipe_name: &'a str,
    /// Changes of the recipe, as typed.
    pub sets: &'a [String],
    pub data: &'a str,
    pub devices: &'a Devices,
    /// Options of the workers' GPUs, as typed.
    pub gpu: &'a [OsString],
    /// Steps to measure.
    pub steps: u64,
}

impl Training<'_> {
    /// Trains in a folder.
    pub(super) fn run(&self, runtime: &Runtime, folder: &Path) -> Result<Trained> {
        let run = LocalRun {
            grace: coordinator::Config::GRACE,
            recipe_name: self.recipe_name.into(),
            seed: DEFAULT_SEED,
            data: self.data.into(),
            dir: folder.join("run"),
            devices: self.devices.clone(),
            certificates: Certificates::Own,
            loaders: 1,
            metrics: None,
            options: ChildOptions {
                coordinator: self.coordinator_options(),
                worker: self.gpu.to_vec(),
                ..ChildOptions::default()
            },
            recipe: self.recipe.clone(),
        };
        std::fs::create_dir_all(&run.dir).context("a temporary run directory can't be made")?;
        let (peaks, watching) = memory::watch();
        runtime.block_on(run.train(watching))?;
        Trained::read(&run.dir, peaks.end())
    }

    /// All steps are timed.
    fn coordinator_options(&self) -> Vec<OsString> {
        let steps = (WARM_UP + self.steps).to_string();
        let options = ["--steps", &steps, "--timing-every", "1"].map(OsString::from);
        let sets = self.sets.iter().flat_map(|change| ["--set".into(), change.into()]);
        options.into_iter().chain(sets).collect()
    }
}

impl Trained {
    fn read(dir: &Path, peaks: Peaks) -> Result<Self> {
        let mut steps = Metrics::read(&dir.join("metrics.jsonl"))?.steps;
        steps.retain(|step| step.figures.step > WARM_UP);
        ensure!(!steps.is_empty(), "the run recorded no step after the first {WARM_UP}");
        let halves = timing::read(&RunDir::open(dir)?.timing_path())?;
        Ok(Self { steps, halves, peaks })
    }

    /// The mean of a figure over the steps.
    pub(super) fn mean(&self, figure: impl Fn(&StepFigures) -> f64) -> f64 {
        self.steps.iter().map(|step| figure(&step.figures)).sum::<f64>() / self.steps.len() as f64
    }

    /// The timed steps of all halves.
    pub(super) fn timed(&self) -> Vec<&HalfStep> {
        let of = self.halves.values().flat_map(|steps| steps.range(WARM_UP + 1..));
        of.map(|(_, step)| step).collect()
    }
}
