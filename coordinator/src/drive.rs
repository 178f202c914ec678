//! The I/O around the state machine: timers, calls, files. Carries out its actions.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use net::{BoxFuture, Health, RUN};
use proto::MESSAGE_LIMIT;
use proto::status::WorkerStatus;
use proto::wire::coordinator_server::CoordinatorServer;
use proto::wire::store_server::StoreServer;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument;

use crate::config::Config;
use crate::disk::checkpoint::{self, Manifest};
use crate::disk::run_dir::{Owned, Record};
use crate::disk::store::Store;
use crate::error::Error;
use crate::record::append::Unsynced;
use crate::record::metrics::{Evaluation, Metrics};
use crate::record::progress::{self, Progress};
use crate::record::prometheus;
use crate::record::recorder::Recorder;
use crate::record::tensorboard::TensorBoard;
use crate::run::event::{Action, Ending, Event};
use crate::run::status::RunStatus;
use crate::run::{Run, Settings};
use crate::serve::{Inbox, Serve, Streams};

mod open; // the run on the disk when a coordinator starts
mod queue; // work on the disk beside the loop

use open::{Asked, Opened};
use queue::{Done, Queue};

const TICK: Duration = Duration::from_millis(200);
/// Time between two reminders of a run that waits.
const REMINDER: Duration = Duration::from_secs(10);
/// Time for all connections to close after `Finish`.
const GOODBYE: Duration = Duration::from_secs(2);
/// Time for the server to end after that.
const SERVER_ENDS: Duration = Duration::from_secs(1);
/// Most events that wait between the services and this loop.
const EVENTS: usize = 1024;
/// Windows for incoming shards. Bytes that are not on the disk yet wait in them, so they limit the
/// coordinator's memory; the default of 64 MiB is meant for something faster than a disk. A
/// worker's events share its connection: several shards that wait must leave room for them.
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// The result of a run that ended without an error.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Ending: finished, stopped, or nothing left to do.
    pub ending: Ending,
    /// Step of the last checkpoint, from which a stopped run resumes.
    pub step: u64,
    /// Epochs done at that step.
    pub epoch: f64,
    /// Last evaluation.
    pub last: Option<Evaluation>,
    /// Evaluation with the lowest error.
    pub best: Option<Evaluation>,
    /// Run directory.
    pub run_dir: PathBuf,
    /// Steps done by this call.
    pub steps_done: u64,
    /// Speed while training, evaluations and checkpoints left out.
    pub images_per_s: f64,
    /// Anything out of the ordinary: a damaged checkpoint, a full disk, a rollback.
    pub notices: Vec<String>,
}

