//! The network cut in two is the whole one, and the table's factors make the networks they should.

use model::halves::{Half, Partition, Plan, exchange_floats_per_image, exchange_points};
use model::params::Param;
use model::recipe::Recipe;
use model::shape::{Network, ShapeError};

fn recipe(changes: &[&str]) -> Recipe {
    let mut recipe = Recipe::default();
    recipe.set_all(changes).expect("changes that fit together");
    recipe
}

fn plans(recipe: &Recipe, classes: usize) -> (Plan, [Plan; 2]) {
    let network = Network::new(recipe, classes).expect("sizes that make a network");
    let plan = |partition| Plan::new(&network, recipe, partition);
    (plan(Partition::Whole), Half::BOTH.map(|half| plan(Partition::Half(half))))
}

fn n_params(plan: &Plan) -> usize {
    plan.params().map(Param::len).sum()
}

fn shapes(plan: &Plan) -> Vec<Vec<usize>> {
    plan.params().map(|param| param.shape.clone()).collect()
}

#[test]
fn the_whole_network_is_two_halves_side_by_side() {
    let (whole, [a, b]) = plans(&recipe(&[]), 1000);
    let groups: Vec<_> = whole.layers.iter().map(|l| (l.groups, l.lrn_groups)).collect();
    assert_eq!(groups, [(1, 2), (2, 2), (1, 2), (2, 2), (2, 2), (1, 2), (1, 2), (1, 2)]);
    for half in [&a, &b] {
        assert!(half.layers.iter().all(|layer| layer.groups == 1 && layer.lrn_groups == 1));
    }
    for (w, (a, b)) in whole.layers.iter().zip(a.layers.iter().zip(&b.layers)) {
        assert_eq!((w.fan_in(), w.fan_in()), (a.fan_in(), b.fan_in()), "{}", w.name);
        assert_eq!(
            (a.maps.start, a.maps.end, b.maps.end),
            (0, b.maps.start, w.pre_activation.maps)
        );
        assert_eq!(a.output.len() + b.output.len(), w.output.len());
        assert!(!w.exchanges && a.exchanges == b.exchanges);
        assert!(w.peer_inputs().is_empty());
    }
}

#[test]
fn a_halfs_initial_weights_are_its_rows_of_the_wholes() {
    for (recipe, classes) in [
        (recipe(&["width=0.25", "crop=64"]), 10),
        (recipe(&["width=0.25", "crop=64", "init=fan-in"]), 7),
        (Recipe::builtin("cifar10-relu").unwrap(), 10),
    ] {
        let (whole, halves) = plans(&recipe, classes);
        for (i, param) in whole.params().enumerate() {
            let all = param.initial(3);
            let row = param.len() / param.of_rows;
            for half in &halves {
                let part = half.params().nth(i).unwrap();
                assert_eq!(part.name, param.name);
                assert_eq!(part.of_rows, param.of_rows);
                let rows = part.rows.start * row..part.rows.end * row;
                assert_eq!(part.initial(3), all[rows], "{}", part.name);
            }
        }
    }
}

#[test]
fn seeds_and_layers_start_differently() {
    let (whole, _) = plans(&Recipe::builtin("cifar10-relu").unwrap(), 10);
    let firsts = |seed| whole.params().filter(|p| !p.is_bias).map(move |p| p.initial(seed)[0]);
    let mut all: Vec<f32> = firsts(1).chain(firsts(2)).collect();
    all.sort_by(f32::total_cmp);
    all.dedup();
    assert_eq!(all.len(), 8);
}

#[test]
fn at_an_exchange_point_own_and_peers_maps_make_all_maps() {
    let (_, [a, b]) = plans(&recipe(&[]), 1000);
    for (a, b) in a.layers.iter().zip(&b.layers).filter(|(layer, _)| layer.exchanges) {
        assert_eq!(
            (a.own_inputs.clone(), a.peer_inputs()),
            (b.peer_inputs(), b.own_inputs.clone())
        );
        assert_eq!(a.own_inputs.len() + b.own_inputs.len(), a.input.maps);
    }
    for layer in a.layers.iter().chain(&b.layers).filter(|layer| !layer.exchanges) {
        assert!(layer.peer_inputs().is_empty(), "{}", layer.name);
    }
}

