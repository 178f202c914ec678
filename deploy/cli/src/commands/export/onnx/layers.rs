//! A layer of one half as nodes: weighted sum, and the operations that follow it in the recipe's
//! order.

use bytes::Bytes;
use model::halves::PlannedLayer;
use model::layer::{After, Kind};
use model::recipe::{Activation, Recipe};
use model::shape::{overhang, windows};

use super::graph::{Builder, Value, float, int, ints};

/// Adds the nodes of a layer; returns the last one's value.
pub(super) fn layer(
    graph: &mut Builder,
    recipe: &Recipe,
    planned: &PlannedLayer,
    name: &str,
    reads: &Value,
) -> Value {
    let mut value = sum(graph, planned, name, reads);
    for after in &planned.after {
        value = match after {
            After::Activation => activation(graph, recipe, name, &value),
            After::Lrn => normalization(graph, recipe, name, &value),
            After::Pool => pooling(graph, recipe, name, &value),
            After::Dropout => dropout(graph, recipe, name, &value),
        };
    }
    value
}

/// Weights times inputs, plus biases.
fn sum(graph: &mut Builder, planned: &PlannedLayer, name: &str, reads: &Value) -> Value {
    let with =
        |value: &Value| vec![value.name.clone(), format!("{name}.weight"), format!("{name}.bias")];
    let (maps, side) = (planned.pre_activation.maps, planned.pre_activation.side);
    match planned.kind {
        Kind::Conv { kernel, stride, pad } => {
            let end = pad + overhang(planned.input.side, kernel, stride, pad);
            let attributes = vec![
                ints("kernel_shape", [kernel; 2]),
                ints("strides", [stride; 2]),
                ints("pads", [pad, pad, end, end]),
                int("group", planned.groups as i64),
            ];
            graph.weighted("Conv", name, with(reads), &[maps, side, side], attributes)
        }
        Kind::FullyConnected => {
            let flat = flat(graph, planned, name, reads);
            graph.weighted("Gemm", name, with(&flat), &[maps], vec![int("transB", 1)])
        }
    }
}

/// The maps that a fully-connected layer reads, as one row of units per picture.
pub(super) fn flat(
    graph: &mut Builder,
    planned: &PlannedLayer,
    name: &str,
    reads: &Value,
) -> Value {
    if planned.kind != Kind::FullyConnected || reads.dims.len() == 1 {
        return reads.clone();
    }
    let dims = [reads.dims.iter().product()];
    graph.node("Flatten", &format!("{name}.flatten"), [reads], &dims, vec![int("axis", 1)])
}

fn activation(graph: &mut Builder, recipe: &Recipe, name: &str, value: &Value) -> Value {
    let (operator, ending) = match recipe.activation {
        Activation::Relu => ("Relu", "relu"),
        Activation::Tanh => ("Tanh", "tanh"),
    };
    graph.node(operator, &format!("{name}.{ending}"), [value], &value.dims, vec![])
}

/// Response normalization; ONNX divides its α by the window's width.
fn normalization(graph: &mut Builder, recipe: &Recipe, name: &str, value: &Value) -> Value {
    let size = recipe.lrn_size;
    let attributes = vec![
        int("size", size as i64),
        float("alpha", recipe.lrn_alpha_on_sum() * size as f64),
        float("beta", recipe.lrn_beta),
        float("bias", recipe.lrn_k),
    ];
    graph.node("LRN", &format!("{name}.lrn"), [value], &value.dims, attributes)
}

/// Max pooling; windows that overhang are cut off.
fn pooling(graph: &mut Builder, recipe: &Recipe, name: &str, value: &Value) -> Value {
    let (size, stride) = (recipe.pool_size, recipe.pool_stride);
    let (maps, side) = (value.dims[0], value.dims[1]);
    let out = windows(side, size, stride, 0);
    let end = overhang(side, size, stride, 0);
    let attributes = vec![
        ints("kernel_shape", [size; 2]),
        ints("strides", [stride; 2]),
        ints("pads", [0, 0, end, end]),
    ];
    graph.node("MaxPool", &format!("{name}.pool"), [value], &[maps, out, out], attributes)
}

/// Dropout at test: all units, each times the probability that training keeps it.
fn dropout(graph: &mut Builder, recipe: &Recipe, name: &str, value: &Value) -> Value {
    let keep = format!("{name}.keep");
    let factor = 1.0 - recipe.dropout as f32;
    graph.tensor(keep.clone(), &[], Bytes::copy_from_slice(&factor.to_le_bytes()));
    let inputs = vec![value.name.clone(), keep];
    graph.weighted("Mul", &format!("{name}.dropout"), inputs, &value.dims, vec![])
}
