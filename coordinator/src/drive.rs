//! The I/O around [`crate::run`]: timers, calls, files. Does what the state machine says.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use net::{BoxFuture, RUN};
use proto::MESSAGE_LIMIT;
use proto::wire::coordinator_server::CoordinatorServer;
use proto::wire::store_server::StoreServer;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument;

use crate::checkpoint::{self, Manifest};
use crate::config::Config;
use crate::error::Error;
use crate::event::{Command, Ending, Event};
use crate::metrics::{Evaluation, Metrics};
use crate::progress::{self, Progress};
use crate::prometheus;
use crate::run::{Run, Settings};
use crate::run_dir::Owned;
use crate::serve::{Inbox, Links, Serve};
use crate::status::RunStatus;
use crate::store::Store;
use crate::tensorboard::TensorBoard;
use crate::timing::Recorder;

const TICK: Duration = Duration::from_millis(200);
/// How often a run that waits says for what.
const REMINDER: Duration = Duration::from_secs(10);
/// How long everyone has to close after `Finish`.
const GOODBYE: Duration = Duration::from_secs(3);
/// How long a coordinator waits for another one to leave the run directory.
const LOCKED_FOR: Duration = Duration::from_secs(3);
/// Events between the services and this loop.
const EVENTS: usize = 1024;
/// Windows for incoming shards: what isn't on the disk yet waits here, and the coordinator is to
/// stay small; a disk is slower than the default's 64 MiB is meant for.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// How a run ended, if not with an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Finished, stopped, or nothing left to do.
    pub ending: Ending,
    /// Step of the last checkpoint, from which a stopped run goes on.
    pub step: u64,
    /// Epochs at that step.
    pub epoch: f64,
    /// The last evaluation.
    pub last: Option<Evaluation>,
    /// The one with the lowest error.
    pub best: Option<Evaluation>,
    /// Where the run is kept.
    pub run_dir: PathBuf,
    /// Steps done by this call.
    pub steps_done: u64,
    /// While training, evaluations and checkpoints left out.
    pub images_per_s: f64,
    /// What was out of the ordinary: a damaged checkpoint, a full disk, a recovery.
    pub notices: Vec<String>,
}

/// Runs the coordinator of one run until it is finished, stopped or can't go on.
///
/// `shutdown` resolving means: checkpoint what all parts have finished, then end.
///
/// # Errors
/// [`Error::Failed`] if the run can't go on, others if it can't start: the run directory is in
/// use, damaged, or another run's.
pub fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<Result<Outcome, Error>> {
    Box::pin(run_until(config, listener, Box::pin(shutdown)))
}

