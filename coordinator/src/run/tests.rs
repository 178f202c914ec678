//! Whole runs, played in milliseconds: scripted workers obey the commands of the state machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use model::halves::{Half, Partition};
use model::recipe::{Recipe, Schedule};

use proto::command::{Begin, Command, Evaluate, Train};
use proto::status::{DeviceKind, Phase, Standing};
use proto::step::StepFigures;
use proto::wire::Blame;

use super::event::{
    Action, Ending, Event, Found, LoaderId, Scores, Shard, WorkerId, WorkerMessage,
};
use super::{Run, Settings};
use crate::config::Until;
use crate::disk::checkpoint::Manifest;
use crate::disk::data_set::DataSet;
use crate::record::metrics::{Line, Step};

mod leaving; // workers that leave, runs that stop, and who gets a seat
mod disk; // checkpoints that fail, and checkpoints that rot
mod outlook; // schedules that wait for what never comes

/// A data set of ten classes.
pub(crate) fn data(n_train: u64, n_val: u64) -> DataSet {
    DataSet {
        name: "shapes".into(),
        digest: "d1".into(),
        side: 256,
        classes: (0..10).map(|i| format!("class {i}")).collect(),
        n_train,
        n_val,
        colors: [0.5; 9],
    }
}

const A: WorkerId = WorkerId(1);
const B: WorkerId = WorkerId(2);
const C: WorkerId = WorkerId(3);

/// Ten steps an epoch.
fn settings(until: Until, checkpoint_every: u64) -> Settings {
    Settings {
        timing_every: 50,
        run_id: "run".into(),
        run_dir: "runs/test".into(),
        recipe: Recipe { batch: 10, patience: 1, ..Recipe::default() },
        recipe_toml: "all keys".into(),
        recipe_sha256: "r".into(),
        seed: 7,
        until: Some(until),
        checkpoint_every,
        heartbeat_timeout: Duration::from_secs(10),
        ready_deadline: Duration::from_secs(60),
        max_restarts: 3,
        replacement_deadline: Duration::from_secs(60),
        grace: Duration::from_secs(25),
        start: None,
        devices: vec![],
    }
}

/// The world around a run: workers that do what they are told, a disk, a clock.
struct World {
    run: Run,
    settings: Settings,
    now: Instant,
    /// Each worker's step, and the step that it may reach.
    workers: BTreeMap<WorkerId, (u64, u64)>,
    inbox: Vec<Event>,
    /// All commands, in order, for the tests to look at.
    commands: Vec<(WorkerId, Command)>,
    actions: Vec<Action>,
    metrics: Vec<u64>,
    mark: usize,
    manifests: Vec<Manifest>,
    incarnation: u64,
    error_at: fn(u64) -> f64,
    /// Number of shards of half B that can't be saved from now on.
    refuses: u64,
    /// Manifests that can't be used any more, by step.
    rotten: Vec<u64>,
    ending: Option<Ending>,
    /// No worker does more steps than these.
    pause_at: Option<u64>,
}

impl World {
    fn new(settings: Settings, data: DataSet) -> Self {
        let mut world = Self::empty(Run::new(settings.clone(), None, None, 0, vec![]), settings);
        world.happens(joined(LoaderId(1), data));
        world
    }

    fn empty(run: Run, settings: Settings) -> Self {
        Self {
            run,
            settings,
            now: Instant::now(),
            workers: BTreeMap::new(),
            inbox: vec![],
            commands: vec![],
            actions: vec![],
            metrics: vec![],
            mark: 0,
            manifests: vec![],
            incarnation: 0,
            error_at: |step| 1.0 / (1.0 + step as f64),
            refuses: 0,
            rotten: vec![],
            ending: None,
            pause_at: None,
        }
    }

    /// The same directory, another coordinator.
    fn restarted(self, until: Until) -> Self {
        let settings = Settings { until: Some(until), ..self.settings };
        let kept = self.manifests.last().cloned();
        let run = Run::new(settings.clone(), kept, Some(data(100, 50)), self.incarnation, vec![]);
        let mut world = Self::empty(run, settings);
        world.metrics = self.metrics;
        world.error_at = self.error_at;
        world.happens(joined(LoaderId(1), data(100, 50)));
        world
    }

    fn with(mut self, workers: &[WorkerId]) -> Self {
        for worker in workers {
            self.joins(*worker);
        }
        self
    }

    fn joins(&mut self, worker: WorkerId) {
        self.joins_on(worker, DeviceKind::Cpu);
    }

