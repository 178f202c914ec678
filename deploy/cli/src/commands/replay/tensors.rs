//! Everything about a step as one safetensors file, both halves joined, half A's rows first.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use gpu_worker::checkpoint::MOMENTUM;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::network::Again;

/// A tensor to write: type, shape, little-endian bytes.
type Tensor = (Dtype, Vec<usize>, Vec<u8>);

/// Writes `NAME` (values before the step), `NAME.gradient` and `NAME.update` for each parameter,
/// and `losses`, `probabilities`, `labels` and `images` (numbers in `train`) for the minibatch.
pub(super) fn write(
    file: &Path,
    before: &[Vec<u8>],
    gradients: &[BTreeMap<String, Vec<f32>>],
    after: &[Vec<u8>],
    again: &Again,
) -> Result<()> {
    let mut all: BTreeMap<String, Tensor> = BTreeMap::new();
    for ((before, gradients), after) in before.iter().zip(gradients).zip(after) {
        let before = SafeTensors::deserialize(before).context("weights before the step")?;
        let after = SafeTensors::deserialize(after).context("weights after the step")?;
        for (name, gradient) in gradients {
            let value = before.tensor(name)?;
            let update = after.tensor(&format!("{name}{MOMENTUM}"))?;
            let gradient: Vec<u8> = gradient.iter().flat_map(|g| g.to_le_bytes()).collect();
            let shape = value.shape();
            append(&mut all, name.clone(), shape, value.data());
            append(&mut all, format!("{name}.gradient"), shape, &gradient);
            append(&mut all, format!("{name}.update"), shape, update.data());
        }
    }
    let (n, output) = (again.minibatch.n, &again.done.output);
    let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    let labels = again.minibatch.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let images = again.minibatch.images.iter().flat_map(|image| image.to_le_bytes()).collect();
    let classes = output.probabilities.len() / n.max(1);
    all.insert("losses".into(), (Dtype::F32, vec![n], floats(&output.losses)));
    let probabilities = floats(&output.probabilities);
    all.insert("probabilities".into(), (Dtype::F32, vec![n, classes], probabilities));
    all.insert("labels".into(), (Dtype::U32, vec![n], labels));
    all.insert("images".into(), (Dtype::U64, vec![n], images));
    let views = all.iter().map(|(name, (dtype, shape, bytes))| {
        Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?))
    });
    safetensors::serialize_to_file(views.collect::<Result<Vec<_>>>()?, None, file)
        .with_context(|| format!("{} can't be written", file.display()))
}

/// Adds the rows of a half to those of the half before.
fn append(all: &mut BTreeMap<String, Tensor>, name: String, shape: &[usize], rows: &[u8]) {
    let empty = || (Dtype::F32, [&[0], &shape[1..]].concat(), Vec::new());
    let (_, whole, bytes) = all.entry(name).or_insert_with(empty);
    whole[0] += shape[0];
    bytes.extend(rows);
}
