//! A whole run on this machine: its processes, started, watched and ended. `up` trains with it,
//! `bench` measures with it.

mod certs; // of a run on this machine
mod children; // processes: start, restart, end
mod logs; // what they write
mod progress; // the live line
pub(crate) mod report; // what a run reached, and what to type next
mod state; // what is remembered in a run directory

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use coordinator::Ending;
use model::recipe::Recipe;
use net::{Backoff, Trust};
use proto::wire::RunStatus;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use crate::client;
use crate::devices::Devices;
use crate::files::is_there;
use crate::signals::Asked;
use crate::{print, recipe, role, threads};
use children::{End, GivenUp, Wanted};
use progress::Progress;

pub(crate) use certs::{Certificates, operator};
pub(crate) use children::{ChildCommand, Running};
pub(crate) use logs::logs;
pub(crate) use state::Remembered;

/// Time between two questions to the coordinator about the state of the run.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// Time that workers and loaders have to end with the run.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);
/// The same for a run that was asked to stop: somebody waits.
const LEAVES_STOPPED_WITHIN: Duration = Duration::from_secs(1);
/// Time that the coordinator needs to end, beyond its grace period.
const COORDINATOR_ENDS: Duration = Duration::from_secs(5);
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
    pub certificates: Certificates,
    /// Number of loader processes.
    pub loaders: u16,
    /// `--metrics`, as typed.
    pub metrics: Option<String>,
    /// Longest time from the request to stop to the end.
    pub grace: Duration,
    /// Options that are handed on as they were typed.
    pub options: ChildOptions,
}

/// Everything that `up` listens to while its processes run.
struct News {
    /// States of the run, as the coordinator answers.
    states: watch::Receiver<RunStatus>,
    /// Sentences about processes that ended.
    notices: mpsc::UnboundedReceiver<String>,
    /// The wish that tasks of the processes read.
    wanted: watch::Sender<Wanted>,
    /// Ctrl-C and its like.
    asked: Asked,
}

/// A run that was asked to stop.
struct Stopping {
    /// Time at which `up` ends in any case.
    by: Instant,
    /// The failure that ends the run, unless somebody asked for it.
    failure: Option<anyhow::Error>,
}

