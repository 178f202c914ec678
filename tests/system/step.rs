//! The step is right: against an independent implementation, and the halves against the whole.

use gpu_worker::Rates;
use gpu_worker::backend::cpu::{Convolution, Cpu};
use gpu_worker::pair::Pair;
use harness::golden::{self, Tensors, further_than};
use harness::small;
use model::halves::{Half, Partition, Plan};
use model::recipe::Encoding;
use model::shape::Network;

/// f32 sums of a few thousand terms in another order differ by about 1e-6; a factor of 1.01 on any
/// gradient by 1e-2.
const STEP_ZERO: f64 = 1e-4;
/// Ten steps of rounding in the momentum.
const MOMENTUM: f64 = 1e-4;
/// The update is a difference of nearly equal weights.
const UPDATE: f64 = 1e-3;
const LOSS: f64 = 1e-5;
const STEPS: u64 = 10;

struct Run {
    losses: Vec<f64>,
    gradient: Tensors,
    momentum: Tensors,
    update: Tensors,
}

/// Ten steps on the golden minibatch.
fn ten_steps(mut pair: Pair<Cpu>, recipe: &model::recipe::Recipe, parts: &[Partition]) -> Run {
    let minibatch = small::minibatch();
    let rates = Rates { weights: recipe.rate, biases: recipe.rate };
    let shards = |pair: &mut Pair<Cpu>, step| {
        let shards = pair.shards(step).unwrap();
        golden::join(&shards.iter().map(|s| golden::parse(s)).collect::<Vec<_>>())
    };
    let start = shards(&mut pair, 0);
    let mut losses = Vec::new();
    let mut gradient = Tensors::new();
    for step in 0..STEPS {
        losses.push(pair.step(&minibatch, step, rates).unwrap().loss);
        if step == 0 {
            gradient = shaped(&mut pair, recipe, parts);
        }
    }
    let mut update = shards(&mut pair, STEPS);
    let momentum = update.iter().filter_map(|(name, t)| {
        Some((name.strip_suffix(gpu_worker::checkpoint::MOMENTUM)?.to_string(), t.clone()))
    });
    let momentum = momentum.collect();
    update.retain(|name, _| !name.ends_with(gpu_worker::checkpoint::MOMENTUM));
    for (name, (_, values)) in &mut update {
        for (value, before) in values.iter_mut().zip(&start[name].1) {
            *value -= before;
        }
    }
    Run { losses, gradient, momentum, update }
}

/// The gradients of all parts, with their shapes, put together.
fn shaped(pair: &mut Pair<Cpu>, recipe: &model::recipe::Recipe, parts: &[Partition]) -> Tensors {
    let network = Network::new(recipe, small::CLASSES).unwrap();
    let halves: Vec<Tensors> = pair
        .gradients()
        .unwrap()
        .into_iter()
        .zip(parts)
        .map(|(mut gradients, partition)| {
            let plan = Plan::new(&network, recipe, *partition);
            let with_shape = |p: &model::params::Param| {
                (p.name.clone(), (p.shape.clone(), gradients.remove(&p.name).unwrap()))
            };
            plan.params().map(with_shape).collect()
        })
        .collect();
    golden::join(&halves)
}

fn halves(recipe: &model::recipe::Recipe) -> Run {
    let pair = small::network(recipe, small::SEED, false);
    ten_steps(pair, recipe, &[Partition::Half(Half::A), Partition::Half(Half::B)])
}

fn whole(recipe: &model::recipe::Recipe) -> Run {
    ten_steps(small::network(recipe, small::SEED, true), recipe, &[Partition::Whole])
}

/// Both halves, computing convolutions in one way: the small network would take only some of them.
fn halves_convolving(recipe: &model::recipe::Recipe, threads: usize, how: Convolution) -> Run {
    let device = || Cpu::new(threads).convolving(how);
    let pair = small::network_on(recipe, small::SEED, false, device);
    ten_steps(pair, recipe, &[Partition::Half(Half::A), Partition::Half(Half::B)])
}

fn assert_close(
    got: &Run,
    gradient: &Tensors,
    momentum: &Tensors,
    update: &Tensors,
    losses: &[f64],
) {
    assert_eq!(further_than(STEP_ZERO, &got.gradient, gradient), []);
    assert_eq!(further_than(MOMENTUM, &got.momentum, momentum), []);
    assert_eq!(further_than(UPDATE, &got.update, update), []);
    for (step, (got, want)) in got.losses.iter().zip(losses).enumerate() {
        assert!((got - want).abs() <= LOSS * want, "step {step}: loss {got}, expected {want}");
    }
}

#[test]
fn ten_steps_match_pytorch() {
    let losses = golden::losses();
    assert!(losses[9] < 0.8 * losses[0], "the golden run learns");
    let (gradient, momentum, update) =
        (golden::tensors("gradient"), golden::tensors("momentum"), golden::tensors("update"));
    assert_eq!(gradient.len(), 16, "weights and biases of eight layers");
    let recipe = small::recipe();
    let in_ways = [Convolution::Product, Convolution::Direct, Convolution::Frequency]
        .map(|how| halves_convolving(&recipe, 2, how));
    for run in in_ways.into_iter().chain([halves(&recipe), whole(&recipe)]) {
        assert_close(&run, &gradient, &momentum, &update, &losses);
    }
}

