//! Schedules that wait for something that never comes: refused, or said once at the start.

use super::*;

fn paper(until: Until) -> Settings {
    Settings { recipe: Recipe { batch: 10, ..Recipe::default() }, ..settings(until, 50) }
}

fn notices(world: &World) -> Vec<String> {
    world.run.status().notices
}

#[test]
fn a_plateau_without_validation_pictures_is_refused_with_schedules_that_work() {
    let mut world = World::new(paper(Until::Epochs(90)), data(100, 0)).with(&[A, B]);
    world.plays();
    let said = world.failure();
    for words in [
        "schedule = plateau",
        "no validation pictures",
        "stay at 0.01 for all 90 epochs",
        "--val-share 0.1",
        "--set schedule=epochs --set 'rate_epochs=[22,45,67]'",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert!(world.metrics.is_empty() && !world.run.has_begun());
    assert!(world.actions.iter().any(|a| matches!(a, Action::RefuseLoader { .. })));
}

#[test]
fn the_suggested_schedule_trains_on_the_same_pictures() {
    let mut settings = paper(Until::Epochs(4));
    settings.recipe.set_all(["schedule=epochs", "rate_epochs=[1,2,3]"]).unwrap();
    let mut world = World::new(settings, data(100, 0)).with(&[A, B]);
    world.plays();
    assert_eq!(world.ending, Some(Ending::Finished));
    assert_eq!(world.rates().len(), 4);
    let [notice] = &notices(&world)[..] else { panic!("{:?}", notices(&world)) };
    assert!(notice.contains("the best checkpoint is the last one"), "{notice}");
}

/// A trial of a few steps loses nothing, since no plateau could come so soon.
#[test]
fn a_run_too_short_for_a_plateau_is_not_refused() {
    for until in [Until::Steps(40), Until::Epochs(4)] {
        let mut world = World::new(paper(until), data(100, 0)).with(&[A, B]);
        world.plays();
        assert_eq!(world.ending, Some(Ending::Finished), "{until:?}");
        let [notice] = &notices(&world)[..] else { panic!("{:?}", notices(&world)) };
        assert!(notice.contains("learning rate never drops"), "{notice}");
    }
}

#[test]
fn a_run_that_was_begun_goes_on_as_it_began_and_says_so() {
    let run = Run::new(paper(Until::Epochs(6)), None, Some(data(100, 0)), 1, vec![]);
    let mut world = World::empty(run, paper(Until::Epochs(6)));
    world.happens(joined(LoaderId(1), data(100, 0)));
    world = world.with(&[A, B]);
    world.plays();
    assert_eq!(world.ending, Some(Ending::Finished));
    let [notice] = &notices(&world)[..] else { panic!("{:?}", notices(&world)) };
    assert!(notice.contains("learning rate never drops"), "{notice}");
}

#[test]
fn halving_without_validation_pictures_keeps_its_epochs_and_says_what_is_missing() {
    let mut settings = paper(Until::Epochs(5));
    settings.recipe.set_all(["schedule=halve", "halve_every=2"]).unwrap();
    let mut world = World::new(settings, data(100, 0)).with(&[A, B]);
    world.plays();
    assert_eq!(world.rates().len(), 3);
    assert!(notices(&world)[0].contains("never on a plateau"), "{:?}", notices(&world));
}

#[test]
fn epochs_that_end_before_the_first_drop_are_said_once_and_steps_are_a_trial() {
    let mut settings = paper(Until::Epochs(3));
    settings.recipe.set_all(["schedule=epochs", "rate_epochs=[3]"]).unwrap();
    let mut world = World::new(settings.clone(), data(100, 50));
    world.happens(joined(LoaderId(2), data(100, 50)));
    let [notice] = &notices(&world)[..] else { panic!("{:?}", notices(&world)) };
    assert!(notice.contains("in all 3 epochs") && notice.contains("after epoch 3"), "{notice}");
    let steps = Settings { until: Some(Until::Steps(30)), ..settings };
    assert!(notices(&World::new(steps, data(100, 50))).is_empty());
}