/// Beginning of a loader's name.
const LOADER: &str = "loader-";

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
    ///
    /// # Errors
    /// If the run directory can't be looked at.
    pub(crate) fn announce(&self) -> Result<()> {
        let again = is_there(&self.dir.join("run.json"))?;
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
        Ok(())
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
        let asked = Asked::take_over();
        let logs = logs::logs(&self.dir)?;
        tokio::spawn(logs::keep_small(logs.clone()));
        let trust = self.certificates.ready(&self.dir)?;
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

        let (wanted, is_wanted) = watch::channel(Wanted::Alive);
        let (tell, notices) = mpsc::unbounded_channel();
        let mut kept_alive = JoinSet::new();
        let states = poll_states(&trust, &address)?;
        for running in others {
            let (is_wanted, states, tell) = (is_wanted.clone(), states.clone(), tell.clone());
            kept_alive.spawn(children::keep_alive(running, is_wanted, states, tell));
        }
        // A restarted coordinator listens on the same address, which the others know.
        let metrics = coordinator.metrics.as_deref().map(host_and_port);
        let mut again = self.coordinator(&address, metrics);
        // Asked for once, by a person who had seen why.
        again.retain(|option| option != "--from-start");
        let again = ChildCommand::new("coordinator", &logs, again);
        let news = News { states, notices, wanted: wanted.clone(), asked };
        let ended = self.watch(&trust, coordinator, again, &mut kept_alive, news).await;
        if let Ok(ending) = &ended {
            // The others end with the run by themselves. If no run began, nothing tells them to.
            let grace = match ending {
                Ending::AlreadyFinished => Duration::ZERO,
                Ending::Stopped => LEAVES_STOPPED_WITHIN,
                _ => LEAVES_WITHIN,
            };
            wanted.send_replace(Wanted::Gone(grace));
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
        others: &mut JoinSet<Result<(), GivenUp>>,
        news: News,
    ) -> Result<Ending> {
        let News { mut states, mut notices, mut asked, wanted } = news;
        let mut progress = Progress::new(self.recipe.batch);
        let (mut restarts, mut backoff) = (0, Backoff::default());
        let mut serving = usize::from(self.loaders);
        let mut stopping = None;
        let mut born = Instant::now();
        let mut heard = None;
        let mut look = tokio::time::interval(ASK_EVERY);
        let mut remembered = Some(Remembered {
            data: self.data.clone(),
            coordinator: Some(coordinator.address.clone()),
        });
        let stop = |failure| {
            wanted.send_replace(Wanted::Stopping);
            Stopping { by: Instant::now() + self.grace + COORDINATOR_ENDS, failure }
        };
        let ended = loop {
            tokio::select! {
                end = coordinator.ended() => match end {
                    End::Done => break Ok(role::ending(&coordinator.last_line().await)),
                    End::Killed(_) if restarts < COORDINATOR_RESTARTS && stopping.is_none() => {
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
                    let Some(GivenUp { name, why }) = given_up(done) else { continue };
                    if name.starts_with(LOADER) && serving > 1 {
                        serving -= 1;
                        let left = print::count(serving as u64, "other loader", "other loaders");
                        progress.notice(&format!("{why:#}; the run continues with {left}"));
                        continue;
                    }
                    if stopping.is_some() {
                        continue;
                    }
                    let address = &coordinator.address;
                    if ask_to_stop(trust, address, "a process failed").await.is_err() {
                        break Err(why);
                    }
                    if states.borrow().step > states.borrow().checkpoint_step {
                        progress.notice("a process failed: the run ends with a checkpoint");
                    }
                    stopping = Some(stop(Some(why)));
                }
                Some(notice) = notices.recv() => progress.notice(&notice),
                Ok(()) = states.changed() => {
                    heard = Some(Instant::now());
                    // The coordinator answers, so the run directory belongs to this run.
                    if let Some(Err(error)) = remembered.take().map(|r| r.write(&self.dir)) {
                        progress.notice(&format!("{error:#}; resume this run with --data"));
                    }
                    progress.update(&states.borrow_and_update());
                }
                _ = look.tick() => {
                    if stopping.as_ref().is_some_and(|s| Instant::now() > s.by) {
                        break Err(anyhow::anyhow!(
                            "the coordinator did not end in time: no new checkpoint; the same \
                             command resumes from the last one"
                        ));
                    }
                    if heard.is_some_and(|at: Instant| at.elapsed() > HANGS_AFTER) {
                        // The first branch then sees its end.
                        heard = None;
                        progress.notice("the coordinator does not answer: killing it");
                        coordinator.kill();
                    }
                }
                () = asked.asked() => {
                    if stopping.is_some() {
                        break Err(anyhow::anyhow!(
                            "ended at once, without a new checkpoint; the same command resumes \
                             from the last one"
                        ));
                    }
                    stopping = Some(stop(None));
                    progress.notice(&match ask_to_stop(trust, &coordinator.address, "Ctrl-C").await {
                        Ok(step) => format!(
                            "stopping after step {} or the next: writing its checkpoint (Ctrl-C \
                             again ends at once)",
                            print::thousands(step)
                        ),
                        Err(error) => format!("the coordinator can't be asked to stop: {error:#}"),
                    });
                }
            }
        };
        progress.end();
        match stopping.and_then(|stopping| stopping.failure) {
            Some(failure) => Err(failure),
            None => ended,
        }
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
        let loaders = usize::from(self.loaders);
        let threads = threads::per_loader(&self.devices.names, loaders, threads::cores());
        let threads = ["--threads".into(), threads.to_string().into()];
        let loaders = (0..loaders)
            .map(|i| child(format!("{LOADER}{i}"), "loader", ["--data", &self.data], &threads));
        let workers = self.devices.names.iter().enumerate().map(|(i, device)| {
            child(format!("worker-{i}"), "worker", ["--device", device], &self.options.worker)
        });
        loaders.chain(workers).collect()
    }

    fn child(&self, kind: &str, listen: &str) -> Vec<OsString> {
        let args = [kind, "--with-parent", "--listen", listen];
        let mut args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        if let Some(folder) = self.certificates.folder(&self.dir) {
            args.extend(["--certs".into(), folder.into()]);
        }
        args.extend(self.options.every.iter().cloned());
        args
    }
}

/// `HOST:PORT` of `http://HOST:PORT/metrics`.
fn host_and_port(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches("/metrics")
}

/// The process that is not started again, if a task ended because of one.
fn given_up(done: Result<Result<(), GivenUp>, JoinError>) -> Option<GivenUp> {
    match done {
        Ok(ended) => ended.err(),
        Err(panicked) => {
            let why = anyhow::Error::new(panicked).context("a task that watches a process failed");
            Some(GivenUp { name: String::new(), why })
        }
    }
}

/// Asks for a checkpoint and the end of the run; returns the step done now.
async fn ask_to_stop(trust: &Trust, address: &str, reason: &str) -> Result<u64> {
    client::stop(&mut client::connect(trust, address)?, reason).await
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
