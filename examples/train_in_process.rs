//! Trains both halves of a small AlexNet in one process, without coordinator or network.
//!
//! `cargo run --release --example train_in_process`

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use gpu_worker::Rates;
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::network::Mean;
use gpu_worker::pair::Pair;
use gpu_worker::receive::Minibatch;

use loader::batch::Request;
use loader::{DataSpec, Source};
use model::recipe::Recipe;
use model::shape::Network;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let recipe = Recipe::builtin("demo")?;
    let seed = 1;
    // Pictures that the program draws; a prepared folder works as well.
    let source = Source::open(&"synthetic".parse::<DataSpec>()?)?;
    let data = source.describe();
    let network = Network::new(&recipe, data.classes.len())?;
    let mean = Mean { side: data.side, values: data.mean.clone() };
    // One device per half; both halves exchange activations in memory.
    let mut pair = Pair::new(&recipe, &network, seed, &mean, false, || Ok(Cpu::new(1)))?;
    let rates = Rates { weights: recipe.rate_after(0), biases: recipe.bias_rate_after(0) };
    for step in 0..10 {
        let request = Request::of_training(&recipe, seed, step, data.n_train);
        let batch = source.minibatch(&request)?;
        let minibatch = Minibatch::from_wire((&batch).into(), vec![batch.pixels.clone()])?;
        let done = pair.step(&minibatch, step, rates)?;
        println!(
            "step {:2}  loss {:.3}  error {:.0} %",
            step + 1,
            done.loss,
            100.0 * done.top1_error
        );
    }
    Ok(())
}
