//! The network as an ONNX file: a graph that other programs run and draw.
//!
//! The two halves are columns of their own, as in the paper's Figure 2: `conv1.a` and `conv1.b`,
//! and so on. They are joined where a layer reads both: before conv3, fc6, fc7 and fc8. The graph
//! takes the crop as pixels and subtracts the mean image itself, so it needs nothing beside the
//! file.
//!
//! ONNX and this program describe some operations differently:
//! - conv1's last windows read zeros beyond the right and the bottom edge only: `pads` at the end;
//! - ONNX divides the α of response normalization by the window's width;
//! - dropout's factor at test is a multiplication of its own (`fc6.a.dropout`), so that the weights
//!   stay those of the run, bit for bit.

mod graph; // nodes and tensors, one after the other
mod layers; // a layer of one half as nodes
mod proto; // the messages of the file
#[cfg(test)]
mod tests;

use std::path::Path;

use ::prost::Message;
use ::proto::chunk::floats_to_bytes;
use anyhow::Result;

use self::graph::{Builder, Value};
use super::weights::Weights;
use crate::files::write_whole;

/// The file's format: that of ONNX 1.9, which everything that reads ONNX knows.
const IR_VERSION: i64 = 7;
/// Version of the operators.
const OPERATORS: i64 = 13;

/// Writes the file.
pub(super) fn write(weights: &Weights, out: &Path) -> Result<()> {
    write_whole(out, &model(weights)?.encode_to_vec())
}

/// The content of the file.
fn model(weights: &Weights) -> Result<proto::Model> {
    let entry = |(key, value): (&str, String)| proto::Entry { key: key.into(), value };
    Ok(proto::Model {
        ir_version: IR_VERSION,
        producer_name: "alexnet".into(),
        producer_version: crate::BUILD.into(),
        doc_string: explanation(weights),
        graph: Some(graph(weights)?),
        opset_import: vec![proto::OperatorSet { domain: String::new(), version: OPERATORS }],
        metadata_props: weights.about()?.into_iter().map(entry).collect(),
    })
}

fn explanation(weights: &Weights) -> String {
    let (side, crop) = (weights.data.side, weights.run.recipe.crop);
    format!(
        "AlexNet in two halves. `pixels` are uint8 RGB, [batch, 3, {crop}, {crop}]: scale a \
         picture so that its shorter side is {side} pixels, and take the {crop} × {crop} pixels in \
         the middle. The mean image is subtracted inside. `logits` and `probabilities` are in the \
         order of the metadata `classes`."
    )
}

fn graph(weights: &Weights) -> Result<proto::Graph> {
    let recipe = &weights.run.recipe;
    let mut graph = Builder::new();
    for part in 0..weights.plans.len() {
        for (param, bytes) in weights.part(part) {
            let name = named(weights, part, &param.name);
            graph.tensor(name, &param.shape, bytes.clone());
        }
    }
    let crop = recipe.crop;
    let pixels = graph.input("pixels", &[3, crop, crop]);
    let mean = center(&weights.run.mean()?, weights.data.side as usize, crop);
    graph.tensor("mean".into(), &[3, crop, crop], floats_to_bytes(&mean));
    let floats = graph.node(
        "Cast",
        "pixels.float",
        [&pixels],
        &pixels.dims,
        vec![graph::int("to", proto::FLOAT.into())],
    );
    let mean = Value { name: "mean".into(), dims: floats.dims.clone() };
    let image = graph.node("Sub", "image", [&floats, &mean], &floats.dims, vec![]);
    let mut columns = vec![image; weights.plans.len()];
    for layer in 0..weights.plans[0].layers.len() {
        let planned = |part: usize| &weights.plans[part].layers[layer];
        if planned(0).exchanges {
            let joined = graph.join(&format!("{}.join", planned(0).name), &columns);
            columns.fill(layers::flat(&mut graph, planned(0), planned(0).name, &joined));
        }
        for (part, column) in columns.iter_mut().enumerate() {
            let planned = planned(part);
            let name = named(weights, part, planned.name);
            *column = layers::layer(&mut graph, recipe, planned, &name, column);
        }
    }
    let logits = graph.join("logits", &columns);
    let probabilities = graph.node(
        "Softmax",
        "probabilities",
        [&logits],
        &logits.dims,
        vec![graph::int("axis", 1)],
    );
    graph.outputs([&logits, &probabilities]);
    Ok(graph.into_graph(&recipe.name))
}

/// The name of a layer or parameter in one column: `conv1.a`, `conv1.a.weight`; without the column
/// if there is only one.
fn named(weights: &Weights, part: usize, name: &str) -> String {
    if weights.plans.len() == 1 {
        return name.to_owned();
    }
    let column = ["a", "b"][part];
    match name.split_once('.') {
        Some((layer, parameter)) => format!("{layer}.{column}.{parameter}"),
        None => format!("{name}.{column}"),
    }
}

/// The part of the mean image in the place of the center crop.
fn center(mean: &[f32], side: usize, crop: usize) -> Vec<f32> {
    let border = (side - crop) / 2;
    let planes = mean.chunks(side * side);
    let rows = planes.flat_map(|plane| plane.chunks(side).skip(border).take(crop));
    rows.flat_map(|row| &row[border..][..crop]).copied().collect()
}
