//! `alexnet recipes`: the built-in recipes, and one of them as a file to save and change.

use anyhow::Result;
use clap::Args;
use model::recipe::{NetworkName, Recipe, Schedule, summary};

use crate::{print, recipe};

const EXAMPLES: &str = "\
Examples:
  alexnet recipes                                list them
  alexnet recipes caffe                          print one, with the reasons for its numbers
  alexnet recipes paper > mine.toml              a file to change; train with --recipe mine.toml
  alexnet recipes paper --set dropout=0 --set batch=64";

/// Arguments of `alexnet recipes`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RecipesArgs {
    /// Recipe to print: a built-in one or a TOML file [default: list the built-in ones]
    #[arg(value_name = "NAME|FILE")]
    recipe: Option<String>,

    /// Change one value of the recipe that is printed
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "recipe")]
    sets: Vec<String>,
}

/// Lists the recipes, or prints one.
pub(super) fn run(args: &RecipesArgs) -> Result<()> {
    let Some(name) = &args.recipe else { return list() };
    let text = recipe::text(name)?;
    let changed = recipe::load(name, &args.sets)?;
    print::line(changed.written_into(&text).trim_end());
    Ok(())
}

fn list() -> Result<()> {
    let mut rows = vec![
        ["recipe", "network", "epochs", "learning rate", "pictures", "what it is"]
            .map(str::to_owned),
    ];
    for name in Recipe::builtin_names() {
        let recipe = Recipe::builtin(name)?;
        rows.push([
            name.to_owned(),
            network(&recipe),
            recipe.epochs.to_string(),
            rate(&recipe),
            pictures(&recipe),
            summary(Recipe::builtin_text(name)?).to_owned(),
        ]);
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        print::line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    print::line(format_args!("\n`{} recipes NAME` prints one as TOML.", print::program()));
    Ok(())
}

fn network(recipe: &Recipe) -> String {
    match (recipe.network, recipe.columns, recipe.width) {
        (NetworkName::Cifar10, ..) => "four layers".into(),
        (NetworkName::Alexnet, 1, _) => "AlexNet, one column".into(),
        (NetworkName::Alexnet, _, 1.0) => "AlexNet".into(),
        (NetworkName::Alexnet, _, width) => format!("AlexNet, width × {width}"),
    }
}

fn rate(recipe: &Recipe) -> String {
    let Recipe { rate, rate_factor, rate_drops, halve_every, .. } = recipe;
    match recipe.schedule {
        Schedule::Constant => format!("{rate}"),
        Schedule::Plateau => format!("{rate}, × {rate_factor} at {rate_drops} plateaus"),
        Schedule::Halve => {
            format!("{rate}, × {rate_factor} every {halve_every} epochs or at a plateau")
        }
        Schedule::Epochs => {
            let epochs: Vec<_> = recipe.rate_epochs.iter().map(u64::to_string).collect();
            format!("{rate}, × {rate_factor} after {}", epochs.join(", "))
        }
    }
}

/// The pictures that a recipe wants: their stored side, and validation if the rate waits for it.
fn pictures(recipe: &Recipe) -> String {
    let side = recipe::stored_side(recipe);
    let classes = match (recipe.network, recipe.classes) {
        (_, n) if n > 0 => format!(", {n} classes"),
        (NetworkName::Cifar10, _) => ", CIFAR-10".into(),
        _ => String::new(),
    };
    let validation = match recipe.schedule {
        Schedule::Plateau => ", with validation",
        _ => "",
    };
    format!("{side} × {side}{classes}{validation}")
}
