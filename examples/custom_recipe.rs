//! Makes a recipe of one's own, checks it, and shows the sizes that follow from it.
//!
//! `cargo run --example custom_recipe`

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use model::halves::{Half, Partition, Plan};
use model::recipe::Recipe;
use model::shape::Network;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // As in a TOML file for `--recipe`: what it leaves out is the paper's.
    let mut recipe = Recipe::from_toml("name = \"half-width\"\nwidth = 0.5\nlrn = \"none\"")?;
    // As with `--set`; a mistake is refused with the allowed values.
    recipe.set_all(["dropout=0.3", "batch=64"])?;
    let refused = recipe.clone().set_all(["dropuot=0"]).expect_err("a misspelled key");
    println!("refused: {refused}");

    let network = Network::new(&recipe, 1000)?;
    let plan = Plan::new(&network, &recipe, Partition::Half(Half::A));
    for layer in &plan.layers {
        let weights: usize = layer.params.iter().map(|param| param.len()).sum();
        let exchange = if layer.exchanges { "  exchanges with half B" } else { "" };
        println!("{}: {} maps, {weights} weights{exchange}", layer.name, layer.maps.len());
    }
    println!("{:.2} GFLOP per image and step", network.training_flop() as f64 / 1e9);
    Ok(())
}