/// Runs the coordinator of one run until it is finished, stopped or can't continue.
///
/// Once `shutdown` resolves, the coordinator saves a checkpoint of the steps that all partitions
/// have done, and ends.
///
/// # Errors
/// [`Error::Failed`] if the run can't continue, others if it can't start: the run directory is in
/// use, damaged, or another run's, or the data set does not fit.
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
    let (linger, silence) = (config.linger, config.heartbeat_timeout);
    let health = config.health.clone();
    let opened = open::open_soon(Asked {
        path: config.run_dir.clone(),
        recipe: config.recipe.clone(),
        seed: config.seed,
        start: config.start.clone(),
        from_start: config.from_start,
    })
    .await?;
    let (trust, version) = (config.trust.clone(), config.version);
    let mut driver = Driver::new(config, opened)?;
    let nothing_left = driver.run.is_finished();
    if nothing_left {
        tracing::info!(step = driver.run.checkpoint_step(), "nothing is left to do");
        if linger.is_zero() {
            return Ok(driver.outcome(Ending::AlreadyFinished));
        }
    }
    // Its tasks end when this function returns.
    let mut watchers = tokio::task::JoinSet::new();
    if let Some(listener) = metrics {
        watchers.spawn(prometheus::serve(listener, driver.status.subscribe()));
    }
    let (inbox, events) = mpsc::channel(EVENTS);
    let serve = Serve {
        run_id: driver.owned.dir.record.run_id.clone(),
        version,
        address: listener.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string()),
        trust: trust.clone(),
        inbox,
        status: driver.status.subscribe(),
        next_id: Arc::default(),
        finished: Arc::new(AtomicBool::new(nothing_left)),
        refusals: Arc::default(),
    };
    let finished = serve.finished.clone();
    let (close, closed) = oneshot::channel::<()>();
    let server = net::patient_server(silence)
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
    health.ready(if nothing_left { "the run has ended" } else { "serving the run" });
    let mut shutdown = shutdown;
    let span = tracing::info_span!(RUN, id = driver.owned.dir.record.run_id);
    let ending = tokio::select! {
        ending = driver.until_the_end(events, &mut shutdown).instrument(span), if !nothing_left => {
            ending?
        }
        () = std::future::ready(()), if nothing_left => Ending::AlreadyFinished,
        ended = &mut server => match ended {
            Ok(Err(error)) => return Err(error.into()),
            _ => return Err(Error::ServerEnded),
        },
    };
    health.rests();
    let status = driver.run.status();
    progress::ended(&ending, &status, driver.run.speed().1);
    // Everyone has been told; a connection that does not close is not waited for.
    let _ = tokio::time::timeout(GOODBYE, driver.streams.closed()).await;
    driver.streams.close();
    if matches!(ending, Ending::Finished | Ending::AlreadyFinished) && !linger.is_zero() {
        finished.store(true, Ordering::Relaxed);
        health.ready("the run has ended");
        tracing::info!("answering late workers and loaders, to tell them that the run is over");
        tokio::select! {
            () = tokio::time::sleep(linger) => {}
            () = &mut shutdown => {}
        }
    }
    let _ = close.send(());
    if tokio::time::timeout(SERVER_ENDS, &mut server).await.is_err() {
        server.abort();
    }
    // A checkpoint that is complete but for its manifest still becomes one.
    std::mem::replace(&mut driver.disk, Queue::new()).end().await;
    match ending {
        Ending::Failed { reason } if !driver.run.has_begun() => Err(Error::NotBegun(reason)),
        Ending::Failed { reason } => {
            let (step, kept) = (driver.run.step(), driver.run.checkpoint_step());
            Err(Error::Failed { step, kept, reason })
        }
        ending => Ok(driver.outcome(ending)),
    }
}

/// The state machine and everything that its actions need.
struct Driver {
    run: Run,
    owned: Owned,
    metrics: Metrics,
    /// Length of `metrics.jsonl` at the step of the checkpoint that is being saved.
    mark: u64,
    tensorboard: TensorBoard,
    /// Time of the newest checkpoint.
    kept_at: Option<SystemTime>,
    recorder: Recorder,
    store: Store,
    disk: Queue,
    streams: Streams,
    keep: usize,
    status: watch::Sender<RunStatus>,
    progress: Option<watch::Sender<RunStatus>>,
    /// Writes the log lines for people.
    lines: Progress,
    /// Told at every tick that this loop moves.
    health: Health,
}