    fn joins_on(&mut self, worker: WorkerId, kind: DeviceKind) {
        self.workers.insert(worker, (0, 0));
        let address = format!("host:{}", worker.0);
        self.happens(Event::WorkerJoined { worker, device: kind.to_string(), kind, address });
    }

    fn leaves(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
        self.inbox.retain(|e| !matches!(e, Event::Message { worker: w, .. } if *w == worker));
        self.happens(Event::WorkerLeft { worker, why: "its connection ended".into() });
        self.searches();
    }

    /// Lets the run have the answer that it waits for before it begins again.
    fn searches(&mut self) {
        if let [Event::CheckpointFound(_), ..] = self.inbox[..] {
            let found = self.inbox.remove(0);
            self.happens(found);
        }
    }

    fn fails(&mut self, worker: WorkerId, retry: bool) {
        let message = WorkerMessage::Failed {
            reason: "peer silent".into(),
            retry,
            shared: false,
            blame: Blame::Unspecified,
        };
        let incarnation = self.incarnation;
        self.happens(Event::Message { worker, incarnation, message });
        self.searches();
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.happens(Event::Tick);
    }

    fn happens(&mut self, event: Event) {
        for action in self.run.on(event, self.now) {
            self.actions.push(action.clone());
            match action {
                Action::FindCheckpoint { .. } => {
                    let found = self.found();
                    self.inbox.insert(0, Event::CheckpointFound(found));
                }
                Action::Send { worker, command } => {
                    if let Command::Begin(begin) = &*command {
                        self.incarnation = begin.incarnation;
                    }
                    self.commands.push((worker, *command.clone()));
                    self.obeys(worker, *command);
                }
                Action::AppendMetrics(Line::Step(Step { figures, .. })) => {
                    self.metrics.push(figures.step);
                }
                Action::CutMetrics { bytes } => self.metrics.truncate(bytes as usize),
                Action::MarkMetrics => self.mark = self.metrics.len(),
                Action::WriteManifest(mut manifest) => {
                    manifest.metrics_bytes = self.mark as u64;
                    self.manifests.push(*manifest.clone());
                    let (step, result) = (manifest.step, Ok(manifest));
                    self.inbox.push(Event::ManifestWritten { step, result });
                }
                Action::End(ending) => self.ending = Some(ending),
                _ => {}
            }
        }
    }

    fn found(&self) -> Found {
        let whole = |manifest: &&Manifest| !self.rotten.contains(&manifest.step);
        let newest = self.manifests.iter().rev().find(whole).cloned();
        let last = self.manifests.last().filter(|last| !whole(last));
        let refused = last.map(|last| format!("the checkpoint of step {} is not used", last.step));
        Ok((newest.map(Box::new), refused.into_iter().collect()))
    }

    fn obeys(&mut self, worker: WorkerId, command: Command) {
        let incarnation = self.incarnation;
        let refuses = &mut self.refuses;
        let Some((done, until)) = self.workers.get_mut(&worker) else { return };
        let mut say = |message| self.inbox.push(Event::Message { worker, incarnation, message });
        match command {
            Command::Begin(begin) => {
                (*done, *until) = (begin.step, begin.step);
                say(WorkerMessage::Ready { step: begin.step, begun_anew: Vec::new() });
            }
            Command::Train(train) => {
                for step in *until + 1..=train.until {
                    let figures = StepFigures { step, step_ms: 100.0, ..StepFigures::default() };
                    say(WorkerMessage::StepDone(figures));
                }
                *until = train.until;
            }
            Command::Evaluate(Evaluate { step, .. }) => {
                let top1_error = (self.error_at)(step);
                let scores = Scores { n_images: 50, loss: 1.0, top1_error, top5_error: 0.0 };
                say(WorkerMessage::Evaluated { step, scores, magnitudes: Vec::new() });
            }
            Command::Checkpoint(checkpoint) => {
                let (step, shard) = (checkpoint.step, checkpoint.shard);
                let full = *refuses > 0 && shard.contains("half-b");
                *refuses -= u64::from(full);
                let result = match full {
                    true => Err("no space left".into()),
                    false => Ok(Shard { sha256: format!("{shard} at {step}"), bytes: 8 }),
                };
                say(WorkerMessage::Saved { step, result });
            }
            Command::Halt(halt) if halt.at.is_none() => {
                let step = *until;
                say(WorkerMessage::Halted { step });
            }
            Command::Halt(_) | Command::Loaders(_) | Command::Finish(_) | Command::Ping(_) => {}
        }
    }

