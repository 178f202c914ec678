//! The run as a state machine: events in, actions out; no clock, no socket, no tensor.
//!
//! ```text
//! gathering ─▶ starting ─▶ training ⇄ evaluating ─▶ ended
//!     ▲            │          ⇅           │
//!     │            │   waiting for disk   │
//!     ├────────────┴─── a worker failed ──┤
//!     └─── a worker left ◀── halting ◀────┘
//! ```
//!
//! Training goes by *grants*: workers train until the granted step, which is never beyond the next
//! boundary. All partitions therefore stand at the same step whenever anything besides training is
//! due. A halt brings them to one step sooner.
//!
//! A checkpoint is taken at a boundary and written beside the steps that follow. The run waits for
//! the disk only at its end, where the next checkpoint is due before the last one is written, and
//! after several checkpoints in a row have failed.

pub(crate) mod event; // what happens, and what is then to be done
mod gathering; // until all members are there
mod outlook; // what the schedule will make of the data set
mod training; // grants, and what is due at a boundary
mod halting; // to one step, to stop or to let a worker go
mod saving; // checkpoints, and those that fail
mod rollback; // failures and the way back
mod notices; // anything out of the ordinary, for people
pub(crate) mod members; // workers, seats, loaders
mod faults; // of the workers' machines
mod seats; // which worker gets which seat
pub(crate) mod rate; // validation error → learning rate
pub(crate) mod boundaries; // the steps at which training pauses
pub(crate) mod status; // a snapshot, for people
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::halves::Partition;
use model::recipe::Recipe;
use proto::command::{Command, Finish};
use proto::step::StepFigures;

use crate::config::Until;
use crate::disk::checkpoint::{Identity, Manifest, State};
use crate::disk::data_set::DataSet;
use crate::disk::run_dir::Start;
use crate::record::metrics::Evaluation;
use boundaries::Boundaries;
use event::{Action, Ending, Event, Magnitude, Scores, WorkerId, WorkerMessage};
use members::Members;
use notices::Notices;
use rate::RateState;
use rollback::Search;
use saving::Failures;

/// Everything that a run needs to know from outside.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) run_id: String,
    pub(crate) run_dir: String,
    pub(crate) recipe: Recipe,
    pub(crate) recipe_toml: String,
    pub(crate) recipe_sha256: String,
    pub(crate) seed: u64,
    pub(crate) until: Option<Until>,
    pub(crate) checkpoint_every: u64,
    pub(crate) timing_every: u64,
    pub(crate) heartbeat_timeout: Duration,
    pub(crate) max_restarts: u32,
    pub(crate) replacement_deadline: Duration,
    pub(crate) ready_deadline: Duration,
    /// Longest time from the request to stop to the end.
    pub(crate) grace: Duration,
    /// Weights that the run starts from; `None`: initial values.
    pub(crate) start: Option<Start>,
    /// The devices that computed the partitions last.
    pub(crate) devices: Vec<(Partition, String)>,
}

/// The stage of a run; each seat holds its own part of it.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// The run waits for a data set or for workers.
    Gathering,
    /// `Begin` has been sent, and not every seat has answered.
    Starting { since: Instant },
    /// All workers may train until `granted`.
    Training { granted: u64 },
    /// `Evaluate` has been sent. `counts`: the learning rate depends on the result.
    Evaluating { counts: bool },
    /// `Halt` has been sent, and not every seat has answered.
    Halting,
    /// All workers stand at a boundary until the checkpoint that is being saved is on the disk.
    WaitingForDisk,
    /// The run is over.
    Ended,
}

impl Stage {
    /// The stage in a word, for a sentence.
    fn in_words(&self) -> String {
        match self {
            Stage::Gathering => "gathering its members".into(),
            Stage::Starting { .. } => "starting".into(),
            Stage::Training { granted } => format!("granted steps up to {granted}"),
            Stage::Evaluating { .. } => "evaluating".into(),
            Stage::Halting => "halting".into(),
            Stage::WaitingForDisk => "waiting for a checkpoint".into(),
            Stage::Ended => "over".into(),
        }
    }
}

