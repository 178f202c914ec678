//! `alexnet prepare`, and the preparing that `up --data` does by itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use model::recipe::Recipe;

use crate::args::PrepareArgs;
use crate::{recipe, say};

/// The description that makes a folder a prepared one.
const DESCRIPTION: &str = "dataset.json";

/// Turns what there is into shards.
pub(crate) fn run(args: &PrepareArgs) -> Result<()> {
    into_shards(&args.src, &args.dst, args.side as usize)?;
    say::line(format_args!(
        "to train on them: {} up --data {}",
        say::program(),
        args.dst.display()
    ));
    Ok(())
}

/// The pictures of `--data`, prepared: as they are, or beside them where they aren't.
///
/// # Errors
/// If there are none, or they can't be prepared.
pub(crate) fn ready(data: &str, recipe: &Recipe) -> Result<String> {
    match data.strip_prefix("synthetic") {
        Some("") => return Ok(recipe::built_in_pictures(recipe)),
        Some(rest) if rest.starts_with(':') => return Ok(data.to_owned()),
        _ => {}
    }
    let src = std::path::absolute(data).with_context(|| format!("{data} is no path"))?;
    if !src.is_dir() {
        bail!(
            "--data {data}: there is no such folder; it holds train/<class>/* and val/<class>/*, or \
             was made by `{} prepare`",
            say::program()
        );
    }
    let side = recipe::stored_side(recipe);
    let prepared = if src.join(DESCRIPTION).is_file() { src } else { beside(&src, side)? };
    Ok(prepared.to_string_lossy().into_owned())
}

/// `<folder>-<side>` next to the folder, made unless it is there.
fn beside(src: &Path, side: usize) -> Result<PathBuf> {
    let name = src.file_name().context("the root folder holds no pictures")?.to_string_lossy();
    let dst = src.with_file_name(format!("{name}-{side}"));
    if dst.join(DESCRIPTION).is_file() {
        say::line(format_args!("{} was prepared before: using {}", src.display(), dst.display()));
        return Ok(dst);
    }
    say::line(format_args!(
        "{} isn't prepared yet: making {} of it (once)",
        src.display(),
        dst.display()
    ));
    into_shards(src, &dst, side).with_context(|| {
        format!("prepare it yourself: {} prepare {} DST", say::program(), src.display())
    })?;
    Ok(dst)
}

fn into_shards(src: &Path, dst: &Path, side: usize) -> Result<()> {
    let report = loader::prepare(src, dst, side)?;
    let _ = report;
    Ok(())
}
