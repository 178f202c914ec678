//! The folder of a reproduction, and the commands of this program that fill it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use coordinator::run_dir::RunDir;
use model::recipe::Recipe;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::experiment::{Experiment, Training, Variant};
use crate::files::{is_there, write_whole};
use crate::metrics::Metrics;
use crate::signals::Asked;
use crate::{print, recipe};

/// The description and the pictures that a reproduction was begun with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begun {
    /// Pictures, unless they are the built-in ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Pictures of more classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretraining: Option<String>,
    /// Run to draw from, instead of training one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The experiment, with the changes of the command line.
    pub experiment: Experiment,
}

/// A reproduction that is carried out.
#[derive(Debug)]
pub(super) struct Work {
    /// Name of the experiment.
    pub name: String,
    /// Description and pictures.
    pub begun: Begun,
    /// Folder of the reproduction.
    pub out: PathBuf,
    /// Pictures to draw.
    pub pictures: Vec<PathBuf>,
    /// Devices of the halves, as typed.
    pub devices: String,
    /// Options of the GPUs, for each command.
    pub gpu: Vec<OsString>,
    /// True to print the commands instead of executing them.
    pub dry_run: bool,
    /// Digest of the pictures of the runs so far: of `--data`, and of `--pretraining`.
    pub digests: RefCell<BTreeMap<bool, String>>,
}

