//! The structure of the graph; what it computes is tested with onnxruntime (`tests/system`).

use std::collections::BTreeSet;

use coordinator::DataSet;
use coordinator::run_dir::{Beginning, RunDir};
use model::halves::Plan;
use model::recipe::{Lrn, OpOrder, Recipe};
use model::shape::Network;

use super::proto::Graph;
use super::*;
use crate::options::WhichCheckpoint;

/// The weights of an untrained network at 1/16 of its width.
fn weights(recipe: &Recipe) -> (tempfile::TempDir, Weights) {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::new(recipe, 10).unwrap();
    let side = recipe.crop + 2;
    let data_set = DataSet {
        name: "none".into(),
        digest: "none".into(),
        side: side as u32,
        classes: (0..10).map(|i| i.to_string()).collect(),
        n_train: 1,
        n_val: 1,
        colors: [0.0; 9],
    };
    let mean = (0..3 * side * side).map(|i| i as f32).collect();
    let beginning = Beginning { recipe: recipe.clone(), seed: 1, data_set, mean };
    let plans = Plan::all(&network, recipe);
    let shards = plans.iter().map(|plan| {
        let initial = |param: &model::params::Param| floats_to_bytes(&param.initial(1)).to_vec();
        let shard = gpu_worker::checkpoint::first_shard(plan, &recipe.name, initial).unwrap();
        Ok::<_, coordinator::Error>((plan.partition, shard))
    });
    let run = RunDir::create(&folder.path().join("run"), &beginning, shards).unwrap();
    (folder, Weights::load(run, WhichCheckpoint::Best).unwrap())
}

fn narrow(recipe: &str) -> Recipe {
    Recipe { width: 1.0 / 16.0, ..Recipe::builtin(recipe).unwrap() }
}

fn graph_of(recipe: &Recipe) -> Graph {
    let (_folder, weights) = weights(recipe);
    graph(&weights).unwrap()
}

/// `operator name` of each node.
fn nodes(graph: &Graph) -> Vec<String> {
    graph.node.iter().map(|node| format!("{} {}", node.op_type, node.name)).collect()
}

fn ints_of<'a>(graph: &'a Graph, node: &str, attribute: &str) -> &'a [i64] {
    let node = graph.node.iter().find(|known| known.name == node).expect(node);
    &node.attribute.iter().find(|known| known.name == attribute).expect(attribute).ints
}

fn float_of(graph: &Graph, node: &str, attribute: &str) -> f32 {
    let node = graph.node.iter().find(|known| known.name == node).expect(node);
    node.attribute.iter().find(|known| known.name == attribute).expect(attribute).f.unwrap()
}

/// Figure 2: two columns that meet at conv3, fc6, fc7 and fc8.
#[test]
fn the_graph_is_the_papers_figure_2() {
    let graph = graph_of(&narrow("paper"));
    let nodes = nodes(&graph);
    let column = |half: &str| {
        let ending = format!(".{half}");
        let of_half =
            |node: &&String| node.contains(&format!("{ending}.")) || node.ends_with(&ending);
        nodes.iter().filter(of_half).cloned().collect::<Vec<_>>()
    };
    let a = column("a");
    assert_eq!(
        a,
        [
            "Conv conv1.a",
            "Relu conv1.a.relu",
            "LRN conv1.a.lrn",
            "MaxPool conv1.a.pool",
            "Conv conv2.a",
            "Relu conv2.a.relu",
            "LRN conv2.a.lrn",
            "MaxPool conv2.a.pool",
            "Conv conv3.a",
            "Relu conv3.a.relu",
            "Conv conv4.a",
            "Relu conv4.a.relu",
            "Conv conv5.a",
            "Relu conv5.a.relu",
            "MaxPool conv5.a.pool",
            "Gemm fc6.a",
            "Relu fc6.a.relu",
            "Mul fc6.a.dropout",
            "Gemm fc7.a",
            "Relu fc7.a.relu",
            "Mul fc7.a.dropout",
            "Gemm fc8.a",
        ]
    );
    assert_eq!(column("b"), a.iter().map(|node| node.replace(".a", ".b")).collect::<Vec<_>>());
    let shared: Vec<_> = nodes.iter().filter(|n| !n.contains(".a") && !n.contains(".b")).collect();
    assert_eq!(
        shared,
        [
            "Cast pixels.float",
            "Sub image",
            "Concat conv3.join",
            "Concat fc6.join",
            "Flatten fc6.flatten",
            "Concat fc7.join",
            "Concat fc8.join",
            "Concat logits",
            "Softmax probabilities",
        ]
    );
    let reads = |name: &str| &graph.node.iter().find(|node| node.name == name).unwrap().input;
    assert_eq!(reads("conv2.b")[0], "conv1.b.pool", "its own half only");
    assert_eq!(*reads("conv3.join"), ["conv2.a.pool", "conv2.b.pool"]);
    assert_eq!(
        (&reads("conv3.a")[0], &reads("conv3.b")[0]),
        (&"conv3.join".into(), &"conv3.join".into())
    );
}

