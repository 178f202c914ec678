//! `alexnet filters`: the kernels of conv1 as pictures, Figure 3 of the paper.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use coordinator::run_dir::RunDir;
use image::RgbImage;
use model::halves::{Half, Partition};

use super::export;
use crate::draw::filters::{Block, write_png};
use crate::options::CheckpointArgs;
use crate::{files, print};

/// Parameter that is drawn; the only one whose inputs are colors.
const DRAWN: &str = "conv1.weight";

const HELP: &str = "\
Half A's kernels stand above half B's. Middle gray is a weight of zero, and a brighter color is a
larger one. Each kernel is scaled by its own largest weight, so that weak kernels can be seen too;
with --together all are scaled by the largest weight of all.

Examples:
  alexnet filters runs/caffe-my-pictures filters.png
  alexnet filters runs/caffe-my-pictures before.png --checkpoint 0    # before training";

/// Arguments of `alexnet filters`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct FiltersArgs {
    /// Run directory
    run: PathBuf,

    /// Picture to write, ending in .png
    out: PathBuf,

    /// Choice of the checkpoint.
    #[command(flatten)]
    checkpoint: CheckpointArgs,

    /// Scale all kernels by the largest weight of all, not each by its own
    #[arg(long)]
    together: bool,
}

/// Draws the kernels.
pub(super) fn run(args: &FiltersArgs) -> Result<()> {
    files::ends_in(&args.out, "png", "the format of the drawing")?;
    let dir = RunDir::open(&args.run)?;
    let columns = dir.recipe.columns;
    let (step, parameters) = export::whole(dir, args.checkpoint.which)?;
    let export::Whole { shape, bytes, .. } = parameters
        .iter()
        .find(|parameter| parameter.name == DRAWN)
        .with_context(|| format!("the network has no {DRAWN}"))?;
    let &[n, 3, side, _] = shape.as_slice() else {
        bail!("{DRAWN} has the shape {shape:?}, expected kernels with three colors");
    };
    let weights = proto::chunk::bytes_to_floats(bytes).context("weights of four bytes each")?;
    let kernels = pictures(&weights, side, args.together);
    let title = format!(
        "{}, step {}: {n} kernels of {side} × {side} × 3",
        print::last_part(&args.run),
        print::thousands(step),
    );
    let note = match args.together {
        false => "Gray is zero. Each kernel is scaled by its own largest weight.",
        true => "Gray is zero. All kernels are scaled by the largest weight of all.",
    };
    write_png(&args.out, [&title, note], &blocks(kernels, columns))?;
    print::line(print::path(&args.out));
    Ok(())
}

/// One picture per kernel `[3, side, side]`, with 128 for zero.
fn pictures(weights: &[f32], side: usize, together: bool) -> Vec<RgbImage> {
    let largest = |weights: &[f32]| weights.iter().fold(0.0, |most: f32, w| most.max(w.abs()));
    let of_all = largest(weights);
    let picture = |kernel: &[f32]| {
        let largest = if together { of_all } else { largest(kernel) };
        // A kernel of zeros is gray.
        let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        RgbImage::from_fn(side as u32, side as u32, |x, y| {
            let at = |color: usize| kernel[(color * side + y as usize) * side + x as usize];
            image::Rgb([0, 1, 2].map(|color| (128.0 + scale * at(color)).round() as u8))
        })
    };
    weights.chunks_exact(3 * side * side).map(picture).collect()
}

/// The kernels of each half.
fn blocks(kernels: Vec<RgbImage>, columns: usize) -> Vec<Block> {
    if columns == 1 {
        return vec![Block { name: None, kernels }];
    }
    let block = |half: Half| {
        let partition = Partition::Half(half);
        let own = kernels[partition.own(kernels.len())].to_vec();
        Block { name: Some(partition.to_string()), kernels: own }
    };
    Half::BOTH.map(block).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two kernels of 1 × 1: three colors each.
    const WEIGHTS: [f32; 6] = [0.5, -0.5, 0.0, 0.25, 0.125, 0.0];

    #[test]
    fn zero_is_gray_and_the_largest_weight_of_a_kernel_or_of_all_is_the_brightest() {
        let colors = |together| -> Vec<[u8; 3]> {
            pictures(&WEIGHTS, 1, together).iter().map(|p| p.get_pixel(0, 0).0).collect()
        };
        assert_eq!(colors(false), [[255, 1, 128], [255, 192, 128]]);
        assert_eq!(colors(true), [[255, 1, 128], [192, 160, 128]]);
        assert_eq!(pictures(&[0.0; 3], 1, false)[0].get_pixel(0, 0).0, [128; 3]);
    }

    #[test]
    fn rows_and_columns_of_a_kernel_stay_where_they_are() {
        let weights: Vec<f32> = (0..12).map(|i| i as f32 / 11.0).collect();
        let picture = &pictures(&weights, 2, false)[0];
        let red = |x, y| picture.get_pixel(x, y).0[0];
        assert!(red(0, 0) < red(1, 0) && red(1, 0) < red(0, 1) && red(0, 1) < red(1, 1));
        assert!(picture.get_pixel(0, 0).0[0] < picture.get_pixel(0, 0).0[2], "blue comes last");
    }

    #[test]
    fn half_a_has_the_first_kernels_and_one_column_has_one_block() {
        let kernels = pictures(&WEIGHTS, 1, false);
        let both = blocks(kernels.clone(), 2);
        assert_eq!((both[0].kernels[0].clone(), both.len()), (kernels[0].clone(), 2));
        assert_eq!(both[1].name.as_deref(), Some("half B"));
        assert_eq!(blocks(kernels, 1)[0].kernels.len(), 2);
    }
}