    /// Lets everything happen that was set going, oldest first.
    fn plays(&mut self) -> &mut Self {
        let pause = self.pause_at.unwrap_or(u64::MAX);
        let beyond = |event: &Event| match event {
            Event::Message { message: WorkerMessage::StepDone(done), .. } => done.step > pause,
            _ => false,
        };
        while self.ending.is_none()
            && let Some(next) = self.inbox.iter().position(|event| !beyond(event))
        {
            let event = self.inbox.remove(next);
            self.happens(event);
        }
        self
    }

    fn plays_until(&mut self, step: u64) -> &mut Self {
        self.pause_at = Some(step);
        self.plays();
        self.pause_at = None;
        self
    }

    fn kept_steps(&self) -> Vec<u64> {
        self.manifests.iter().map(|m| m.step).collect()
    }

    fn begins(&self) -> Vec<(WorkerId, Begin)> {
        let begin = |(worker, command): &(WorkerId, Command)| match command {
            Command::Begin(begin) => Some((*worker, begin.clone())),
            _ => None,
        };
        self.commands.iter().filter_map(begin).collect()
    }

    fn evaluations(&self) -> Vec<u64> {
        let step = |(worker, command): &(WorkerId, Command)| match command {
            Command::Evaluate(evaluate) if *worker == A => Some(evaluate.step),
            _ => None,
        };
        self.commands.iter().filter_map(step).collect()
    }

    fn rates(&self) -> Vec<(u64, f64)> {
        let mut rates: Vec<(u64, f64)> = vec![];
        for (_, command) in &self.commands {
            if let Command::Train(Train { until, rate, .. }) = command
                && rates.last().is_none_or(|(_, last)| last != rate)
            {
                rates.push((*until, *rate));
            }
        }
        rates
    }

    fn failure(&self) -> String {
        match &self.ending {
            Some(Ending::Failed { reason }) => reason.clone(),
            other => panic!("ended with {other:?}"),
        }
    }
}

fn part(begin: &Begin) -> Partition {
    proto::convert::partition(begin.partition).unwrap()
}

fn waiting_for(half: Half) -> Phase {
    Phase::WaitingForWorkers { missing: vec![Partition::Half(half)] }
}

fn joined(loader: LoaderId, data: DataSet) -> Event {
    let mean = bytes::Bytes::from_static(b"mean");
    Event::LoaderJoined { loader, address: "host:9".into(), data: Box::new(data), mean }
}

#[test]
fn a_run_trains_to_its_end_evaluates_every_epoch_and_keeps_what_it_found() {
    let mut world = World::new(settings(Until::Epochs(2), 6), data(100, 50)).with(&[A, B]);
    world.plays();
    assert_eq!(world.ending, Some(Ending::Finished));
    assert_eq!(world.metrics, (1..=20).collect::<Vec<_>>());
    assert_eq!(world.evaluations(), [10, 20]);
    // Every six steps, and where the best evaluation so far was.
    assert_eq!(world.kept_steps(), [6, 10, 12, 18, 20]);
    let last = world.manifests.last().unwrap();
    assert_eq!(last.best.as_ref().map(|e| e.step), Some(20));
    assert_eq!(last.metrics_bytes, 20);
    assert_eq!(world.run.speed(), (20, 100.0));
}

#[test]
fn each_half_is_told_its_part_its_peer_and_everything_that_fixes_the_run() {
    let world = World::new(settings(Until::Steps(5), 10), data(100, 50)).with(&[B, A]);
    let begins = world.begins();
    let [(first, a), (second, b)] = &begins[..] else { panic!("{begins:?}") };
    assert_eq!((*first, part(a), a.peer.as_str()), (B, Partition::Half(Half::A), "host:1"));
    assert_eq!((*second, part(b), b.peer.as_str()), (A, Partition::Half(Half::B), "host:2"));
    assert_eq!((a.classes, a.seed, a.step, a.shard.as_str()), (10, 7, 0, ""));
    assert_eq!((a.recipe.as_str(), a.loaders.len()), ("all keys", 1));
    assert_eq!((a.loaders[0].address.as_str(), a.loaders[0].session), ("host:9", 1));
    assert_eq!((a.data_set.as_str(), a.n_train, a.n_val), ("d1", 100, 50));
}

