//! Recipe keys against an independent computation in f64: each changes what it says, and nothing
//! else.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed; its helpers too")]

#[path = "keys/reference.rs"]
mod reference; // a forward pass in f64, written from the paper

use std::collections::BTreeMap;

use gpu_worker::Rates;
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::checkpoint::MOMENTUM;
use gpu_worker::network::Mean;
use gpu_worker::pair::Pair;
use gpu_worker::receive::Minibatch;
use gpu_worker::views::Average;
use model::recipe::{Init, Recipe};
use model::shape::Network;
use reference::Order;
use safetensors::SafeTensors;

const CLASSES: usize = 10;
const CROP: usize = 64;
const SIDE: usize = 72;
const IMAGES: usize = 3;
/// Rounding of f32 sums of some hundred terms, as a share of a probability.
const CLOSE: f64 = 1e-4;

type Tensors = BTreeMap<String, Vec<f32>>;

/// AlexNet in one column, at a sixteenth of its width.
fn recipe(changes: &[&str]) -> Recipe {
    let mut recipe = Recipe {
        columns: 1,
        width: 1.0 / 16.0,
        crop: CROP,
        batch: IMAGES,
        dropout: 0.0,
        init: Init::FanIn,
        ..Recipe::default()
    };
    // Logits of about 1: a saturated softmax would hide what the test looks for.
    recipe.set_all(["weight_stds.conv1=0.03", "weight_stds.fc8=0.02"]).unwrap();
    recipe.set_all(changes).unwrap();
    recipe
}

fn mean() -> Mean {
    let values = (0..3 * SIDE * SIDE).map(|i| (90 + i * 7 % 50) as f32).collect();
    Mean { side: SIDE, values }
}

fn network(recipe: &Recipe) -> Pair<Cpu> {
    let sized = Network::new(recipe, CLASSES).unwrap();
    Pair::new(recipe, &sized, 3, &mean(), true, || Ok(Cpu::new(1))).unwrap()
}

/// A pixel of a stored picture: stripes that differ from picture to picture.
fn pixel(image: usize, color: usize, y: usize, x: usize) -> u8 {
    let stripe = (x * (1 + image) + y * (2 + color) + 11 * image) % 64;
    (3 * stripe + (x * y + 5 * color) % 17) as u8
}

/// The same crop of every picture.
fn minibatch((row, column, flip): (usize, usize, bool)) -> Minibatch {
    let mut pixels = Vec::new();
    for image in 0..IMAGES {
        for color in 0..3 {
            for y in 0..CROP {
                pixels.extend((0..CROP).map(|x| pixel(image, color, row + y, column + x)));
            }
        }
    }
    let at = [row as f32, column as f32, f32::from(u8::from(flip)), 0.0, 0.0, 0.0];
    let labels = (0..IMAGES as u32).collect();
    let (crops, pixels) = (vec![at; IMAGES], vec![pixels.into()]);
    Minibatch { labels, crops, crop: CROP, pixels, digest: 1 }
}

fn tensors(pair: &mut Pair<Cpu>) -> Tensors {
    let shard = pair.shards(0).unwrap().swap_remove(0);
    let file = SafeTensors::deserialize(&shard).unwrap();
    file.iter()
        .filter(|(_, view)| view.dtype() == safetensors::Dtype::F32)
        .map(|(name, view)| {
            let floats = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            (name.to_owned(), floats.collect())
        })
        .collect()
}

/// Probabilities by the reference, of one crop of each picture.
fn expected(weights: &Tensors, order: Order, place: (usize, usize, bool)) -> Vec<Vec<f64>> {
    let (row, column, flip) = place;
    let mean = mean().values;
    let input = |image: usize| {
        let mut x = vec![0.0; 3 * CROP * CROP];
        for (i, value) in x.iter_mut().enumerate() {
            let (color, y, at) = (i / (CROP * CROP), i / CROP % CROP, i % CROP);
            let at = if flip { CROP - 1 - at } else { at };
            let (y, at) = (row + y, column + at);
            let mean = mean[(color * SIDE + y) * SIDE + at];
            *value = f64::from(pixel(image, color, y, at)) - f64::from(mean);
        }
        x
    };
    (0..IMAGES).map(|image| reference::probabilities(weights, order, input(image), CROP)).collect()
}

fn assert_close(got: &[f32], want: &[Vec<f64>]) {
    for (got, want) in got.iter().zip(want.concat()) {
        assert!((f64::from(*got) - want).abs() < CLOSE * want.max(1e-2), "{got}, expected {want}");
    }
}

