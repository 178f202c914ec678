//! The run as a state machine: events in, commands out; no clock, no socket, no tensor.
//!
//! ```text
//! gathering ─▶ starting ─▶ training ⇄ evaluating ─▶ ended
//!     ▲            │          ⇅           │
//!     │            │    waiting for disk  │
//!     └────────────┴── a worker is lost ──┘
//! ```
//!
//! Training goes by *grants*: workers go on until the granted step, which is never beyond the next
//! boundary, and nothing granted is ever taken back. So all parts stand at the same step whenever
//! something else is due, and stopping is granting no more.
//!
//! A checkpoint is taken at a boundary and written beside the steps that follow: [`Saving`]. The run
//! waits for the disk only at its end, and where the next checkpoint is due before the last is kept.
//!
//! This file holds what goes wrong and how it ends; `gathering.rs` who comes until all are there;
//! `training.rs` what happens then; `report.rs` how the run stands.

mod gathering;
mod training;
mod report;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use model::recipe::Recipe;

use crate::checkpoint::{Identity, Manifest, ShardEntry, State};
use crate::config::Until;
use crate::event::{Command, DataSet, Ending, Event, Order, Said, Scores, WorkerId, part_name};
use crate::members::Members;
use crate::metrics::{Evaluation, StepReport};
use crate::plan::Plan;
use crate::rate::RateState;
use crate::status::Work;

/// After a second loss without a new step the next start waits, so that a peer that fails at once
/// doesn't use up all restarts before its partner's replacement is there.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the run waits for the other half's words about what both have found.
const BOTH: Duration = Duration::from_secs(5);

/// What a run needs to know from outside.
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
    pub(crate) silence: Duration,
    pub(crate) max_restarts: u32,
    pub(crate) wait_for_workers: Duration,
    pub(crate) wait_for_ready: Duration,
}

/// What the run is doing.
#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// Waiting for a data set or for workers.
    Gathering,
    /// `Begin` is out, since when; who has answered.
    Starting { ready: Vec<bool>, since: Instant },
    /// Everyone may go on until `granted`.
    Training { granted: u64 },
    /// Who has answered; `counts`: for the rate, too.
    Evaluating { answered: Vec<bool>, counts: bool },
    /// All stand at a boundary until the checkpoint on its way is kept.
    Waiting,
    /// Over.
    Ended,
}

/// A checkpoint on its way to the disk.
#[derive(Debug)]
struct Saving {
    /// The run as it was when its parts were told.
    state: State,
    /// What each part answered: its shard is stored, or why not.
    answered: Vec<Option<Result<ShardEntry, String>>>,
}

/// One run from its first worker to its end.
#[derive(Debug)]
pub(crate) struct Run {
    settings: Settings,
    members: Members,
    data: Option<DataSet>,
    plan: Option<Plan>,
    phase: Phase,
    incarnation: u64,
    /// Steps each part has done.
    done: Vec<u64>,
    /// Reports of steps that not every part has done.
    reports: Vec<VecDeque<StepReport>>,
    rate: RateState,
    last: Option<Evaluation>,
    best: Option<Evaluation>,
    /// What half A answered to the evaluation that is going on.
    scores: Option<Scores>,
    /// The newest checkpoint.
    kept: Option<Box<Manifest>>,
    /// The one that is being written.
    saving: Option<Saving>,
    /// The step of the last checkpoint that failed, and why: not tried again.
    not_kept: Option<(u64, String)>,
    stop: Option<String>,
    /// What each part said of a failure that both find, and since when one has.
    found: Vec<Option<String>>,
    found_since: Option<Instant>,
    started: bool,
    /// Losses since the furthest step.
    losses: u32,
    furthest: u64,
    /// When the run began to wait for a worker, and for a loader.
    missing_since: Option<Instant>,
    no_loader_since: Option<Instant>,
    not_before: Option<Instant>,
    trained_ms: f64,
    steps_trained: u64,
    /// What each part has done.
    work: Vec<Work>,
    /// Returns to a checkpoint.
    restarts: u64,
    latest: StepReport,
    notices: Vec<String>,
    out: Vec<Command>,
}

impl Run {
    /// A run that goes on from `kept`, or starts with initial values; `data` as recorded, if ever.
    pub(crate) fn new(
        settings: Settings,
        kept: Option<Manifest>,
        data: Option<DataSet>,
        incarnation: u64,
        notices: Vec<String>,
    ) -> Self {
        let members = Members::new(settings.recipe.columns);
        let parts = members.parts().len();
        let mut run = Self {
            members,
            plan: None,
            data: None,
            phase: Phase::Gathering,
            incarnation,
            done: vec![0; parts],
            reports: vec![VecDeque::new(); parts],
            rate: RateState::default(),
            last: None,
            best: None,
            scores: None,
            kept: kept.map(Box::new),
            saving: None,
            not_kept: None,
            stop: None,
            found: vec![None; parts],
            found_since: None,
            started: false,
            losses: 0,
            furthest: 0,
            missing_since: None,
            no_loader_since: None,
            not_before: None,
            trained_ms: 0.0,
            steps_trained: 0,
            work: vec![Work::default(); parts],
            restarts: 0,
            latest: StepReport::default(),
            notices,
            out: Vec::new(),
            settings,
        };
        if let Some(data) = data {
            run.set_data(data);
        }
        run.train_beyond_a_plateau();
        run.return_to_kept();
        run.furthest = run.step();
        run
    }