#[test]
fn one_column_needs_one_worker_that_takes_the_whole() {
    let mut settings = settings(Until::Steps(5), 10);
    settings.recipe.columns = 1;
    let mut world = World::new(settings, data(100, 0)).with(&[A]);
    world.plays();
    assert_eq!(part(&world.begins()[0].1), Partition::Whole);
    assert_eq!(world.ending, Some(Ending::Finished));
    assert_eq!(world.manifests[0].shards[0].file, "whole.safetensors");
}

#[test]
fn nobody_is_granted_more_than_three_steps_ahead_or_beyond_a_boundary() {
    let mut world = World::new(settings(Until::Steps(20), 4), data(100, 50)).with(&[A, B]);
    world.plays();
    let mut slowest = BTreeMap::from([(A, 0), (B, 0)]);
    for (worker, command) in &world.commands {
        if let Command::Train(Train { until, .. }) = command {
            let from = slowest[worker];
            assert!((from + 1..=from + 3).contains(until), "{from} to {until}");
            slowest.insert(*worker, *until);
        }
    }
    for boundary in [4, 8, 10, 12, 16, 20] {
        let stops = |(_, command): &&(WorkerId, Command)| match command {
            Command::Train(train) => train.until == boundary,
            _ => false,
        };
        assert_eq!(world.commands.iter().filter(stops).count(), 2, "{boundary}");
    }
}

#[test]
fn a_plateau_lowers_the_rate_and_the_one_after_the_last_drop_ends_training() {
    let mut settings = settings(Until::Epochs(90), 1000);
    settings.recipe.rate_drops = 2;
    let mut world = World::new(settings, data(100, 50));
    world.error_at = |_| 0.5;
    let mut world = world.with(&[A, B]);
    world.plays();
    let rates = world.rates();
    assert_eq!(rates.len(), 3);
    assert!((rates[2].1 - 1e-4).abs() < 1e-12, "{rates:?}");
    assert_eq!(rates.iter().map(|(until, _)| *until).collect::<Vec<_>>(), [3, 23, 33]);
    assert_eq!((world.ending.clone(), world.run.step()), (Some(Ending::Finished), 40));
    assert!(world.manifests.last().unwrap().rate.ended);
    assert!(world.run.is_finished());
}

#[test]
fn without_validation_images_nothing_is_evaluated_and_rates_still_drop_by_epoch() {
    let mut settings = settings(Until::Epochs(3), 1000);
    settings.recipe.schedule = Schedule::Epochs;
    settings.recipe.rate_epochs = vec![1];
    let mut world = World::new(settings, data(100, 0)).with(&[A, B]);
    world.plays();
    assert!(world.evaluations().is_empty());
    assert_eq!(world.rates(), [(3, 0.01), (13, 0.001)]);
    assert_eq!(world.kept_steps(), [30]);
    assert!(world.run.is_finished());
}

#[test]
fn a_lost_worker_costs_at_most_one_checkpoint() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
    world.plays_until(8);
    world.leaves(B);
    world.plays();
    assert_eq!((world.run.step(), world.ending.clone()), (6, None));
    world.joins(C);
    let begin = world.begins().pop().unwrap();
    assert_eq!((begin.0, part(&begin.1), begin.1.step), (C, Partition::Half(Half::B), 6));
    let shard = "checkpoints/step-00000006/half-b.safetensors";
    assert_eq!((&*begin.1.shard, begin.1.shard_sha256), (shard, format!("{shard} at 6")));
    // Nothing is cut before the workers have the weights.
    assert_eq!(world.metrics, (1..=8).collect::<Vec<_>>());
    world.plays_until(6);
    assert_eq!(world.metrics, (1..=6).collect::<Vec<_>>());
    assert_eq!(world.incarnation, 2);
    world.plays();
    assert_eq!(world.ending, Some(Ending::Finished));
    assert_eq!(world.metrics, (1..=20).collect::<Vec<_>>());
}

#[test]
fn before_the_first_checkpoint_a_loss_goes_back_to_the_initial_values() {
    let mut world = World::new(settings(Until::Steps(20), 10), data(100, 50)).with(&[A, B, C]);
    world.plays_until(5);
    world.leaves(A);
    let (_, begin) = world.begins().pop().unwrap();
    assert_eq!((begin.step, begin.shard.as_str()), (0, ""));
    world.plays_until(0);
    assert!(world.metrics.is_empty());
}

