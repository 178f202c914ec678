//! `alexnet up`: the whole run on this machine, each role a process of its own.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use model::recipe::Recipe;
use net::{Backoff, asked_to_stop};
use net::{Role as Certified, Trust};
use proto::wire::RunStatus;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::args::{DEFAULT_SEED, LogFormat, RecipeArgs, UpArgs};
use crate::certs::CertsArgs;
use crate::children::{self, End, Role, Running};
use crate::devices::{Devices, GpuArgs, devices};
use crate::memory::Memory;
use crate::patience::{LossArgs, WaitArgs};
use crate::progress::Progress;
use crate::report;
use crate::roles::{self, one_thread};
use crate::status;
use crate::{prepare, recipe, say};

/// How often the coordinator is asked how it goes.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// How long workers and loaders may take to end with the run.
const LEAVES_WITHIN: Duration = Duration::from_secs(10);
/// A coordinator that has answered before and says nothing for so long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(30);
/// A coordinator that was killed is started again this often.
const COORDINATOR_RESTARTS: u32 = 10;

/// What to start, decided before anything is.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What is trained.
    pub recipe: Recipe,
    /// `--recipe` for the coordinator: a name or a file.
    pub recipe_name: String,
    /// Everything else about it, as typed.
    pub typed: RecipeArgs,
    /// Seed of the run.
    pub seed: u64,
    /// A prepared folder, or `synthetic:SIDE`.
    pub data: String,
    /// The run directory.
    pub run: PathBuf,
    /// One a worker.
    pub devices: Devices,
    /// Where the GPUs' libraries are.
    pub gpu: GpuArgs,
    /// For TLS between the processes.
    pub certs: CertsArgs,
    /// Loader processes.
    pub loaders: u16,
    /// `--metrics`, as typed.
    pub metrics: Option<String>,
    /// When who counts as lost.
    pub loss: LossArgs,
    /// How long workers wait.
    pub wait: WaitArgs,
    /// Of the children's logs.
    pub log_format: LogFormat,
}

/// Trains, or goes on training.
pub(crate) fn run(args: &UpArgs, log_format: LogFormat) -> Result<()> {
    let plan = Plan::new(args, log_format)?;
    plan.announce();
    let started = Instant::now();
    let ended = one_thread()?.block_on(plan.train(|_| ()))?;
    report::ended(&plan, &ended, started.elapsed())
}

impl Plan {
    fn new(args: &UpArgs, log_format: LogFormat) -> Result<Self> {
        let given = args.run.as_deref();
        let remembered = given.and_then(Memory::read);
        let data = args.data.clone().or(remembered.map(|memory| memory.data));
        let default = if data.is_some() { "caffe" } else { "demo" };
        let run_of = |name: &str| -> Result<PathBuf> {
            let recipe = recipe::load(name, &args.recipe.sets)?;
            let data = data.clone().unwrap_or_else(|| recipe::built_in_pictures(&recipe));
            Ok(given.map_or_else(|| recipe::default_run_dir(&recipe, &data), Path::to_owned))
        };
        // A run that is there goes on with its own recipe; --set may then only repeat it.
        let (run, recipe_name) = match &args.recipe.recipe {
            Some(name) => (run_of(name)?, name.clone()),
            None => {
                let run = run_of(default)?;
                let kept = run.join("recipe.toml");
                let there = kept.is_file().then(|| kept.to_string_lossy().into_owned());
                (run, there.unwrap_or_else(|| default.to_owned()))
            }
        };
        let recipe = recipe::load(&recipe_name, &args.recipe.sets)?;
        let seed = args.recipe.seed.unwrap_or_else(|| {
            coordinator::run_dir::RunDir::open(&run).map_or(DEFAULT_SEED, |dir| dir.record.seed)
        });
        let devices = devices(&args.devices, recipe.columns, &args.gpu)?;
        let data = match data {
            Some(data) => prepare::ready(&data, &recipe)?,
            None => recipe::built_in_pictures(&recipe),
        };
        Ok(Self {
            recipe,
            recipe_name,
            typed: args.recipe.clone(),
            seed,
            data,
            run,
            devices,
            gpu: args.gpu.clone(),
            certs: args.certs.clone(),
            loaders: args.loaders,
            metrics: args.watch.metrics.clone(),
            loss: args.loss.clone(),
            wait: args.wait.clone(),
            log_format,
        })
    }