    /// Takes one event, returns what must now be done.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Vec<Command> {
        if self.phase != Phase::Ended {
            match event {
                Event::LoaderJoined { loader, address, data, mean } => {
                    self.take_loader(loader, address, *data, mean, now);
                }
                Event::LoaderLeft { loader } => self.lose_loader(loader, now),
                Event::WorkerJoined { worker, device, exchange } => {
                    self.members.join(worker, device, exchange, now);
                    self.begin_if_all_are_here(now);
                }
                Event::WorkerLeft { worker, why } => self.lose_worker(worker, &why, now),
                Event::Worker { worker, incarnation, said } => {
                    self.members.heard(worker, now);
                    self.listen(worker, incarnation, said, now);
                }
                Event::Kept { step, result } => self.kept(step, result),
                Event::Stop { reason } => self.stop(reason),
                Event::Tick => self.tick(now),
            }
        }
        std::mem::take(&mut self.out)
    }

    fn lose_worker(&mut self, worker: WorkerId, why: &str, now: Instant) {
        let name = self.name_of(worker);
        if self.members.leave(worker).is_some() {
            self.recover(&format!("{name} is lost: {why}"), now);
        }
    }

    /// `half A`, for a worker on a seat.
    fn name_of(&self, worker: WorkerId) -> String {
        let seat = self.members.seat_of(worker);
        seat.map_or("a standby".to_string(), |seat| part_name(self.members.parts()[seat]))
    }

    /// Returns to the last manifest; begins again as soon as all seats are taken.
    fn recover(&mut self, reason: &str, now: Instant) {
        match self.phase {
            Phase::Ended => return,
            Phase::Gathering => {
                if self.started {
                    self.missing_since.get_or_insert(now);
                }
                return self.begin_if_all_are_here(now);
            }
            _ => self.give_up_saving(),
        }
        if self.found_since.is_some() {
            return self.fail_as_found();
        }
        let from = self.step();
        self.phase = Phase::Gathering;
        self.out.push(Command::Expect { incarnation: self.incarnation + 1, shards: Vec::new() });
        self.return_to_kept();
        tracing::info!(
            incarnation = self.incarnation,
            from,
            step = self.step(),
            reason,
            "returning to the last checkpoint"
        );
        self.notices.push(format!("{reason}; went back from step {from} to {}", self.step()));
        self.losses += 1;
        self.restarts += 1;
        if self.losses > self.settings.max_restarts {
            let n = self.losses;
            return self.fail(format!("{n} losses without a new step, the last one: {reason}"));
        }
        if self.stop.is_some() {
            return self.end(Ending::Stopped);
        }
        if self.losses > 1 {
            let pause = FIRST_PAUSE * 2u32.saturating_pow(self.losses - 2);
            self.not_before = Some(now + pause.min(LONGEST_PAUSE));
        }
        self.missing_since = Some(now);
        self.begin_if_all_are_here(now);
    }

    /// Takes over what the last manifest says; without one, how a run starts.
    fn return_to_kept(&mut self) {
        let kept = self.kept.as_deref();
        self.rate = kept.map(|m| m.rate.clone()).unwrap_or_default();
        self.last = kept.and_then(|m| m.last.clone());
        self.best = kept.and_then(|m| m.best.clone());
        let step = kept.map_or(0, |m| m.step);
        self.done.fill(step);
        self.reports.iter_mut().for_each(VecDeque::clear);
        self.not_kept = None;
    }

    /// Takes what a worker says, unless it is about something already given up.
    fn listen(&mut self, worker: WorkerId, incarnation: u64, said: Said, now: Instant) {
        let Some(seat) = self.members.seat_of(worker) else { return };
        let running = !matches!(self.phase, Phase::Gathering | Phase::Ended);
        if incarnation != self.incarnation || said == Said::Heartbeat {
            return;
        }
        if let Said::Timing(timing) = said {
            let part = self.members.parts()[seat];
            self.out.push(Command::Timing { part, timing });
            return;
        }
        let name = part_name(self.members.parts()[seat]);
        if let Said::Failed { reason, retry, shared } = said {
            match retry {
                false if shared => self.finds(seat, reason, now),
                false => self.fail(format!("{name} gave up: {reason}")),
                true if running => self.recover(&format!("{name} failed: {reason}"), now),
                true => {}
            }
            return;
        }
        if running && let Err(confused) = self.advance(seat, said) {
            self.recover(&format!("{name} is out of step: {confused}"), now);
        }
    }

    /// A failure that each half finds by itself, in its own layers: ends the run once both told it.
    fn finds(&mut self, seat: usize, reason: String, now: Instant) {
        self.found[seat] = Some(reason);
        self.found_since.get_or_insert(now);
        if self.found.iter().all(Option::is_some) {
            self.fail_as_found();
        }
    }

    fn fail_as_found(&mut self) {
        let parts = self.members.parts().iter().zip(&self.found);
        let told = parts
            .filter_map(|(part, found)| Some(format!("{}: {}", part_name(*part), found.as_ref()?)));
        let told: Vec<_> = told.collect();
        self.fail(told.join("; "));
    }

    fn stop(&mut self, reason: String) {
        if self.stop.is_some() {
            return;
        }
        tracing::info!(reason, step = self.step(), "stopping");
        self.stop = Some(reason);
        match self.phase {
            Phase::Gathering | Phase::Starting { .. } => self.end(Ending::Stopped),
            Phase::Training { granted } if self.all_done(granted) => self.settle(granted),
            _ => {}
        }
    }

    /// The step after which the run will stop, if it is asked to now.
    pub(crate) fn stops_after(&self) -> u64 {
        match self.phase {
            Phase::Training { granted } => granted,
            _ => self.step(),
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.found_since.is_some_and(|since| now.saturating_duration_since(since) > BOTH) {
            return self.fail_as_found();
        }
        let reason = format!("nothing heard for {:.1} s", self.settings.silence.as_secs_f64());
        self.drop_workers(self.members.silent(now, self.settings.silence), &reason, now);
        let limit = self.settings.wait_for_ready;
        let reason = format!("not ready {:.0} s after it was told to begin", limit.as_secs_f64());
        self.drop_workers(self.not_ready(now, limit), &reason, now);
        self.begin_if_all_are_here(now);
        let limit = self.settings.wait_for_workers;
        let waited = |since: Option<Instant>| {
            since.is_some_and(|since| now.saturating_duration_since(since) > limit)
        };
        let (no_worker, no_loader) = (waited(self.missing_since), waited(self.no_loader_since));
        let missing = match (self.members.missing(), no_loader) {
            (parts, _) if no_worker && !parts.is_empty() => format!("worker for {parts}"),
            (_, true) if self.started => "loader".to_string(),
            _ => return,
        };
        let seconds = limit.as_secs_f64();
        self.fail(format!("no {missing} came within {seconds:.0} s; start one and run it again"));
    }

    fn drop_workers(&mut self, workers: Vec<WorkerId>, reason: &str, now: Instant) {
        for worker in workers {
            self.out.push(Command::Disconnect { worker, reason: reason.to_string() });
            self.lose_worker(worker, reason, now);
        }
    }

    /// Those who beat their heart but haven't begun for longer than `limit`: something in them hangs.
    fn not_ready(&self, now: Instant, limit: Duration) -> Vec<WorkerId> {
        let Phase::Starting { ready, since } = &self.phase else { return Vec::new() };
        if now.saturating_duration_since(*since) <= limit {
            return Vec::new();
        }
        let seated = self.members.seated().unwrap_or_default();
        seated.iter().zip(ready).filter(|(_, ready)| !**ready).map(|(w, _)| w.id).collect()
    }

    fn fail(&mut self, reason: String) {
        self.end(Ending::Failed { reason });
    }

    /// Tells everyone, then nothing more happens.
    fn end(&mut self, ending: Ending) {
        if self.phase == Phase::Ended {
            return;
        }
        self.give_up_saving();
        self.phase = Phase::Ended;
        let (reason, failed) = match &ending {
            Ending::Finished | Ending::AlreadyFinished => ("finished".to_string(), false),
            Ending::Stopped => (self.stop.clone().unwrap_or_default(), false),
            Ending::Failed { reason } => (reason.clone(), true),
        };
        for worker in self.members.everyone() {
            let order = Order::Finish { reason: reason.clone(), failed };
            self.out.push(Command::Order { worker, incarnation: self.incarnation, order });
        }
        self.out.push(Command::FinishLoaders { reason });
        self.out.push(Command::End(ending));
    }

    /// A checkpoint that is not kept yet never will be.
    fn give_up_saving(&mut self) {
        if let Some(saving) = self.saving.take() {
            self.discard(saving.state.step);
        }
    }

    /// Removes a checkpoint that is not to be, unless it was whole before it was taken again.
    fn discard(&mut self, step: u64) {
        if self.kept.as_ref().is_none_or(|m| m.step != step) {
            self.out.push(Command::Discard { step });
        }
    }

    /// An order to every seat.
    fn order_all(&mut self, order: impl Fn(usize) -> Order) {
        let seated = self.members.seated().unwrap_or_default();
        let orders: Vec<_> = seated.iter().enumerate().map(|(i, w)| (w.id, order(i))).collect();
        for (worker, order) in orders {
            self.out.push(Command::Order { worker, incarnation: self.incarnation, order });
        }
    }

    /// Steps that all parts have done.
    pub(crate) fn step(&self) -> u64 {
        self.done.iter().copied().min().unwrap_or(0)
    }

    /// Something people should know.
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
            epoch: self.plan.as_ref().map_or(0.0, |p| p.epoch(self.step())),
            rate: self.rate.clone(),
            last: self.last.clone(),
            best: self.best.clone(),
        }
    }
}
