//! `alexnet prepare`, and the preparing that `up --data` does by itself.

mod reading; // what a source holds, and what was probably meant
mod progress; // a bar, or lines in a log
mod refresh; // whether what is prepared is still right
mod stop; // Ctrl-C while pictures are prepared

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use loader::dataset;
use loader::prepare::{Options, Place, Reading, Report};
use model::recipe::Recipe;

use crate::{print, recipe};
use progress::Shown;
use refresh::Wanted;
use stop::Stop;

pub(crate) use refresh::describe as describe_changes;

/// Most skipped files that are printed.
const MOST_SKIPPED: usize = 20;

const HELP: &str = "\
SRC may be
  a folder with train/<class>/*, val/<class>/* and test/<class>/*, or with <class>/*
  a folder of pictures with a list of their classes (a CSV file or val_annotations.txt)
  a folder with ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the development kit
  Kaggle's copy of it, with LOC_val_solution.csv
  a folder with CIFAR-10 binaries (data_batch_1.bin …), or with WebDataset tars

Examples:
  alexnet prepare my-pictures data/my-pictures
  alexnet prepare ilsvrc2012/ data/imagenet

The same command resumes an interrupted preparation.";

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

    /// Folder of the training pictures, below SRC [default: recognized by its name]
    #[arg(long, value_name = "FOLDER")]
    train: Option<Place>,

    /// Folder of the validation pictures, below SRC; none = hold out training pictures
    /// [default: recognized by its name]
    #[arg(long, value_name = "FOLDER|none")]
    val: Option<Place>,

    /// Folder of the test pictures, below SRC; none = leave them [default: recognized by its name]
    #[arg(long, value_name = "FOLDER|none")]
    test: Option<Place>,

    /// Show what SRC holds and how it would be prepared, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// JPEG quality of the stored pictures; up to side 64, pixels are stored as they are
    #[arg(long, default_value_t = 90, value_name = "1..100")]
    quality: u8,

    /// Number of threads that decode pictures; 0 takes one per core
    #[arg(long, default_value_t = 0)]
    threads: usize,

    /// Length in bytes at which a shard is closed, for tests.
    #[arg(long, hide = true)]
    shard_bytes: Option<u64>,

    /// Prepare SRC even if most of its pictures can't be used
    #[arg(long)]
    allow_unreadable: bool,

    /// Prepare only if DST does not exist or SRC has changed since; keep the old data set as
    /// DST.before, and print the folder to use as last line
    #[arg(long)]
    refresh: bool,

    /// With --refresh, keep the data set with which the run in this directory began
    #[arg(long, value_name = "DIR", requires = "refresh")]
    run: Option<PathBuf>,

    /// With --refresh, keep what is prepared even if SRC has changed since
    #[arg(long, requires = "refresh")]
    keep_prepared: bool,

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
        train: args.train.clone(),
        val: args.val.clone(),
        test: args.test.clone(),
        quality: args.quality,
        threads: args.threads,
        shard_bytes: args.shard_bytes.unwrap_or(usual.shard_bytes),
        allow_unreadable: args.allow_unreadable,
        partial: args.partial,
        ..usual
    };
    if args.dry_run {
        let reading = read(&args.src, &options)?;
        reading::show(&reading, &args.src);
        return reading
            .check(&args.src)
            .map_err(|e| reading::with_advice(e, &args.src, &args.dst, &options));
    }
    if args.refresh {
        let (run, keep) = (args.run.as_deref(), args.keep_prepared);
        let wanted = Wanted { src: &args.src, dst: &args.dst, options, run, keep };
        print::line(refresh::up_to_date(&wanted)?.display());
        return Ok(());
    }
    into_shards(&args.src, &args.dst, &options)?;
    print::line(format_args!("next: {} up --data {}", print::program(), args.dst.display()));
    Ok(())
}

/// Pictures for training, as they were named.
#[derive(Debug, Default)]
pub(super) struct Asked<'a> {
    /// Run directory of the run that they are for.
    pub(super) run: Option<&'a Path>,
    /// Use what is prepared even if the pictures have changed since.
    pub(super) keep: bool,
    /// True if the run directory names them, and not the command line.
    pub(super) remembered: bool,
}

/// The prepared folder for `--data`: the folder itself, or one beside it, which is made if need be.
///
/// # Errors
/// If there are no pictures, or they can't be prepared.
pub(super) fn ready(data: &str, recipe: &Recipe, asked: &Asked<'_>) -> Result<String> {
    match data.strip_prefix("synthetic") {
        Some("") => return Ok(recipe::built_in_pictures(recipe)),
        Some(rest) if rest.starts_with(':') => return Ok(data.to_owned()),
        _ => {}
    }
    let src = recipe::resolved(data).with_context(|| format!("--data {data} is not a path"))?;
    if dataset::is_prepared(&src) {
        return Ok(refresh::named(&src, asked.run)?.to_string_lossy().into_owned());
    }
    let side = recipe::stored_side(recipe);
    // A file may be an archive: the reading says so, or what to do with it.
    let dst = match src.is_dir() || src.is_file() {
        true => refresh::beside(&src, side)?,
        false => refresh::beside(&src, side)
            .ok()
            .filter(|dst| dataset::is_prepared(dst))
            .with_context(|| missing(data, asked))?,
    };
    let name = src.file_name().map(|name| name.to_string_lossy().into_owned());
    let options = Options { side, name, ..Options::default() };
    let wanted = Wanted { src: &src, dst: &dst, options, run: asked.run, keep: asked.keep };
    let used = refresh::up_to_date(&wanted).map_err(|error| match error.downcast_ref() {
        None | Some(loader::Error::Stopped { .. }) => error,
        Some(_) => error.context(format!(
            "--data {} can't be prepared; try `{} prepare {} DST`",
            src.display(),
            print::program(),
            src.display()
        )),
    })?;
    Ok(used.to_string_lossy().into_owned())
}

fn missing(data: &str, asked: &Asked<'_>) -> String {
    let program = print::program();
    match (asked.remembered, asked.run) {
        (true, Some(run)) => format!(
            "the run {} remembers its pictures at {data}, where there is no folder any more: name \
             their present place with --data DIR",
            run.display()
        ),
        _ => format!(
            "there is no folder {data}: --data needs a folder with train/<class>/* and \
             val/<class>/*, or one that `{program} prepare` made"
        ),
    }
}

/// Reads a source, and shows progress.
fn read(src: &Path, options: &Options) -> Result<Reading> {
    let _shown = Shown::new()?;
    Ok(loader::prepare::read(src, options)?)
}

/// Prepares pictures, and prints a summary.
fn into_shards(src: &Path, dst: &Path, options: &Options) -> Result<()> {
    let reading = read(src, options)?;
    reading::show(&reading, src);
    let n_shown = reading.notes.len();
    reading.check(src).map_err(|e| reading::with_advice(e, src, dst, options))?;
    let stop = Stop::new();
    let shown = Shown::until(stop.flag())?;
    let report = loader::prepare::store(reading, src, dst, options, &shown);
    drop(shown);
    if let Err(stopped @ loader::Error::Stopped { .. }) = &report {
        print::line(stopped);
    }
    drop(stop);
    let report = report?;
    summarize(&report, n_shown);
    if let Some(before) = &report.before {
        print::line(format_args!(
            "  the data set of before is kept as {}, for runs that began with it; remove it when \
             they have ended",
            before.display()
        ));
    }
    Ok(())
}

/// Prints the result, with the notes after the first `shown`.
fn summarize(report: &Report, shown: usize) {
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
    if made.n_test > 0 {
        print::line(format_args!(
            "  {} for a test",
            print::count(made.n_test, "picture", "pictures")
        ));
    }
    let notes = report.notes.iter().skip(shown);
    notes.for_each(|note| print::line(format_args!("  note: {note}")));
    if made.left_out.is_empty() {
        return;
    }
    print::line(format_args!(
        "  {} skipped; dataset.json lists all of them:",
        print::count(made.left_out.len() as u64, "file was", "files were")
    ));
    for left_out in made.left_out.iter().take(MOST_SKIPPED) {
        let file = print::visible(&left_out.file);
        print::line(format_args!("    {file}: {}", left_out.reason));
    }
    if made.left_out.len() > MOST_SKIPPED {
        print::line(format_args!("    … and {} more", made.left_out.len() - MOST_SKIPPED));
    }
}
