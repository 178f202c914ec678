//! The weights of another run, to start from.

use bytes::Bytes;
use model::params::Param;
use model::recipe::Encoding;
use safetensors::tensor::{Dtype, SafeTensors};

use super::all_finite;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::network::DeviceNetwork;

/// A whole network's weights, as `alexnet export` writes them.
#[derive(Debug)]
pub struct Weights<'a> {
    tensors: SafeTensors<'a>,
    other_classes: bool,
}

impl<'a> Weights<'a> {
    /// Reads a file. `other_classes`: those of its last layer are not those of the run.
    ///
    /// # Errors
    /// If it is no safetensors file.
    pub fn read(
        file: &'a [u8],
        other_classes: bool,
    ) -> std::result::Result<Self, safetensors::SafeTensorError> {
        Ok(Self { tensors: SafeTensors::deserialize(file)?, other_classes })
    }

    /// The rows of a layer's weights and biases that a partition has.
    ///
    /// # Errors
    /// A sentence that says why the layer keeps its initial values.
    pub fn layer(
        &self,
        name: &str,
        is_last: bool,
        [weight, bias]: [&Param; 2],
    ) -> std::result::Result<[&'a [u8]; 2], String> {
        let anew = |why: String| format!("{name} begins anew: {why}");
        let weight = rows(&self.tensors, weight).map_err(anew)?;
        let bias = rows(&self.tensors, bias).map_err(anew)?;
        match self.other_classes && is_last {
            true => Err(anew("the classes are others".into())),
            false => Ok([weight, bias]),
        }
    }
}

impl<B: Backend> DeviceNetwork<B> {
    /// Takes this half's rows of a whole network's weights, a safetensors file as `alexnet export`
    /// writes it. A layer that doesn't fit keeps its initial values, and so does the last layer if
    /// `other_classes` is true. Returns a sentence for each of these layers.
    ///
    /// # Errors
    /// [`Error::Shard`] if the file can't be read, if a number in it isn't finite, or if no layer
    /// fits. The network is unchanged then.
    pub fn start_from(
        &mut self,
        dev: &mut B,
        name: &str,
        file: &Bytes,
        other_classes: bool,
    ) -> Result<Vec<String>> {
        let bad = |why: String| Error::Shard { shard: name.into(), why };
        let weights = Weights::read(file, other_classes).map_err(|e| bad(e.to_string()))?;
        let last = self.layers.len() - 1;
        let (mut fitting, mut anew) = (Vec::new(), Vec::new());
        for (i, layer) in self.layers.iter().enumerate() {
            match weights.layer(layer.name, i == last, [&layer.weight.param, &layer.bias.param]) {
                Ok(rows) => fitting.push((i, rows.map(|rows| file.slice_ref(rows)))),
                Err(why) => anew.push(why),
            }
        }
        if fitting.is_empty() {
            return Err(bad(format!("none of its layers fits this network: {}", anew.join("; "))));
        }
        let layers = fitting.iter().map(|(i, rows)| (self.layers[*i].name, rows));
        if let Some((layer, _)) = layers.into_iter().find(|(_, r)| !r.iter().all(|r| all_finite(r)))
        {
            return Err(bad(format!("{layer} holds a number that isn't finite")));
        }
        for (i, rows) in fitting {
            let layer = &mut self.layers[i];
            for (to, rows) in [&mut layer.weight.value, &mut layer.bias.value].into_iter().zip(rows)
            {
                dev.upload(&[rows], Encoding::F32, 0, to, 0)?;
            }
        }
        Ok(anew)
    }
}

/// The bytes of a parameter's rows in the whole network's tensor, or the reason why they don't fit.
fn rows<'a>(file: &SafeTensors<'a>, param: &Param) -> std::result::Result<&'a [u8], String> {
    let whole = file.tensor(&param.name).map_err(|_| format!("there is no {}", param.name))?;
    let wanted = [&[param.of_rows], &param.shape[1..]].concat();
    if whole.dtype() != Dtype::F32 {
        return Err(format!("{} is {:?} there and F32 here", param.name, whole.dtype()));
    }
    if whole.shape() != wanted {
        let (there, here) = (sides(whole.shape()), sides(&wanted));
        return Err(format!("{} is {there} there and {here} here", param.name));
    }
    let row = 4 * param.shape[1..].iter().product::<usize>();
    Ok(&whole.data()[row * param.rows.start..row * param.rows.end])
}

/// A shape for people: `1000 × 4096`.
fn sides(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}
