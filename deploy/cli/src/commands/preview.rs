//! `alexnet preview`: an augmented minibatch as a contact sheet, and as tensors.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use image::RgbImage;
use loader::Source;
use loader::batch::{Minibatch, Request};
use safetensors::tensor::{Dtype, TensorView};

use super::prepare;
use crate::draw::sheet::{Tile, thumbnail, write_png};
use crate::options::DEFAULT_SEED;
use crate::{print, recipe};

/// Arguments of `alexnet preview`.
#[derive(Debug, Args)]
pub(super) struct PreviewArgs {
    /// Prepared folder, or synthetic[:SIDE]
    data: String,

    /// Contact sheet to write, ending in .png
    out: PathBuf,

    /// Crop, mirror and shift colors as in this recipe
    #[arg(long, default_value = "caffe", value_name = "NAME|FILE")]
    recipe: String,

    /// Change one value of the recipe
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,

    /// Seed of the run
    #[arg(long, default_value_t = DEFAULT_SEED)]
    seed: u64,

    /// Minibatch of this step, from 0
    #[arg(long, default_value_t = 0)]
    step: u64,

    /// Also write the minibatch as tensors: pixels, offset, flip, shift, label, input
    #[arg(long, value_name = "FILE.safetensors")]
    tensors: Option<PathBuf>,
}

/// Draws the contact sheet, and writes tensors if asked to.
pub(super) fn run(args: &PreviewArgs) -> Result<()> {
    if args.out.extension().is_none_or(|e| e != "png") {
        bail!("{} must end in .png, the format of the contact sheet", args.out.display());
    }
    let recipe = recipe::load(&args.recipe, &args.sets)?;
    let data = prepare::ready(&args.data, &recipe, &prepare::Asked::default())?;
    let source = Source::open(&data.parse()?)?;
    let about = source.describe();
    let request = Request::of_training(&recipe, args.seed, args.step, about.n_train);
    let batch = source.minibatch(&request)?;
    let title = format!(
        "{}, recipe {}, seed {}, step {}: {} crops of {} × {}",
        recipe::data_name(&data, about.side),
        recipe.name,
        args.seed,
        args.step,
        batch.n,
        batch.crop,
        batch.crop
    );
    sheet(&args.out, &title, &batch, &about.classes)?;
    print::line(args.out.display());
    if let Some(file) = &args.tensors {
        tensors(file, &batch, &about.mean, about.side)?;
        print::line(file.display());
    }
    Ok(())
}

/// All pictures of a minibatch with their labels.
fn sheet(out: &Path, title: &str, batch: &Minibatch, classes: &[String]) -> Result<()> {
    let tile = |i: usize| {
        let name = classes.get(batch.labels[i] as usize).map_or("?", String::as_str);
        Tile { picture: thumbnail(&as_seen(batch, i)), captions: vec![name.to_owned()] }
    };
    write_png(out, title, (0..batch.n).map(tile).collect())
}

/// A crop as a person can look at it: mirrored and with its color shift, but without subtracting
/// the mean.
pub(super) fn as_seen(batch: &Minibatch, i: usize) -> RgbImage {
    let crop = batch.crop;
    RgbImage::from_fn(crop as u32, crop as u32, |x, y| {
        let x = if batch.flips[i] { crop as u32 - 1 - x } else { x };
        let at = |color| batch.pixels[((3 * i + color) * crop + y as usize) * crop + x as usize];
        image::Rgb([0, 1, 2].map(|c| (f32::from(at(c)) + batch.shifts[i][c]).round() as u8))
    })
}