/// `features` and `similar` read these; half A's maps come first.
#[test]
fn activations_of_both_halves_joined_are_those_of_the_whole_network() {
    let (recipe, minibatch) = (small::recipe(), small::minibatch());
    let tested = |whole| {
        let mut pair = small::network(&recipe, small::SEED, whole);
        pair.test(&minibatch, 0, 0).unwrap();
        pair
    };
    let (mut halves, mut whole) = (tested(false), tested(true));
    for layer in Network::new(&recipe, small::CLASSES).unwrap().layers {
        let n = minibatch.n_images();
        let [got, want] = [&mut halves, &mut whole].map(|p| p.activations(layer.name, n).unwrap());
        assert_eq!(want.len(), n * layer.output.len(), "{}", layer.name);
        assert!(golden::distance(&got, &want) <= LOSS, "{}", layer.name);
        // The first five images alone: rows stay together.
        let five = halves.activations(layer.name, 5).unwrap();
        assert_eq!(five, got[..5 * layer.output.len()], "{}", layer.name);
    }
    let refused = whole.activations("fc9", 1).unwrap_err().to_string();
    assert!(refused.contains("no layer fc9") && refused.contains("conv1, conv2"), "{refused}");
}

/// The comparison above would see any one layer's gradient off by a hundredth.
#[test]
fn a_gradient_scaled_by_1_01_would_be_seen() {
    let got = golden::tensors("gradient");
    for name in got.keys() {
        let mut scaled = got.clone();
        scaled.get_mut(name).unwrap().1.iter_mut().for_each(|v| *v *= 1.01);
        let seen = further_than(STEP_ZERO, &scaled, &got);
        assert_eq!(seen.len(), 1, "{name}");
        assert_eq!(&seen[0].0, name);
    }
}

#[test]
fn two_halves_step_like_one_whole() {
    let changes = [
        &[][..],
        &["without=conv4"],
        &["without=[conv3, conv5]"],
        &["unlinked=conv3"],
        &["conv6=true", "biases.conv6=0.1"],
    ];
    for change in changes {
        let mut recipe = small::recipe();
        recipe.set_all(change).unwrap();
        let whole = whole(&recipe);
        let halves = halves(&recipe);
        assert_close(&halves, &whole.gradient, &whole.momentum, &whole.update, &whole.losses);
    }
}

/// A fully-connected layer that reads only its own half belongs to the segment of the convolutions
/// before it, and passes its activations on in their micro-batches.
#[test]
fn unlinked_layers_step_alike_in_any_number_of_micro_batches() {
    for unlinked in ["[conv3, fc6, fc7]", "[fc6, fc7]", "fc7"] {
        let in_slices = |slices: usize| {
            let mut recipe = small::recipe();
            let changes = [format!("unlinked={unlinked}"), format!("slices={slices}")];
            recipe.set_all(&changes).unwrap();
            halves(&recipe)
        };
        let at_once = in_slices(1);
        for slices in [3, 4] {
            let (gradient, momentum) = (&at_once.gradient, &at_once.momentum);
            let sliced = in_slices(slices);
            assert_close(&sliced, gradient, momentum, &at_once.update, &at_once.losses);
        }
    }
}

/// Half floats have eleven bits: each of the ten crossings between conv1 and the loss and back may
/// move a tensor by 2⁻¹¹, 5e-3 in all.
#[test]
fn f16_encoding_costs_little_accuracy() {
    let whole = whole(&small::recipe());
    let mut recipe = small::recipe();
    recipe.wire = Encoding::F16;
    let halves = halves(&recipe);
    assert_eq!(further_than(5e-3, &halves.gradient, &whole.gradient), []);
    assert_ne!(further_than(1e-5, &halves.gradient, &whole.gradient), [], "f16 was used at all");
    for (got, want) in halves.losses.iter().zip(&whole.losses) {
        assert!((got - want).abs() <= 2e-2 * want, "loss {got}, f32 has {want}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let recipe = small::recipe();
    let run = || {
        let mut pair = small::network(&recipe, small::SEED, false);
        let rates = Rates { weights: recipe.rate, biases: recipe.rate };
        for step in 0..3 {
            pair.step(&small::minibatch(), step, rates).unwrap();
        }
        pair.shards(3).unwrap()
    };
    assert_eq!(run(), run());
}

/// A unit's mask is drawn at sample · units + unit, in 64 bits. In 32 bits the masks of step 0
/// would return at step 2²⁰ of this network (2³² units of fc6), or at step 2²⁸ (2³² samples).
#[test]
fn no_later_step_repeats_the_masks_of_the_first() {
    let recipe = small::recipe();
    let minibatch = small::minibatch();
    let rates = Rates { weights: recipe.rate, biases: recipe.rate };
    let mut losses: Vec<f64> = [0, 1, 1 << 20, 1 << 22, 1 << 28, 1 << 32, 1 << 40]
        .map(|step| {
            let mut pair = small::network(&recipe, small::SEED, false);
            pair.step(&minibatch, step, rates).unwrap().loss
        })
        .into();
    losses.sort_by(f64::total_cmp);
    let all = losses.len();
    losses.dedup();
    assert_eq!(losses.len(), all, "two steps had the same masks: {losses:?}");
}