/// One run, from its first worker to its end.
#[derive(Debug)]
pub(crate) struct Run {
    settings: Settings,
    members: Members,
    data: Option<DataSet>,
    /// SHA-256 of the data set's mean image; empty while it is unknown.
    mean_sha256: String,
    boundaries: Option<Boundaries>,
    stage: Stage,
    incarnation: u64,
    rate: RateState,
    last: Option<Evaluation>,
    best: Option<Evaluation>,
    /// True once it is known which layers don't start from the run's other weights.
    start_noted: bool,
    /// Half A's answer to the present evaluation.
    scores: Option<Scores>,
    /// Answers to the present evaluation, by seat: sums over the weights of each layer.
    magnitudes: BTreeMap<usize, Vec<(String, Magnitude)>>,
    /// The newest checkpoint.
    checkpoint: Option<Box<Manifest>>,
    /// State of the run at the step whose checkpoint is being saved.
    saving: Option<State>,
    /// True while the manifest of that checkpoint is being written; its shards are complete.
    is_writing: bool,
    /// The checkpoints that have failed since the last one that was kept.
    failed: Option<Failures>,
    /// The search for a whole checkpoint after a failure.
    search: Option<Search>,
    /// Time of the present event.
    now: Option<Instant>,
    /// Reason for stopping, once the run was asked to.
    stop: Option<String>,
    /// Time of that request.
    stop_since: Option<Instant>,
    /// Time of the first report of a failure that both halves find by themselves.
    shared_failure_since: Option<Instant>,
    started: bool,
    /// Worker failures since the run last reached a new step.
    failures: u32,
    /// The furthest step that the run has reached.
    furthest: u64,
    /// Time since which the run has waited for a worker.
    no_worker_since: Option<Instant>,
    /// Time since which the run has waited for a loader.
    no_loader_since: Option<Instant>,
    /// Time before which the next incarnation does not begin.
    not_before: Option<Instant>,
    trained_ms: f64,
    steps_trained: u64,
    /// Rollbacks since this program started.
    restarts: u64,
    latest: StepFigures,
    notices: Notices,
    /// Actions of the present event.
    actions: Vec<Action>,
}

impl Run {
    /// A run that resumes from `checkpoint`, or begins with initial values; `data` as recorded.
    pub(crate) fn new(
        settings: Settings,
        checkpoint: Option<Manifest>,
        data: Option<DataSet>,
        incarnation: u64,
        notices: Vec<String>,
    ) -> Self {
        let mut run = Self {
            members: Members::new(settings.recipe.columns, &settings.devices),
            boundaries: None,
            data: None,
            mean_sha256: String::new(),
            stage: Stage::Gathering,
            incarnation,
            rate: RateState::default(),
            last: None,
            best: None,
            start_noted: false,
            scores: None,
            magnitudes: BTreeMap::new(),
            checkpoint: checkpoint.map(Box::new),
            saving: None,
            is_writing: false,
            failed: None,
            search: None,
            now: None,
            stop: None,
            stop_since: None,
            shared_failure_since: None,
            started: false,
            failures: 0,
            furthest: 0,
            no_worker_since: None,
            no_loader_since: None,
            not_before: None,
            trained_ms: 0.0,
            steps_trained: 0,
            restarts: 0,
            latest: StepFigures::default(),
            notices: notices.into(),
            actions: Vec::new(),
            settings,
        };
        if let Some(data) = data {
            run.set_data(data);
            run.note_outlook();
        }
        run.train_beyond_a_plateau();
        run.restore_checkpoint();
        run.furthest = run.step();
        run
    }

