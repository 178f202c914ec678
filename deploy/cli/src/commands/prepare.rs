//! `alexnet prepare`, and the preparing that `up --data` does by itself.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use loader::prepare::{Options, Report};
use model::recipe::Recipe;

use crate::{print, recipe};

/// The description that makes a folder a prepared one.
const DESCRIPTION: &str = "dataset.json";
/// Most skipped files that are printed.
const MOST_SKIPPED: usize = 20;

const HELP: &str = "\
SRC may be
  a folder with train/<class>/* and val/<class>/*  (any picture format, any size)
  a folder with ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the development kit
  Kaggle's copy of it, with LOC_val_solution.csv
  a folder with CIFAR-10 binaries (data_batch_1.bin …), or with WebDataset tars

Examples:
  alexnet prepare my-pictures data/my-pictures
  alexnet prepare ilsvrc2012/ data/imagenet";

/// Arguments of `alexnet prepare`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct PrepareArgs {
    /// Pictures to prepare
    src: PathBuf,

    /// Prepared folder to write
    dst: PathBuf,

    /// Side of the stored pictures, from which crops are taken (CIFAR-10 stays 32 × 32)
    #[arg(long, default_value_t = 256)]
    side: u32,

    /// Fraction of training images to hold out when there is no validation set [default: 0.1]
    #[arg(long, value_name = "0..0.9")]
    val_share: Option<f64>,

    /// Name of the data set [default: the source's]
    #[arg(long)]
    name: Option<String>,

    /// Accept archives that are cut short or hold less than their lists say
    #[arg(long)]
    partial: bool,
}

/// Turns pictures into shards.
pub(super) fn run(args: &PrepareArgs) -> Result<()> {
    let usual = Options::default();
    let options = Options {
        side: args.side as usize,
        val_share: args.val_share.unwrap_or(usual.val_share),
        name: args.name.clone(),
        partial: args.partial,
        ..usual
    };
    into_shards(&args.src, &args.dst, &options)?;
    print::line(format_args!("next: {} up --data {}", print::program(), args.dst.display()));
    Ok(())
}

/// The prepared folder for `--data`: the folder itself, or a new one beside it.
///
/// # Errors
/// If there are no pictures, or they can't be prepared.
pub(super) fn ready(data: &str, recipe: &Recipe) -> Result<String> {
    match data.strip_prefix("synthetic") {
        Some("") => return Ok(recipe::built_in_pictures(recipe)),
        Some(rest) if rest.starts_with(':') => return Ok(data.to_owned()),
        _ => {}
    }
    let src = std::path::absolute(data).with_context(|| format!("--data {data} is not a path"))?;
    if !src.is_dir() {
        bail!(
            "there is no folder {data}: --data needs a folder with train/<class>/* and \
             val/<class>/*, or one that `{} prepare` made",
            print::program()
        );
    }
    let side = recipe::stored_side(recipe);
    let prepared = if src.join(DESCRIPTION).is_file() { src } else { beside(&src, side)? };
    Ok(prepared.to_string_lossy().into_owned())
}

/// The folder `<folder>-<side>` next to `src`, made if it does not exist.
fn beside(src: &Path, side: usize) -> Result<PathBuf> {
    let name = src
        .file_name()
        .context("the folder / can't be prepared: choose a folder below it")?
        .to_string_lossy();
    let dst = src.with_file_name(format!("{name}-{side}"));
    if dst.join(DESCRIPTION).is_file() {
        print::line(format_args!("{} is prepared already: using {}", src.display(), dst.display()));
        return Ok(dst);
    }
    print::line(format_args!(
        "{} is not prepared yet: writing {} (once)",
        src.display(),
        dst.display()
    ));
    let name = Some(name.into_owned());
    let options = Options { side, name, ..Options::default() };
    into_shards(src, &dst, &options).with_context(|| {
        format!(
            "--data {} can't be prepared; try `{} prepare {} DST`",
            src.display(),
            print::program(),
            src.display()
        )
    })?;
    Ok(dst)
}

/// Prepares pictures, and prints a summary.
fn into_shards(src: &Path, dst: &Path, options: &Options) -> Result<()> {
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len} pictures  {per_sec}  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let reading = loader::prepare::read(src, options)?;
    for doubt in &reading.doubts {
        print::line(format_args!("  doubt: {}", doubt.why));
    }
    let report = loader::prepare::store(reading, src, dst, options, &|progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        if progress.left_out > 0 {
            bar.set_message(format!("{} skipped", print::thousands(progress.left_out)));
        }
    });
    bar.finish_and_clear();
    summarize(&report?);
    Ok(())
}

fn summarize(report: &Report) {
    let made = &report.summary;
    print::line(format_args!(
        "{}: {}, {} for training, {} for validation, {} × {}",
        report.path.display(),
        print::count(made.classes.len() as u64, "class", "classes"),
        print::count(made.n_train, "picture", "pictures"),
        print::thousands(made.n_val),
        made.side,
        made.side
    ));
    report.notes.iter().for_each(|warning| print::line(format_args!("  note: {warning}")));
    if made.left_out.is_empty() {
        return;
    }
    print::line(format_args!(
        "  {} skipped; dataset.json lists all of them:",
        print::count(made.left_out.len() as u64, "file was", "files were")
    ));
    for left_out in made.left_out.iter().take(MOST_SKIPPED) {
        print::line(format_args!("    {}: {}", left_out.file, left_out.reason));
    }
    if made.left_out.len() > MOST_SKIPPED {
        print::line(format_args!("    … and {} more", made.left_out.len() - MOST_SKIPPED));
    }
}
