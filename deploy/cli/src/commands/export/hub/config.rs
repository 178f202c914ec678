//! `config.json`: the layers with all their sizes, for a module that knows no recipe.

use model::halves::{Partition, Plan, PlannedLayer};
use model::layer::{After, Kind};
use model::recipe::Activation;
use model::shape::overhang;
use serde_json::{Map, Value, json};

use super::super::weights::Weights;

/// The content of the file.
pub(super) fn config(weights: &Weights) -> Value {
    let (recipe, data) = (&weights.run.recipe, &weights.data);
    let labels = data.classes.iter().enumerate();
    let labels: Map<_, _> = labels.map(|(i, name)| (i.to_string(), json!(name))).collect();
    json!({
        "model_type": "alexnet-in-two-halves",
        "architectures": ["AlexNet"],
        "recipe": recipe.name,
        "run": weights.run.record.run_id,
        "step": weights.step,
        "columns": recipe.columns,
        "side": data.side,
        "crop": recipe.crop,
        "layers": layers(weights),
        "lrn": {
            "size": recipe.lrn_size,
            "alpha": recipe.lrn_alpha_on_sum() * recipe.lrn_size as f64,
            "beta": recipe.lrn_beta,
            "k": recipe.lrn_k,
        },
        "pool": { "size": recipe.pool_size, "stride": recipe.pool_stride },
        "dropout": recipe.dropout,
        "id2label": labels,
    })
}

/// The layers of the whole network, halves side by side as groups.
fn layers(weights: &Weights) -> Vec<Value> {
    let recipe = &weights.run.recipe;
    let whole = Plan::new(&weights.network, recipe, Partition::Whole);
    whole.layers.iter().map(|layer| described(layer, recipe.activation)).collect()
}

fn described(layer: &PlannedLayer, activation: Activation) -> Value {
    let after = layer.after.iter().map(|after| match (after, activation) {
        (After::Activation, Activation::Relu) => "relu",
        (After::Activation, Activation::Tanh) => "tanh",
        (After::Lrn, _) => "lrn",
        (After::Pool, _) => "pool",
        (After::Dropout, _) => "dropout",
    });
    let after: Vec<_> = after.collect();
    let outputs = layer.pre_activation.maps;
    match layer.kind {
        Kind::Conv { kernel, stride, pad } => {
            let end = pad + overhang(layer.input.side, kernel, stride, pad);
            json!({
                "name": layer.name, "kind": "conv", "inputs": layer.input.maps,
                "outputs": outputs, "kernel": kernel, "stride": stride, "groups": layer.groups,
                "pads": [pad, end, pad, end], "after": after,
            })
        }
        Kind::FullyConnected => json!({
            "name": layer.name, "kind": "fc", "inputs": layer.input.len(), "outputs": outputs,
            "groups": layer.groups, "after": after,
        }),
    }
}