/// Writes `pixels offset flip shift label input`.
fn tensors(file: &Path, batch: &Minibatch, mean: &[f32], side: usize) -> Result<()> {
    let (n, crop) = (batch.n, batch.crop);
    let bytes4 = |values: Vec<[u8; 4]>| values.into_iter().flatten().collect::<Vec<u8>>();
    let offsets = batch.rows.iter().zip(&batch.columns).flat_map(|(r, c)| [*r, *c]);
    let offset = bytes4(offsets.map(|v| (v as i32).to_le_bytes()).collect());
    let flip: Vec<u8> = batch.flips.iter().map(|flip| u8::from(*flip)).collect();
    let shift = bytes4(batch.shifts.iter().flatten().map(|v| v.to_le_bytes()).collect());
    let label = bytes4(batch.labels.iter().map(|v| (*v as i32).to_le_bytes()).collect());
    let pixels = interleaved(&batch.pixels, crop);
    let input = bytes4(input(batch, mean, side).iter().map(|v| v.to_le_bytes()).collect());
    let view = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes);
    let all = [
        ("pixels", view(Dtype::U8, &[n, crop, crop, 3], &pixels[..])?),
        ("offset", view(Dtype::I32, &[n, 2], &offset[..])?),
        ("flip", view(Dtype::U8, &[n], &flip[..])?),
        ("shift", view(Dtype::F32, &[n, 3], &shift[..])?),
        ("label", view(Dtype::I32, &[n], &label[..])?),
        ("input", view(Dtype::F32, &[n, 3, crop, crop], &input[..])?),
    ];
    safetensors::serialize_to_file(all, None, file)
        .with_context(|| format!("{} can't be written", file.display()))
}

/// `[n, 3, crop, crop]` as `[n, crop, crop, 3]`.
fn interleaved(planar: &[u8], crop: usize) -> Vec<u8> {
    let plane = crop * crop;
    let pictures = planar.chunks_exact(3 * plane);
    pictures.flat_map(|p| (0..plane).flat_map(|at| [0, 1, 2].map(|c| p[c * plane + at]))).collect()
}

/// Output of the worker's first kernel, `[n, 3, crop, crop]`: pixels minus the mean at the crop's
/// position, mirrored, plus the color shift.
fn input(batch: &Minibatch, mean: &[f32], side: usize) -> Vec<f32> {
    let crop = batch.crop;
    let mut out = Vec::with_capacity(batch.pixels.len());
    for i in 0..batch.n {
        let (row, column) = (batch.rows[i] as usize, batch.columns[i] as usize);
        for c in 0..3 {
            for y in 0..crop {
                let line = &batch.pixels[((3 * i + c) * crop + y) * crop..][..crop];
                let mean = &mean[(c * side + row + y) * side + column..][..crop];
                out.extend((0..crop).map(|x| {
                    let x = if batch.flips[i] { crop - 1 - x } else { x };
                    (f32::from(line[x]) - mean[x]) + batch.shifts[i][c]
                }));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    /// Two pictures of 2 × 2 out of 3 × 3; the second one flipped and shifted.
    fn batch() -> Minibatch {
        Minibatch {
            n: 2,
            crop: 2,
            labels: vec![1, 0],
            rows: vec![0, 1],
            columns: vec![1, 0],
            flips: vec![false, true],
            shifts: vec![[0.0; 3], [1.0, -300.0, 0.0]],
            images: vec![4, 7],
            digest: 0,
            pixels: (0..24).collect::<Vec<u8>>().into(),
        }
    }

    #[test]
    fn input_is_less_the_mean_at_the_crops_place_then_flipped_then_shifted() {
        let mean: Vec<f32> = (0..27).map(|v| v as f32 / 100.0).collect();
        let input = input(&batch(), &mean, 3);
        assert_eq!(input[0], 0.0 - 0.01); // red of picture 0 at row 0, column 1
        assert_eq!(input[12], (13.0 - 0.04) + 1.0); // flipped: column 1 of row 1 comes first
        assert_eq!(input.len(), 24);
    }

    #[test]
    fn the_sheet_shows_flips_and_clamps_colors() {
        let seen = as_seen(&batch(), 1);
        assert_eq!(seen.get_pixel(0, 0).0, [14, 0, 21]);
    }

    #[test]
    fn tensors_have_the_shapes_and_types_people_read_them_with() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.safetensors");
        tensors(&file, &batch(), &[0.0; 27], 3).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let read = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.tensor("pixels").unwrap().shape(), [2, 2, 2, 3]);
        assert_eq!(read.tensor("pixels").unwrap().data()[..6], [0, 4, 8, 1, 5, 9]);
        assert_eq!(read.tensor("offset").unwrap().dtype(), Dtype::I32);
        assert_eq!(read.tensor("label").unwrap().data()[..4], [1, 0, 0, 0]);
        assert_eq!(read.tensor("input").unwrap().shape(), [2, 3, 2, 2]);
    }

    #[test]
    fn a_sheet_is_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("s.png");
        sheet(&out, "two", &batch(), &["cat".into(), "an unusually long name".into()]).unwrap();
        assert!(image::open(out).unwrap().width() > crate::draw::sheet::THUMB);
    }
}
