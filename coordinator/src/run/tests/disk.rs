//! Checkpoints that fail, and checkpoints that rot.

use super::*;

/// Seconds between two looks of a run at its clock, shorter than the heartbeat timeout.
const LOOK: u64 = 5;

impl World {
    /// Some time passes in which both workers send heartbeats.
    fn waits(&mut self, seconds: u64) {
        for worker in [A, B] {
            let (incarnation, message) = (self.incarnation, WorkerMessage::Heartbeat);
            self.happens(Event::Message { worker, incarnation, message });
        }
        self.later(seconds);
        self.plays();
    }

    fn says(&self, words: &str) -> usize {
        self.run.status().notices.iter().filter(|notice| notice.contains(words)).count()
    }

    /// Steps whose checkpoint half B was told to save.
    fn tried(&self) -> Vec<u64> {
        let step = |(worker, command): &(WorkerId, Command)| match command {
            Command::Checkpoint(checkpoint) if *worker == B => Some(checkpoint.step),
            _ => None,
        };
        self.commands.iter().filter_map(step).collect()
    }
}

#[test]
fn a_failed_checkpoint_is_reported_and_training_continues_with_the_earlier_one() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(1000, 0)).with(&[A, B]);
    world.plays_until(8);
    world.refuses = 1;
    world.plays_until(14);
    assert_eq!((world.kept_steps(), world.tried()), (vec![6], vec![6, 12]));
    assert!(world.actions.contains(&Action::DiscardCheckpoint { step: 12 }));
    let notices = world.run.status().notices;
    let notices = &notices[1..]; // the first: no validation pictures
    assert!(notices[0].contains("step 12") && notices[0].contains("no space left"), "{notices:?}");
    world.leaves(B);
    assert_eq!(world.run.step(), 6);
    world.joins(C);
    assert_eq!(world.plays().ending, Some(Ending::Finished));
    assert_eq!(world.kept_steps(), [6, 12, 18, 20]);
}

#[test]
fn the_last_checkpoint_is_tried_until_there_is_room_or_ten_minutes_are_over() {
    for refuses in [3, u64::MAX] {
        let mut world = World::new(settings(Until::Steps(20), 50), data(1000, 0));
        world.refuses = refuses;
        let mut world = world.with(&[A, B]);
        world.plays();
        assert_eq!((world.run.status().phase, world.run.step()), (Phase::Checkpointing, 20));
        assert_eq!((world.tried().len(), world.says("waits up to 600 s")), (1, 1));
        let mut waited = 0;
        while world.ending.is_none() && waited < 700 {
            world.waits(LOOK);
            waited += LOOK;
        }
        match refuses {
            3 => assert_eq!(
                (world.ending.clone(), world.kept_steps()),
                (Some(Ending::Finished), vec![20])
            ),
            _ => {
                assert!(world.failure().contains("no space left"), "{}", world.failure());
                assert!((600..620).contains(&waited), "{waited} s");
                assert!((50..70).contains(&world.tried().len()), "{:?}", world.tried());
            }
        }
    }
}

#[test]
fn a_stop_tries_its_checkpoint_again_as_the_end_does() {
    let mut world = World::new(settings(Until::Steps(20), 50), data(1000, 0)).with(&[A, B]);
    world.plays_until(5);
    world.refuses = 2;
    world.happens(Event::Stop { reason: "SIGTERM".into() });
    world.plays();
    let after = world.run.step();
    assert_eq!((world.ending.clone(), world.kept_steps()), (None, vec![]));
    world.waits(1);
    world.waits(2);
    assert_eq!((world.ending.clone(), world.kept_steps()), (Some(Ending::Stopped), vec![after]));
    assert_eq!(world.tried(), [after; 3]);
}

/// Nothing more is trained that could be lost, and nothing is given up.
#[test]
fn training_pauses_after_three_failed_checkpoints_and_continues_when_there_is_room() {
    let mut calm = World::new(settings(Until::Steps(40), 5), data(1000, 0)).with(&[A, B]);
    calm.plays();
    let mut world = World::new(settings(Until::Steps(40), 5), data(1000, 0)).with(&[A, B]);
    world.plays_until(7);
    world.refuses = 50;
    world.plays();
    let step = world.run.step();
    assert_eq!((world.kept_steps(), world.run.status().phase), (vec![5], Phase::Checkpointing));
    assert!((20..=23).contains(&step), "{step}");
    assert_eq!((world.says("training pauses"), world.says("failed: half B")), (1, 3));
    for _ in 0..60 {
        world.waits(LOOK);
    }
    assert_eq!((world.run.step(), world.ending.clone()), (step, None));
    let tried = world.tried();
    assert!(tried.len() > 25 && tried[5..].iter().all(|at| *at == step), "{tried:?}");
    let notices = world.run.status().notices.len();
    world.refuses = 0;
    world.waits(LOOK);
    world.waits(LOOK);
    assert_eq!(world.plays().ending, Some(Ending::Finished));
    assert_eq!(world.run.status().notices.len(), notices + 1, "{:?}", world.run.status().notices);
    assert_eq!((world.kept_steps()[1], world.says("the run continues")), (step, 1));
    assert_eq!(world.metrics, calm.metrics);
    assert_eq!(world.rates(), calm.rates());
}

