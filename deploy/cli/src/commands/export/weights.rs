//! The weights of a run's checkpoint, by half and as the whole network's tensors.
//!
//! The rows of a tensor are maps or units, and those of half A come first. The whole tensor is
//! therefore the rows of half A followed by those of half B. Columns are inputs: those of the whole
//! network in layers that read both halves, and those of the own half in the others (`groups=2`).

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use coordinator::run_dir::RunDir;
use coordinator::{DataSet, Evaluation};
use gpu_worker::checkpoint::start;
use model::halves::Plan;
use model::params::Param;
use model::shape::Network;
use safetensors::tensor::{Dtype, SafeTensors};

use crate::network;
use crate::options::WhichCheckpoint;

/// The weights of one checkpoint, and everything that is known about them.
pub(super) struct Weights {
    /// Run that they belong to.
    pub(super) run: RunDir,
    /// Data set of the run.
    pub(super) data: DataSet,
    /// The whole network.
    pub(super) network: Network,
    /// Plan of each partition, half A first.
    pub(super) plans: Vec<Plan>,
    /// Number of steps that they were trained for.
    pub(super) step: u64,
    /// Validation errors at this step, if they were measured.
    pub(super) measured: Option<Evaluation>,
    /// Little-endian floats of each partition's parameters, in the order of its plan.
    parts: Vec<Vec<Bytes>>,
}

/// A tensor of the whole network: little-endian floats.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Whole {
    /// Name, such as `conv1.weight`.
    pub(crate) name: String,
    /// Shape in the whole network.
    pub(crate) shape: Vec<usize>,
    /// Values.
    pub(crate) bytes: Vec<u8>,
}

impl Weights {
    /// Reads a checkpoint. Without a checkpoint of step 0, that step means the initial weights, or
    /// those that the run started from.
    pub(super) fn load(run: RunDir, which: WhichCheckpoint) -> Result<Self> {
        let data = run.data_set()?.clone();
        let network = Network::new(&run.recipe, data.classes.len())?;
        let plans = Plan::all(&network, &run.recipe);
        if which == WhichCheckpoint::Step(0) && !run.steps()?.contains(&0) {
            let mut parts: Vec<_> =
                plans.iter().map(|plan| initial(plan, run.record.seed)).collect();
            if let Some(start) = &run.record.start {
                let (file, others) = (start.load(&run.path)?, start.are_others(&data.classes));
                let weights = start::Weights::read(&file, others)?;
                for (plan, part) in plans.iter().zip(&mut parts) {
                    started(plan, &weights, part);
                }
            }
            let (step, measured) = (0, None);
            return Ok(Self { run, data, network, plans, step, measured, parts });
        }
        let (manifest, shards) = network::checkpoint(&run, which)?;
        let (step, found) = (manifest.step, [manifest.last, manifest.best]);
        let measured = found.into_iter().flatten().find(|e| e.step == step);
        let parts = kept(&plans, step, &shards)?;
        Ok(Self { run, data, network, plans, step, measured, parts })
    }

    /// The parameters of one partition with their values.
    pub(super) fn part(&self, number: usize) -> impl Iterator<Item = (&Param, &Bytes)> {
        self.plans[number].params().zip(&self.parts[number])
    }

    /// Number of parameters of the whole network.
    pub(super) fn parameters(&self) -> u64 {
        self.parts.iter().flatten().map(|bytes| bytes.len() as u64 / 4).sum()
    }

    /// Every tensor of the whole network.
    pub(super) fn whole(&self) -> Result<Vec<Whole>> {
        merge(&self.plans, &self.parts)
    }

    /// Facts about the network that every format carries as texts.
    pub(super) fn about(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(vec![
            ("recipe", self.run.recipe.name.clone()),
            ("run", self.run.record.run_id.clone()),
            ("step", self.step.to_string()),
            ("classes", serde_json::to_string(&self.data.classes)?),
            ("recipe_toml", self.run.recipe.to_toml()),
            ("data_set", serde_json::to_string(&self.data)?),
            ("program", crate::BUILD.to_owned()),
        ])
    }
}

fn initial(plan: &Plan, seed: u64) -> Vec<Bytes> {
    plan.params().map(|param| proto::chunk::floats_to_bytes(&param.initial(seed))).collect()
}

