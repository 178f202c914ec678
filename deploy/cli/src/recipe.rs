//! A recipe by name or file, and the names of runs and pictures that follow from it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use model::recipe::{NetworkName, Recipe};

/// Folder of run directories, unless `--run` names another place.
pub(crate) const RUNS: &str = "runs";

/// A built-in recipe or a TOML file, with `key=value` changes.
///
/// # Errors
/// If there is no such recipe, or its values are impossible.
pub(crate) fn load(name: &str, sets: &[String]) -> Result<Recipe> {
    let mut recipe = Recipe::from_toml(&text(name)?)
        .with_context(|| format!("the recipe {name} can't be used"))?;
    recipe.set_all(sets)?;
    Ok(recipe)
}

/// The text of a built-in recipe or of a TOML file.
///
/// # Errors
/// If there is no such recipe, or the file can't be read.
pub(crate) fn text(name: &str) -> Result<String> {
    let looks_like_file = name.ends_with(".toml") || name.contains('/');
    if !looks_like_file {
        return Ok(Recipe::builtin_text(name)?.to_owned());
    }
    std::fs::read_to_string(name).with_context(|| format!("the recipe {name} can't be read"))
}

/// Side of the stored pictures that leave a recipe's crops room to move: 256 for 224.
pub(crate) fn stored_side(recipe: &Recipe) -> usize {
    let room = match (recipe.network, recipe.crop_offsets) {
        (NetworkName::Cifar10, _) => return recipe.crop, // whole pictures
        (_, 0) => recipe.crop / 8,                       // everywhere: an eighth, as 224 has in 256
        (_, n) => n - 1,
    };
    (recipe.crop + room).next_multiple_of(8)
}

/// The built-in pictures at the side a recipe wants.
pub(crate) fn built_in_pictures(recipe: &Recipe) -> String {
    format!("synthetic:{}", stored_side(recipe))
}

/// Name of a data set: the last part of its path, without the side that `up` adds, such as
/// `flowers` for `data/flowers-256/`.
pub(crate) fn data_name(data: &str, side: usize) -> String {
    if data == "synthetic" || data.starts_with("synthetic:") {
        return "built-in".into();
    }
    let path = resolved(data).unwrap_or_else(|_| data.into());
    let name = path.file_name().map_or("data".into(), |name| name.to_string_lossy().into_owned());
    let name = name.strip_suffix(".tar").map_or(name.clone(), str::to_owned);
    name.strip_suffix(&format!("-{side}")).map_or(name.clone(), str::to_owned)
}

/// A path as it would be typed from the root folder: `..` is followed, links are kept otherwise.
///
/// # Errors
/// If the path is empty.
pub(crate) fn resolved(path: &str) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let follows = path.components().any(|part| part == std::path::Component::ParentDir);
    // What isn't there can't be followed; it is named as it was typed.
    Ok(if follows { path.canonicalize().unwrap_or(path) } else { path })
}

/// `runs/<recipe>-<data set>`.
pub(crate) fn default_run_dir(recipe: &Recipe, data: &str) -> PathBuf {
    let data = data_name(data, stored_side(recipe));
    Path::new(RUNS).join(format!("{}-{data}", recipe.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_stored_larger_than_the_crop() {
        let side = |name| stored_side(&Recipe::builtin(name).unwrap());
        assert_eq!((side("paper"), side("original"), side("caffe")), (256, 256, 256));
        assert_eq!((side("demo"), side("cifar10-relu")), (72, 32));
    }

    #[test]
    fn a_run_is_named_after_its_recipe_and_its_pictures() {
        let caffe = Recipe::builtin("caffe").unwrap();
        let run = |data| default_run_dir(&caffe, data);
        assert_eq!(run("data/flowers-256/"), Path::new("runs/caffe-flowers"));
        assert_eq!(run("/x/flowers"), Path::new("runs/caffe-flowers"));
        assert_eq!(run("cifar-10"), Path::new("runs/caffe-cifar-10"));
        assert_eq!(run("data/flowers.tar"), Path::new("runs/caffe-flowers"));
        assert_eq!(run("/usr/bin/.."), Path::new("runs/caffe-usr"));
        assert_eq!(run("synthetic:256"), Path::new("runs/caffe-built-in"));
    }

    #[test]
    fn a_recipe_that_is_not_there_is_answered_with_those_that_are() {
        let said = load("cafe", &[]).unwrap_err().to_string();
        assert!(said.contains("caffe"), "{said}");
        let said = format!("{:#}", load("nowhere/mine.toml", &[]).unwrap_err());
        assert!(said.contains("nowhere/mine.toml"), "{said}");
        let said = load("caffe", &["dropuot=0".into()]).unwrap_err().to_string();
        assert!(said.contains("dropout"), "{said}");
    }
}