async fn run_until(
    mut config: Config,
    listener: TcpListener,
    shutdown: BoxFuture<()>,
) -> Result<Outcome, Error> {
    config.check()?;
    let metrics = config.metrics.take();
    let path = config.run_dir.clone();
    let (recipe, seed) = (config.recipe.clone(), config.seed);
    let linger = config.linger;
    let opened = open_soon(&path, &recipe, seed).await?;
    let trust = config.trust.clone();
    let mut driver = Driver::new(config, opened)?;
    let nothing_left = driver.run.is_finished();
    if nothing_left {
        tracing::info!(step = driver.run.kept_step(), "nothing is left to do");
        if linger.is_zero() {
            return Ok(driver.outcome(Ending::AlreadyFinished));
        }
    }
    // Dropped, and thereby ended, with this function.
    let mut watchers = tokio::task::JoinSet::new();
    if let Some(listener) = metrics {
        watchers.spawn(prometheus::serve(listener, driver.status.subscribe()));
    }
    let (inbox, events) = mpsc::channel(EVENTS);
    let serve = Serve {
        run_id: driver.owned.dir.record.run_id.clone(),
        address: listener.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string()),
        trust: trust.clone(),
        inbox,
        status: driver.status.subscribe(),
        next_id: std::sync::Arc::default(),
        finished: Arc::new(AtomicBool::new(nothing_left)),
    };
    let finished = serve.finished.clone();
    let (close, closed) = oneshot::channel::<()>();
    let server = net::server()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(CoordinatorServer::new(serve).max_decoding_message_size(MESSAGE_LIMIT))
        .add_service(
            StoreServer::new(driver.store.clone()).max_decoding_message_size(MESSAGE_LIMIT),
        )
        .serve_with_incoming_shutdown(trust.accept(listener), async {
            let _ = closed.await;
        });
    let mut server = tokio::spawn(server);
    let span = tracing::info_span!(RUN, id = driver.owned.dir.record.run_id);
    let ending = tokio::select! {
        ending = driver.until_the_end(events, shutdown).instrument(span), if !nothing_left => ending?,
        () = std::future::ready(()), if nothing_left => Ending::AlreadyFinished,
        ended = &mut server => match ended {
            Ok(Err(error)) => return Err(error.into()),
            _ => return Err(Error::Invalid("the coordinator's server ended too early".into())),
        },
    };
    let status = driver.run.status();
    progress::ended(&ending, &status, driver.run.speed().1);
    // Everyone has been told; those who don't listen are not waited for.
    let _ = tokio::time::timeout(GOODBYE, driver.links.closed()).await;
    driver.links.close();
    if matches!(ending, Ending::Finished | Ending::AlreadyFinished) && !linger.is_zero() {
        finished.store(true, Ordering::Relaxed);
        tracing::info!(
            seconds = linger.as_secs(),
            "waiting for late workers and loaders, to tell them that the run is over"
        );
        tokio::time::sleep(linger).await;
    }
    let _ = close.send(());
    if tokio::time::timeout(GOODBYE, &mut server).await.is_err() {
        server.abort();
    }
    match ending {
        Ending::Failed { reason } => {
            let (step, kept) = (driver.run.step(), driver.run.kept_step());
            Err(Error::Failed { step, kept, reason })
        }
        ending => Ok(driver.outcome(ending)),
    }
}

/// As [`open`]; a coordinator that was there just now may need a moment to end.
async fn open_soon(
    path: &Path,
    recipe: &model::recipe::Recipe,
    seed: u64,
) -> Result<Opened, Error> {
    let since = Instant::now();
    loop {
        let (path, recipe) = (path.to_path_buf(), recipe.clone());
        match blocking(move || open(&path, &recipe, seed)).await {
            Err(Error::Locked { .. }) if since.elapsed() < LOCKED_FOR => {
                tokio::time::sleep(TICK).await;
            }
            other => return other,
        }
    }
}

/// What is on the disk when a coordinator starts.
struct Opened {
    owned: Owned,
    kept: Option<Manifest>,
    notices: Vec<String>,
}

