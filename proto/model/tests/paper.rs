//! One test for each claim of the paper (Krizhevsky, Sutskever, Hinton, NIPS 2012) that numbers
//! can settle. What the cut into halves must keep is in `cuts.rs`.

use std::collections::BTreeMap;

use model::halves::{Half, Partition, Plan, exchange_floats_per_image, exchange_points};
use model::layer::{After, Kind};
use model::params::Param;
use model::pass::Pass;
use model::recipe::{Activation, Init, Lrn, Recipe, Schedule};
use model::shape::{Network, Shape};

const CLASSES: usize = 1000;

fn network() -> Network {
    Network::new(&Recipe::default(), CLASSES).expect("the paper's sizes make a network")
}

fn plan(partition: Partition) -> Plan {
    Plan::new(&network(), &Recipe::default(), partition)
}

fn halves() -> [Plan; 2] {
    Half::BOTH.map(|half| plan(Partition::Half(half)))
}

fn n_params(plan: &Plan) -> usize {
    plan.params().map(Param::len).sum()
}

/// §1: "60 million parameters"; one half holds half of them.
#[test]
fn parameters_sum_to_60_965_224() {
    assert_eq!(n_params(&plan(Partition::Whole)), 60_965_224);
    for half in halves() {
        assert_eq!(n_params(&half), 30_482_612);
    }
}

/// Abstract: "650,000 neurons"; §3.5: 253,440–186,624–64,896–64,896–43,264–4096–4096–1000, of which
/// the first is a slip (55·48·96; the layer has 55·55·96).
#[test]
fn neurons_are_those_of_section_3_5() {
    let neurons: Vec<usize> =
        network().layers.iter().map(|layer| layer.pre_activation.len()).collect();
    assert_eq!(neurons, [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]);
    assert_eq!(neurons.iter().sum::<usize>(), 659_272);
    assert_eq!(network().input.len(), 150_528); // "150,528-dimensional"
}

/// §3.5: "The first convolutional layer filters the 224 × 224 × 3 input image with 96 kernels of
/// size 11 × 11 × 3 with a stride of 4", and so on to the last.
#[test]
fn kernels_are_those_of_section_3_5() {
    let kernels: Vec<(&str, Vec<usize>)> =
        plan(Partition::Whole).layers.iter().map(|l| (l.name, l.params[0].shape.clone())).collect();
    let expected: [(&str, &[usize]); 8] = [
        ("conv1", &[96, 3, 11, 11]),
        ("conv2", &[256, 48, 5, 5]),
        ("conv3", &[384, 256, 3, 3]),
        ("conv4", &[384, 192, 3, 3]),
        ("conv5", &[256, 192, 3, 3]),
        ("fc6", &[4096, 9216]),
        ("fc7", &[4096, 4096]),
        ("fc8", &[1000, 4096]),
    ];
    assert_eq!(kernels, expected.map(|(name, shape)| (name, shape.to_vec())));
    assert!(matches!(network().layers[0].kind, Kind::Conv { kernel: 11, stride: 4, .. }));
}

/// Figure 2: sides 224, 55, 27, 13, 13, 13 and 6 after the last pooling.
#[test]
fn maps_shrink_from_224_over_55_27_and_13_to_6() {
    let (before, after): (Vec<usize>, Vec<usize>) =
        network().layers.iter().map(|layer| (layer.pre_activation.side, layer.output.side)).unzip();
    assert_eq!(before, [55, 27, 13, 13, 13, 1, 1, 1]);
    assert_eq!(after, [27, 13, 13, 13, 6, 1, 1, 1]);
}

