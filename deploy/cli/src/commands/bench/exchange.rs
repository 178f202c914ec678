//! The exchange by itself: tensors of a run's size between two ends on this machine, with the
//! certificates and checksums of a run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use gpu_worker::exchange::goodput;
use model::halves::{Plan, exchange_floats_per_image};
use model::recipe::{Encoding, Recipe};
use model::shape::Network;
use net::{Role, Trust};

use crate::up::Certificates;

/// Bytes per second of both directions together; `None` if the network has one half, or its halves
/// never meet.
pub(super) fn bytes_per_s(
    recipe: &Recipe,
    network: &Network,
    measured: Duration,
    folder: &Path,
) -> Result<Option<f64>> {
    let Some(tensor_bytes) = largest_tensor(recipe, network) else { return Ok(None) };
    let certificates = Certificates::Own;
    certificates.ready(folder)?;
    let certs = certificates.folder(folder).context("a run has certificates of its own")?;
    let trust = Trust::read(&certs, Role::Worker).context("the certificates can't be used")?;
    Ok(Some(goodput::bytes_per_s(&trust, tensor_bytes, measured)?))
}

/// Bytes of the largest micro-batch that a half sends.
fn largest_tensor(recipe: &Recipe, network: &Network) -> Option<usize> {
    let plans = Plan::all(network, recipe);
    let floats = exchange_floats_per_image(plans.first()?).map(|(_, floats)| floats).max()?;
    let images = recipe.batch.div_ceil(recipe.slices.max(1));
    let bytes_per_number = match recipe.wire {
        Encoding::F32 => 4,
        Encoding::F16 => 2,
    };
    Some(floats * images * bytes_per_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_tensor_is_a_micro_batch_of_conv3s_inputs() {
        let mut recipe = Recipe::builtin("caffe").unwrap();
        let network = Network::new(&recipe, 1000).unwrap();
        assert_eq!(largest_tensor(&recipe, &network), Some(128 * 13 * 13 * 32 * 4));
        recipe.columns = 1;
        let network = Network::new(&recipe, 1000).unwrap();
        assert_eq!(largest_tensor(&recipe, &network), None);
    }
}
