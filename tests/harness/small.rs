//! Small networks and synthetic minibatches.

use gpu_worker::backend::Backend;
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::network::Mean;
use gpu_worker::pair::Pair;
use gpu_worker::receive::Minibatch;
use model::recipe::{Init, Recipe};
use model::shape::Network;

/// Number of images of the golden minibatch.
pub const BATCH: usize = 16;
/// Side of the images of the golden minibatch.
pub const SIDE: usize = 64;
/// Number of classes of the golden network.
pub const CLASSES: usize = 10;
/// Seed of the golden run.
pub const SEED: u64 = 7;
/// Learning rate of the golden run.
pub const RATE: f64 = 0.0002;

/// The golden network: AlexNet at 1/16 of its width, every layer kind in it.
pub fn recipe() -> Recipe {
    let mut recipe = Recipe {
        name: "small".into(),
        width: 1.0 / 16.0,
        crop: SIDE,
        crop_offsets: 1,
        flip: false,
        color_noise: 0.0,
        batch: BATCH,
        rate: RATE,
        dropout: 0.25,
        init: Init::FanIn,
        ..Recipe::default()
    };
    recipe.biases.values_mut().for_each(|bias| *bias = 0.1);
    recipe
}

/// Both halves in one process, or the whole network.
pub fn network(recipe: &Recipe, seed: u64, whole: bool) -> Pair<Cpu> {
    network_on(recipe, seed, whole, || Cpu::new(1))
}

/// The network of [`network`], each partition on its own device.
pub fn network_on<B: Backend>(
    recipe: &Recipe,
    seed: u64,
    whole: bool,
    mut device: impl FnMut() -> B,
) -> Pair<B>
where
    B::Floats: Sync,
    B::Bytes: Sync,
{
    let sized = Network::new(recipe, CLASSES).expect("a network");
    let mean = Mean { side: SIDE, values: vec![30.0; 3 * SIDE * SIDE] };
    Pair::new(recipe, &sized, seed, &mean, whole, || Ok(device())).expect("memory")
}

/// The golden minibatch: ten kinds of stripes with a bit of noise, as in `make.py`.
pub fn minibatch() -> Minibatch {
    let labels: Vec<u32> = (0..BATCH).map(|n| (n * 3 % CLASSES) as u32).collect();
    let mut pixels = Vec::with_capacity(BATCH * 3 * SIDE * SIDE);
    for (n, label) in labels.iter().map(|l| *l as usize).enumerate() {
        for (c, y, x) in
            (0..3).flat_map(|c| (0..SIDE).flat_map(move |y| (0..SIDE).map(move |x| (c, y, x))))
        {
            let t = (x * (1 + label % 3) + y * (1 + label / 3) + 7 * n) % 32;
            let noise = (x * x * 31 + y * y * 17 + x * y * 13 + n * 29 + c * 7) % 23;
            let stripe = 2 * 16_usize.abs_diff(t) + 10 * ((label + c) % 3) + noise;
            pixels.push(stripe as u8);
        }
    }
    let crops = vec![[0.0; 6]; BATCH];
    Minibatch { labels, crops, crop: SIDE, pixels: vec![pixels.into()], digest: 1 }
}

/// The minibatch of a step directly from a source, without processes.
pub fn training_minibatch(
    source: &loader::Source,
    recipe: &Recipe,
    seed: u64,
    step: u64,
) -> Minibatch {
    let n_train = source.describe().n_train;
    let request = loader::batch::Request::of_training(recipe, seed, step, n_train);
    let batch = source.minibatch(&request).expect("a minibatch");
    Minibatch::from_wire((&batch).into(), vec![batch.pixels]).expect("a loader's own minibatch")
}