#[test]
fn a_standby_gets_no_order_until_it_is_needed_and_is_then_seated_at_once() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B, C]);
    world.plays_until(8);
    assert!(world.commands.iter().all(|(worker, _)| *worker != C));
    assert_eq!(world.run.status().workers[2].to_string(), "standby: cpu at host:3");
    world.leaves(A);
    let begins = world.begins();
    let [(_, a), (_, b)] = &begins[2..] else { panic!("{begins:?}") };
    assert_eq!((begins[2].0, part(a)), (C, Partition::Half(Half::A)));
    assert_eq!((begins[3].0, part(b), b.peer.as_str()), (B, Partition::Half(Half::B), "host:3"));
    assert_eq!(world.plays().ending, Some(Ending::Finished));
}

#[test]
fn messages_of_an_older_incarnation_are_ignored() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B, C]);
    world.plays_until(7);
    let stale = world.inbox.clone();
    world.leaves(B);
    world.plays_until(7);
    for event in stale.into_iter().chain([Event::Message {
        worker: A,
        incarnation: 1,
        message: WorkerMessage::Failed {
            reason: "B is gone".into(),
            retry: false,
            shared: false,
            blame: Blame::Unspecified,
        },
    }]) {
        world.happens(event);
    }
    assert_eq!(world.plays().ending, Some(Ending::Finished));
    assert_eq!(world.incarnation, 2);
}

#[test]
fn a_silent_worker_counts_as_failed_and_a_heard_one_does_not() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
    world.plays_until(2);
    world.later(9);
    world.happens(Event::Message { worker: A, incarnation: 1, message: WorkerMessage::Heartbeat });
    world.later(2);
    assert!(matches!(
        &world.actions[..],
        [.., Action::Disconnect { worker: B, .. }, Action::AcceptShards { .. }]
    ));
    assert_eq!(world.run.status().phase, waiting_for(Half::B));
}

#[test]
fn a_worker_that_sends_heartbeats_but_never_begins_counts_as_failed() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
    world.inbox.retain(|event| !matches!(event, Event::Message { worker: B, .. }));
    world.plays();
    for seconds in [9, 9, 9, 9, 9, 9, 6] {
        assert_eq!(world.run.status().phase, Phase::Starting);
        world.later(seconds);
        for worker in [A, B] {
            world.happens(Event::Message {
                worker,
                incarnation: 1,
                message: WorkerMessage::Heartbeat,
            });
        }
    }
    world.later(1);
    assert_eq!(world.run.status().phase, waiting_for(Half::B));
    world.joins(C);
    assert_eq!(world.plays().ending, Some(Ending::Finished));
}

#[test]
fn a_run_without_replacement_ends_and_names_the_missing_half() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
    world.plays_until(2);
    world.leaves(B);
    for _ in 0..13 {
        world.happens(Event::Message {
            worker: A,
            incarnation: 1,
            message: WorkerMessage::Heartbeat,
        });
        world.later(5);
    }
    assert!(world.failure().contains("worker for half B"), "{}", world.failure());
    assert!(
        world.commands.iter().any(|(_, c)| matches!(c, Command::Finish(finish) if finish.failed))
    );
}

#[test]
fn a_run_that_has_not_begun_waits_as_long_as_it_takes() {
    let mut world = World::new(settings(Until::Steps(5), 6), data(100, 50)).with(&[A]);
    world.leaves(A);
    world.later(10_000);
    assert_eq!(world.ending, None);
    assert_eq!(world.with(&[B, C]).plays().ending, Some(Ending::Finished));
}

#[test]
fn a_run_whose_loaders_are_all_gone_ends_and_says_so() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
    world.plays_until(2);
    world.happens(Event::LoaderLeft { loader: LoaderId(1) });
    assert!(
        matches!(world.commands.last(), Some((_, Command::Loaders(l))) if l.loaders.is_empty())
    );
    for _ in 0..13 {
        for worker in [A, B] {
            world.happens(Event::Message {
                worker,
                incarnation: 1,
                message: WorkerMessage::Heartbeat,
            });
        }
        world.later(5);
    }
    assert!(world.failure().contains("no loader"), "{}", world.failure());
}

