use super::*;
use crate::recipe::{Activation, Lrn, OpOrder, Schedule};

fn set(assignments: &[&str]) -> Result<Recipe, RecipeError> {
    let mut recipe = Recipe::default();
    recipe.set_all(assignments)?;
    Ok(recipe)
}

fn message(assignments: &[&str]) -> String {
    set(assignments).expect_err("must be refused").to_string()
}

#[test]
fn every_builtin_recipe_survives_being_written_and_read() {
    for name in Recipe::builtin_names() {
        let recipe = Recipe::builtin(name).unwrap();
        assert_eq!(Recipe::from_toml(&recipe.to_toml()).unwrap(), recipe);
    }
}

#[test]
fn a_recipe_without_keys_is_the_papers_under_another_name() {
    let custom = Recipe::from_toml("").unwrap();
    assert_eq!(custom, Recipe { name: "custom".into(), ..Recipe::default() });
}

#[test]
fn the_papers_ablations_are_one_assignment_each() {
    assert_eq!(set(&["dropout=0"]).unwrap().dropout, 0.0);
    assert_eq!(set(&["color_noise=0"]).unwrap().color_noise, 0.0);
    assert_eq!(set(&["lrn=none"]).unwrap().lrn, Lrn::None);
    assert_eq!(set(&["pool_size=2"]).unwrap().pool_size, 2);
    assert_eq!(set(&["columns=1"]).unwrap().columns, 1);
    assert_eq!(set(&["order=as-run"]).unwrap().order, OpOrder::AsRun);
    assert_eq!(set(&["activation=tanh"]).unwrap().activation, Activation::Tanh);
    assert!(!set(&["flip=false"]).unwrap().flip);
    assert_eq!(set(&["without=conv4"]).unwrap().without, ["conv4"]);
    assert_eq!(set(&["unlinked=conv3"]).unwrap().unlinked, ["conv3"]);
}

#[test]
fn lists_of_layers_are_written_as_people_write_them() {
    for list in ["[conv4, conv5]", "[\"conv4\", \"conv5\"]", "conv4,conv5"] {
        assert_eq!(set(&[&format!("without={list}")]).unwrap().without, ["conv4", "conv5"]);
    }
    assert_eq!(set(&["without=conv4", "without=[]"]).unwrap().without, [""; 0]);
    assert!(message(&["without=4"]).contains("a list of layers"));
    assert!(message(&["rate_epochs=[conv4]"]).contains("a list of whole numbers"));
    assert_eq!(Recipe::from_toml("without = [\"conv4\"]").unwrap().without, ["conv4"]);
}

#[test]
fn names_a_person_would_guess_are_keys() {
    for assignment in [
        "batch=64",
        "rate=.02",
        "momentum=0.8",
        "decay=1e-4",
        "dropout=0.3",
        "color_noise=0.2",
        "crop=192",
        "flip = false",
        "lrn=original",
        "pool_size=2",
        "pool_stride=1",
        "activation=tanh",
        "width=0.5",
        "classes=10",
        "epochs=3",
        "name=mine",
    ] {
        assert_ne!(set(&[assignment]).expect(assignment), Recipe::default(), "{assignment}");
    }
}

#[test]
fn single_layers_and_lists_can_be_set() {
    let recipe = set(&[
        "weight_stds.conv3=0.03",
        "biases.fc6=0.1",
        "schedule=epochs",
        "rate_epochs=[25, 51]",
    ])
    .unwrap();
    assert_eq!(recipe.weight_std_of("conv3", 1), 0.03);
    assert_eq!((recipe.bias_of("fc6"), recipe.bias_of("fc7")), (0.1, 1.0));
    assert_eq!((recipe.schedule, recipe.rate_epochs), (Schedule::Epochs, vec![25, 51]));
    assert_eq!(set(&["biases={conv1 = 2}"]).unwrap().biases.len(), 1);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    for (written, nearest) in [
        ("dropuot", "dropout"),
        ("learning_rate", "rate"),
        ("lr", "rate"),
        ("batch_size", "batch"),
        ("weight_decay", "decay"),
        ("colour_noise", "color_noise"),
        ("Momentum", "momentum"),
        ("weight_std.conv3", "weight_stds"),
        ("bias.fc6", "biases"),
    ] {
        let error = set(&[&format!("{written}=1")]).unwrap_err();
        let nearest = nearest.to_string();
        assert_eq!(error, RecipeError::UnknownKey { key: written.into(), nearest });
    }
    assert!(matches!(Recipe::from_toml("bach = 1"), Err(RecipeError::UnknownKey { .. })));
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_what_is_allowed() {
    for (assignment, allowed) in [
        ("batch=many", "a whole number, 0 or more"),
        ("batch=-1", "a whole number, 0 or more"),
        ("batch=12.5", "a whole number, 0 or more"),
        ("rate=fast", "a number"),
        ("flip=1", "true or false"),
        ("lrn=nome", "none, paper, original"),
        ("schedule=never", "constant, plateau, epochs, halve"),
        ("rate_epochs=25", "a list of whole numbers"),
        ("biases=1", "numbers by layer"),
        ("biases.fc6=high", "a number"),
        ("rate_drops=5000000000", "u32"),
    ] {
        let message = message(&[assignment]);
        assert!(message.contains(allowed), "{assignment}: {message}");
        assert!(message.starts_with(assignment.split_once('=').unwrap().0), "{message}");
    }
}

#[test]
fn an_impossible_value_is_refused_with_what_is_allowed() {
    for (assignment, allowed) in [
        ("batch=0", "1 to 65536"),
        ("rate=0", "above 0"),
        ("rate=nan", "above 0"),
        ("rate=inf", "above 0"),
        ("dropout=1", "0 or more, below 1"),
        ("dropout=-0.1", "0 or more, below 1"),
        ("momentum=1", "0 or more, below 1"),
        ("decay=-1", "0 or more"),
        ("color_noise=-1", "0 (off) or more"),
        ("columns=3", "1 or 2"),
        ("width=0", "above 0"),
        ("width=0.26", "even number"),
        ("classes=1", "2 to 1000000"),
        ("crop=0", "1 to 4096"),
        ("crop=20", "too small"),
        ("pool_size=0", "at least 1"),
        ("pool_stride=4", "1 to pool_size (3)"),
        ("pool_stride=0", "1 to pool_size (3)"),
        ("lrn_size=4", "odd"),
        ("slices=0", "1 to 65536"),
        ("epochs=0", "at least 1"),
        ("schedule=epochs", "rising"),
        ("rate_epochs=[9, 3]", "rising"),
        ("halve_every=0", "at least 1"),
        ("weight_stds.conv3=-1", "0 or more"),
        ("biases.conv9=1", "conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8"),
        ("network=cifar10", "conv1, conv2, conv3, fc4"),
        ("name=../up", "letters, digits"),
    ] {
        let message = message(&[assignment]);
        assert!(message.contains(allowed), "{assignment}: {message}");
    }
}

#[test]
fn assignments_are_checked_together_after_the_last_one() {
    assert!(set(&["pool_size=2", "pool_stride=2"]).is_ok());
    assert!(set(&["pool_stride=4", "pool_size=4"]).is_ok());
    assert!(matches!(set(&["pool_stride=4"]), Err(RecipeError::Value { .. })));
}

#[test]
fn what_is_no_assignment_is_refused() {
    for text in ["dropout", "=1", "dropout=", ""] {
        assert_eq!(set(&[text]), Err(RecipeError::NotAnAssignment(text.into())));
    }
    assert!(matches!(Recipe::from_toml("batch ="), Err(RecipeError::Toml(_))));
}
