//! This half's shard: weights and momentum as one safetensors file.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use bytes::Bytes;
use model::halves::{Partition, Plan};
use model::params::Param;
use model::recipe::Encoding;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::network::DeviceNetwork;

pub mod start; // the weights of another run, to start from
pub(crate) mod store; // to and from the coordinator

/// Suffix of the name of a parameter's momentum.
pub const MOMENTUM: &str = ".momentum";

/// A tensor that is copied from the device only while it is written, so that a shard needs its
/// memory once and not twice.
struct DeviceTensor<'a, 'd, B: Backend> {
    dev: &'a RefCell<(&'d mut B, Option<Error>)>,
    from: &'a B::Floats,
    shape: &'a [usize],
    name: String,
    step: u64,
}

impl<B: Backend> View for DeviceTensor<'_, '_, B> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let (dev, failed) = &mut *self.dev.borrow_mut();
        let len = self.data_len() / 4;
        match dev
            .download(self.from, 0..len, Encoding::F32)
            .and_then(crate::backend::Download::wait)
        {
            Ok(encoded) => {
                let mut numbers =
                    encoded.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
                if let Some(value) = numbers.find(|value| !value.is_finite()) {
                    let (tensor, step) = (self.name.clone(), self.step);
                    *failed = Some(Error::BadWeights { tensor, value, step });
                }
                Cow::Owned(encoded.bytes.into())
            }
            Err(error) => {
                *failed = Some(error);
                Cow::Owned(vec![0; self.data_len()])
            }
        }
    }

    fn data_len(&self) -> usize {
        4 * self.shape.iter().product::<usize>()
    }
}

impl<B: Backend> DeviceNetwork<B> {
    /// Weights and momentum as safetensors bytes: `conv1.weight`, `conv1.weight.momentum`, …, each
    /// with this half's rows of the whole tensor.
    ///
    /// The same state always gives the same bytes: the metadata is one entry, since a map of
    /// several is written in no fixed order.
    ///
    /// # Errors
    /// The device's, and [`Error::BadWeights`]: weights that have diverged are not kept.
    pub fn shard(&mut self, dev: &mut B, step: u64) -> Result<Vec<u8>> {
        let (partition, metadata) = metadata(self.plan.partition, &self.recipe.name, step);
        let dev = RefCell::new((dev, None));
        let mut views = Vec::new();
        for tensor in self.layers.iter().flat_map(|l| [&l.weight, &l.bias]) {
            let shape = &tensor.param.shape;
            let name = tensor.param.name.clone();
            let momentum = format!("{name}{MOMENTUM}");
            for (name, from) in [(name, &tensor.value), (momentum, &tensor.momentum)] {
                views.push((name.clone(), DeviceTensor { dev: &dev, from, shape, name, step }));
            }
        }
        let bytes = safetensors::serialize(views, Some(metadata))
            .map_err(|e| Error::Shard { shard: partition, why: e.to_string() })?;
        match dev.into_inner().1 {
            Some(error) => Err(error),
            None => Ok(bytes),
        }
    }

    /// Takes weights and momentum from a shard.
    ///
    /// # Errors
    /// [`Error::Shard`] if a tensor is missing, has another shape or holds a number that isn't
    /// finite; the network is unchanged then.
    pub fn restore(&mut self, dev: &mut B, name: &str, shard: &Bytes) -> Result<()> {
        let bad = |why: String| Error::Shard { shard: name.into(), why };
        let file = SafeTensors::deserialize(shard).map_err(|e| bad(e.to_string()))?;
        let mut found = Vec::new();
        for tensor in self.tensors() {
            for suffix in ["", MOMENTUM] {
                let key = format!("{}{suffix}", tensor.param.name);
                let view = file.tensor(&key).map_err(|_| bad(format!("it has no {key}")))?;
                if view.dtype() != Dtype::F32 || view.shape() != tensor.param.shape {
                    return Err(bad(format!(
                        "{key} is {:?} {:?}, expected F32 {:?}: the shard has another recipe, \
                         width or class count",
                        view.dtype(),
                        view.shape(),
                        tensor.param.shape
                    )));
                }
                if !all_finite(view.data()) {
                    return Err(bad(format!(
                        "{key} holds a number that isn't finite: use an older checkpoint"
                    )));
                }
                found.push(shard.slice_ref(view.data()));
            }
        }
        let mut found = found.into_iter();
        for tensor in self.tensors() {
            for (to, bytes) in [&mut tensor.value, &mut tensor.momentum].into_iter().zip(&mut found)
            {
                dev.upload(&[bytes], Encoding::F32, 0, to, 0)?;
            }
        }
        Ok(())
    }
}

/// The shard of step 0 with given weights and no momentum: little-endian floats of each parameter's
/// own rows.
///
/// # Errors
/// [`Error::Shard`] if the weights of a parameter have another length than its shape says.
pub fn first_shard(
    plan: &Plan,
    recipe: &str,
    weights: impl Fn(&Param) -> Vec<u8>,
) -> Result<Vec<u8>> {
    let (partition, metadata) = metadata(plan.partition, recipe, 0);
    let values = plan.params().flat_map(|param| {
        let momentum = vec![0; 4 * param.len()];
        [(param.name.clone(), weights(param)), (format!("{}{MOMENTUM}", param.name), momentum)]
            .map(|(name, bytes)| (name, &param.shape, bytes))
    });
    let values: Vec<_> = values.collect();
    let views = values.iter().map(|(name, shape, bytes)| {
        TensorView::new(Dtype::F32, shape.to_vec(), bytes).map(|view| (name, view))
    });
    views
        .collect::<std::result::Result<Vec<_>, _>>()
        .and_then(|views| safetensors::serialize(views, Some(metadata)))
        .map_err(|e| Error::Shard { shard: partition, why: e.to_string() })
}

/// A shard's partition in words, and its metadata.
fn metadata(partition: Partition, recipe: &str, step: u64) -> (String, HashMap<String, String>) {
    let partition = match partition {
        Partition::Whole => Partition::Whole.label().to_string(),
        half => half.to_string(),
    };
    let about = format!("{partition} after step {step}, recipe {recipe}");
    (partition, HashMap::from([("alexnet".to_string(), about)]))
}

fn all_finite(floats: &[u8]) -> bool {
    floats.as_chunks().0.iter().all(|b| f32::from_le_bytes(*b).is_finite())
}
