//! `alexnet export`: both halves as one safetensors file, with PyTorch's names and layout.
//!
//! The rows of a tensor are maps or units, and those of half A come first. The whole tensor is
//! therefore the rows of half A followed by those of half B. Columns are inputs: those of the whole
//! network in layers that read both halves, and those of the own half in the others (`groups=2`).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use coordinator::run_dir::RunDir;
use model::halves::{Half, Partition, Plan};
use model::params::Param;
use model::shape::Network;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::options::WhichCheckpoint;
use crate::{network, print};

/// Arguments of `alexnet export`.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Run directory
    run: PathBuf,

    /// File to write, ending in .safetensors
    out: PathBuf,

    /// Checkpoint of this step; 0 for the initial weights [default: the best]
    #[arg(long)]
    step: Option<u64>,
}

/// A tensor of the whole network: name, shape, little-endian floats.
type Whole = (String, Vec<usize>, Vec<u8>);

/// Writes the whole network.
pub(super) fn run(args: &ExportArgs) -> Result<()> {
    if args.out.extension().is_none_or(|e| e != "safetensors") {
        bail!("{} must end in .safetensors, the format that export writes", args.out.display());
    }
    let dir = RunDir::open(&args.run)?;
    let classes = dir.data_set()?.classes.clone();
    let plans = plans(&dir, classes.len())?;
    let (step, tensors) = match args.step {
        Some(0) => (0, initial(&plans, dir.record.seed)?),
        step => {
            let which = step.map_or(WhichCheckpoint::Best, WhichCheckpoint::Step);
            let (manifest, shards) = network::checkpoint(&dir, which)?;
            (manifest.step, kept(&plans, manifest.step, &shards)?)
        }
    };
    let about = HashMap::from([
        ("format".to_owned(), "pt".to_owned()),
        ("recipe".to_owned(), dir.recipe.name.clone()),
        ("run".to_owned(), dir.record.run_id.clone()),
        ("step".to_owned(), step.to_string()),
        ("classes".to_owned(), serde_json::to_string(&classes)?),
    ]);
    write(&args.out, &tensors, about)?;
    let parameters =
        tensors.iter().map(|(_, shape, _)| shape.iter().product::<usize>()).sum::<usize>();
    print::line(format_args!(
        "{}: {} parameters after step {}",
        args.out.display(),
        print::thousands(parameters as u64),
        print::thousands(step)
    ));
    Ok(())
}

/// Plan of each partition of a run, half A first.
fn plans(dir: &RunDir, classes: usize) -> Result<Vec<Plan>> {
    let network = Network::new(&dir.recipe, classes)?;
    let partitions = match network.columns {
        1 => vec![Partition::Whole],
        _ => Half::BOTH.map(Partition::Half).to_vec(),
    };
    Ok(partitions
        .into_iter()
        .map(|partition| Plan::new(&network, &dir.recipe, partition))
        .collect())
}

fn initial(plans: &[Plan], seed: u64) -> Result<Vec<Whole>> {
    merge(plans, |_, param| {
        Ok(param.initial(seed).iter().flat_map(|value| value.to_le_bytes()).collect())
    })
}

fn kept(plans: &[Plan], step: u64, shards: &[Bytes]) -> Result<Vec<Whole>> {
    ensure!(
        shards.len() == plans.len(),
        "the checkpoint of step {step} has {} shards, but the recipe needs {}",
        shards.len(),
        plans.len()
    );
    let shards = shards
        .iter()
        .map(|bytes| SafeTensors::deserialize(bytes))
        .collect::<Result<Vec<_>, _>>()
        .context("a shard is not a safetensors file")?;
    merge(plans, |part, param| {
        let tensor = shards[part].tensor(&param.name)?;
        ensure!(
            tensor.dtype() == Dtype::F32 && tensor.shape() == param.shape,
            "{} is {:?} {:?} in the checkpoint, but the recipe needs F32 {:?}",
            param.name,
            tensor.dtype(),
            tensor.shape(),
            param.shape
        );
        Ok(tensor.data().to_vec())
    })
}

/// Every parameter of the whole network: the rows of all partitions after each other.
fn merge(plans: &[Plan], part: impl Fn(usize, &Param) -> Result<Vec<u8>>) -> Result<Vec<Whole>> {
    let of_each: Vec<Vec<&Param>> = plans.iter().map(|plan| plan.params().collect()).collect();
    let mut whole = Vec::with_capacity(of_each[0].len());
    for (i, first) in of_each[0].iter().enumerate() {
        let mut shape = first.shape.clone();
        shape[0] = first.of_rows;
        let mut bytes = Vec::with_capacity(4 * shape.iter().product::<usize>());
        for (number, params) in of_each.iter().enumerate() {
            bytes.extend(part(number, params[i]).with_context(|| first.name.clone())?);
        }
        ensure!(
            bytes.len() == bytes.capacity(),
            "{} needs the shape {shape:?}, but its shards have {} bytes",
            first.name,
            bytes.len()
        );
        whole.push((first.name.clone(), shape, bytes));
    }
    Ok(whole)
}

fn write(out: &Path, tensors: &[Whole], about: HashMap<String, String>) -> Result<()> {
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize_to_file(views, Some(about), out)
        .with_context(|| format!("{} can't be written", out.display()))
}

#[cfg(test)]
mod tests {
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
        let halves = Half::BOTH.map(|half| Plan::new(&network, &recipe, Partition::Half(half)));
        let whole = Plan::new(&network, &recipe, Partition::Whole);
        let merged = initial(&halves, 5).unwrap();
        assert_eq!(merged, initial(&[whole], 5).unwrap());
        assert_eq!(merged.len(), 16);
    }

    #[test]
    fn names_and_shapes_are_those_of_design_7() {
        let recipe = Recipe::builtin("paper").unwrap();
        let network = Network::new(&recipe, 1000).unwrap();
        let halves = Half::BOTH.map(|half| Plan::new(&network, &recipe, Partition::Half(half)));
        let shapes: Vec<String> = halves[0]
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
        let said = merge(&whole, |_, _| Ok(vec![0; 4])).unwrap_err().to_string();
        assert!(said.contains("conv1.weight"), "{said}");
    }

    #[test]
    fn what_is_written_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("x.safetensors");
        let bytes: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        write(&out, &[("conv1.bias".into(), vec![2], bytes.clone())], HashMap::new()).unwrap();
        let file = std::fs::read(out).unwrap();
        let read = SafeTensors::deserialize(&file).unwrap();
        assert_eq!(read.tensor("conv1.bias").unwrap().data(), bytes);
    }
}