impl Driver {
    fn new(config: Config, opened: Opened) -> Result<Self, Error> {
        let Opened { owned, newest, notices } = opened;
        let path = &owned.dir.path;
        let record = &owned.dir.record;
        let lines = Progress::new(config.progress_every, config.recipe.batch, Instant::now());
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
            heartbeat_timeout: config.heartbeat_timeout,
            max_restarts: config.max_restarts,
            replacement_deadline: config.replacement_deadline,
            ready_deadline: config.ready_deadline,
            grace: config.grace,
            start: record.start.clone(),
            devices: record.devices_of_partitions(),
        };
        // Cut once the workers have the weights of the checkpoint, not before.
        let metrics = Metrics::open(&owned.dir.metrics_path())?;
        let tensorboard = TensorBoard::new(path)?;
        let kept_at = newest.as_ref().and_then(|m| checkpoint::made_at(path, m.step));
        let mut run =
            Run::new(settings, newest, record.data_set.clone(), record.incarnation, notices);
        run.set_mean(record.mean_sha256.clone());
        let status = watch::Sender::new(RunStatus { checkpoint_at: kept_at, ..run.status() });
        let store = Store::new(path, record.start.as_ref());
        let recorder = Recorder::new(&owned.dir, config.timing_every);
        Ok(Self {
            run,
            metrics,
            mark: 0,
            tensorboard,
            kept_at,
            recorder,
            store,
            disk: Queue::new(),
            streams: Streams::new()?,
            keep: config.keep,
            status,
            progress: config.progress,
            lines,
            health: config.health,
            owned,
        })
    }

    /// Feeds events to the state machine until it says that the run is over.
    async fn until_the_end(
        &mut self,
        mut inbox: mpsc::Receiver<Inbox>,
        shutdown: &mut BoxFuture<()>,
    ) -> Result<Ending, Error> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut reminded = Instant::now();
        let mut asked_to_stop = false;
        loop {
            // In this order: after a slow disk, waiting heartbeats count before any timeout.
            let event = tokio::select! {
                biased;
                () = &mut *shutdown, if !asked_to_stop => {
                    asked_to_stop = true;
                    Event::Stop { reason: "asked to stop".to_string() }
                }
                Some(message) = inbox.recv() => match self.take(message) {
                    Some(event) => event,
                    None => continue,
                },
                done = self.disk.done() => match self.is_done(done) {
                    Some(event) => event,
                    None => continue,
                },
                _ = tick.tick() => {
                    self.health.moves();
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

    /// Takes a service's input; returns its event, if it has one for the state machine.
    fn take(&mut self, message: Inbox) -> Option<Event> {
        match message {
            Inbox::Worker { id, commands } => self.streams.worker(id, commands),
            Inbox::Loader { id, commands } => self.streams.loader(id, commands),
            Inbox::Spans { loader, spans } => self.recorder.loader(&loader, &spans),
            Inbox::Event(event) => {
                self.streams.forget(&event);
                return Some(event);
            }
            Inbox::Stop { reason, after } => {
                let _ = after.send(self.run.step());
                return Some(Event::Stop { reason });
            }
        }
        None
    }

    /// Takes the result of work on the disk; returns its event, if it has one.
    fn is_done(&mut self, done: Done) -> Option<Event> {
        let Done { event, notice } = done;
        if let Some(notice) = notice.filter(|notice| !self.run.status().notices.contains(notice)) {
            self.run.note(notice);
        }
        if let Some(Event::ManifestWritten { result, .. }) = &event {
            self.recorder.checkpoint_written();
            if result.is_ok() {
                self.kept_at = Some(SystemTime::now());
                if let Some(record) = self.owned.checkpoint_record() {
                    self.write_record(record);
                }
            }
        }
        event
    }

    /// Writes `run.json` beside the loop. A full disk must not end a run that can continue.
    fn write_record(&self, record: Record) {
        let path = self.owned.dir.path.clone();
        self.disk.add(move || {
            let failed = record.write(&path).err().map(|error| {
                tracing::error!(%error, "run.json is behind");
                error.to_string()
            });
            Done { event: None, notice: failed }
        });
    }

    fn remind(&self) {
        let status = self.run.status();
        if status.phase.is_waiting() {
            let workers: Vec<_> = status.workers.iter().map(ToString::to_string).collect();
            let loaders: Vec<_> = status.loaders.iter().map(ToString::to_string).collect();
            tracing::info!(?workers, ?loaders, "{}", status.phase);
        }
    }

    /// Handles one event and everything that follows from it.
    async fn handle(&mut self, event: Event) -> Result<Option<Ending>, Error> {
        let mut events = std::collections::VecDeque::from([event]);
        let mut ending = None;
        while let Some(event) = events.pop_front() {
            for action in self.run.on(event, Instant::now()) {
                match action {
                    Action::End(how) => ending = Some(how),
                    action => events.extend(self.carry_out(action).await?),
                }
            }
        }
        let status = RunStatus { checkpoint_at: self.kept_at, ..self.run.status() };
        self.lines.look(&status, Instant::now());
        if let Some(progress) = &self.progress {
            progress.send_replace(status.clone());
        }
        self.status.send_replace(status);
        Ok(ending)
    }

    /// Carries out one action; some have an answer.
    async fn carry_out(&mut self, action: Action) -> Result<Option<Event>, Error> {
        self.recorder.observe(&action);
        match action {
            Action::Send { worker, command } => return Ok(self.streams.send(worker, *command)),
            Action::Disconnect { worker, reason } => self.streams.disconnect(worker, &reason),
            Action::RefuseLoader { loader, reason } => self.streams.refuse_loader(loader, reason),
            Action::RecordData { data, mean } => {
                let record = self.owned.data_record(*data, &mean);
                let path = self.owned.dir.path.clone();
                self.disk.wait_for(move || record.write_with_mean(&path, &mean)).await?;
            }
            Action::RecordStart { incarnation, workers } => {
                self.record_start(incarnation, &workers)
            }
            Action::CutMetrics { bytes } => {
                self.metrics.cut(bytes);
                let RunStatus { step, last, .. } = self.run.status();
                self.tensorboard.roll_back(step, last.map(|e| e.step), SystemTime::now());
            }
            Action::AppendMetrics(line) => {
                self.metrics.append(&line);
                self.tensorboard.append(&line, SystemTime::now());
                return Ok(self.metrics.is_crowded().then_some(Event::RecordsWait));
            }
            Action::RecordTiming { partition, timing } => {
                self.recorder.partition(partition, *timing);
            }
            Action::AcceptShards { incarnation, shards } => self.store.accept(incarnation, shards),
            Action::MarkMetrics => self.mark = self.metrics.length(),
            Action::WriteManifest(manifest) => self.write_manifest(*manifest),
            Action::FindCheckpoint { whatever_is_readable } => {
                let path = self.owned.dir.path.clone();
                self.disk.add(move || {
                    let found = match whatever_is_readable {
                        true => checkpoint::newest(&path),
                        false => checkpoint::newest_to_resume(&path),
                    };
                    let found = found.map(|(newest, refused)| (newest.map(Box::new), refused));
                    let event = Event::CheckpointFound(found.map_err(|error| error.to_string()));
                    Done { event: Some(event), notice: None }
                });
            }
            Action::DiscardCheckpoint { step } => {
                let path = self.owned.dir.path.clone();
                // Waited for: the shards of the next attempt come into the same folder.
                let discard = move || {
                    checkpoint::discard(&path, step);
                    Ok(())
                };
                self.disk.wait_for(discard).await?;
            }
            Action::FinishLoaders { reason } => self.streams.finish_loaders(&reason),
            Action::End(_) => {}
        }
        Ok(None)
    }

    /// Records the beginning of an incarnation.
    fn record_start(&mut self, incarnation: u64, workers: &[WorkerStatus]) {
        for change in self.owned.other_devices(workers) {
            self.run.note(change);
        }
        let status = self.run.status();
        let record = self.owned.start_record(incarnation, workers, status.steps);
        self.write_record(record);
        let dir = &self.owned.dir;
        if let Some(data) = &dir.record.data_set {
            self.lines.begins(&dir.recipe, data, &status);
        }
    }

    /// Makes a checkpoint exist beside the loop, then removes old ones.
    fn write_manifest(&mut self, manifest: Manifest) {
        let (path, keep, bytes) = (self.owned.dir.path.clone(), self.keep, self.mark);
        let (metrics, boards) = (self.metrics.written(), self.tensorboard.written());
        self.disk.add(move || {
            let step = manifest.step;
            // The metrics come first: a manifest says how long they are.
            let write = || -> Result<Manifest, Error> {
                metrics?.map_or(Ok(()), |file| file.sync())?;
                manifest.write(&path, bytes)
            };
            let kept = write();
            // Only a copy of the metrics: no reason to have no checkpoint.
            let boards = boards.and_then(|files| files.iter().try_for_each(Unsynced::sync));
            let notice = boards.err().map(|error| {
                tracing::error!(%error, "TensorBoard's files are behind");
                format!("TensorBoard's files are behind: {error}")
            });
            if let Ok(kept) = &kept
                && let Err(error) = checkpoint::prune(&path, kept, keep)
            {
                tracing::warn!(%error, "an old checkpoint can't be removed");
            }
            let result = kept.map(Box::new).map_err(|error| error.to_string());
            Done { event: Some(Event::ManifestWritten { step, result }), notice }
        });
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
