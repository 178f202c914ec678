//! A whole run on this machine: its processes, started, watched and ended. `up` trains with it,
//! `bench` measures with it.

mod children; // processes: start, restart, end
mod progress; // the live line
pub(crate) mod report; // what a run reached, and what to type next
mod state; // what is remembered in a run directory

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coordinator::Ending;
use model::recipe::Recipe;
use net::{Backoff, Trust, asked_to_stop};
use proto::wire::RunStatus;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::client;
use crate::devices::Devices;
use crate::options::TlsArgs;
use crate::{print, recipe, role};
use children::End;
use progress::Progress;

pub(crate) use children::{ChildCommand, Running, logs};
pub(crate) use state::Remembered;

/// Time between two questions to the coordinator about the state of the run.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// Time that workers and loaders have to end with the run.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);
/// A coordinator that has answered before and is silent for this long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(30);
/// Most restarts of a coordinator that was killed.
const COORDINATOR_RESTARTS: u32 = 10;

/// A run on this machine, decided before anything is started.
#[derive(Debug)]
pub(crate) struct LocalRun {
    /// The recipe, with its changes.
    pub recipe: Recipe,
    /// `--recipe` for the coordinator: a name or a file.
    pub recipe_name: String,
    /// Seed of the run.
    pub seed: u64,
    /// A prepared folder, or `synthetic:SIDE`.
    pub data: String,
    /// The run directory.
    pub dir: PathBuf,
    /// One device per worker.
    pub devices: Devices,
    /// Certificates for TLS between the processes.
    pub tls: TlsArgs,
    /// Number of loader processes.
    pub loaders: u16,
    /// `--metrics`, as typed.
    pub metrics: Option<String>,
    /// Options that are handed on as they were typed.
    pub options: ChildOptions,
}

/// Options for the command lines of the children.
#[derive(Debug, Default)]
pub(crate) struct ChildOptions {
    /// For every child.
    pub every: Vec<OsString>,
    /// For the coordinator.
    pub coordinator: Vec<OsString>,
    /// For each worker.
    pub worker: Vec<OsString>,
}

impl LocalRun {
    /// Prints what is going to be trained, on what, and where.
    pub(crate) fn announce(&self) {
        let again = self.dir.join("run.json").is_file();
        print::line(format_args!(
            "{} {} on {} with {} and {}, in {}",
            if again { "resuming" } else { "training" },
            self.recipe.name,
            self.pictures(),
            print::count(self.devices.names.len() as u64, "worker", "workers"),
            print::count(self.loaders.into(), "loader", "loaders"),
            self.dir.display()
        ));
        if let Some(why) = &self.devices.why {
            print::line(format_args!("using {}: {why}", self.devices.names.join(" and ")));
        }
        if std::io::stderr().is_terminal() {
            print::line("Ctrl-C writes a checkpoint and ends; the same command resumes the run");
        }
    }

    /// Name of the pictures, for people.
    fn pictures(&self) -> String {
        match self.data.starts_with("synthetic") {
            true => "built-in pictures".into(),
            false => recipe::data_name(&self.data, recipe::stored_side(&self.recipe)),
        }
    }

    /// Starts all processes, shows progress, and returns the ending of the run.
    ///
    /// `started` receives name and number of each process, which `bench` measures.
    ///
    /// # Errors
    /// If a process can't be started or the run can't continue.
    pub(crate) async fn train(&self, started: impl FnOnce(Vec<(String, u32)>)) -> Result<Ending> {
        crate::commands::handled_elsewhere(); // by `watch`
        let trust = self.tls.trust(net::Role::Operator, None)?;
        let logs = children::logs(&self.dir)?;
        let args = self.coordinator("127.0.0.1:0", self.metrics.as_deref());
        let coordinator = ChildCommand::new("coordinator", &logs, args).start().await?;
        let address = coordinator.address.clone();
        if let Some(metrics) = &coordinator.metrics {
            print::line(format_args!("metrics at {metrics}"));
        }
        let mut others = Vec::new();
        for child in self.others(&logs, &address) {
            others.push(child.start().await?);
        }
        let pids = others.iter().chain([&coordinator]);
        started(pids.filter_map(|r| Some((r.name().to_owned(), r.pid()?))).collect());

        let (over, is_over) = watch::channel(None);
        let (tell, notices) = mpsc::unbounded_channel();
        let mut kept_alive = JoinSet::new();
        let states = poll_states(&trust, &address)?;
        for running in others {
            let (is_over, states, tell) = (is_over.clone(), states.clone(), tell.clone());
            kept_alive.spawn(children::keep_alive(running, is_over, states, tell));
        }
        // A restarted coordinator listens on the same address, which the others know.
        let metrics = coordinator.metrics.as_deref().map(host_and_port);
        let again = ChildCommand::new("coordinator", &logs, self.coordinator(&address, metrics));
        let ended = self.watch(&trust, coordinator, again, &mut kept_alive, states, notices).await;
        if let Ok(ending) = &ended {
            // The others end with the run by themselves. If no run began, nothing tells them to.
            let began = *ending != Ending::AlreadyFinished;
            let _ = over.send(Some(if began { LEAVES_WITHIN } else { Duration::ZERO }));
            while kept_alive.join_next().await.is_some() {}
        }
        ended
    }