#[test]
fn workers_are_told_of_a_new_loader_and_one_with_other_pictures_is_refused() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
    world.plays_until(2);
    let other = DataSet { digest: "d2".into(), name: "cats".into(), ..data(100, 50) };
    world.happens(joined(LoaderId(2), other));
    let refused = world.actions.iter().find_map(|action| match action {
        Action::RefuseLoader { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    let said = refused.unwrap();
    for words in ["begun with \"shapes\"", "digest d1", "these are \"cats\"", "digest d2", "--data"]
    {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(world.plays().ending, Some(Ending::Finished));
}

/// The digest is the right one, and what stands for it is not.
#[test]
fn a_loader_that_describes_the_runs_pictures_otherwise_is_refused() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
    let mut colors = joined(LoaderId(2), DataSet { colors: [0.25; 9], ..data(100, 50) });
    let mut mean = joined(LoaderId(3), data(100, 50));
    for (event, words) in
        [(&mut colors, "describes them otherwise"), (&mut mean, "another mean image")]
    {
        if let Event::LoaderJoined { loader: LoaderId(3), mean, .. } = event {
            *mean = bytes::Bytes::from_static(b"another");
        }
        world.happens(event.clone());
        let Some(Action::RefuseLoader { reason, .. }) = world.actions.last() else {
            panic!("{:?}", world.actions.last())
        };
        assert!(reason.contains(words), "{reason}");
    }
}

/// One worker's experience becomes everyone's, so that both ask the same loaders.
#[test]
fn a_loader_that_a_worker_judges_is_named_and_all_workers_are_told() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
    world.plays_until(2);
    let judged = |standing, why: &str| Event::LoaderJudged {
        worker: B,
        loader: LoaderId(1),
        standing,
        why: why.into(),
    };
    let told = |world: &mut World, event| {
        let before = world.commands.len();
        world.happens(event);
        let standings = world.commands[before..].iter().map(|(worker, command)| {
            let Command::Loaders(list) = command else { panic!("{command:?}") };
            (*worker, list.loaders[0].standing())
        });
        standings.collect::<Vec<_>>()
    };
    for (event, want) in [
        (judged(Standing::Slow, "why"), Some(Standing::Slow)),
        (judged(Standing::Slow, "again"), None),
        (judged(Standing::Good, ""), Some(Standing::Good)),
        (judged(Standing::Slow, "why"), Some(Standing::Slow)),
        (judged(Standing::Refused, "it lied"), Some(Standing::Refused)),
        (judged(Standing::Good, ""), None),
    ] {
        let all = want.map_or(vec![], |standing| vec![(A, standing), (B, standing)]);
        assert_eq!(told(&mut world, event), all);
    }
    let status = world.run.status();
    assert_eq!(status.loaders[0].to_string(), "host:9, refused: it lied");
    let notices =
        ["loader host:9 is too slow: why", "loader host:9 is not asked any more: it lied"];
    assert_eq!(status.notices, notices);
    // A new session of the same loader is a new loader.
    world.happens(joined(LoaderId(2), data(100, 50)));
    assert_eq!(world.run.status().loaders[0].to_string(), "host:9");
    assert_eq!(world.plays().ending, Some(Ending::Finished));
}

#[test]
fn pictures_that_do_not_fit_the_recipe_end_a_run_that_has_no_others() {
    for (data, expected) in
        [(DataSet { side: 32, ..data(100, 50) }, "32×32"), (data(0, 50), "no training images")]
    {
        let world = World::new(settings(Until::Steps(20), 6), data);
        assert!(world.failure().contains(expected), "{}", world.failure());
    }
    let mut wants_classes = settings(Until::Steps(20), 6);
    wants_classes.recipe.classes = 1000;
    let world = World::new(wants_classes, data(100, 50));
    assert!(world.failure().contains("has 10 classes, and the recipe says classes = 1000"));
}

#[test]
fn a_failure_that_may_be_retried_begins_again_and_another_ends_the_run() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
    world.plays_until(8);
    world.inbox.clear();
    world.fails(A, true);
    assert_eq!(world.begins().len(), 4);
    world.plays_until(15);
    world.fails(B, false);
    assert_eq!(world.failure(), "half B gave up: peer silent");
}

/// Both halves find a loss of NaN at once; the layer that diverged first may be in either.
#[test]
fn a_failure_that_both_halves_find_is_reported_with_both_reports() {
    let shared = |reason: &str, retry| WorkerMessage::Failed {
        reason: reason.into(),
        retry,
        shared: !retry,
        blame: Blame::Unspecified,
    };
    let says = |world: &mut World, worker, message| {
        let incarnation = world.incarnation;
        world.happens(Event::Message { worker, incarnation, message });
    };
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
    world.plays_until(8);
    says(&mut world, B, shared("loss is NaN, first conv4", false));
    assert_eq!(world.ending, None);
    says(&mut world, A, shared("loss is NaN, first conv2", false));
    let both = "half A: loss is NaN, first conv2; half B: loss is NaN, first conv4";
    assert_eq!(world.failure(), both);

    // The other half may have died of it, or not answer.
    for dies in [true, false] {
        let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
        world.plays_until(8);
        says(&mut world, B, shared("loss is NaN, first conv4", false));
        match dies {
            true => says(&mut world, A, shared("the other half is gone", true)),
            false => world.later(6),
        }
        assert_eq!(world.failure(), "half B: loss is NaN, first conv4");
    }
}

