//! Turns of loaders, loaders that are slow, and loaders that are not asked any more.

use tokio::sync::mpsc;

use super::*;

fn known(session: u64) -> KnownLoader {
    let (address, standing) = (format!("h:{session}"), Standing::Good.into());
    KnownLoader { address, session, standing, why: String::new() }
}

struct World {
    loaders: Loaders,
    sender: mpsc::UnboundedSender<WorkerEvent>,
    told: mpsc::UnboundedReceiver<WorkerEvent>,
}

impl World {
    fn new(n: u64) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let loaders = Loaders::new(Trust::default(), sender.downgrade());
        loaders.set((1..=n).map(known).collect());
        Self { loaders, sender, told }
    }

    fn turn(&self, step: u64, except: &[u64]) -> (u64, u64) {
        match self.loaders.next(step, except) {
            Next::Ask(Chosen { session, stride, .. }) => (session, stride),
            other => panic!("{other:?}"),
        }
    }

    fn answered(&self, session: u64, made_ms: u64, late: &[u64]) {
        let by = Chosen { session, address: format!("h:{session}"), stride: 1 };
        self.loaders.answered(&by, Some(Duration::from_millis(made_ms)), late);
    }

    fn told(&mut self) -> Option<(u64, Standing)> {
        let Some(Event::LoaderJudged(judged)) = self.told.try_recv().ok()?.event else {
            panic!("only judgments")
        };
        Some((judged.session, judged.standing()))
    }
}

#[test]
fn loaders_take_turns_and_one_that_fails_is_replaced_by_the_next() {
    let world = World::new(3);
    assert_eq!([0, 1, 2, 3].map(|step| world.turn(step, &[])), [(1, 3), (2, 3), (3, 3), (1, 3)]);
    assert_eq!(world.turn(1, &[2]), (3, 3));
    assert_eq!(world.turn(1, &[2, 3]), (1, 3));
    assert_eq!(world.loaders.next(1, &[1, 2, 3]), Next::Nobody);
    assert_eq!(World::new(0).loaders.next(1, &[]), Next::Nobody);
}

#[test]
fn a_loader_that_lied_is_asked_again_only_as_a_new_session() {
    let mut world = World::new(2);
    world.loaders.judge(2, Standing::Refused, "it lied".into());
    assert_eq!(world.told(), Some((2, Standing::Refused)));
    assert_eq!([0, 1].map(|step| world.turn(step, &[])), [(1, 1), (1, 1)]);
    // The coordinator's older list does not change that, and another session does.
    world.loaders.set(vec![known(1), known(2)]);
    assert_eq!(world.turn(1, &[]), (1, 1));
    world.loaders.set(vec![known(1), KnownLoader { address: "h:2".into(), ..known(3) }]);
    assert_eq!(world.turn(1, &[]), (3, 2));

    for session in [1, 3] {
        world.loaders.judge(session, Standing::Refused, format!("lie {session}"));
    }
    let all = Next::Refused("h:1: lie 1; loader h:2: lie 3".into());
    assert_eq!(world.loaders.next(0, &[]), all);
    drop(world.sender);
}

#[test]
fn a_loader_that_loses_twice_in_a_row_is_slow_and_asked_last() {
    let mut world = World::new(2);
    world.answered(1, 10, &[2]);
    world.answered(2, 10, &[]);
    world.answered(1, 10, &[2]);
    assert_eq!(world.told(), None, "once may be chance");
    world.answered(1, 10, &[2]);
    assert_eq!(world.told(), Some((2, Standing::Slow)));
    assert_eq!(world.turn(1, &[]), (1, 1));
    assert_eq!(world.turn(1, &[1]), (2, 1));
    // With no good one left, the slow ones take turns.
    world.loaders.set(vec![KnownLoader { standing: Standing::Slow.into(), ..known(2) }]);
    assert_eq!(world.turn(1, &[]), (2, 1));
}

#[test]
fn a_loader_with_a_third_of_the_pace_is_slow_and_good_again_once_it_is_as_fast() {
    let mut world = World::new(2);
    for _ in 0..PACED {
        world.answered(1, 100, &[]);
        assert_eq!(world.told(), None);
        world.answered(2, 350, &[]);
    }
    assert_eq!(world.told(), Some((2, Standing::Slow)));
    assert_eq!(world.loaders.to_probe(), None, "not at once");
    world.loaders.with(2, |known| known.probe = Instant::now());
    assert_eq!(world.loaders.to_probe().map(|c| c.session), Some(2));
    assert_eq!(world.loaders.to_probe(), None, "one probe at a time");
    world.loaders.probed(2, Duration::from_millis(900));
    assert_eq!((world.told(), world.turn(1, &[])), (None, (1, 1)));
    world.loaders.probed(2, Duration::from_millis(120));
    assert_eq!((world.told(), world.turn(1, &[])), (Some((2, Standing::Good)), (2, 2)));
}

/// Small minibatches take a few milliseconds, and one may well take three times as many.
#[test]
fn milliseconds_do_not_make_a_loader_slow() {
    let mut world = World::new(2);
    for _ in 0..20 {
        world.answered(1, 5, &[]);
        world.answered(2, 50, &[]);
    }
    assert_eq!(world.told(), None);
    assert_eq!(world.loaders.late(), SOONEST);
    assert_eq!(World::new(1).loaders.late(), UNKNOWN);
}

#[test]
fn damage_again_and_again_is_the_disks() {
    let mut world = World::new(1);
    let of = Chosen { session: 1, address: "h:1".into(), stride: 1 };
    for _ in 0..DAMAGED {
        world.loaders.damaged(&of, "a.tar: picture 3 is damaged");
        assert_eq!(world.told(), None);
    }
    world.loaders.damaged(&of, "a.tar: picture 3 is damaged");
    assert_eq!(world.told(), Some((1, Standing::Refused)));
    let why = "h:1: a.tar: picture 3 is damaged";
    assert_eq!(world.loaders.next(0, &[]), Next::Refused(why.into()));
}