    /// Shows progress, restarts a coordinator that was killed, and passes Ctrl-C on, until the
    /// coordinator ends.
    async fn watch(
        &self,
        trust: &Trust,
        mut coordinator: Running,
        again: ChildCommand,
        others: &mut JoinSet<Result<()>>,
        mut states: watch::Receiver<RunStatus>,
        mut notices: mpsc::UnboundedReceiver<String>,
    ) -> Result<Ending> {
        let mut progress = Progress::new(self.recipe.batch);
        let mut asked = Box::pin(asked_to_stop());
        let (mut stopping, mut restarts, mut backoff) = (false, 0, Backoff::default());
        let mut born = Instant::now();
        let mut heard = None;
        let mut look = tokio::time::interval(ASK_EVERY);
        let mut remembered = Some(Remembered {
            data: self.data.clone(),
            coordinator: Some(coordinator.address.clone()),
        });
        let ended = loop {
            tokio::select! {
                end = coordinator.ended() => match end {
                    End::Done => break Ok(role::ending(&coordinator.last_line().await)),
                    End::Killed(_) if restarts < COORDINATOR_RESTARTS && !stopping => {
                        if born.elapsed() > children::LONG_LIFE {
                            (restarts, backoff) = (0, Backoff::default());
                        }
                        progress.notice(&format!(
                            "coordinator ended: {}; restarting it", end.why()
                        ));
                        restarts += 1;
                        backoff.pause().await;
                        coordinator = again.start().await?;
                        (born, heard) = (Instant::now(), None);
                    }
                    end => break Err(anyhow::anyhow!("{}", end.why())),
                },
                Some(done) = others.join_next() => {
                    if let Err(error) = done.context("a task that watches a process failed")? {
                        break Err(error);
                    }
                }
                Some(notice) = notices.recv() => progress.notice(&notice),
                Ok(()) = states.changed() => {
                    heard = Some(Instant::now());
                    // The coordinator answers, so the run directory belongs to this run.
                    if let Some(remembered) = remembered.take() {
                        remembered.write(&self.dir)?;
                    }
                    progress.update(&states.borrow_and_update());
                }
                _ = look.tick() => {
                    if heard.is_some_and(|at: Instant| at.elapsed() > HANGS_AFTER) {
                        // The first branch then sees its end.
                        heard = None;
                        progress.notice("the coordinator does not answer: killing it");
                        coordinator.kill();
                    }
                }
                signal = &mut asked => {
                    signal.context("Ctrl-C can't be received")?;
                    if stopping {
                        break Err(anyhow::anyhow!(
                            "ended at once, without a new checkpoint; the same command resumes \
                             from the last one"
                        ));
                    }
                    stopping = true;
                    asked = Box::pin(asked_to_stop());
                    progress.notice(&ask_to_stop(trust, &coordinator.address).await);
                }
            }
        };
        progress.end();
        ended
    }

    fn coordinator(&self, listen: &str, metrics: Option<&str>) -> Vec<OsString> {
        let mut args = self.child("coordinator", listen);
        args.extend(["--run".into(), self.dir.clone().into()]);
        args.extend(["--recipe".into(), self.recipe_name.clone().into()]);
        args.extend(["--seed".into(), self.seed.to_string().into()]);
        args.extend(metrics.iter().flat_map(|address| ["--metrics".into(), address.into()]));
        args.extend(self.options.coordinator.iter().cloned());
        args
    }

    fn others(&self, logs: &Path, coordinator: &str) -> Vec<ChildCommand> {
        let child = |name: String, kind: &str, own: [&str; 2], more: &[OsString]| {
            let mut args = self.child(kind, "127.0.0.1:0");
            args.extend(["--coordinator", coordinator, own[0], own[1]].map(Into::into));
            args.extend(more.iter().cloned());
            ChildCommand::new(name, logs, args)
        };
        let loaders = (0..self.loaders)
            .map(|i| child(format!("loader-{i}"), "loader", ["--data", &self.data], &[]));
        let workers = self.devices.names.iter().enumerate().map(|(i, device)| {
            child(format!("worker-{i}"), "worker", ["--device", device], &self.options.worker)
        });
        loaders.chain(workers).collect()
    }

    fn child(&self, kind: &str, listen: &str) -> Vec<OsString> {
        let args = [kind, "--with-parent", "--listen", listen];
        args.into_iter().map(Into::into).chain(self.options.every.iter().cloned()).collect()
    }
}

/// `HOST:PORT` of `http://HOST:PORT/metrics`.
fn host_and_port(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches("/metrics")
}

/// Asks for a checkpoint and the end of the run; returns the answer as a sentence.
async fn ask_to_stop(trust: &Trust, address: &str) -> String {
    let answer = match client::connect(trust, address) {
        Ok(mut client) => client::stop(&mut client, "Ctrl-C").await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(step) => format!(
            "stopping after step {}: writing its checkpoint (Ctrl-C again ends at once)",
            print::thousands(step)
        ),
        Err(error) => format!("the coordinator can't be asked to stop: {error:#}"),
    }
}

/// The state of the run, asked for every [`ASK_EVERY`] until the receiver is dropped.
fn poll_states(trust: &Trust, address: &str) -> Result<watch::Receiver<RunStatus>> {
    let mut client = client::connect(trust, address)?;
    let (show, states) = watch::channel(RunStatus::default());
    tokio::spawn(async move {
        while !show.is_closed() {
            // A coordinator that is being restarted doesn't answer; a later one will.
            if let Ok(state) = client::status(&mut client).await {
                let _ = show.send(state);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    });
    Ok(states)
}