/// Figure 2: each half computes 48, 128, 192, 192, 128 maps and 2048, 2048 units.
#[test]
fn each_half_computes_half_of_every_layer() {
    for half in halves() {
        let maps: Vec<usize> = half.layers.iter().map(|layer| layer.pre_activation.maps).collect();
        assert_eq!(maps, [48, 128, 192, 192, 128, 2048, 2048, 500]);
        let inputs: Vec<Shape> = half.layers.iter().map(|layer| layer.input).collect();
        let read = [(3, 224), (48, 27), (256, 13), (192, 13), (192, 13), (256, 6)];
        let read = read.into_iter().chain([(4096, 1), (4096, 1)]);
        assert!(inputs.iter().map(|shape| (shape.maps, shape.side)).eq(read));
        let params: Vec<usize> =
            half.layers.iter().map(|layer| layer.params.iter().map(Param::len).sum()).collect();
        let of_layers =
            [17_472, 153_728, 442_560, 331_968, 221_312, 18_876_416, 8_390_656, 2_048_500];
        assert_eq!(params, of_layers);
    }
}

/// §3.5: "the kernels of the second, fourth and fifth convolutional layers are connected only to
/// those kernel maps in the previous layer which reside on the same GPU"; the third and the full
/// layers read all.
#[test]
fn halves_exchange_at_conv3_and_the_fully_connected_layers() {
    assert_eq!(exchange_points(&network()).collect::<Vec<_>>(), ["conv3", "fc6", "fc7", "fc8"]);
    let groups: Vec<usize> =
        plan(Partition::Whole).layers.iter().map(|layer| layer.groups).collect();
    assert_eq!(groups, [1, 2, 1, 2, 2, 1, 1, 1]);
}

/// §3.2, "communicate only in certain layers": the bytes per step of 128 images and direction.
#[test]
fn the_halves_exchange_15_532_032_bytes_forward_and_as_many_backward() {
    for half in halves() {
        let bytes: Vec<(&str, usize)> =
            exchange_floats_per_image(&half).map(|(at, floats)| (at, floats * 4 * 128)).collect();
        let expected =
            [("conv3", 11_075_584), ("fc6", 2_359_296), ("fc7", 1_048_576), ("fc8", 1_048_576)];
        assert_eq!(bytes, expected);
        assert_eq!(bytes.iter().map(|(_, n)| n).sum::<usize>(), 15_532_032);
    }
}

/// §3.5: 92 % of the work is in the convolutions, 96 % of the parameters in the fully-connected
/// layers.
#[test]
fn a_forward_pass_is_724_406_816_multiply_adds() {
    let network = network();
    let work: Vec<usize> = network.layers.iter().map(|layer| layer.multiply_adds()).collect();
    let convolutions = [105_415_200, 223_948_800, 149_520_384, 112_140_288, 74_760_192];
    assert_eq!(work[..5], convolutions);
    assert_eq!(work[5..], [37_748_736, 16_777_216, 4_096_000]);
    assert_eq!(network.multiply_adds(), 724_406_816);
    // Forward and back, nobody needing the gradient of the pixels: 529.4 GFLOP per step.
    assert_eq!(network.training_flop(), 4_135_610_496);
    assert_eq!(network.training_flop() * 128 / 1_000_000, 529_358);
    let of = |layer, pass| network.training_passes().find(|p| (p.0, p.1) == (layer, pass));
    let flop = |layer, pass| of(layer, pass).unwrap().2;
    assert_eq!(flop("conv1", Pass::Forward), 2 * 105_415_200);
    assert_eq!(flop("conv1", Pass::Inputs), 0);
    assert_eq!(flop("fc8", Pass::Inputs), 2 * 4_096_000);
    assert_eq!(flop("fc8", Pass::Update), 0);
}

/// §1: each convolutional layer "contains no more than 1% of the model's parameters"; true but
/// for conv3 (1.45 %) and conv4 (1.09 %).
#[test]
fn no_convolution_holds_more_than_one_and_a_half_percent_of_the_parameters() {
    let percent = |n: usize| 100.0 * n as f64 / 60_965_224.0;
    let whole = plan(Partition::Whole);
    let of_layer = |i: usize| percent(whole.layers[i].params.iter().map(Param::len).sum());
    assert!((0..5).all(|i| of_layer(i) < 1.5));
    assert!([0, 1, 4].iter().all(|&i| of_layer(i) < 1.0));
}

