//! Safetensors files with PyTorch's names, as `alexnet export` writes them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use model::recipe::Recipe;
use safetensors::tensor::{Dtype, SafeTensors};

use super::found::{Found, Mean, Origin, Tensor};
use crate::commands::export::MEAN;
use crate::print;

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Found> {
    let shown = || print::path(path);
    let bytes: Bytes =
        std::fs::read(path).with_context(|| format!("{} can't be read", shown()))?.into();
    let not_one = || format!("{} is not a safetensors file", shown());
    let file = SafeTensors::deserialize(&bytes).with_context(not_one)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).with_context(not_one)?;
    let names = file.names();
    if is_torchvision(&names) {
        bail!(
            "{} holds torchvision's AlexNet, which is another network: one column of 64, 192, 384, \
             256 and 256 maps (\"One weird trick\", 2014) instead of two halves of 48, 128, 192, \
             192 and 128, no response normalization, zeros on all sides of conv1, and pixels from \
             0 to 1. Its weights have no place in the network of 2012",
            shown()
        );
    }
    let texts = header.metadata().clone().unwrap_or_default();
    if texts.contains_key("alexnet") && names.iter().any(|name| name.ends_with(".momentum")) {
        bail!(
            "{} is a shard of a checkpoint, one half of a network: `alexnet export RUN \
             OUT.safetensors` writes the whole one",
            shown()
        );
    }
    let mut found = Found::new(Origin::PyTorch);
    for (name, view) in file.iter() {
        let values = match view.dtype() {
            Dtype::F32 => Ok(bytes.slice_ref(view.data())),
            other => Err(format!("{other:?}")),
        };
        found.tensors.insert(name.to_owned(), Tensor { shape: view.shape().to_vec(), values });
    }
    if let Some(tensor) = found.tensors.remove(MEAN) {
        found.mean = Some(mean(&tensor).with_context(|| {
            format!("{} has a tensor `mean` that is no mean image: {:?}", shown(), tensor.shape)
        })?);
    }
    if let Some(text) = texts.get("recipe_toml") {
        let unusable = || format!("the recipe in {} can't be used", shown());
        found.recipe = Some(Recipe::from_toml(text).with_context(unusable)?);
    }
    if let Some(text) = texts.get("data_set") {
        let damaged = || format!("the data_set in the metadata of {} is damaged", shown());
        found.data_set = Some(serde_json::from_str(text).with_context(damaged)?);
    }
    Ok(found)
}

/// The mean image in a tensor of the shape `[3, side, side]`.
fn mean(tensor: &Tensor) -> Option<Mean> {
    let [3, rows, side] = tensor.shape[..] else { return None };
    let values = proto::chunk::mean_image(tensor.values.as_ref().ok()?, side)?;
    let fits = rows == side && values.iter().all(|value| value.is_finite());
    fits.then_some(Mean { side, values })
}

/// Returns true for the names of torchvision's `alexnet()`.
fn is_torchvision(names: &[&str]) -> bool {
    ["features.0.weight", "classifier.6.weight"].iter().all(|name| names.contains(name))
}