#[test]
fn failures_without_progress_end_the_run_and_a_new_step_resets_their_count() {
    let mut world = World::new(settings(Until::Steps(20), 50), data(1000, 50)).with(&[A, B]);
    for round in 0..10 {
        world.plays_until(round + 1);
        world.inbox.clear();
        world.fails(A, true);
        world.later(1);
    }
    assert_eq!(world.ending, None);
    for _ in 0..3 {
        world.plays_until(5);
        world.inbox.clear();
        world.fails(A, true);
        world.later(1);
    }
    assert!(
        world.failure().contains("4 failures without progress; last: half A failed: peer silent"),
        "{}",
        world.failure()
    );
}

#[test]
fn the_second_failure_in_a_row_pauses_before_the_next_start() {
    let mut world = World::new(settings(Until::Steps(20), 50), data(1000, 50)).with(&[A, B]);
    world.fails(A, true);
    assert_eq!(world.begins().len(), 4);
    world.fails(A, true);
    assert_eq!(world.begins().len(), 4);
    world.later(1);
    assert_eq!(world.begins().len(), 6);
}

#[test]
fn a_stop_in_the_middle_of_an_epoch_resumes_there_and_ends_as_if_undisturbed() {
    let mut calm = World::new(settings(Until::Steps(30), 50), data(100, 50)).with(&[A, B]);
    calm.plays();
    let mut world = World::new(settings(Until::Steps(30), 50), data(100, 50)).with(&[A, B]);
    world.plays_until(13);
    world.happens(Event::Stop { reason: "SIGTERM".into() });
    world.plays();
    assert_eq!(world.ending, Some(Ending::Stopped));
    let after = *world.kept_steps().last().unwrap();
    assert_eq!(world.run.step(), after);
    assert!(after > 13 && after < 17, "{after}");
    let mut world = world.restarted(Until::Steps(30)).with(&[A, B]);
    assert_eq!(world.begins()[0].1.step, after);
    world.plays();
    assert_eq!(world.ending, Some(Ending::Finished));
    assert_eq!(world.metrics, calm.metrics);
    let (got, want) = (world.manifests.last().unwrap(), calm.manifests.last().unwrap());
    assert_eq!((&got.rate, &got.last, &got.best), (&want.rate, &want.last, &want.best));
}

#[test]
fn a_stop_at_an_epoch_end_leaves_the_evaluation_to_the_resumed_run() {
    let mut world = World::new(settings(Until::Steps(30), 50), data(100, 50)).with(&[A, B]);
    world.plays_until(9);
    world.happens(Event::Stop { reason: "SIGTERM".into() });
    world.plays();
    assert_eq!((world.kept_steps(), world.evaluations()), (vec![10], vec![]));
    let mut world = world.restarted(Until::Steps(30)).with(&[A, B]);
    world.plays();
    assert_eq!(world.evaluations(), [10, 20, 30]);
    assert_eq!(world.ending, Some(Ending::Finished));
}

#[test]
fn a_stop_while_nothing_runs_ends_at_once() {
    let mut world = World::new(settings(Until::Steps(30), 50), data(100, 50)).with(&[A]);
    world.happens(Event::Stop { reason: "SIGTERM".into() });
    assert_eq!(world.ending, Some(Ending::Stopped));
}

#[test]
fn a_finished_run_has_nothing_left_to_do_unless_its_end_is_moved() {
    let mut world = World::new(settings(Until::Steps(14), 50), data(100, 50)).with(&[A, B]);
    world.plays();
    assert_eq!(world.evaluations(), [10, 14]);
    let again = world.restarted(Until::Steps(14));
    assert!(again.run.is_finished());
    let mut on = again_with(again, Until::Steps(20));
    assert!(!on.run.is_finished());
    on = on.with(&[A, B]);
    on.plays();
    assert_eq!((on.metrics.len(), on.ending.clone()), (20, Some(Ending::Finished)));
}

/// The same manifest under another end.
fn again_with(world: World, until: Until) -> World {
    let kept = world.run.checkpoint.clone().map(|m| *m);
    let mut next = world;
    next.manifests = kept.into_iter().collect();
    next.restarted(until)
}