#[test]
fn a_stop_ends_a_pause_and_records_without_room_begin_one() {
    let mut world = World::new(settings(Until::Steps(40), 50), data(1000, 0)).with(&[A, B]);
    world.plays_until(7);
    world.refuses = 1;
    world.happens(Event::RecordsWait);
    world.plays();
    let step = world.run.step();
    assert!(world.ending.is_none() && step < 12, "{step}");
    assert_eq!(world.says("the records of steps can't be written"), 1);
    world.waits(1);
    world.happens(Event::Stop { reason: "SIGTERM".into() });
    for _ in 0..4 {
        world.waits(LOOK);
    }
    assert_eq!((world.ending.clone(), world.kept_steps()), (Some(Ending::Stopped), vec![step]));
}

#[test]
fn a_checkpoint_that_rots_in_mid_run_makes_way_for_the_one_before() {
    let mut calm = World::new(settings(Until::Steps(30), 5), data(100, 50)).with(&[A, B]);
    calm.plays();
    let mut world = World::new(settings(Until::Steps(30), 5), data(100, 50)).with(&[A, B, C]);
    world.plays_until(18);
    world.rotten = vec![15];
    world.leaves(B);
    let (_, begin) = world.begins().pop().unwrap();
    assert_eq!((begin.step, &*begin.shard), (10, "checkpoints/step-00000010/half-b.safetensors"));
    assert_eq!(world.says("the checkpoint of step 15 is not used"), 1);
    assert_eq!(world.says("rolled back from step 18 to 10"), 1);
    world.rotten.clear();
    assert_eq!(world.plays().ending, Some(Ending::Finished));
    assert_eq!(world.metrics, calm.metrics);
    let (got, want) = (world.manifests.last().unwrap(), calm.manifests.last().unwrap());
    assert_eq!((&got.rate, &got.last, &got.best), (&want.rate, &want.last, &want.best));

    let mut world = World::new(settings(Until::Steps(30), 5), data(1000, 0)).with(&[A, B, C]);
    world.plays_until(8);
    world.rotten = vec![5];
    world.leaves(B);
    assert!(world.failure().contains("no checkpoint is left"), "{}", world.failure());
}

#[test]
fn checkpoints_that_can_not_be_read_are_read_again_before_an_older_one_is_taken() {
    let mut world = World::new(settings(Until::Steps(30), 5), data(1000, 0)).with(&[A, B, C]);
    world.plays_until(8);
    world.inbox.clear();
    world.workers.remove(&B);
    world.happens(Event::WorkerLeft { worker: B, why: "its connection ended".into() });
    let searches = |world: &World| -> Vec<bool> {
        let found = world.actions.iter().filter_map(|action| match action {
            Action::FindCheckpoint { whatever_is_readable } => Some(*whatever_is_readable),
            _ => None,
        });
        found.collect()
    };
    for _ in 0..6 {
        assert!(matches!(world.inbox.pop(), Some(Event::CheckpointFound(Ok(_)))));
        world.happens(Event::CheckpointFound(Err("can't read: input/output error".into())));
        assert_eq!(world.begins().len(), 2);
        world.later(1);
    }
    assert_eq!(searches(&world), [false, false, false, false, false, true, true]);
    world.searches();
    assert_eq!(world.begins().len(), 4);
}

/// The disk was slow, and the worker died while the manifest was being written.
#[test]
fn a_manifest_that_is_being_written_when_a_worker_fails_is_not_given_up() {
    let mut world = World::new(settings(Until::Steps(30), 5), data(1000, 0)).with(&[A, B, C]);
    world.plays_until(12);
    let written = |event: &Event| matches!(event, Event::ManifestWritten { .. });
    assert_eq!((world.kept_steps(), world.inbox.iter().any(written)), (vec![5, 10], false));
    world.pause_at = Some(17);
    while !world.inbox.iter().any(written) {
        let event = world.inbox.remove(0);
        world.happens(event);
    }
    world.pause_at = None;
    world.leaves(B);
    assert!(!world.actions.contains(&Action::DiscardCheckpoint { step: 15 }));
    assert_eq!(world.begins().pop().unwrap().1.step, 15);
    assert_eq!(world.plays().ending, Some(Ending::Finished));
}

#[test]
fn an_evaluation_that_is_no_number_rolls_the_run_back_and_reaches_no_manifest() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(100, 50));
    world.error_at = |_| f64::NAN;
    let mut world = world.with(&[A, B]);
    world.plays_until(10);
    let said = world.run.status().notices;
    let words = "half A reported a top-1 error of NaN, expected a number from 0 to 1";
    assert!(said[0].starts_with(words), "{said:?}");
    assert!(world.manifests.iter().all(|manifest| manifest.last.is_none()));
}
