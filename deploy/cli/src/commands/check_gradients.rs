//! `alexnet check-gradients`: the gradients of a recipe against finite differences of its loss.

use anyhow::{Result, ensure};
use clap::Args;
use loader::Source;

use super::prepare;
use crate::network::{Compared, Gradients};
use crate::options::{Call, DEFAULT_SEED, DeviceArgs};
use crate::{print, recipe};

const HELP: &str = "\
Each half's share of every weight and bias tensor is moved a little along its gradient, back and
forth, and the change of the loss is compared with the change that the gradient predicts. The recipe
is taken as it is, dropout and response normalization included, with three exceptions: a step has
eight pictures, initial weights have a scale at which every layer has a gradient, and the halves
exchange f32.

Examples:
  alexnet check-gradients
  alexnet check-gradients --recipe paper --set activation=tanh
  alexnet check-gradients --recipe my-recipe.toml --devices cuda:0,cuda:1

The exit code is 1 if a gradient does not fit the loss.";

/// Largest difference of the predicted and the measured change. Rounding of the loss and kinks of
/// ReLU and pooling have left up to half of it.
const WITHIN: f64 = 0.05;
/// Difference at which no other move is tried.
const AT_ONCE: f64 = 0.003;

/// Arguments of `alexnet check-gradients`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct CheckGradientsArgs {
    /// Built-in recipe or TOML file
    #[arg(long, default_value = "caffe", value_name = "NAME|FILE")]
    recipe: String,

    /// Change one value of the recipe; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,

    /// Pictures, as for `up` [default: built-in pictures]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Seed of weights, crops and dropout
    #[arg(long, default_value_t = DEFAULT_SEED)]
    seed: u64,

    /// Choice of the devices.
    #[command(flatten)]
    devices: DeviceArgs,
}

/// Compares all shares and prints them as a table.
pub(super) fn run(args: &CheckGradientsArgs, call: Call<'_>) -> Result<()> {
    let recipe = recipe::load(&args.recipe, &args.sets)?;
    let data = match &args.data {
        Some(data) => prepare::ready(data, &recipe, &prepare::Asked::default())?,
        None => recipe::built_in_pictures(&recipe),
    };
    let source = Source::open(&data.parse()?)?;
    let mut gradients =
        Gradients::new(&recipe, &source, args.seed, &args.devices, call.environment)?;
    print::line(format_args!(
        "{} on {}, {} pictures, loss {:.4}\n",
        gradients.recipe.name, gradients.devices, gradients.recipe.batch, gradients.loss
    ));
    print::line("tensor        of            numbers   predicted    measured  difference");
    let mut all = Vec::new();
    for share in 0..gradients.len() {
        let compared = gradients.compare(share, AT_ONCE)?;
        print::line(row(&compared));
        all.push(compared);
    }
    let wrong: Vec<String> = all.iter().filter(|one| !fits(one)).map(name).collect();
    ensure!(
        wrong.is_empty(),
        "these gradients do not fit the loss: {}. They differ from its change by more than {:.0} %. \
         If another --seed names others or none, these are kinks of ReLU and pooling; a wrong \
         gradient is wrong with every seed",
        wrong.join(", "),
        100.0 * WITHIN
    );
    let most = all.iter().map(Compared::difference).fold(0.0, f64::max);
    print::line(format_args!(
        "\nall {} gradients fit the loss; the largest difference is {:.3} %",
        all.len(),
        100.0 * most
    ));
    Ok(())
}

/// False, too, if the difference is not a number.
fn fits(one: &Compared) -> bool {
    one.difference() <= WITHIN
}

fn name(one: &Compared) -> String {
    format!("{} of {}", one.tensor, one.partition)
}

fn row(one: &Compared) -> String {
    format!(
        "{:<12}  {:<11}  {:>8}  {:>10.3e}  {:>10.3e}  {:>8.3} %",
        one.tensor,
        one.partition.to_string(),
        one.len,
        one.predicted,
        one.measured,
        100.0 * one.difference()
    )
}