/// The authors' program: `cropped -= data_mean`, with the inner pixels of the mean image, after the
/// crop was mirrored.
#[test]
fn the_center_of_the_mean_image_is_subtracted_from_every_crop_unmirrored() {
    let border = (SIDE - CROP) / 2;
    let values = mean().values;
    let mut pair = network(&recipe(&["mean=center"]));
    let weights = tensors(&mut pair);
    assert_eq!(weights, tensors(&mut network(&recipe(&[]))), "no starting value changes");
    for (row, column, flip) in [(0, 0, false), (8, 3, false), (2, 7, true), (border, border, true)]
    {
        let input = |image: usize| {
            let places =
                (0..3 * CROP * CROP).map(|i| (i / (CROP * CROP), i / CROP % CROP, i % CROP));
            let value = |(color, y, x): (usize, usize, usize)| {
                let from = if flip { CROP - 1 - x } else { x };
                let mean = values[(color * SIDE + border + y) * SIDE + border + x];
                f64::from(pixel(image, color, row + y, column + from)) - f64::from(mean)
            };
            places.map(value).collect()
        };
        let of = |image| reference::probabilities(&weights, Order::Paper, input(image), CROP);
        let want: Vec<_> = (0..IMAGES).map(of).collect();
        let got = pair.test(&minibatch((row, column, flip)), 0, 0).unwrap();
        assert_close(&got.probabilities, &want);
        let elsewhere = expected(&weights, Order::Paper, (row, column, flip)).concat();
        let apart = elsewhere.iter().zip(want.concat()).map(|(a, b)| (a - b).abs());
        let same_place = (row, column, flip) == (border, border, false);
        assert!(same_place || apart.fold(0.0, f64::max) > 10.0 * CLOSE, "no difference to see");
    }
}

#[test]
fn the_order_as_run_is_normalization_pooling_activation_in_conv1_and_conv5() {
    let place = (0, 0, false);
    let mut by_order = Vec::new();
    for (key, order) in [("order=paper", Order::Paper), ("order=as-run", Order::AsRun)] {
        let mut pair = network(&recipe(&[key]));
        let want = expected(&tensors(&mut pair), order, place);
        let got = pair.test(&minibatch(place), 0, 0).unwrap();
        assert_close(&got.probabilities, &want);
        by_order.push((tensors(&mut pair), want.concat()));
    }
    let [(weights, paper), (as_run_weights, as_run)] = &by_order[..] else { unreachable!() };
    assert_eq!(weights, as_run_weights, "the order changes no starting value");
    let apart = paper.iter().zip(as_run).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart > 10.0 * CLOSE, "the two orders would not be told apart: {apart}");
}

/// Paper §4.1: "averaging the predictions made by the network's softmax layer on the ten patches".
#[test]
fn ten_views_are_averaged_after_softmax_and_the_loss_is_that_of_the_average() {
    let end = SIDE - CROP;
    let corners = [(0, 0), (0, end), (end, 0), (end, end), (end / 2, end / 2)];
    let views = [false, true].map(|flip| corners.map(|(row, column)| (row, column, flip))).concat();
    let mut pair = network(&recipe(&[]));
    let weights = tensors(&mut pair);
    let mut average = Average::default();
    let mut want = vec![vec![0.0; CLASSES]; IMAGES];
    for (view, place) in (1..).zip(views) {
        let minibatch = minibatch(place);
        average.add(pair.test(&minibatch, 0, view).unwrap(), &minibatch.labels);
        for (sum, p) in want.iter_mut().zip(expected(&weights, Order::Paper, place)) {
            sum.iter_mut().zip(p).for_each(|(sum, p)| *sum += p / 10.0);
        }
    }
    let output = average.output();
    assert_close(&output.probabilities, &want);
    for (image, loss) in output.losses.iter().enumerate() {
        let expected = -want[image][image].ln();
        assert!((f64::from(*loss) - expected).abs() < 1e-4, "{loss}, expected {expected}");
    }
    let center = expected(&weights, Order::Paper, (end / 2, end / 2, false)).concat();
    let apart = want.concat().iter().zip(center).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart > 10.0 * CLOSE, "one view would be as good: {apart}");
}