    fn announce(&self) {
        let again = self.run.join("run.json").is_file();
        say::line(format_args!(
            "{} {} on {}, {} and {}, in {}",
            if again { "going on with" } else { "training" },
            self.recipe.name,
            recipe::data_name(&self.data, recipe::stored_side(&self.recipe)),
            say::count(self.devices.names.len() as u64, "worker", "workers"),
            say::count(self.loaders.into(), "loader", "loaders"),
            self.run.display()
        ));
        if let Some(why) = &self.devices.why {
            say::line(format_args!("on {}: {why}", self.devices.names.join(" and ")));
        }
        if std::io::stderr().is_terminal() {
            say::line("Ctrl-C writes a checkpoint and ends; the same command goes on from there");
        }
    }

    /// Starts everything, shows how it goes, and returns what the coordinator said at its end;
    /// `started` is told the processes, for `bench` to measure them.
    ///
    /// # Errors
    /// If a process can't be started or the run can't go on.
    pub(crate) async fn train(&self, started: impl FnOnce(Vec<(String, u32)>)) -> Result<String> {
        let trust = self.certs.trust(Certified::Operator)?;
        let logs = children::logs(&self.run)?;
        let args = self.coordinator("127.0.0.1:0", self.metrics.as_deref());
        let coordinator = Role::new("coordinator", &logs, args).start().await?;
        let address = coordinator.address.clone();
        if let Some(metrics) = &coordinator.metrics {
            say::line(format_args!("metrics at {metrics}"));
        }
        let mut others = Vec::new();
        for role in self.others(&logs, &address) {
            others.push(role.start().await?);
        }
        let pids = others.iter().chain([&coordinator]);
        started(pids.filter_map(|r| Some((r.name().to_owned(), r.pid()?))).collect());

        let (over, is_over) = watch::channel(None);
        let (tell, notices) = mpsc::unbounded_channel();
        let mut kept_alive = JoinSet::new();
        let states = ask_again_and_again(&trust, &address)?;
        for running in others {
            let (is_over, states, tell) = (is_over.clone(), states.clone(), tell.clone());
            kept_alive.spawn(children::keep_alive(running, is_over, states, tell));
        }
        // Restarted, it listens where everyone looks for it.
        let metrics = coordinator.metrics.as_deref().map(host_and_port);
        let again = Role::new("coordinator", &logs, self.coordinator(&address, metrics));
        let ended = self.watch(&trust, coordinator, again, &mut kept_alive, states, notices).await;
        if let Ok(said) = &ended {
            // At a run's end everyone leaves by itself; where none began, nobody was told to.
            let began = said != roles::ALREADY_FINISHED;
            let _ = over.send(Some(if began { LEAVES_WITHIN } else { Duration::ZERO }));
            while kept_alive.join_next().await.is_some() {}
        }
        ended
    }

