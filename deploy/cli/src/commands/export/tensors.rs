//! The whole network as one safetensors file, with PyTorch's names and layout.
//!
//! The mean image is the tensor `mean`, `[3, side, side]`: without it the weights are of no use.
//! Recipe, data set and class names are texts in the file's metadata, so that `alexnet import` can
//! make a run of the file.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use proto::chunk::floats_to_bytes;
use safetensors::tensor::{Dtype, TensorView};

use super::weights::{Weights, Whole};

/// Name of the mean image.
pub(crate) const MEAN: &str = "mean";

/// Texts for the file's metadata.
type About = HashMap<String, String>;

/// Writes the file.
pub(super) fn write(weights: &Weights, out: &Path) -> Result<()> {
    let (tensors, about) = contents(weights)?;
    write_tensors(out, &tensors, about)
}

/// The bytes of the file.
pub(super) fn file(weights: &Weights) -> Result<Vec<u8>> {
    let (tensors, about) = contents(weights)?;
    Ok(safetensors::serialize(views(&tensors)?, Some(about))?)
}

fn contents(weights: &Weights) -> Result<(Vec<Whole>, About)> {
    let side = weights.data.side as usize;
    let mut tensors = weights.whole()?;
    let bytes = floats_to_bytes(&weights.run.mean()?).to_vec();
    tensors.push(Whole { name: MEAN.into(), shape: vec![3, side, side], bytes });
    let about = weights.about()?.into_iter().chain([("format", "pt".to_owned())]);
    Ok((tensors, about.map(|(key, text)| (key.to_owned(), text)).collect()))
}

fn write_tensors(out: &Path, tensors: &[Whole], about: About) -> Result<()> {
    safetensors::serialize_to_file(views(tensors)?, Some(about), out)
        .with_context(|| format!("{} can't be written", out.display()))
}

fn views(tensors: &[Whole]) -> Result<Vec<(&str, TensorView<'_>)>> {
    let views = tensors.iter().map(|Whole { name, shape, bytes }| {
        Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?))
    });
    views.collect()
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("x.safetensors");
        let bytes: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let bias = Whole { name: "conv1.bias".into(), shape: vec![2], bytes };
        write_tensors(&out, std::slice::from_ref(&bias), HashMap::new()).unwrap();
        let file = std::fs::read(out).unwrap();
        let read = SafeTensors::deserialize(&file).unwrap();
        assert_eq!(read.tensor("conv1.bias").unwrap().data(), bias.bytes);
    }
}