/// Weights and momentum after two steps, checked against the update's formula in f64.
fn two_steps(changes: &[&str]) -> Tensors {
    let recipe = recipe(changes);
    let mut pair = network(&recipe);
    let rates = Rates { weights: recipe.rate_after(0), biases: recipe.bias_rate_after(0) };
    let mut before = tensors(&mut pair);
    for step in 0..2 {
        pair.step(&minibatch((1, 2, false)), step, rates).unwrap();
        let gradients = pair.gradients().unwrap().swap_remove(0);
        let after = tensors(&mut pair);
        for (name, gradient) in &gradients {
            let is_bias = name.ends_with(".bias");
            let has = |change: &str| changes.contains(&change);
            let exempt = is_bias && has("decay_biases=false")
                || name == "fc8.weight" && has("decay_softmax=false");
            let of = |change: &str, layer: &str| name.starts_with(layer) && has(change);
            let decay = if exempt { 0.0 } else { 0.0005 };
            let decay = if of("decays.conv3=4", "conv3") { 4.0 * decay } else { decay };
            let rate = if is_bias && has("bias_rate=2") { 0.002 } else { 0.001 };
            let rate = if of("rates.fc7=3", "fc7") { 3.0 * rate } else { rate };
            let rate = if of("rates.fc7.bias=2", "fc7.bias") { rate * 2.0 / 3.0 } else { rate };
            for (i, g) in gradient.iter().enumerate() {
                let momentum = format!("{name}{MOMENTUM}");
                let [w, v] = [&before[name][i], &before[&momentum][i]].map(|n| f64::from(*n));
                let terms = [0.9 * v, -decay * rate * w, -rate * f64::from(*g)];
                let change: f64 = terms.iter().sum();
                let got = f64::from(after[&momentum][i]);
                // Up to four roundings of 6e-8 in each term; the terms may nearly cancel.
                let rounding = 3e-7 * terms.iter().map(|term| term.abs()).sum::<f64>() + 1e-12;
                assert!((got - change).abs() <= rounding, "{name}: {got}, expected {change}");
                let got = f64::from(after[name][i]);
                assert!(
                    (got - w - change).abs() <= rounding + 1e-7 * (w.abs() + change.abs()),
                    "{name}: {got}, expected {w} + {change}, terms {terms:?}"
                );
            }
        }
        before = after;
    }
    before
}

/// Names of the weights that differ after the first step; later ones differ through the gradients.
fn changed_by(change: &str) -> Vec<String> {
    let after_one = |changes: &[&str]| {
        let recipe = recipe(changes);
        let mut pair = network(&recipe);
        let rates = Rates { weights: recipe.rate_after(0), biases: recipe.bias_rate_after(0) };
        pair.step(&minibatch((1, 2, false)), 0, rates).unwrap();
        let mut weights = tensors(&mut pair);
        weights.retain(|name, _| !name.ends_with(MOMENTUM));
        weights
    };
    let (plain, with) = (after_one(&["rate=0.001"]), after_one(&["rate=0.001", change]));
    plain.into_iter().filter(|(name, values)| with[name] != *values).map(|(name, _)| name).collect()
}

#[test]
fn the_update_is_the_papers_with_every_key_as_it_is() {
    two_steps(&["rate=0.001"]);
}

/// Biases that start at 0 have nothing to lose in the first step.
#[test]
fn decay_biases_exempts_all_biases_and_nothing_else() {
    two_steps(&["rate=0.001", "decay_biases=false"]);
    let started_at_one = ["conv2", "conv4", "conv5", "fc6", "fc7"];
    assert_eq!(changed_by("decay_biases=false"), started_at_one.map(|l| format!("{l}.bias")));
}

#[test]
fn decay_softmax_exempts_the_last_layers_weights_and_nothing_else() {
    two_steps(&["rate=0.001", "decay_softmax=false"]);
    assert_eq!(changed_by("decay_softmax=false"), ["fc8.weight"]);
}

#[test]
fn a_bias_rate_is_that_of_all_biases_and_of_nothing_else() {
    two_steps(&["rate=0.001", "bias_rate=2"]);
    let layers = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"];
    assert_eq!(changed_by("bias_rate=2"), layers.map(|layer| format!("{layer}.bias")));
}

#[test]
fn rates_and_decays_are_factors_for_their_layer_or_parameter_alone() {
    two_steps(&["rate=0.001", "rates.fc7=3", "bias_rate=2"]);
    two_steps(&["rate=0.001", "rates.fc7=3", "rates.fc7.bias=2"]);
    two_steps(&["rate=0.001", "decays.conv3=4"]);
    assert_eq!(changed_by("rates.fc7=3"), ["fc7.bias", "fc7.weight"]);
    // conv3's biases start at 0 and have nothing to lose in the first step.
    assert_eq!(changed_by("decays.conv3=4"), ["conv3.weight"]);
}

#[test]
fn a_layer_of_rate_0_keeps_its_values_while_the_others_learn() {
    let recipe = recipe(&["rate=0.001", "rates.conv1=0"]);
    let mut pair = network(&recipe);
    let rates = Rates { weights: recipe.rate_after(0), biases: recipe.bias_rate_after(0) };
    let before = tensors(&mut pair);
    for step in 0..2 {
        pair.step(&minibatch((1, 2, false)), step, rates).unwrap();
    }
    for (name, values) in tensors(&mut pair).iter().filter(|(name, _)| !name.ends_with(MOMENTUM)) {
        let frozen = name.starts_with("conv1.");
        assert_eq!(*values == before[name], frozen, "{name}");
    }
}