    /// Until the coordinator ends.
    async fn watch(
        &self,
        trust: &Trust,
        mut coordinator: Running,
        again: Role,
        others: &mut JoinSet<Result<()>>,
        mut states: watch::Receiver<RunStatus>,
        mut notices: mpsc::UnboundedReceiver<String>,
    ) -> Result<String> {
        let mut progress = Progress::new(self.recipe.batch);
        let mut asked = Box::pin(asked_to_stop());
        let (mut stopping, mut restarts, mut backoff) = (false, 0, Backoff::default());
        let mut born = Instant::now();
        let mut heard = None;
        let mut look = tokio::time::interval(ASK_EVERY);
        let mut memory = Some(Memory {
            data: self.data.clone(),
            coordinator: Some(coordinator.address.clone()),
        });
        let ended = loop {
            tokio::select! {
                end = coordinator.ended() => match end {
                    End::Done => break Ok(coordinator.last_line().await),
                    End::Killed(_) if restarts < COORDINATOR_RESTARTS && !stopping => {
                        if born.elapsed() > children::LONG_LIFE {
                            (restarts, backoff) = (0, Backoff::default());
                        }
                        progress.notice(&format!(
                            "coordinator ended: {}; started again", end.why()
                        ));
                        restarts += 1;
                        backoff.pause().await;
                        coordinator = again.start().await?;
                        (born, heard) = (Instant::now(), None);
                    }
                    end => break Err(anyhow::anyhow!("{}", end.why())),
                },
                Some(done) = others.join_next() => {
                    if let Err(error) = done.context("a watching task broke")? {
                        break Err(error);
                    }
                }
                Some(notice) = notices.recv() => progress.notice(&notice),
                Ok(()) = states.changed() => {
                    heard = Some(Instant::now());
                    // It answers: it has taken this run directory, so these are its pictures.
                    if let Some(memory) = memory.take() {
                        memory.write(&self.run)?;
                    }
                    progress.update(&states.borrow_and_update());
                }
                _ = look.tick() => {
                    if heard.is_some_and(|at: Instant| at.elapsed() > HANGS_AFTER) {
                        // Its end is then seen above.
                        heard = None;
                        progress.notice("the coordinator does not answer and is ended");
                        coordinator.kill();
                    }
                }
                signal = &mut asked => {
                    signal.context("signals can't be received")?;
                    if stopping {
                        break Err(anyhow::anyhow!(
                            "ended at once; the last checkpoint stands, the same command goes on \
                             from there"
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
        let mut put = |key: &str, value: &dyn ToString| {
            args.extend([key.into(), value.to_string().into()]);
        };
        put("--recipe", &self.recipe_name);
        put("--seed", &self.seed);
        metrics.iter().for_each(|address| put("--metrics", address));
        self.typed.sets.iter().for_each(|set| put("--set", set));
        let typed = &self.typed;
        typed.epochs.iter().for_each(|n| put("--epochs", n));
        typed.steps.iter().for_each(|n| put("--steps", n));
        typed.checkpoint_every.iter().for_each(|n| put("--checkpoint-every", n));
        typed.timing_every.iter().for_each(|n| put("--timing-every", n));
        typed.keep.iter().for_each(|n| put("--keep", n));
        args.extend(["--run".into(), self.run.clone().into()]);
        args.extend(self.loss.typed());
        args
    }

    fn others(&self, logs: &Path, coordinator: &str) -> Vec<Role> {
        let role = |name: String, kind: &str, own: [&str; 2], more: Vec<OsString>| {
            let mut args = self.child(kind, "127.0.0.1:0");
            args.extend(["--coordinator", coordinator, own[0], own[1]].map(Into::into));
            args.extend(more);
            Role::new(name, logs, args)
        };
        let loaders = (0..self.loaders)
            .map(|i| role(format!("loader-{i}"), "loader", ["--data", &self.data], Vec::new()));
        let more = [self.gpu.typed(), self.wait.typed()].concat();
        let workers = self.devices.names.iter().enumerate().map(|(i, device)| {
            role(format!("worker-{i}"), "worker", ["--device", device], more.clone())
        });
        loaders.chain(workers).collect()
    }

    fn child(&self, kind: &str, listen: &str) -> Vec<OsString> {
        let format = self.log_format.name();
        let args = [kind, "--with-parent", "--listen", listen, "--log-format", format];
        args.into_iter().map(Into::into).chain(self.certs.typed()).collect()
    }
}

/// `HOST:PORT` of `http://HOST:PORT/metrics`.
fn host_and_port(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches("/metrics")
}

/// Asks for a checkpoint and the end; says what the coordinator answered.
async fn ask_to_stop(trust: &Trust, address: &str) -> String {
    let answer = match status::client(trust, address) {
        Ok(mut client) => status::stop(&mut client, "Ctrl-C").await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(step) => format!(
            "stopping after step {}: writing its checkpoint (Ctrl-C again ends at once)",
            say::thousands(step)
        ),
        Err(error) => format!("the coordinator can't be asked to stop: {error:#}"),
    }
}

/// The coordinator's state, as often as [`ASK_EVERY`] says, until nobody looks.
fn ask_again_and_again(trust: &Trust, address: &str) -> Result<watch::Receiver<RunStatus>> {
    let mut client = status::client(trust, address)?;
    let (show, states) = watch::channel(RunStatus::default());
    tokio::spawn(async move {
        while !show.is_closed() {
            // A coordinator that is being restarted doesn't answer; the next question may do.
            if let Ok(state) = status::ask(&mut client).await {
                let _ = show.send(state);
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    });
    Ok(states)
}
