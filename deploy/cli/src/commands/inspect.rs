//! `alexnet inspect`: what a prepared data set holds, where it came from, and what was left out.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use loader::dataset::{self, Class, DataSet, PictureEncoding, Summary};
use loader::prepare::{self, Options};

use super::prepare::describe_changes;
use crate::files::is_there;
use crate::print;

/// Most kinds of left-out files that are printed.
const MOST_REASONS: usize = 20;
/// Time between two lines about the check of checksums.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Arguments of `alexnet inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Folder that `alexnet prepare` made
    data: PathBuf,

    /// Read all shards and check their checksums
    #[arg(long)]
    verify: bool,

    /// List all classes with their numbers of pictures
    #[arg(long)]
    classes: bool,

    /// Print nothing: succeed if DATA is a folder that `alexnet prepare` made, and fail otherwise
    #[arg(long, conflicts_with_all = ["verify", "classes"])]
    quiet: bool,
}

/// Prints what is known about a data set.
pub(super) fn run(args: &InspectArgs) -> Result<ExitCode> {
    if args.quiet {
        let is_prepared = dataset::is_prepared(&args.data);
        return Ok(if is_prepared { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let (summary, digest) = dataset::describe(&args.data)?;
    print(&args.data, &summary, &digest);
    left_out(&summary);
    changes(&args.data, &summary)?;
    if args.classes {
        list(&summary.classes);
    }
    if args.verify {
        verify(&args.data)?;
        print::line("checksums: all files are as they were written");
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks all shards; says every ten seconds how far it is.
fn verify(folder: &Path) -> Result<()> {
    let said = Cell::new(Instant::now());
    DataSet::open(folder)?.verify_with(&|done, all| {
        if said.get().elapsed() >= SAY_EVERY {
            said.set(Instant::now());
            eprintln!("checked {:.1} of {:.1} GB", done as f64 / 1e9, all as f64 / 1e9);
        }
    })?;
    Ok(())
}

fn print(folder: &Path, made: &Summary, digest: &str) {
    let pictures = |n| print::count(n, "picture", "pictures");
    let row = |what: &str, value: String| print::line(format_args!("{what:<12} {value}"));
    row("data set", format!("{}, in {}", made.name, folder.display()));
    row("digest", format!("{digest} (format {})", made.format));
    let from = made.source_path.as_deref().map(|path| format!(", from {path}"));
    row("source", format!("layout {}{}", made.source, from.unwrap_or_default()));
    row("classes", classes(&made.classes));
    row("training", pictures(made.n_train));
    row("validation", format!("{} ({})", pictures(made.n_val), made.val_from));
    if made.n_test > 0 {
        row("test", pictures(made.n_test));
    }
    let kind = match (made.encoding, made.quality) {
        (PictureEncoding::Raw, _) => "pixels without loss".into(),
        (PictureEncoding::Jpeg, Some(quality)) => format!("JPEG of quality {quality}"),
        (PictureEncoding::Jpeg, None) => "JPEG".into(),
    };
    let bytes = made.bytes() as f64 / 1e6;
    row("stored", format!("{} × {}, {kind}, {bytes:.1} MB", made.side, made.side));
    made.notes.iter().for_each(|note| print::line(format_args!("  note: {note}")));
}

/// Number of classes, the first and the last, the smallest and the largest.
fn classes(classes: &[Class]) -> String {
    let (Some(first), Some(last)) = (classes.first(), classes.last()) else { return "0".into() };
    let size = |class: &&Class| class.n_train;
    let (smallest, largest) = (classes.iter().min_by_key(size), classes.iter().max_by_key(size));
    let of = |class: Option<&Class>| {
        class.map_or(String::new(), |c| format!("{} ({})", c.key, print::thousands(c.n_train)))
    };
    format!(
        "{}, in label order from {} to {}; the smallest is {}, the largest {}",
        print::thousands(classes.len() as u64),
        first.key,
        last.key,
        of(smallest),
        of(largest)
    )
}

fn left_out(made: &Summary) {
    let mut reasons: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for left in &made.left_out {
        reasons.entry(&left.reason).or_insert((0, &left.file)).0 += 1;
    }
    let n = print::count(made.left_out.len() as u64, "file", "files");
    print::line(format_args!("{:<12} {n}", "left out"));
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, (n, _))| std::cmp::Reverse(*n));
    for (reason, (n, first)) in reasons.iter().take(MOST_REASONS) {
        print::line(format_args!("  {} × {reason}, such as {first}", print::thousands(*n)));
    }
    if reasons.len() > MOST_REASONS {
        print::line(format_args!("  and {} other reasons", reasons.len() - MOST_REASONS));
    }
    for kind in &made.passed_over {
        let n = print::thousands(kind.n);
        print::line(format_args!("  passed over: {} ({n}, first {})", kind.kind, kind.first));
    }
}

/// Says whether the source has changed since it was prepared.
fn changes(folder: &Path, made: &Summary) -> Result<()> {
    let say = |what: &str| print::line(format_args!("{:<12} {what}", "since then"));
    let Some(source) = made.source_path.as_deref().map(Path::new) else {
        say("unknown: an earlier version of this program did not note the files of the source");
        return Ok(());
    };
    match is_there(source) {
        Ok(true) => {}
        Ok(false) => {
            say("unknown: the source is not there any more");
            return Ok(());
        }
        Err(error) => {
            say(&format!("unknown: {error:#}"));
            return Ok(());
        }
    }
    match prepare::read(source, &Options::default()) {
        Ok(reading) => match dataset::changes_since(folder, &reading.files)? {
            Some(changes) if !changes.is_empty() => say(&describe_changes(&changes)),
            _ => say("the source has not changed"),
        },
        Err(error) => say(&format!("unknown: {error}")),
    }
    Ok(())
}

fn list(classes: &[Class]) {
    print::line("label  training  validation  test  class");
    for (label, class) in classes.iter().enumerate() {
        let name = match class.name == class.key {
            true => String::new(),
            false => format!(" {}", class.name),
        };
        print::line(format_args!(
            "{label:>5}  {:>8}  {:>10}  {:>4}  {}{name}",
            class.n_train, class.n_val, class.n_test, class.key
        ));
    }
}
