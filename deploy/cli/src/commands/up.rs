//! `alexnet up`: trains on this machine, or resumes a run.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use coordinator::run_dir::RunDir;

use super::{prepare, start};
use crate::devices::devices;
use crate::files::is_there;
use crate::options::{
    Call, DEFAULT_SEED, FailureArgs, GpuArgs, GraceArgs, LogArgs, MetricsArgs, TlsArgs,
    TrainingArgs, WorkerDeadlineArgs, forward,
};
use crate::runtime::one_thread;
use crate::signals::Asked;
use crate::up::{Certificates, ChildOptions, LocalRun, Remembered, report};
use crate::{print, recipe};

const EXAMPLES: &str = "\
Examples:
  alexnet up                                     recipe `demo` on built-in pictures
  alexnet up --data my-pictures --epochs 20      recipe `caffe`; prepare my-pictures first
  alexnet up --data my-pictures --epochs 40      the same run again: continue where it stopped
  alexnet up --data my-pictures --set dropout=0 --set rate=0.005 --run runs/no-dropout
  alexnet up --data my-pictures --from runs/imagenet --set rates.conv1=0 --run runs/fine-tuned
                                                 start from the weights of another run
  alexnet up --run runs/no-dropout               resume; recipe and data are in the run directory

Ctrl-C writes a checkpoint of the last step that both halves finished, then ends.";

/// Arguments of `alexnet up`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct UpArgs {
    /// Built-in recipe (`alexnet recipes` lists them) or TOML file
    /// [default: demo; caffe with --data; with --from RUN, that run's]
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,

    /// Seed of every random number [default: 2012, or that of the resumed run]
    #[arg(long)]
    pub(super) seed: Option<u64>,

    /// Changes of the recipe, and the course of the run.
    #[command(flatten)]
    pub(super) training: TrainingArgs,

    /// Pictures: a prepared folder, a folder with train/ and val/, or synthetic[:SIDE]
    /// [default: built-in pictures]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Use what is prepared already, even if the pictures of --data have changed since
    #[arg(long)]
    keep_prepared: bool,

    /// Run directory [default: runs/<recipe>-<data set>]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,

    /// One device per half, such as cuda:0,cuda:1 or cpu:4,cpu:4 (4 threads each); auto takes the
    /// GPUs, or all CPU cores if there is no GPU
    #[arg(long, default_value = "auto", value_name = "DEVICE,DEVICE")]
    devices: String,

    /// Libraries of the GPUs.
    #[command(flatten)]
    gpu: GpuArgs,

    /// Certificates; by default the run makes its own at every start.
    #[command(flatten)]
    tls: TlsArgs,

    /// Do without the certificates that `up` makes for its processes: every user of this machine
    /// can then read and steer the run
    #[arg(long, conflicts_with = "certs")]
    insecure: bool,

    /// Number of loader processes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) loaders: u16,

    /// Metrics over HTTP.
    #[command(flatten)]
    metrics: MetricsArgs,

    /// Limits of the coordinator.
    #[command(flatten)]
    failure: FailureArgs,

    /// Limits of the workers.
    #[command(flatten)]
    deadlines: WorkerDeadlineArgs,

    /// Time to stop.
    #[command(flatten)]
    grace: GraceArgs,
}

/// Trains a new run, or resumes one.
pub(super) fn run(args: &UpArgs, call: Call<'_>) -> Result<()> {
    let run = resolve(args, call)?;
    run.announce()?;
    if let Some(from) = &args.training.from
        && !is_there(&run.dir.join("run.json"))?
    {
        print::line(format_args!("starting from the weights of {from}"));
    }
    // Held until the last line is printed, which a second request to stop would cut off.
    let _asked = Asked::take_over();
    let started = Instant::now();
    let ended = one_thread()?.block_on(run.train(|_| ()))?;
    report::ended(&run, &ended, started.elapsed())
}

/// The pictures that a run was begun with, if it is one that `up` began.
///
/// # Errors
/// If they are not there any more: nobody typed their place, so the message explains it.
fn remembered_data(run: &Path) -> Result<Option<String>> {
    let Some(Remembered { data, .. }) = Remembered::read(run)? else { return Ok(None) };
    let built_in = data == "synthetic" || data.starts_with("synthetic:");
    if !built_in && !is_there(Path::new(&data))? {
        bail!(
            "{run} remembers that its pictures are in {data}, and there is no such folder now: if \
             they have moved, say where to with `{program} up --run {run} --data NEW`",
            run = run.display(),
            program = print::program(),
        );
    }
    Ok(Some(data))
}