/// §3.1: f(x) = max(0, x); §3.5: "applied to the output of every convolutional and
/// fully-connected layer", the softmax's inputs excepted.
#[test]
fn every_layer_but_the_last_ends_in_relu() {
    assert_eq!(Recipe::default().activation, Activation::Relu);
    let network = network();
    let activated = |i: usize| network.layers[i].after.first() == Some(&After::Activation);
    assert!((0..7).all(activated));
    assert!(network.layers[7].after.is_empty());
}

/// §3.3: k = 2, n = 5, α = 10⁻⁴, β = 0.75, the sum not divided by n; after ReLU in conv1 and conv2.
#[test]
fn response_normalization_follows_the_first_two_layers() {
    let recipe = Recipe::default();
    assert_eq!((recipe.lrn, recipe.lrn_k, recipe.lrn_size), (Lrn::Paper, 2.0, 5));
    assert_eq!((recipe.lrn_alpha_on_sum(), recipe.lrn_beta), (1e-4, 0.75));
    for (i, layer) in network().layers.iter().enumerate() {
        assert_eq!(layer.after.contains(&After::Lrn), i < 2, "{}", layer.name);
    }
    assert_eq!(network().layers[1].after, [After::Activation, After::Lrn, After::Pool]);
}

/// §3.4: pooling windows of 3 at a distance of 2 overlap; after conv1, conv2 and conv5 (§3.5).
#[test]
fn overlapping_pooling_follows_layers_one_two_and_five() {
    let recipe = Recipe::default();
    assert_eq!((recipe.pool_size, recipe.pool_stride), (3, 2));
    for (i, layer) in network().layers.iter().enumerate() {
        assert_eq!(layer.after.contains(&After::Pool), [0, 1, 4].contains(&i), "{}", layer.name);
    }
}

/// §4.1: crops and mirrorings make "a factor of 2048".
#[test]
fn an_image_has_2048_crops() {
    let recipe = Recipe::default();
    assert_eq!(recipe.crop, 224);
    assert_eq!(recipe.crop_offsets.pow(2) * (1 + usize::from(recipe.flip)), 2048);
    assert!(recipe.crop_offsets + recipe.crop <= 256, "crops stay inside the 256 × 256 image");
}

/// §4.1: "a Gaussian with mean zero and standard deviation 0.1".
#[test]
fn colors_shift_by_a_tenth_of_a_deviation() {
    let recipe = Recipe::default();
    assert!((0..90).all(|epoch| recipe.color_noise_at(epoch) == 0.1));
}

/// §4.2: "setting to zero the output of each hidden neuron with probability 0.5", in fc6 and fc7.
#[test]
fn dropout_zeroes_half_of_fc6_and_fc7() {
    assert_eq!(Recipe::default().dropout, 0.5);
    for layer in network().layers {
        let expected = ["fc6", "fc7"].contains(&layer.name);
        assert_eq!(layer.after.contains(&After::Dropout), expected, "{}", layer.name);
    }
}

/// §5: batch 128, momentum 0.9, decay 0.0005, of everything.
#[test]
fn the_step_is_that_of_section_5() {
    let recipe = Recipe::default();
    assert_eq!((recipe.batch, recipe.momentum, recipe.decay), (128, 0.9, 0.0005));
    assert!(recipe.decay_biases && recipe.decay_softmax);
}

/// §5: rate 0.01, the same in all layers, divided by 10 three times when the validation error stops
/// improving; "roughly 90 cycles".
#[test]
fn the_rate_falls_from_a_hundredth_by_ten_three_times() {
    let recipe = Recipe::default();
    assert_eq!((recipe.schedule, recipe.rate_drops, recipe.epochs), (Schedule::Plateau, 3, 90));
    for (drops, rate) in [(0, 1e-2), (1, 1e-3), (2, 1e-4), (3, 1e-5)] {
        assert!((recipe.rate_after(drops) / rate - 1.0).abs() < 1e-12);
        assert_eq!(recipe.bias_rate_after(drops), recipe.rate_after(drops));
    }
}

