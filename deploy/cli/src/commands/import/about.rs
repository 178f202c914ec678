//! The data set of an imported run: from prepared pictures, from the file, or from lists of classes
//! and a mean image.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use coordinator::DataSet;
use loader::{Description, Source};
use model::recipe::Recipe;

use super::caffe;
use super::found::{Found, Mean};
use crate::commands::prepare::{self, Asked};
use crate::{print, recipe};

/// The sources of classes and mean image.
#[derive(Debug, Clone, Args)]
pub(super) struct AboutArgs {
    /// Take classes and mean image from these pictures, on which `up --run` then trains further: a
    /// prepared folder, a folder with train/ and val/, or synthetic[:SIDE]
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<String>,

    /// Take the names of the classes from this file: one per line, in the order of fc8's outputs
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(super) classes: Option<PathBuf>,

    /// Mean image: a .binaryproto of Caffe, or three numbers for red, green and blue
    #[arg(long, value_name = "FILE|R,G,B")]
    pub(super) mean: Option<String>,
}

/// Everything about a new run that is neither recipe nor weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct About {
    /// Data set of the run.
    pub(super) data_set: DataSet,
    /// Mean image.
    pub(super) mean: Vec<f32>,
    /// The pictures to train on, for `up.json`.
    pub(super) pictures: Option<String>,
}

/// Puts together what the options and the file say.
pub(super) fn about(
    args: &AboutArgs,
    file: &Path,
    recipe: &Recipe,
    found: &mut Found,
) -> Result<About> {
    let (mut data_set, pictures, of_pictures) = match &args.data {
        Some(data) => {
            let asked = Asked { run: None, keep: false, remembered: false };
            let data = prepare::ready(data, recipe, &asked)?;
            let source = Source::open(&data.parse()?)?;
            let about = source.describe();
            let mean = Mean { side: about.side, values: about.mean.clone() };
            note_other_classes(&about.classes, found);
            (described(about), Some(data), Some(mean))
        }
        None => (without_pictures(args, file, found.data_set.take())?, None, None),
    };
    let typed = args.mean.as_deref().map(|text| typed_mean(text, recipe, &data_set)).transpose()?;
    note_other_means(typed.as_ref(), of_pictures.as_ref(), found);
    let Some(mean) = typed.or(of_pictures).or(found.mean.take()) else {
        bail!(
            "{} has no mean image: take that of its training pictures with --data DIR, or name it \
             with --mean",
            print::path(file)
        );
    };
    if data_set.side == 0 {
        data_set.side = mean.side as u32;
    }
    ensure!(
        data_set.side as usize == mean.side,
        "the mean image has {0} × {0} pixels, but the stored pictures have {1} × {1}",
        mean.side,
        data_set.side
    );
    ensure!(
        mean.side >= recipe.crop,
        "the mean image has {0} × {0} pixels, too few for the recipe's crops of {1} × {1}",
        mean.side,
        recipe.crop
    );
    Ok(About { data_set, mean: mean.values, pictures })
}

/// Says where the pictures have another class than the file.
fn note_other_classes(here: &[String], found: &Found) {
    let Some(of_file) = &found.data_set else { return };
    let pairs = of_file.classes.iter().zip(here).enumerate();
    if let Some((label, (there, here))) = pairs.into_iter().find(|(_, (a, b))| a != b) {
        print::note(format_args!(
            "class {label} is {} in the file and {} in these pictures. If that is not another name \
             of the same class, train with `up --from` instead",
            print::visible(there),
            print::visible(here)
        ));
    }
}

/// A data set as a run keeps it.
fn described(about: &Description) -> DataSet {
    let mut colors = [0.0; 9];
    colors.copy_from_slice(about.colors.as_flattened());
    DataSet {
        name: about.name.clone(),
        digest: about.digest.clone(),
        side: about.side as u32,
        classes: about.classes.clone(),
        n_train: about.n_train,
        n_val: about.n_val,
        colors,
    }
}

/// The data set of a run whose pictures are not here.
fn without_pictures(args: &AboutArgs, file: &Path, in_file: Option<DataSet>) -> Result<DataSet> {
    let Some(list) = &args.classes else {
        return in_file.with_context(|| {
            format!(
                "{} does not name its classes: take them from its training pictures with --data \
                 DIR, or from a list with --classes FILE",
                print::path(file)
            )
        });
    };
    let text = std::fs::read_to_string(list)
        .with_context(|| format!("{} can't be read", print::path(list)))?;
    let classes: Vec<String> = text.lines().map(str::trim).map(str::to_owned).collect();
    if let Some(line) = classes.iter().position(String::is_empty) {
        bail!("line {} of {} is empty, expected a class name", line + 1, print::path(list));
    }
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let digest = format!("imported without pictures: {name}");
    // Nothing else is known, so that nothing can be trained with these pictures.
    let (n_train, n_val, colors) = (0, 0, [0.0; 9]);
    let known = in_file.unwrap_or(DataSet {
        name,
        digest,
        side: 0,
        classes: Vec::new(),
        n_train,
        n_val,
        colors,
    });
    Ok(DataSet { classes, ..known })
}

/// The mean image that `--mean` names.
fn typed_mean(text: &str, recipe: &Recipe, data_set: &DataSet) -> Result<Mean> {
    if let Some(color) = three_numbers(text) {
        let side = match data_set.side {
            0 => recipe::stored_side(recipe),
            side => side as usize,
        };
        let values = color.iter().flat_map(|level| std::iter::repeat_n(*level, side * side));
        return Ok(Mean { side, values: values.collect() });
    }
    caffe::mean(Path::new(text))
}

fn three_numbers(text: &str) -> Option<[f32; 3]> {
    let numbers: Option<Vec<f32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    let numbers = numbers?.try_into().ok()?;
    let fits = |levels: &[f32; 3]| levels.iter().all(|level| (0.0..=255.0).contains(level));
    Some(numbers).filter(fits)
}

/// Notes that the network will not see the pixels that it was trained with.
fn note_other_means(typed: Option<&Mean>, of_pictures: Option<&Mean>, found: &mut Found) {
    if typed.is_some() && of_pictures.is_some() && typed != of_pictures {
        found.notes.push(
            "the mean image is that of --mean, not that of the pictures of --data: `up --run` will \
             refuse to train on them"
                .into(),
        );
    } else if typed.is_none()
        && let (Some(pictures), Some(own)) = (of_pictures, &found.mean)
        && pictures != own
    {
        found.notes.push(
            "the mean image is that of the pictures of --data, not the one in the file: the \
             network sees slightly other numbers than in its training"
                .into(),
        );
    }
}