#[test]
fn zeros_hang_over_the_right_and_the_bottom_edge_of_conv1_only() {
    let graph = graph_of(&narrow("paper"));
    assert_eq!(ints_of(&graph, "conv1.a", "pads"), [0, 0, 3, 3]);
    assert_eq!(ints_of(&graph, "conv1.b", "strides"), [4, 4]);
    assert_eq!(ints_of(&graph, "conv2.a", "pads"), [2, 2, 2, 2]);
    assert_eq!(ints_of(&graph, "conv1.a.pool", "pads"), [0, 0, 0, 0]);
    let even = graph_of(&Recipe { pool_size: 2, ..narrow("paper") });
    assert_eq!(ints_of(&even, "conv1.a.pool", "pads"), [0, 0, 1, 1], "55 is odd");
}

#[test]
fn alpha_is_what_onnx_divides_by_the_windows_width() {
    let alpha =
        |lrn| float_of(&graph_of(&Recipe { lrn, ..narrow("paper") }), "conv1.a.lrn", "alpha");
    assert_eq!((alpha(Lrn::Paper), alpha(Lrn::Original)), (5e-4, 1e-4));
}

#[test]
fn order_activation_normalization_and_columns_are_those_of_the_recipe() {
    let as_run = nodes(&graph_of(&Recipe { order: OpOrder::AsRun, ..narrow("paper") }));
    let first = ["Conv conv1.a", "LRN conv1.a.lrn", "MaxPool conv1.a.pool", "Relu conv1.a.relu"];
    assert!(as_run.windows(4).any(|window| window == first), "{as_run:?}");
    let none = nodes(&graph_of(&Recipe { lrn: Lrn::None, dropout: 0.0, ..narrow("paper") }));
    assert!(!none.iter().any(|node| node.starts_with("LRN") || node.starts_with("Mul")));
    let tanh = nodes(&graph_of(&Recipe { width: 1.0, ..narrow("cifar10-tanh") }));
    assert!(tanh.contains(&"Tanh conv3.b.tanh".into()) && tanh.contains(&"Gemm fc4.a".into()));
    let one = nodes(&graph_of(&Recipe { columns: 1, ..narrow("paper") }));
    assert!(one.contains(&"Gemm fc8".into()) && one.contains(&"Identity logits".into()), "{one:?}");
    assert!(!one.iter().any(|node| node.starts_with("Concat") || node.contains(".a")), "{one:?}");
}

#[test]
fn every_value_is_made_before_it_is_read_and_every_tensor_is_read() {
    for recipe in [narrow("paper"), Recipe { columns: 1, ..narrow("original") }] {
        let graph = graph_of(&recipe);
        let tensors: BTreeSet<_> = graph.initializer.iter().map(|t| t.name.clone()).collect();
        assert_eq!(tensors.len(), graph.initializer.len(), "no name twice");
        for tensor in &graph.initializer {
            let numbers: i64 = tensor.dims.iter().product();
            assert_eq!(tensor.raw_data.len() as i64, 4 * numbers, "{}", tensor.name);
        }
        let mut known: BTreeSet<_> = graph.input.iter().map(|value| value.name.clone()).collect();
        known.extend(tensors.iter().cloned());
        let mut read = BTreeSet::new();
        for node in &graph.node {
            for input in &node.input {
                assert!(known.contains(input), "{} reads {input}", node.name);
                read.insert(input.clone());
            }
            assert!(known.insert(node.output[0].clone()), "{} twice", node.name);
        }
        assert!(tensors.is_subset(&read), "{:?}", tensors.difference(&read));
        let outputs: Vec<_> = graph.output.iter().map(|value| &value.name[..]).collect();
        assert_eq!(outputs, ["logits", "probabilities"]);
    }
}

#[test]
fn the_file_has_the_center_of_the_mean_image_and_facts_about_the_network() {
    let mean: Vec<f32> = (0..48).map(|i| i as f32).collect();
    assert_eq!(center(&mean, 4, 2), [5., 6., 9., 10., 21., 22., 25., 26., 37., 38., 41., 42.]);
    let (_folder, weights) = weights(&narrow("paper"));
    let model = model(&weights).unwrap();
    assert_eq!(proto::Model::decode(&model.encode_to_vec()[..]).unwrap(), model);
    let keys: Vec<_> = model.metadata_props.iter().map(|entry| &entry.key[..]).collect();
    assert_eq!(keys[..4], ["recipe", "run", "step", "classes"]);
    assert!(model.doc_string.contains("224 × 224"), "{}", model.doc_string);
}
