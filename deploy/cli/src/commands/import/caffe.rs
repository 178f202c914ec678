//! Caffe's `.caffemodel` with the layers of bvlc_alexnet, and Caffe's mean images.
//!
//! Conventions of Caffe that differ from this program's, and their conversion:
//!
//! | Caffe | here |
//! |---|---|
//! | colors are blue, green, red | conv1's weights and the mean image are reversed |
//! | crops of 227, no zeros: the last of conv1's 55 windows ends at the edge | `crop = 227` |
//! | dropout doubles in training what it keeps | halves at test: the weights that read it double |
//! | normalization has one row of maps | it stays inside a half: not the same, a note says so |
//!
//! The rest agrees: groups of two, fc6's inputs as `[256, 6, 6]`, α divided by the window's width.

mod layers; // the layers' settings against the recipe's
mod proto; // the messages of the file

use std::path::Path;

use ::proto::chunk::floats_to_bytes;
use anyhow::{Context, Result, bail, ensure};
use model::halves::Plan;
use model::layer::After;
use model::recipe::Recipe;
use prost::Message;

use super::found::{Found, Mean, Origin, Tensor};
use crate::print;
pub(super) use layers::{Layer, differences};

/// Caffe's side of a crop: conv1's 55 windows, 4 apart and 11 wide, cover it exactly.
const CROP: usize = 227;

/// Reads a file: its tensors, and its layers without them.
pub(super) fn read(path: &Path) -> Result<(Found, Vec<Layer>)> {
    let shown = print::path(path);
    let bytes = std::fs::read(path).with_context(|| format!("{shown} can't be read"))?;
    let net = proto::Net::decode(&bytes[..])
        .with_context(|| format!("{shown} is damaged or not a .caffemodel"))?;
    drop(bytes); // as large as the network
    if net.layers.iter().any(|layer| layer.v0.is_some()) {
        bail!(
            "{shown} has layers in the form of 2013: convert it with Caffe's \
             upgrade_net_proto_binary"
        );
    }
    let mut layers: Vec<Layer> = match net.layer.is_empty() {
        true => net.layers.into_iter().map(Layer::from).collect(),
        false => net.layer.into_iter().map(Layer::from).collect(),
    };
    ensure!(!layers.is_empty(), "{shown} holds no layers: it is not a .caffemodel");
    let mut found = Found::new(Origin::Caffe);
    for layer in &mut layers {
        for (number, blob) in std::mem::take(&mut layer.blobs).into_iter().enumerate() {
            let suffix = ["weight", "bias"].get(number).map_or_else(
                || format!("blob {number}"), // of a layer that is not ours
                |suffix| (*suffix).to_owned(),
            );
            let rank = if number > 0 { 1 } else { layer.rank() };
            found.tensors.insert(format!("{}.{suffix}", layer.name), tensor(blob, rank));
        }
    }
    let mut recipe = Recipe::builtin("caffe")?;
    (recipe.name, recipe.crop) = ("bvlc-alexnet".into(), CROP);
    found.recipe = Some(recipe);
    Ok((found, layers))
}

/// A blob as a tensor; older files fill its shape up with ones.
fn tensor(blob: proto::Blob, rank: usize) -> Tensor {
    let shape = shape(&blob);
    let ones = shape.iter().take_while(|n| **n == 1).count().min(shape.len().saturating_sub(rank));
    let shape = shape[ones..].to_vec();
    Tensor { shape, values: Ok(floats_to_bytes(&blob.data)) }
}

/// The shape that a blob says it has.
fn shape(blob: &proto::Blob) -> Vec<usize> {
    let four = || vec![blob.num, blob.channels, blob.height, blob.width];
    let dims = blob.shape.as_ref().map_or_else(four, |shape| shape.dim.clone());
    dims.into_iter().map(|n| usize::try_from(n).unwrap_or(0)).collect()
}

/// Turns Caffe's meaning of the tensors, which have been checked, into this program's.
pub(super) fn adapt(found: &mut Found, whole: &Plan, recipe: &Recipe) {
    let layers = &whole.layers;
    if let Some(first) = layers.first() {
        change(found, &first.params[0].name, |values| {
            let plane = first.params[0].shape[2..].iter().product::<usize>();
            values.chunks_mut(3 * plane).for_each(|kernel| reverse_colors(kernel, plane));
        });
    }
    let factor = 1.0 / (1.0 - recipe.dropout as f32);
    let reads = layers.windows(2).filter(|pair| pair[0].after.contains(&After::Dropout));
    let reads: Vec<_> = reads.map(|pair| (pair[1].name, &pair[1].params[0].name)).collect();
    for (_, name) in &reads {
        change(found, name, |values| values.iter_mut().for_each(|value| *value *= factor));
    }
    let names: Vec<_> = reads.iter().map(|(name, _)| *name).collect();
    found.notes.extend([
        "colors are RGB here: conv1's weights, made for blue, green, red, were reversed".into(),
        format!(
            "the weights of {} were multiplied by {factor}: Caffe scales in training what dropout \
             keeps, the paper and this program scale at test",
            names.join(" and ")
        ),
        "Caffe's response normalization reads across the border between the halves, as if all \
         maps were in one row; here it stays inside a half, as in the paper. The two maps on each \
         side of that border, in conv1 and in conv2, differ a little, and so does the error"
            .into(),
    ]);
}

/// Changes the values of a tensor.
fn change(found: &mut Found, name: &str, change: impl FnOnce(&mut [f32])) {
    let Some(tensor) = found.tensors.get_mut(name) else { return };
    let Ok(bytes) = &tensor.values else { return };
    let mut values = ::proto::chunk::bytes_to_floats(bytes).unwrap_or_default();
    change(&mut values);
    tensor.values = Ok(floats_to_bytes(&values));
}

/// Exchanges the first and the last of three planes.
fn reverse_colors(planes: &mut [f32], plane: usize) {
    let (first, rest) = planes.split_at_mut(plane);
    if let Some(last) = rest.get_mut(plane..) {
        first.swap_with_slice(last);
    }
}

/// Reads a mean image (`.binaryproto`).
pub(super) fn mean(path: &Path) -> Result<Mean> {
    let shown = print::path(path);
    let bytes = std::fs::read(path).with_context(|| {
        format!("{shown} can't be read; --mean takes a file, or three numbers from 0 to 255")
    })?;
    let no_mean = || format!("{shown} is not a mean image of Caffe (.binaryproto)");
    let mut blob = proto::Blob::decode(&bytes[..]).with_context(no_mean)?;
    let shape = shape(&blob);
    let side = shape.last().copied().unwrap_or(0);
    let fits = matches!(shape[..], [1, 3, rows, _] | [3, rows, _] if rows == side)
        && side > 0
        && side.checked_mul(side).and_then(|n| n.checked_mul(3)) == Some(blob.data.len())
        && blob.data.iter().all(|value| value.is_finite());
    ensure!(
        fits,
        "{}: it holds {} numbers of shape {shape:?}, expected three square planes",
        no_mean(),
        blob.data.len()
    );
    reverse_colors(&mut blob.data, side * side);
    Ok(Mean { side, values: blob.data })
}