/// Every layer of the CIFAR-10 network reads both halves, so cutting it takes no weight away.
#[test]
fn the_cifar_network_loses_nothing_by_being_cut() {
    let recipe = Recipe::builtin("cifar10-relu").unwrap();
    let (whole, [a, b]) = plans(&recipe, 10);
    let kernels: Vec<_> = whole.layers.iter().map(|layer| layer.params[0].shape.clone()).collect();
    assert_eq!(
        kernels,
        [vec![32, 3, 5, 5], vec![32, 32, 5, 5], vec![64, 32, 5, 5], vec![10, 1024]]
    );
    assert!(whole.layers.iter().all(|layer| layer.groups == 1));
    assert_eq!(n_params(&whole), 2_432 + 25_632 + 51_264 + 10_250);
    assert_eq!(n_params(&a), n_params(&whole) / 2);
    assert_eq!(n_params(&b), n_params(&whole) / 2);
    let network = Network::new(&recipe, 10).unwrap();
    assert_eq!(exchange_points(&network).collect::<Vec<_>>(), ["conv2", "conv3", "fc4"]);
    let sent: Vec<_> = exchange_floats_per_image(&b).collect();
    assert_eq!(sent, [("conv2", 16 * 256), ("conv3", 16 * 64), ("fc4", 32 * 16)]);
}

#[test]
fn an_odd_class_count_gives_half_a_one_more() {
    for (classes, a, b) in
        [(10, 0..5, 5..10), (3, 0..2, 2..3), (2, 0..1, 1..2), (999, 0..500, 500..999)]
    {
        let (whole, [half_a, half_b]) = plans(&recipe(&[]), classes);
        assert_eq!((half_a.own_classes(), half_b.own_classes()), (a, b));
        assert_eq!(whole.own_classes(), 0..classes);
        assert_eq!(n_params(&half_a) + n_params(&half_b), n_params(&whole));
    }
}

#[test]
fn fewer_than_two_classes_make_no_network() {
    for classes in [0, 1] {
        assert_eq!(Network::new(&Recipe::default(), classes), Err(ShapeError::Classes(classes)));
    }
}

#[test]
fn a_width_of_a_quarter_quarters_every_layer_but_the_last() {
    let (_, [a, _]) = plans(&recipe(&["width=0.25"]), 1000);
    let maps: Vec<usize> = a.layers.iter().map(|layer| layer.pre_activation.maps).collect();
    assert_eq!(maps, [12, 32, 48, 48, 32, 512, 512, 500]);
}

#[test]
fn a_width_that_leaves_an_odd_number_of_maps_is_refused_by_its_layer() {
    for (width, name, maps) in [(0.26, "conv1", 25), (0.0001, "conv1", 0), (0.0313, "conv1", 3)] {
        let recipe = Recipe { width, ..Recipe::default() };
        assert_eq!(Network::new(&recipe, 10), Err(ShapeError::Width { name, width, maps }));
    }
    // One column isn't cut: odd is fine.
    let recipe = Recipe { width: 0.27, columns: 1, ..Recipe::default() };
    assert_eq!(Network::new(&recipe, 10).unwrap().layers[0].pre_activation.maps, 13);
}

#[test]
fn small_crops_make_small_networks_until_a_window_no_longer_fits() {
    let network = Network::new(&recipe(&["crop=64"]), 10).unwrap();
    let sides: Vec<usize> = network.layers.iter().map(|layer| layer.output.side).collect();
    assert_eq!(sides, [7, 3, 3, 3, 1, 1, 1, 1]);
    let small = Recipe { crop: 40, ..Recipe::default() };
    let error = Network::new(&small, 10).unwrap_err();
    assert_eq!(error, ShapeError::TooSmall { name: "conv5", crop: 40, side: 2, window: 3 });
}

#[test]
fn switched_off_operations_are_not_in_the_plan() {
    let (whole, _) = plans(&recipe(&["lrn=none", "dropout=0"]), 10);
    let (full, _) = plans(&recipe(&[]), 10);
    let n = |plan: &Plan| plan.layers.iter().map(|layer| layer.after.len()).sum::<usize>();
    assert_eq!(n(&full) - n(&whole), 4);
    assert_eq!(shapes(&whole), shapes(&full));
}

#[test]
fn pooling_without_overlap_counts_the_last_overhanging_window() {
    let network = Network::new(&recipe(&["pool_size=2"]), 10).unwrap();
    let sides: Vec<usize> = network.layers.iter().map(|layer| layer.output.side).collect();
    assert_eq!(sides, [28, 14, 14, 14, 7, 1, 1, 1]);
}