impl Work {
    /// Makes the folder, or finds that it was begun with the same description and pictures.
    ///
    /// # Errors
    /// If it was begun with others: the report would mix two experiments.
    pub(super) fn begin(&self) -> Result<()> {
        let file = self.out.join("experiment.toml");
        if is_there(&file)? {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("{} can't be read", file.display()))?;
            let begun: Begun = toml::from_str(&text)
                .with_context(|| format!("{} is no experiment of this version", file.display()))?;
            ensure!(
                begun == self.begun,
                "the reproduction in {} was begun with another description, other options or other \
                 pictures ({}): give another folder with --out, or remove that one",
                self.out.display(),
                file.display()
            );
            return Ok(());
        }
        if self.dry_run {
            return Ok(());
        }
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("the folder {} can't be made", self.out.display()))?;
        write_whole(&file, toml::to_string(&self.begun)?.as_bytes())
    }

    /// The experiment.
    pub(super) fn experiment(&self) -> &Experiment {
        &self.begun.experiment
    }

    /// Run directory of a training.
    pub(super) fn run_dir(&self, training: &Training<'_>) -> PathBuf {
        self.dir_of(&training.name())
    }

    /// Run directory of the training of this name.
    pub(super) fn dir_of(&self, name: &str) -> PathBuf {
        let own = || self.out.join("runs").join(name);
        self.begun.run.as_ref().map_or_else(own, PathBuf::from)
    }

    /// The options of the devices for so many columns: a network with fewer than there are devices
    /// takes the first ones.
    pub(super) fn devices(&self, columns: usize) -> Vec<OsString> {
        let devices = match &*self.devices {
            "auto" => "auto".to_owned(),
            list => list.split(',').take(columns).collect::<Vec<_>>().join(","),
        };
        [&["--devices".into(), devices.into()], &*self.gpu].concat()
    }

    /// The recipe of a training.
    ///
    /// # Errors
    /// If it can't be read or is impossible.
    pub(super) fn recipe(&self, variant: &Variant, candidate: &[String]) -> Result<Recipe> {
        let experiment = self.experiment();
        recipe::load(experiment.recipe(variant), &experiment.sets(variant, candidate))
    }

    /// The command that trains to the end of these epochs, without the program.
    ///
    /// # Errors
    /// If the recipe can't be read any more.
    pub(super) fn up(&self, training: &Training<'_>, epochs: u64) -> Result<Vec<OsString>> {
        let experiment = self.experiment();
        let variant = training.variant;
        let mut words: Vec<OsString> = Vec::new();
        let mut add = |option: &str, value: OsString| words.extend([option.into(), value]);
        add("--run", self.run_dir(training).into());
        add("--recipe", experiment.recipe(variant).into());
        for set in experiment.sets(variant, training.changes()) {
            add("--set", set.into());
        }
        add("--seed", training.seed.to_string().into());
        add("--epochs", epochs.to_string().into());
        add("--keep", "1".into());
        let data = if variant.pretraining { &self.begun.pretraining } else { &self.begun.data };
        if let Some(data) = data {
            add("--data", data.into());
        }
        if let Some(from) = variant.from.as_ref().and_then(|from| experiment.variant(from).ok()) {
            let from = Training { variant: from, candidate: None, seed: training.seed };
            add("--from", self.run_dir(&from).into());
        }
        let columns = self.recipe(variant, training.changes())?.columns;
        Ok([&["up".into()], &*words, &self.devices(columns)].concat())
    }

    /// Trains to the end of these epochs, unless that has been done, and returns what was measured.
    ///
    /// # Errors
    /// If the training fails or is stopped.
    pub(super) async fn train(
        &self,
        training: &Training<'_>,
        epochs: u64,
        asked: &mut Asked,
    ) -> Result<Metrics> {
        let dir = self.run_dir(training);
        if self.begun.run.is_none() && (self.dry_run || !is_trained(&dir, epochs)?) {
            self.execute(&self.up(training, epochs)?, asked).await?;
        }
        if self.dry_run {
            return Ok(Metrics::default());
        }
        ensure!(
            self.begun.run.is_some() || is_trained(&dir, epochs)?,
            "stopped in the training {}; the same command resumes it",
            training.name()
        );
        let dir = RunDir::open(&dir)?;
        self.is_as_described(&dir, training)?;
        let metrics = dir.metrics_path();
        // An imported run has none before it is trained.
        if self.begun.run.is_some() && !is_there(&metrics)? {
            return Ok(Metrics::default());
        }
        Metrics::read(&metrics)
    }

    /// Succeeds if a run was trained with the recipe that is described now, on the pictures of the
    /// runs before it.
    ///
    /// # Errors
    /// If a recipe file or the pictures have changed since the reproduction was begun.
    fn is_as_described(&self, dir: &RunDir, training: &Training<'_>) -> Result<()> {
        if self.begun.run.is_some() {
            return Ok(());
        }
        let again = "give another folder with --out, or remove this run";
        let described = self.recipe(training.variant, training.changes())?;
        ensure!(
            dir.recipe == described,
            "{} was trained with another recipe than is described now: {again}",
            dir.path.display()
        );
        let digest = &dir.data_set()?.digest;
        let mut digests = self.digests.borrow_mut();
        let first = digests.entry(training.variant.pretraining).or_insert_with(|| digest.clone());
        ensure!(
            first == digest,
            "{} was trained on other pictures than the runs before it: {again}",
            dir.path.display()
        );
        Ok(())
    }

    /// Executes a command of this program, or prints it. What it prints goes to `output.txt`; its
    /// progress stays on the terminal, if there is one.
    ///
    /// # Errors
    /// If it fails, or this process was asked to stop meanwhile.
    pub(super) async fn execute(&self, args: &[OsString], asked: &mut Asked) -> Result<()> {
        let command = typed(args);
        if self.dry_run {
            print::line(&command);
            return Ok(());
        }
        let log = self.out.join("output.txt");
        let open = || File::options().create(true).append(true).open(&log);
        let cant = || format!("{} can't be written", log.display());
        let mut out = open().with_context(cant)?;
        std::io::Write::write_all(&mut out, format!("$ {command}\n").as_bytes())
            .with_context(cant)?;
        let program = std::env::current_exe().context("this program's own file can't be found")?;
        let on_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(if on_terminal { Stdio::inherit() } else { open().with_context(cant)?.into() })
            // A group of its own, so that Ctrl-C in the terminal reaches this process alone.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("`{command}` can't be started"))?;
        let mut stopped = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status.context("a process can't be waited for")?,
                () = asked.asked() => {
                    stopped = true;
                    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
                    // One that has just ended needs no signal.
                    let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
                }
            }
        };
        if stopped {
            bail!("stopped; the same command resumes the reproduction");
        }
        let why = match on_terminal {
            true => "its error stands above".to_owned(),
            false => format!("{} says why", log.display()),
        };
        ensure!(status.success(), "`{command}` failed ({status}): {why}");
        Ok(())
    }
}

/// A command as a person would type it.
pub(super) fn typed(args: &[OsString]) -> String {
    // A path that begins with a hyphen would be quoted as `./-path`; here that is an option.
    let words = args.iter().map(|word| match word.to_str() {
        Some(option) if option.starts_with('-') => option.to_owned(),
        Some(set) if print::quoted(set.replacen('=', "", 1)) == set.replacen('=', "", 1) => {
            set.to_owned()
        }
        _ => print::quoted(Path::new(word)),
    });
    ["alexnet".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// Returns true if a run has been trained for these epochs, or to the plateau that ends it, and its
/// last checkpoint is there.
///
/// # Errors
/// If the run directory can't be read.
fn is_trained(dir: &Path, epochs: u64) -> Result<bool> {
    if !is_there(&dir.join("run.json"))? {
        return Ok(false);
    }
    match RunDir::open(dir)?.newest() {
        Ok((kept, _)) => Ok(kept.rate.ended || kept.epoch >= epochs as f64 - 1e-9),
        Err(error) if error.is_absent() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