/// Replaces initial values by the weights that the run started from, where they fit.
fn started(plan: &Plan, weights: &start::Weights<'_>, part: &mut [Bytes]) {
    let params: Vec<&Param> = plan.params().collect();
    let (layers, parts) = (params.as_chunks().0, part.as_chunks_mut::<2>().0);
    for (i, (layer, values)) in layers.iter().zip(parts).enumerate() {
        let name = layer[0].name.split('.').next().unwrap_or_default();
        if let Ok(rows) = weights.layer(name, i + 1 == layers.len(), *layer) {
            *values = rows.map(Bytes::copy_from_slice);
        }
    }
}

/// The parameters in the shards of a checkpoint, not copied.
fn kept(plans: &[Plan], step: u64, shards: &[Bytes]) -> Result<Vec<Vec<Bytes>>> {
    ensure!(
        shards.len() == plans.len(),
        "the checkpoint of step {step} has {} shards, but the recipe needs {}",
        shards.len(),
        plans.len()
    );
    plans.iter().zip(shards).map(|(plan, shard)| in_shard(plan, shard)).collect()
}

fn in_shard(plan: &Plan, shard: &Bytes) -> Result<Vec<Bytes>> {
    let file = SafeTensors::deserialize(shard).context("a shard is not a safetensors file")?;
    let values = plan.params().map(|param| {
        let tensor = file.tensor(&param.name)?;
        ensure!(
            tensor.dtype() == Dtype::F32 && tensor.shape() == param.shape,
            "{} is {:?} {:?} in the checkpoint, but the recipe needs F32 {:?}",
            param.name,
            tensor.dtype(),
            tensor.shape(),
            param.shape
        );
        Ok(shard.slice_ref(tensor.data()))
    });
    values.collect()
}

/// Every parameter of the whole network: the rows of all partitions after each other.
fn merge(plans: &[Plan], parts: &[Vec<Bytes>]) -> Result<Vec<Whole>> {
    let whole = plans[0].params().enumerate().map(|(i, first)| {
        let mut shape = first.shape.clone();
        shape[0] = first.of_rows;
        let mut bytes = Vec::with_capacity(4 * shape.iter().product::<usize>());
        parts.iter().for_each(|part| bytes.extend_from_slice(&part[i]));
        ensure!(
            bytes.len() == bytes.capacity(),
            "{} needs the shape {shape:?}, but its shards have {} bytes",
            first.name,
            bytes.len()
        );
        Ok(Whole { name: first.name.clone(), shape, bytes })
    });
    whole.collect()
}

#[cfg(test)]
mod tests {
    use model::halves::Partition;
    use model::recipe::Recipe;

    use super::*;

    fn small() -> (Recipe, Network) {
        let recipe = Recipe::builtin("demo").unwrap();
        let network = Network::new(&recipe, 7).unwrap();
        (recipe, network)
    }

    #[test]
    fn halves_put_together_are_the_whole_networks_initial_weights() {
        let (recipe, network) = small();
        let halves = Plan::all(&network, &recipe);
        let whole = Plan::new(&network, &recipe, Partition::Whole);
        let parts: Vec<_> = halves.iter().map(|half| initial(half, 5)).collect();
        let merged = merge(&halves, &parts).unwrap();
        let uncut = [initial(&whole, 5)];
        assert_eq!(merged, merge(&[whole], &uncut).unwrap());
        assert_eq!(merged.len(), 16);
    }

    #[test]
    fn names_and_shapes_are_those_of_pytorch() {
        let recipe = Recipe::builtin("paper").unwrap();
        let network = Network::new(&recipe, 1000).unwrap();
        let shapes: Vec<String> = Plan::all(&network, &recipe)[0]
            .params()
            .filter(|p| !p.is_bias)
            .map(|p| format!("{} {} of {:?}", p.name, p.of_rows, &p.shape[1..]))
            .collect();
        assert_eq!(
            shapes,
            [
                "conv1.weight 96 of [3, 11, 11]",
                "conv2.weight 256 of [48, 5, 5]",
                "conv3.weight 384 of [256, 3, 3]",
                "conv4.weight 384 of [192, 3, 3]",
                "conv5.weight 256 of [192, 3, 3]",
                "fc6.weight 4096 of [9216]",
                "fc7.weight 4096 of [4096]",
                "fc8.weight 1000 of [4096]",
            ]
        );
    }

    #[test]
    fn a_part_of_the_wrong_length_is_noticed() {
        let (recipe, network) = small();
        let whole = [Plan::new(&network, &recipe, Partition::Whole)];
        let parts = vec![Bytes::from_static(&[0; 4]); 16];
        let said = merge(&whole, &[parts]).unwrap_err().to_string();
        assert!(said.contains("conv1.weight"), "{said}");
    }
}
