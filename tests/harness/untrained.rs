//! Run directories without training: a network's initial values as the checkpoint of step 0.

use std::path::{Path, PathBuf};

use coordinator::DataSet;
use coordinator::run_dir::{Beginning, RunDir};
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::network::Mean;
use gpu_worker::pair::Pair;
use model::halves::Plan;
use model::recipe::Recipe;
use model::shape::Network;

/// Side of the stored pictures beyond the crop's.
pub const ROOM: usize = 8;

/// Makes the run directory of a network with `classes` classes.
pub fn run(path: &Path, recipe: &Recipe, classes: usize) -> RunDir {
    let network = Network::new(recipe, classes).expect("a network");
    let side = recipe.crop + ROOM;
    // Each place has its own value, so that a shifted crop shows.
    let values: Vec<f32> =
        (0..3 * side * side).map(|i| 90.0 + (i * 7919 % 640) as f32 / 16.0).collect();
    let mean = Mean { side, values };
    let device = || Ok(Cpu::new(1));
    let mut pair = Pair::new(recipe, &network, 7, &mean, false, device).expect("memory");
    let shards = pair.shards(0).expect("shards");
    let data_set = DataSet {
        name: "untrained".into(),
        digest: "none".into(),
        side: side as u32,
        classes: (0..classes).map(|i| format!("class {i}")).collect(),
        n_train: 100,
        n_val: 10,
        colors: [0.0; 9],
    };
    let beginning = Beginning { recipe: recipe.clone(), seed: 7, data_set, mean: mean.values };
    let parts = Plan::all(&network, recipe).into_iter().map(|plan| plan.partition);
    let shards = parts.zip(shards).map(Ok::<_, coordinator::Error>);
    RunDir::create(path, &beginning, shards).expect("a run directory")
}

/// Writes `n` pictures of the stored size; returns their paths.
pub fn pictures(folder: &Path, side: usize, n: u32) -> Vec<PathBuf> {
    (0..n)
        .map(|i| {
            let side = side as u32;
            let color = |x: u32, y: u32| {
                [x * (2 + i) + y, y * 3 + 50 * i, (x ^ y) * 4 + 9 * i].map(|v| (v % 256) as u8)
            };
            let picture = image::RgbImage::from_fn(side, side, |x, y| image::Rgb(color(x, y)));
            let path = folder.join(format!("{i}.png"));
            picture.save(&path).expect("a picture");
            path
        })
        .collect()
}

/// The center crops of pictures as bytes, `[n, 3, crop, crop]`.
pub fn pixels(pictures: &[PathBuf], crop: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for path in pictures {
        let picture = image::open(path).expect("a picture").to_rgb8();
        let border = (picture.width() - crop as u32) / 2;
        for c in 0..3 {
            for y in 0..crop as u32 {
                bytes
                    .extend((0..crop as u32).map(|x| picture.get_pixel(border + x, border + y)[c]));
            }
        }
    }
    bytes
}