/// Decides everything about a run before anything is started.
fn resolve(args: &UpArgs, call: Call<'_>) -> Result<LocalRun> {
    let given = args.run.as_deref();
    let changes = args.training.changes();
    let data = match (&args.data, given) {
        (Some(typed), _) => Some(typed.clone()),
        (None, Some(run)) => remembered_data(run)?,
        (None, None) => None,
    };
    let is_remembered = args.data.is_none() && data.is_some();
    let new_default = if data.is_some() { "caffe" } else { "demo" };
    let default = match &args.training.from {
        Some(from) => start::recipe(from).unwrap_or_else(|| new_default.to_owned()),
        None => new_default.to_owned(),
    };
    let run_of = |name: &str| -> Result<PathBuf> {
        let recipe = recipe::load(name, &changes)?;
        let data = data.clone().unwrap_or_else(|| recipe::built_in_pictures(&recipe));
        Ok(given.map_or_else(|| recipe::default_run_dir(&recipe, &data), Path::to_owned))
    };
    // An existing run keeps its own recipe; --set may then only repeat it.
    let (run, recipe_name) = match &args.recipe {
        Some(name) => (run_of(name)?, name.clone()),
        None => {
            let run = run_of(&default)?;
            let kept = run.join("recipe.toml");
            let there = is_there(&kept)?.then(|| kept.to_string_lossy().into_owned());
            (run, there.unwrap_or(default))
        }
    };
    // A run that exists has its own copy of the weights.
    if let Some(from) = &args.training.from
        && !is_there(&run.join("run.json"))?
    {
        start::must_be_there(from)?;
    }
    let recipe = recipe::load(&recipe_name, &changes)?;
    let seed = match args.seed {
        Some(typed) => typed,
        None => match RunDir::open(&run) {
            Ok(dir) => dir.record.seed,
            Err(coordinator::Error::NotARun { .. }) => DEFAULT_SEED,
            Err(error) => return Err(error.into()),
        },
    };
    let devices = devices(&args.devices, recipe.columns, &args.gpu.search(call.environment))?;
    let data = match data {
        Some(data) => {
            let keep = args.keep_prepared;
            let asked = prepare::Asked { run: Some(&run), keep, remembered: is_remembered };
            prepare::ready(&data, &recipe, &asked)?
        }
        None => recipe::built_in_pictures(&recipe),
    };
    let typed = call.typed;
    let options = ChildOptions {
        every: forward::<LogArgs>(typed),
        coordinator: [
            forward::<TrainingArgs>(typed),
            forward::<FailureArgs>(typed),
            forward::<GraceArgs>(typed),
        ]
        .concat(),
        worker: [
            forward::<GpuArgs>(typed),
            forward::<WorkerDeadlineArgs>(typed),
            forward::<GraceArgs>(typed),
        ]
        .concat(),
    };
    Ok(LocalRun {
        recipe,
        recipe_name,
        seed,
        data,
        dir: run,
        devices,
        certificates: match args.tls.folder() {
            Some(folder) => Certificates::Of(folder.to_owned()),
            None if args.insecure => Certificates::None,
            None => Certificates::Own,
        },
        loaders: args.loaders,
        metrics: args.metrics.metrics.clone(),
        grace: args.grace.time(),
        options,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_that_have_moved_are_asked_for_and_others_are_remembered() {
        let run = tempfile::tempdir().expect("a folder");
        let remembers = |data: &str| {
            let remembered = Remembered { data: data.into(), coordinator: None };
            remembered.write(run.path()).expect("a file");
            remembered_data(run.path()).map_err(|error| error.to_string())
        };
        let there = run.path().to_string_lossy().into_owned();
        for data in ["synthetic", "synthetic:72:200:40", &there] {
            assert_eq!(remembers(data), Ok(Some(data.to_owned())));
        }
        for gone in ["/nowhere/pictures", "/nowhere/synthetic-72"] {
            let said = remembers(gone).unwrap_err();
            for words in ["remembers", gone, "--data NEW", &there] {
                assert!(said.contains(words), "{said}");
            }
        }
        assert_eq!(remembered_data(Path::new("/nowhere")).ok(), Some(None));
    }

    #[test]
    fn what_up_remembers_is_refused_by_name_if_it_can_not_be_read() {
        let run = tempfile::tempdir().expect("a folder");
        let remembers = |text: &str| {
            std::fs::write(Remembered::file(run.path()), text).expect("a file");
            remembered_data(run.path()).map_err(|error| format!("{error:#}"))
        };
        for older in [r#"{"data": "synthetic"}"#, r#"{"format": 2, "data": "synthetic", "x": 1}"#] {
            assert_eq!(remembers(older), Ok(Some("synthetic".to_owned())));
        }
        let newer = remembers(r#"{"format": 3, "pictures": "synthetic"}"#).unwrap_err();
        assert!(newer.contains("up.json was written by a newer version"), "{newer}");
        let cut_short = remembers(r#"{"data": "syn"#).unwrap_err();
        assert!(cut_short.contains("up.json is damaged"), "{cut_short}");
        std::fs::remove_file(Remembered::file(run.path())).expect("a file");
        std::fs::create_dir(Remembered::file(run.path())).expect("a folder");
        let unread = remembered_data(run.path()).map_err(|error| format!("{error:#}"));
        assert!(unread.unwrap_err().contains("up.json can't be read"));
    }
}
