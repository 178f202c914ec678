//! The settings of Caffe's layers against those of the recipe: weights that fit into a network with
//! another stride or order would be weights of another network.

use model::halves::{Plan, PlannedLayer};
use model::layer::{After, Kind};
use model::recipe::{Activation, Lrn, Recipe};

use super::proto::{self, Blob, Convolution, Pooling, V1_KINDS};
use crate::print;

/// Types of layers that compute nothing, or whose tensors are compared elsewhere.
const HARMLESS: [&str; 13] = [
    "Accuracy",
    "Convolution",
    "Data",
    "Dropout",
    "DummyData",
    "HDF5Data",
    "ImageData",
    "InnerProduct",
    "Input",
    "MemoryData",
    "Softmax",
    "SoftmaxWithLoss",
    "Split",
];
/// Numbers that passed through f32 agree to this.
const CLOSE: f64 = 1e-6;

/// A layer in either form of the file.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Layer {
    pub(super) name: String,
    kind: String,
    bottom: Vec<String>,
    top: Vec<String>,
    pub(super) blobs: Vec<Blob>,
    convolution: Convolution,
    dropout: proto::Dropout,
    lrn: proto::Lrn,
    pooling: Pooling,
}

impl From<proto::Layer> for Layer {
    fn from(layer: proto::Layer) -> Self {
        Self {
            name: layer.name,
            kind: layer.kind,
            bottom: layer.bottom,
            top: layer.top,
            blobs: layer.blobs,
            convolution: layer.convolution.unwrap_or_default(),
            dropout: layer.dropout.unwrap_or_default(),
            lrn: layer.lrn.unwrap_or_default(),
            pooling: layer.pooling.unwrap_or_default(),
        }
    }
}

impl From<proto::V1Layer> for Layer {
    fn from(layer: proto::V1Layer) -> Self {
        let named = V1_KINDS.iter().find(|(number, _)| *number == layer.kind);
        let kind = named.map_or(format!("V1 number {}", layer.kind), |(_, name)| (*name).into());
        Self::from(proto::Layer {
            name: layer.name,
            kind,
            bottom: layer.bottom,
            top: layer.top,
            blobs: layer.blobs,
            convolution: layer.convolution,
            dropout: layer.dropout,
            lrn: layer.lrn,
            pooling: layer.pooling,
        })
    }
}

impl Layer {
    /// Number of dimensions of the layer's weights.
    pub(super) fn rank(&self) -> usize {
        if self.kind == "InnerProduct" { 2 } else { 4 }
    }
}

/// A sentence for each setting that differs from the network's.
pub(in super::super) fn differences(
    layers: &[Layer],
    whole: &Plan,
    recipe: &Recipe,
) -> Vec<String> {
    let mut found = Vec::new();
    for layer in layers {
        let mut need = |what: &str, there: f64, here: f64| {
            if (there - here).abs() > CLOSE * here.abs() {
                let name = print::visible(&layer.name);
                found.push(format!("layer {name} has {what} {there}, the recipe {here}"));
            }
        };
        match layer.kind.as_str() {
            "Convolution" => {
                let planned = whole.layers.iter().find(|planned| planned.name == layer.name);
                if let Some(planned) = planned {
                    convolution(&layer.convolution, planned, &mut need);
                }
            }
            "LRN" => normalization(&layer.lrn, recipe, &mut need),
            "Pooling" => pooling(&layer.pooling, recipe, &mut need),
            "Dropout" => need("a ratio of", number(layer.dropout.ratio, 0.5), recipe.dropout),
            "ReLU" if recipe.activation == Activation::Relu => {}
            kind if HARMLESS.contains(&kind) => {}
            kind => found.push(format!(
                "layer {} is of type {}, for which this network has no place",
                print::visible(&layer.name),
                print::visible(kind)
            )),
        }
    }
    found.extend(wrong_order(layers, whole));
    found
}

fn convolution(there: &Convolution, here: &PlannedLayer, need: &mut impl FnMut(&str, f64, f64)) {
    let Kind::Conv { stride, pad, .. } = here.kind else { return };
    let first = |numbers: &[u32], default| f64::from(numbers.first().copied().unwrap_or(default));
    need("group", f64::from(there.group.unwrap_or(1)), here.groups as f64);
    need("stride", first(&there.stride, 1), stride as f64);
    need("pad", first(&there.pad, 0), pad as f64);
}

fn normalization(there: &proto::Lrn, recipe: &Recipe, need: &mut impl FnMut(&str, f64, f64)) {
    if recipe.lrn == Lrn::None {
        return need("response normalization:", 1.0, 0.0);
    }
    let size = f64::from(there.local_size.unwrap_or(5));
    need("local_size", size, recipe.lrn_size as f64);
    need("alpha / local_size", number(there.alpha, 1.0) / size, recipe.lrn_alpha_on_sum());
    need("beta", number(there.beta, 0.75), recipe.lrn_beta);
    need("k", number(there.k, 1.0), recipe.lrn_k);
    // Within one map it would be another operation.
    need("norm_region", f64::from(there.norm_region.unwrap_or(0)), 0.0);
}

fn pooling(there: &Pooling, recipe: &Recipe, need: &mut impl FnMut(&str, f64, f64)) {
    need("pool (0 = MAX)", f64::from(there.pool.unwrap_or(0)), 0.0);
    need("kernel_size", f64::from(there.kernel_size.unwrap_or(0)), recipe.pool_size as f64);
    need("stride", f64::from(there.stride.unwrap_or(1)), recipe.pool_stride as f64);
}

fn number(value: Option<f32>, default: f32) -> f64 {
    f64::from(value.unwrap_or(default))
}

/// A sentence if normalization and pooling follow each other in another order than here, as in
/// Caffe's other network, bvlc_reference_caffenet, whose tensors have the same names and shapes.
fn wrong_order(layers: &[Layer], whole: &Plan) -> Option<String> {
    let place = |op| whole.layers.first()?.after.iter().position(|after| *after == op);
    let norm_first = place(After::Lrn)? < place(After::Pool)?;
    let reads_pool = |norm: &&Layer| {
        let makes = |layer: &Layer| layer.top.iter().any(|top| norm.bottom.contains(top));
        layers.iter().any(|layer| layer.kind == "Pooling" && makes(layer))
    };
    let after_pool = layers.iter().filter(|layer| layer.kind == "LRN").find(reads_pool);
    match (norm_first, after_pool) {
        (true, Some(norm)) => Some(format!(
            "layer {} normalizes after pooling, this network before: the file may be \
             bvlc_reference_caffenet, which is another network than bvlc_alexnet",
            print::visible(&norm.name)
        )),
        _ => None,
    }
}