#[test]
fn an_end_in_the_middle_of_an_epoch_does_not_change_the_rate_later() {
    let plays_in = |ends: &[u64]| {
        let mut world = World::new(settings(Until::Steps(ends[0]), 50), data(100, 50));
        world.error_at = |_| 0.5;
        let mut world = world.with(&[A, B]);
        world.plays();
        for end in &ends[1..] {
            world = world.restarted(Until::Steps(*end)).with(&[A, B]);
            world.plays();
        }
        world.manifests.last().unwrap().rate.clone()
    };
    assert_eq!(plays_in(&[13, 17, 30]), plays_in(&[30]));
}

#[test]
fn a_run_ended_by_a_plateau_continues_to_an_explicit_end() {
    let mut short = settings(Until::Epochs(90), 1000);
    short.recipe.rate_drops = 0;
    let mut world = World::new(short, data(100, 50));
    world.error_at = |_| 0.5;
    let mut world = world.with(&[A, B]);
    world.plays();
    assert_eq!(world.run.step(), 20);
    let mut world = world.restarted(Until::Epochs(3)).with(&[A, B]);
    world.plays();
    assert_eq!((world.run.step(), world.ending.clone()), (30, Some(Ending::Finished)));
}

#[test]
fn color_noise_and_bias_rates_travel_with_the_grants() {
    let mut settings = settings(Until::Epochs(2), 1000);
    settings.recipe.color_noise_until = 1;
    settings.recipe.bias_rate = 2.0;
    let mut world = World::new(settings, data(100, 50)).with(&[A, B]);
    world.plays();
    for (_, command) in &world.commands {
        if let Command::Train(Train { until, bias_rate, color_noise, .. }) = command {
            assert_eq!(*color_noise, if *until <= 10 { 0.1 } else { 0.0 }, "{until}");
            assert_eq!(*bias_rate, 0.02);
        }
    }
}

#[test]
fn a_worker_that_is_out_of_step_rolls_the_run_back() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50)).with(&[A, B]);
    world.plays_until(2);
    world.inbox.clear();
    let message = WorkerMessage::StepDone(StepFigures { step: 9, ..StepFigures::default() });
    world.happens(Event::Message { worker: A, incarnation: 1, message });
    assert_eq!(world.begins().len(), 4);
    let said = &world.run.status().notices[0];
    assert!(said.starts_with("half A reported step 9, expected 3 (granted up to 5)"), "{said}");
}

#[test]
fn repeated_steps_count_as_work_of_each_half_and_a_rollback_as_a_restart() {
    let mut world = World::new(settings(Until::Steps(30), 5), data(100, 50)).with(&[A, B]);
    world.plays_until(8);
    world.leaves(B);
    world.joins(C);
    world.plays();
    let status = world.run.status();
    assert_eq!((status.step, status.restarts, status.images), (30, 1, 330));
    for (of, name) in status.partitions.iter().zip(["A", "B"]) {
        assert_eq!((of.partition.label(), of.seated), (name, true));
        assert_eq!((of.work.steps, of.work.latest.step), (33, 30), "6 to 8 twice");
        assert_eq!(of.work.total.step_ms, 3300.0);
    }
}

#[test]
fn prometheus_knows_everything_a_run_can_be_doing() {
    let mut world = World::new(settings(Until::Steps(30), 5), data(100, 50));
    let mut seen = std::collections::BTreeSet::new();
    let mut look = |world: &World| {
        seen.insert(world.run.status().phase.label());
    };
    look(&world);
    world.joins(A);
    world.joins(B);
    while world.ending.is_none() {
        look(&world);
        let event = world.inbox.remove(0);
        world.happens(event);
        if world.run.step() == 12 {
            world.happens(Event::Stop { reason: "enough".into() });
        }
    }
    look(&world);
    assert_eq!(seen, Phase::LABELS.into());
}

#[test]
fn halves_on_different_kinds_of_devices_are_noted_by_kind() {
    let mut world = World::new(settings(Until::Steps(5), 10), data(100, 50));
    world.joins_on(A, DeviceKind::Cuda);
    world.joins_on(B, DeviceKind::Cpu);
    let notices = world.run.status().notices;
    assert!(notices[0].starts_with("half A on cuda, half B on cpu: "), "{notices:?}");
    let same = World::new(settings(Until::Steps(5), 10), data(100, 50)).with(&[A, B]);
    assert_eq!(same.run.status().notices, [""; 0]);
}