fn open(path: &Path, recipe: &model::recipe::Recipe, seed: u64) -> Result<Opened, Error> {
    let owned = Owned::open(path, recipe, seed)?;
    checkpoint::remove_unfinished(path)?;
    let (kept, mut notices) = checkpoint::newest(path)?;
    for refused in &notices {
        tracing::warn!(kept = kept.as_ref().map_or(0, |m| m.step), "{refused}");
    }
    // Beginning anew would cut the run's history: that is for a person to decide.
    if kept.is_none() && !notices.is_empty() {
        return Err(Error::NoneWhole { path: path.to_path_buf(), refused: notices.join("; ") });
    }
    if let Some(manifest) = &kept
        && manifest.run_id != owned.dir.record.run_id
    {
        let differences = format!(
            "run {} in run.json, run {} in the checkpoint of step {}",
            owned.dir.record.run_id, manifest.run_id, manifest.step
        );
        return Err(Error::OtherRun { path: path.to_path_buf(), differences });
    }
    notices.extend(owned.notices());
    Ok(Opened { owned, kept, notices })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// The state machine and everything it commands.
struct Driver {
    run: Run,
    owned: Owned,
    metrics: Metrics,
    /// Its length at the step of the checkpoint that is being written.
    mark: u64,
    tensorboard: TensorBoard,
    /// When the newest checkpoint was made.
    kept_at: Option<SystemTime>,
    timing: Recorder,
    store: Store,
    links: Links,
    keep: usize,
    status: watch::Sender<RunStatus>,
    progress: Option<watch::Sender<RunStatus>>,
    /// Writes the log lines that people read.
    said: Progress,
}

impl Driver {
    fn new(config: Config, opened: Opened) -> Result<Self, Error> {
        let Opened { owned, kept, notices } = opened;
        let path = &owned.dir.path;
        let record = &owned.dir.record;
        let said = Progress::new(config.progress_every, config.recipe.batch, Instant::now());
        let settings = Settings {
            run_id: record.run_id.clone(),
            run_dir: path.display().to_string(),
            recipe: config.recipe,
            recipe_toml: owned.recipe_toml.clone(),
            recipe_sha256: owned.recipe_sha256.clone(),
            seed: config.seed,
            until: config.until,
            checkpoint_every: config.checkpoint_every,
            timing_every: config.timing_every,
            silence: config.silence,
            max_restarts: config.max_restarts,
            wait_for_workers: config.wait_for_workers,
            wait_for_ready: config.wait_for_ready,
        };
        let bytes = kept.as_ref().map_or(0, |m| m.metrics_bytes);
        let metrics = Metrics::open(&owned.dir.metrics_path(), bytes)?;
        let tensorboard = TensorBoard::new(path);
        let kept_at = kept.as_ref().and_then(|m| checkpoint::made_at(path, m.step));
        let run = Run::new(settings, kept, record.data_set.clone(), record.incarnation, notices);
        let status = watch::Sender::new(RunStatus { checkpoint_at: kept_at, ..run.status() });
        let store = Store::new(path);
        let timing = Recorder::new(&owned.dir, config.timing_every);
        Ok(Self {
            run,
            metrics,
            mark: 0,
            tensorboard,
            kept_at,
            timing,
            store,
            links: Links::new()?,
            keep: config.keep,
            status,
            progress: config.progress,
            said,
            owned,
        })
    }

    /// Feeds events to the state machine until it says that the run is over.
    async fn until_the_end(
        &mut self,
        mut inbox: mpsc::Receiver<Inbox>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Ending, Error> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reminded = Instant::now();
        tokio::pin!(shutdown);
        let mut asked_to_stop = false;
        loop {
            // In this order: after a slow disk, heartbeats that wait here count before silence.
            let event = tokio::select! {
                biased;
                () = &mut shutdown, if !asked_to_stop => {
                    asked_to_stop = true;
                    Event::Stop { reason: "asked to stop".to_string() }
                }
                Some(message) = inbox.recv() => match self.take(message) {
                    Some(event) => event,
                    None => continue,
                },
                _ = tick.tick() => {
                    if reminded.elapsed() >= REMINDER {
                        reminded = Instant::now();
                        self.remind();
                    }
                    Event::Tick
                }
            };
            if let Some(ending) = self.handle(event).await? {
                return Ok(ending);
            }
        }
    }

    /// What a service said, as an event.
    fn take(&mut self, message: Inbox) -> Option<Event> {
        match message {
            Inbox::Worker { id, orders } => self.links.worker(id, orders),
            Inbox::Loader { id, orders } => self.links.loader(id, orders),
            Inbox::Spans { loader, spans } => self.timing.loader(&loader, &spans),
            Inbox::Event(event) => {
                self.links.forget(&event);
                return Some(event);
            }
            Inbox::Stop { reason, after } => {
                let _ = after.send(self.run.stops_after());
                return Some(Event::Stop { reason });
            }
        }
        None
    }

    fn remind(&self) {
        let status = self.run.status();
        if status.phase.starts_with("waiting") {
            tracing::info!(workers = ?status.workers, loaders = ?status.loaders, "{}", status.phase);
        }
    }

    /// One event and everything that follows from it.
    async fn handle(&mut self, event: Event) -> Result<Option<Ending>, Error> {
        let mut events = std::collections::VecDeque::from([event]);
        let mut ending = None;
        while let Some(event) = events.pop_front() {
            for command in self.run.on(event, Instant::now()) {
                match command {
                    Command::End(how) => ending = Some(how),
                    command => events.extend(self.obey(command).await?),
                }
            }
        }
        let status = RunStatus { checkpoint_at: self.kept_at, ..self.run.status() };
        self.said.look(&status, Instant::now());
        if let Some(progress) = &self.progress {
            progress.send_replace(status.clone());
        }
        self.status.send_replace(status);
        Ok(ending)
    }

    /// Does one thing; some have an answer.
    async fn obey(&mut self, command: Command) -> Result<Option<Event>, Error> {
        self.timing.sees(&command);
        match command {
            Command::Order { worker, incarnation, order } => {
                return Ok(self.links.order(worker, incarnation, order));
            }
            Command::Disconnect { worker, reason } => self.links.disconnect(worker, &reason),
            Command::RefuseLoader { loader, reason } => self.links.refuse_loader(loader, reason),
            Command::RecordData { data, mean } => self.owned.record_data(&data, &mean)?,
            Command::RecordStart { incarnation, devices } => {
                // A full disk must not end a run that could go on.
                for change in self.owned.other_devices(&devices) {
                    self.run.note(change);
                }
                let status = self.run.status();
                if let Err(error) = self.owned.record_start(incarnation, devices, status.steps) {
                    tracing::error!(%error, "the new incarnation can't be written down");
                    self.run.note(error.to_string());
                }
                let dir = &self.owned.dir;
                if let Some(data) = &dir.record.data_set {
                    self.said.begins(&dir.recipe, data, &status);
                }
            }
            Command::CutMetrics { bytes } => {
                self.metrics.cut(bytes)?;
                let RunStatus { step, last, .. } = self.run.status();
                self.tensorboard.go_back(step, last.map(|e| e.step), SystemTime::now());
            }
            Command::Write(line) => {
                self.metrics.write(&line);
                self.tensorboard.write(&line, SystemTime::now());
            }
            Command::Timing { part, timing } => self.timing.half(part, *timing),
            Command::Expect { incarnation, shards } => self.store.expect(incarnation, shards),
            Command::Mark => self.mark = self.metrics.length(),
            Command::Keep(manifest) => {
                let step = manifest.step;
                let kept = self.keep(*manifest).await;
                self.timing.kept();
                let result = kept.map(Box::new).map_err(|error| error.to_string());
                return Ok(Some(Event::Kept { step, result }));
            }
            Command::Discard { step } => {
                let path = self.owned.dir.path.clone();
                blocking(move || {
                    checkpoint::discard(&path, step);
                    Ok(())
                })
                .await?;
            }
            Command::FinishLoaders { reason } => self.links.finish_loaders(&reason),
            Command::End(_) => {}
        }
        Ok(None)
    }

    /// Makes a checkpoint exist, then removes those that are too old.
    async fn keep(&mut self, manifest: Manifest) -> Result<Manifest, Error> {
        self.metrics.sync()?;
        let bytes = self.mark;
        if let Err(error) = self.tensorboard.sync() {
            // Only a copy of the record: no reason to have no checkpoint.
            tracing::error!(%error, "TensorBoard's files are behind");
            let notice = format!("TensorBoard's files are behind: {error}");
            if !self.run.status().notices.contains(&notice) {
                self.run.note(notice);
            }
        }
        let (path, keep) = (self.owned.dir.path.clone(), self.keep);
        let kept = blocking(move || {
            let kept = manifest.keep(&path, bytes)?;
            if let Err(error) = checkpoint::prune(&path, &kept, keep) {
                tracing::warn!(%error, "an old checkpoint can't be removed");
            }
            Ok(kept)
        })
        .await?;
        self.kept_at = Some(SystemTime::now());
        Ok(kept)
    }

    fn outcome(&self, ending: Ending) -> Outcome {
        let status = self.run.status();
        let (steps_done, images_per_s) = self.run.speed();
        Outcome {
            ending,
            step: status.step,
            epoch: status.epoch,
            last: status.last,
            best: status.best,
            run_dir: self.owned.dir.path.clone(),
            steps_done,
            images_per_s,
            notices: status.notices,
        }
    }
}
