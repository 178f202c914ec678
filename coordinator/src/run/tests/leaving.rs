//! Workers that leave, runs that stop, and who gets a seat.

use super::*;

/// The `failed` of each command to finish that a worker got.
fn finishes(world: &World, of: WorkerId) -> Vec<bool> {
    let told = |(worker, command): &(WorkerId, Command)| match command {
        Command::Finish(finish) if *worker == of => Some(finish.failed),
        _ => None,
    };
    world.commands.iter().filter_map(told).collect()
}

fn halts(world: &World) -> Vec<(WorkerId, Option<u64>)> {
    let halt = |(worker, command): &(WorkerId, Command)| match command {
        Command::Halt(halt) => Some((*worker, halt.at)),
        _ => None,
    };
    world.commands.iter().filter_map(halt).collect()
}

fn leaves_politely(world: &mut World, worker: WorkerId) {
    world.happens(Event::WorkerLeaving { worker });
}

fn blames(world: &mut World, worker: WorkerId, retry: bool, blame: Blame) {
    world.inbox.clear();
    let message = WorkerMessage::Failed { reason: "no way".into(), retry, shared: false, blame };
    let incarnation = world.incarnation;
    world.happens(Event::Message { worker, incarnation, message });
    world.later(1);
}

/// The workers of the last incarnation, half A's first.
fn seated(world: &World) -> [WorkerId; 2] {
    let begins = world.begins();
    let [.., (a, first), (b, _)] = &begins[..] else { panic!("{begins:?}") };
    assert_eq!(part(first), Partition::Half(Half::A));
    [*a, *b]
}

#[test]
fn a_worker_that_leaves_costs_no_step_and_a_standby_takes_its_seat() {
    let mut world = World::new(settings(Until::Steps(20), 50), data(1000, 0)).with(&[A, B, C]);
    world.plays_until(8);
    leaves_politely(&mut world, B);
    assert_eq!(halts(&world), [(A, None), (B, None)]);
    while finishes(&world, B).is_empty() {
        let event = world.inbox.remove(0);
        world.happens(event);
    }
    let kept = world.kept_steps();
    assert!((8..=11).contains(&kept[0]), "{kept:?}");
    assert_eq!(finishes(&world, B), [false]);
    assert_eq!((seated(&world), world.begins()[2].1.step), ([A, C], kept[0]));
    world.leaves(B);
    assert_eq!(world.plays().ending, Some(Ending::Finished));
    assert_eq!(world.metrics, (1..=20).collect::<Vec<_>>());
    assert_eq!(world.run.status().restarts, 0, "nothing was rolled back");
}

#[test]
fn a_standby_leaves_at_once_and_nobody_notices() {
    let mut world = World::new(settings(Until::Steps(20), 50), data(1000, 0)).with(&[A, B, C]);
    world.plays_until(8);
    leaves_politely(&mut world, C);
    assert_eq!((finishes(&world, C), halts(&world)), (vec![false], vec![]));
    assert_eq!((world.plays().ending.clone(), world.incarnation), (Some(Ending::Finished), 1));
}

/// As under Slurm, where `scancel` asks all processes of a job at once, in any order.
#[test]
fn a_standby_that_leaves_takes_no_half_with_it_whose_steps_are_not_kept() {
    for order in [[A, C, B], [C, A, B], [B, C, A], [A, B, C]] {
        let mut world = World::new(settings(Until::Steps(20), 50), data(1000, 0)).with(&[A, B, C]);
        world.plays_until(8);
        order.iter().for_each(|worker| leaves_politely(&mut world, *worker));
        world.happens(Event::Stop { reason: "SIGTERM".into() });
        world.plays();
        let step = world.run.step();
        assert!(step >= 8, "{order:?}: {step}");
        assert_eq!((world.ending.clone(), world.kept_steps()), (Some(Ending::Stopped), vec![step]));
    }
}

/// The first half that halts decides: the other one can't do more.
#[test]
fn the_other_half_learns_where_the_first_one_halted() {
    let mut world = World::new(settings(Until::Steps(20), 50), data(1000, 0)).with(&[A, B]);
    world.plays_until(8);
    world.happens(Event::Stop { reason: "SIGTERM".into() });
    world.plays();
    let step = world.run.step();
    assert_eq!(halts(&world)[2..], [(B, Some(step))]);
    assert_eq!((world.ending.clone(), world.kept_steps()), (Some(Ending::Stopped), vec![step]));
}