/// §5: "a zero-mean Gaussian distribution with standard deviation 0.01" in each layer.
#[test]
fn weights_start_from_a_normal_of_deviation_a_hundredth() {
    assert_eq!(Recipe::default().init, Init::Fixed);
    for layer in plan(Partition::Half(Half::B)).layers {
        let weights = layer.params[0].initial(1);
        assert_eq!(weights.len(), layer.params[0].len());
        let n = weights.len() as f64;
        let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
        let square = weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / n;
        // Five standard errors of a mean and of a deviation.
        assert!(mean.abs() < 5.0 * 0.01 / n.sqrt(), "{}: mean {mean}", layer.name);
        let deviation = (square - mean * mean).sqrt();
        assert!((deviation / 0.01 - 1.0).abs() < 5.0 / (2.0 * n).sqrt(), "{}", layer.name);
    }
}

/// §5: biases 1 "in the second, fourth, and fifth convolutional layers, as well as in the
/// fully-connected hidden layers", 0 in the remaining ones.
#[test]
fn biases_start_at_one_in_five_layers_and_at_zero_in_three() {
    let starts: BTreeMap<&str, f32> = plan(Partition::Half(Half::A))
        .layers
        .iter()
        .map(|layer| {
            let biases = layer.params[1].initial(1);
            assert!(biases.iter().all(|&b| b == biases[0]));
            (layer.name, biases[0])
        })
        .collect();
    let ones = ["conv2", "conv4", "conv5", "fc6", "fc7"];
    let expected = starts.keys().map(|&name| (name, f32::from(u8::from(ones.contains(&name)))));
    assert_eq!(starts, expected.collect());
}

/// Figure 1: "a four-layer convolutional neural network" on CIFAR-10, without regularization, with
/// ReLU and with tanh.
#[test]
fn figure_1_is_four_layers_without_regularization() {
    for (name, activation) in
        [("cifar10-relu", Activation::Relu), ("cifar10-tanh", Activation::Tanh)]
    {
        let recipe = Recipe::builtin(name).unwrap();
        assert_eq!(recipe.activation, activation);
        assert_eq!((recipe.decay, recipe.dropout, recipe.color_noise), (0.0, 0.0, 0.0));
        assert!(!recipe.flip);
        let network = Network::new(&recipe, 10).unwrap();
        let shapes: Vec<_> = network.layers.iter().map(|l| (l.pre_activation, l.output)).collect();
        let shape = |maps, side| Shape { maps, side };
        let expected = [
            (shape(32, 32), shape(32, 16)),
            (shape(32, 16), shape(32, 8)),
            (shape(64, 8), shape(64, 4)),
            (shape(10, 1), shape(10, 1)),
        ];
        assert_eq!(shapes, expected);
    }
}

/// §3.2, footnote 2: the one-GPU net has half the kernels, but as many in the last convolution and
/// in the fully-connected layers, so that both have "approximately the same number of parameters".
#[test]
fn the_one_column_network_keeps_its_last_convolution_and_fully_connected_layers() {
    let recipe = Recipe { columns: 1, ..Recipe::default() };
    let network = Network::new(&recipe, CLASSES).unwrap();
    let maps: Vec<usize> = network.layers.iter().map(|layer| layer.pre_activation.maps).collect();
    assert_eq!(maps, [48, 128, 192, 192, 256, 4096, 4096, 1000]);
    let plan = Plan::new(&network, &recipe, Partition::Whole);
    assert!(plan.layers.iter().all(|l| l.groups == 1 && l.lrn_groups == 1 && !l.exchanges));
    // 1.9 % fewer than the two-GPU net.
    assert_eq!(n_params(&plan), 59_798_312);
}
