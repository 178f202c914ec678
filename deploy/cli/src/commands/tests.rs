//! The command line as a whole: it is consistent, and it keeps its promises to scripts.

use std::cell::RefCell;
use std::collections::BTreeSet;

use model::recipe::Recipe;

use super::*;

/// Options, defaults and environment variables of the first release, one per line.
const OPTIONS: &str = include_str!("../../../../tests/golden/options.txt");
/// Recipe keys of the first release, each with a value.
const RECIPE_KEYS: &str = include_str!("../../../../tests/golden/recipe-keys.txt");

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    parse(line.split_whitespace().map(Into::into)).map(|(cli, _)| cli)
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn up_takes_what_the_readme_says() {
    let line = "alexnet up --recipe paper --data d --run r --devices cpu,cpu --loaders 3 \
                --epochs 2 --seed 7 --set dropout=0 --set lrn=none --log-format json";
    let cli = parsed(line).unwrap();
    assert_eq!(cli.log.log_format, crate::options::LogFormat::Json);
    let Command::Up(up) = cli.command else { panic!("not up") };
    assert_eq!(up.training.changes(), ["dropout=0", "lrn=none"]);
    assert_eq!((up.loaders, up.seed), (3, Some(7)));
}

/// Two builds of one version may compute other bits, so that their processes must not mix.
#[test]
fn a_build_is_named_by_its_version_and_a_digest_of_its_sources() {
    let (version, digest) = crate::BUILD.split_once('+').unwrap();
    assert_eq!(version, proto::VERSION);
    assert!(digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
    assert_eq!(Cli::command().get_version(), Some(crate::BUILD));
}

#[test]
fn epochs_and_steps_exclude_each_other() {
    assert!(parsed("alexnet up --epochs 1 --steps 1").is_err());
}

#[test]
fn views_are_refused_with_those_that_there_are() {
    assert!(parsed("alexnet eval run --views 10").is_ok());
    let refused = parsed("alexnet eval run --views 5").unwrap_err().to_string();
    assert!(refused.contains("the paper's"), "{refused}");
}

#[test]
fn every_command_explains_itself() {
    for command in Cli::command().get_subcommands() {
        assert!(command.get_about().is_some(), "{} has no help", command.get_name());
    }
}

/// Scripts of people depend on them, so none may be lost.
#[test]
fn options_variables_and_recipe_keys_of_the_first_release_still_work() {
    let mut cli = Cli::command();
    cli.build();
    let variables = RefCell::new(BTreeSet::new());
    Environment::read(|name| {
        variables.borrow_mut().insert(name.to_owned());
        None
    });
    for line in OPTIONS.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (command, what) = (words.next().unwrap(), words.next().unwrap());
        match command {
            "environment" => assert!(variables.borrow().contains(what), "{line}"),
            "every" => {
                cli.get_subcommands().for_each(|command| keeps(command, what, words.clone()))
            }
            name => keeps(cli.find_subcommand(name).expect(line), what, words),
        }
    }
    for change in RECIPE_KEYS.lines().filter(|line| !line.starts_with('#')) {
        let mut recipe = Recipe::builtin("caffe").unwrap();
        recipe.set_all(&[change.to_owned()]).unwrap_or_else(|error| panic!("{change}: {error}"));
    }
}

/// Whether a command has an option, with this default and these values, or a positional argument.
fn keeps<'a>(command: &clap::Command, what: &str, mut rest: impl Iterator<Item = &'a str>) {
    let found = match what.strip_prefix("--") {
        Some(name) => command.get_arguments().find(|option| {
            let aliases = option.get_all_aliases().unwrap_or_default();
            option.get_long() == Some(name) || aliases.contains(&name)
        }),
        None => command.get_positionals().find(|place| place.get_id().as_str() == what),
    };
    let option = found.unwrap_or_else(|| panic!("{} has no {what} any more", command.get_name()));
    if let Some(default) = rest.next().filter(|default| *default != "-") {
        assert_eq!(option.get_default_values(), [default], "{} {what}", command.get_name());
    }
    for value in rest {
        let values = option.get_possible_values();
        assert!(values.iter().any(|known| known.matches(value, false)), "{what} {value}");
    }
}