/// SIGTERM to everybody, in any order.
#[test]
fn a_run_whose_processes_are_all_asked_to_stop_keeps_their_last_step() {
    for first in 0..3 {
        let mut world = World::new(settings(Until::Steps(20), 50), data(1000, 0)).with(&[A, B]);
        world.plays_until(8);
        let mut events = [
            Event::WorkerLeaving { worker: A },
            Event::WorkerLeaving { worker: B },
            Event::Stop { reason: "SIGTERM".into() },
        ];
        events.rotate_left(first);
        events.into_iter().for_each(|event| world.happens(event));
        world.plays();
        assert_eq!(world.ending, Some(Ending::Stopped));
        assert_eq!(world.kept_steps(), [world.run.step()]);
        assert!(world.run.step() >= 8, "{}", world.run.step());
    }
}

#[test]
fn a_stop_abandons_an_evaluation_and_the_resumed_run_does_it() {
    let mut world = World::new(settings(Until::Steps(30), 50), data(100, 50)).with(&[A, B]);
    while world.run.status().phase != Phase::Evaluating {
        let event = world.inbox.remove(0);
        world.happens(event);
    }
    world.inbox.clear(); // it takes long
    world.happens(Event::Stop { reason: "SIGTERM".into() });
    world.plays();
    assert_eq!((world.ending.clone(), world.kept_steps()), (Some(Ending::Stopped), vec![10]));
    let mut world = world.restarted(Until::Steps(30)).with(&[A, B]);
    world.plays();
    assert_eq!(world.evaluations(), [10, 20, 30]);
}

#[test]
fn a_stop_without_an_answer_ends_after_the_grace_period_with_what_was_kept() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(1000, 0)).with(&[A, B]);
    world.plays_until(8);
    world.happens(Event::Stop { reason: "SIGTERM".into() });
    world.inbox.clear();
    for _ in 0..6 {
        for worker in [A, B] {
            let message = WorkerMessage::Heartbeat;
            world.happens(Event::Message { worker, incarnation: 1, message });
        }
        world.later(5);
    }
    assert_eq!((world.ending.clone(), world.run.step()), (Some(Ending::Stopped), 6));
    let notices = world.run.status().notices;
    assert!(notices.iter().any(|notice| notice.contains("--grace")), "{notices:?}");
}

#[test]
fn a_worker_that_cannot_be_reached_loses_its_seat_and_so_does_one_that_reaches_nobody() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(1000, 0)).with(&[A, B, C]);
    blames(&mut world, A, true, Blame::Peer);
    assert_eq!(seated(&world), [A, C]);
    blames(&mut world, A, true, Blame::Peer);
    assert_eq!(seated(&world), [B, C], "A reaches neither: B was not at fault more than C");
    assert_eq!(world.plays().ending, Some(Ending::Finished));
}

#[test]
fn a_worker_with_a_fault_keeps_its_seat_as_long_as_there_is_no_other() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(1000, 0)).with(&[A, B]);
    blames(&mut world, A, true, Blame::Peer);
    assert_eq!(seated(&world), [A, B], "there is no other");
    world.joins(C);
    world.later(1);
    blames(&mut world, A, true, Blame::Unspecified);
    assert_eq!(seated(&world), [A, C]);
}

#[test]
fn a_worker_without_room_is_replaced_by_a_standby_and_ends_a_run_that_has_none() {
    let mut world = World::new(settings(Until::Steps(20), 6), data(1000, 0)).with(&[A, B, C]);
    blames(&mut world, B, false, Blame::Worker);
    assert_eq!((seated(&world), world.ending.clone()), ([A, C], None));
    blames(&mut world, C, false, Blame::Worker);
    assert_eq!(world.failure(), "half B gave up: no way");
}

#[test]
fn a_device_computes_the_partition_that_it_computed_before() {
    let mut settings = settings(Until::Steps(20), 6);
    let half = Partition::Half;
    settings.devices = vec![(half(Half::A), "cpu".into()), (half(Half::B), "cuda".into())];
    let mut world = World::new(settings, data(1000, 0));
    world.joins_on(A, DeviceKind::Cuda);
    assert_eq!(world.run.status().phase, waiting_for(Half::A));
    world.joins_on(B, DeviceKind::Cpu);
    assert_eq!(seated(&world), [B, A]);
    // A new worker on the device of the one that it replaces is preferred to an older standby.
    world.joins_on(C, DeviceKind::Cuda);
    world.joins_on(WorkerId(4), DeviceKind::Cpu);
    world.leaves(B);
    assert_eq!(seated(&world), [WorkerId(4), A]);
}