    /// Takes one event, returns the actions that follow from it.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        self.now = Some(now);
        if self.stage != Stage::Ended {
            match event {
                Event::LoaderJoined { loader, address, data, mean } => {
                    self.take_loader(loader, address, *data, mean, now);
                }
                Event::LoaderLeft { loader } => self.loader_left(loader, now),
                Event::LoaderJudged { worker, loader, standing, why } => {
                    self.loader_judged(worker, loader, standing, &why);
                }
                Event::WorkerJoined { worker, device, kind, address } => {
                    self.members.join(worker, device, kind, address, now);
                    self.begin_if_all_are_here(now);
                }
                Event::WorkerLeaving { worker } => self.worker_leaves(worker),
                Event::WorkerLeft { worker, why } => self.worker_failed(worker, &why, now),
                Event::Message { worker, incarnation, message } => {
                    self.members.heard(worker, now);
                    self.take_message(worker, incarnation, message, now);
                }
                Event::ManifestWritten { step, result } => {
                    self.checkpoint_ended(step, result, now);
                }
                Event::CheckpointFound(found) => self.checkpoint_found(found, now),
                Event::RecordsWait => self.pause_for_records(now),
                Event::Stop { reason } => self.stop(reason, now),
                Event::Tick => self.tick(now),
            }
            if self.stage == Stage::Gathering {
                self.begin_if_all_are_here(now);
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Takes a worker's message, unless it belongs to something that was given up.
    fn take_message(
        &mut self,
        worker: WorkerId,
        incarnation: u64,
        message: WorkerMessage,
        now: Instant,
    ) {
        let Some(seat) = self.members.seat_of(worker) else { return };
        let running = !matches!(self.stage, Stage::Gathering | Stage::Ended);
        if incarnation != self.incarnation {
            return;
        }
        let partition = self.members.seats[seat].partition;
        match message {
            WorkerMessage::Heartbeat => {}
            WorkerMessage::Timing(timing) => {
                self.actions.push(Action::RecordTiming { partition, timing });
            }
            WorkerMessage::Failed { reason, retry: false, shared: true, .. } => {
                self.shared_failure(seat, reason, now);
            }
            WorkerMessage::Failed { reason, retry, blame, .. } => {
                self.worker_gave_up(seat, reason, retry, blame, now);
            }
            message if running => {
                if let Err(confused) = self.advance(seat, message, now) {
                    self.roll_back(&confused, now);
                }
            }
            _ => {}
        }
    }

    fn fail(&mut self, reason: String) {
        self.end(Ending::Failed { reason });
    }

    /// Tells everyone; after that the run ignores all events.
    fn end(&mut self, ending: Ending) {
        if self.stage == Stage::Ended {
            return;
        }
        self.give_up_saving();
        self.stage = Stage::Ended;
        let (reason, failed) = match &ending {
            Ending::Finished | Ending::AlreadyFinished => ("finished".to_string(), false),
            Ending::Stopped => (self.stop.clone().unwrap_or_default(), false),
            Ending::Failed { reason } => (reason.clone(), true),
        };
        for worker in self.members.everyone() {
            self.send(worker, Command::Finish(Finish { reason: reason.clone(), failed }));
        }
        self.actions.push(Action::FinishLoaders { reason });
        self.actions.push(Action::End(ending));
    }

    fn send(&mut self, worker: WorkerId, command: Command) {
        self.actions.push(Action::Send { worker, command: Box::new(command) });
    }

    /// Sends a command to every seat, made from the seat's index.
    fn send_to_all(&mut self, command: impl Fn(usize) -> Command) {
        let seated = self.members.seated().unwrap_or_default();
        let workers: Vec<_> = seated.iter().map(|worker| worker.id).collect();
        for (seat, worker) in workers.into_iter().enumerate() {
            self.send(worker, command(seat));
        }
    }

    /// Returns true if workers have begun since this program started.
    pub(crate) fn has_begun(&self) -> bool {
        self.started
    }

    /// Steps that all partitions have done.
    pub(crate) fn step(&self) -> u64 {
        self.members.seats.iter().map(|seat| seat.done).min().unwrap_or(0)
    }

    fn all_done(&self, step: u64) -> bool {
        self.members.seats.iter().all(|seat| seat.done == step)
    }

    /// Adds a notice for people.
    pub(crate) fn note(&mut self, notice: String) {
        self.notices.push(notice);
    }

    fn identity(&self) -> Identity {
        Identity {
            run_id: self.settings.run_id.clone(),
            recipe_sha256: self.settings.recipe_sha256.clone(),
            data_set: self.data.as_ref().map_or(String::new(), |d| d.digest.clone()),
            seed: self.settings.seed,
        }
    }

    fn state(&self) -> State {
        State {
            step: self.step(),
            epoch: self.boundaries.as_ref().map_or(0.0, |b| b.epoch(self.step())),
            rate: self.rate.clone(),
            last: self.last.clone(),
            best: self.best.clone(),
        }
    }
}
