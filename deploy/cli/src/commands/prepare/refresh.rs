//! The prepared data set to use for some pictures: the one that is there, one that an older run
//! began with, or a new one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use coordinator::run_dir::RunDir;
use loader::dataset::{self, Changes, Files};
use loader::prepare::{self, Options};

use super::{into_shards, read};
use crate::files::is_there;
use crate::print;

/// Pictures, and where their prepared form belongs.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) src: &'a Path,
    pub(super) dst: &'a Path,
    pub(super) options: Options,
    /// Run directory of the run that the pictures are for.
    pub(super) run: Option<&'a Path>,
    /// Use what is prepared even if the pictures have changed since.
    pub(super) keep: bool,
}

/// The data set with which a run began.
struct Begun {
    run: PathBuf,
    digest: String,
    about: String,
}

/// The folder to use, prepared if there is none or if the pictures have changed.
pub(super) fn up_to_date(wanted: &Wanted<'_>) -> Result<PathBuf> {
    let Wanted { src, dst, run, .. } = wanted;
    if let Some(begun) = begun(*run)?
        && let Some(found) = of_run(&begun, dst)?
    {
        say_whether_changed(wanted, &begun, &found);
        return Ok(found);
    }
    if !dataset::is_prepared(dst) {
        print::line(format_args!(
            "{} is not prepared yet: writing {} (once)",
            src.display(),
            dst.display()
        ));
        into_shards(src, dst, &wanted.options)?;
        return Ok(dst.to_path_buf());
    }
    if !is_there(src)? {
        print::line(format_args!(
            "{} is not there any more: using what was prepared of it, {}",
            src.display(),
            dst.display()
        ));
        return Ok(dst.to_path_buf());
    }
    let files = read(src, &wanted.options)?.files;
    match dataset::changes_since(dst, &files)? {
        None => print::line(format_args!(
            "{} is prepared already: using {} (an earlier version of this program made it, which \
             did not note from which files, so changes since then can't be seen; to prepare the \
             pictures anew, rename this folder)",
            src.display(),
            dst.display()
        )),
        Some(changes) if changes.is_empty() => print::line(format_args!(
            "{} is prepared already: using {}",
            src.display(),
            dst.display()
        )),
        Some(changes) if wanted.keep => print::line(format_args!(
            "{} has changed since {} was prepared: {}; using what is prepared (--keep-prepared)",
            src.display(),
            dst.display(),
            describe(&changes)
        )),
        Some(changes) => {
            print::line(format_args!(
                "{} has changed since {} was prepared: {}; preparing it anew",
                src.display(),
                dst.display(),
                describe(&changes)
            ));
            let options = Options { replace: true, ..wanted.options.clone() };
            into_shards(src, dst, &options)?;
        }
    }
    Ok(dst.to_path_buf())
}

/// A prepared folder that was named itself, or one beside it that the run began with.
pub(super) fn named(folder: &Path, run: Option<&Path>) -> Result<PathBuf> {
    let found = begun(run)?.map(|begun| of_run(&begun, folder)).transpose()?.flatten();
    Ok(found.unwrap_or_else(|| folder.to_path_buf()))
}

/// The data set with which a run began; `None` if it has not begun.
///
/// # Errors
/// If the run directory is there, but can't be read.
fn begun(run: Option<&Path>) -> Result<Option<Begun>> {
    let Some(run) = run else { return Ok(None) };
    let dir = match RunDir::open(run) {
        Ok(dir) => dir,
        Err(coordinator::Error::NotARun { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(data) = dir.record.data_set else { return Ok(None) };
    let (n, pictures) = (data.classes.len() as u64, data.n_train);
    let about = format!(
        "{:?}, {}, {}",
        data.name,
        print::count(n, "class", "classes"),
        print::count(pictures, "training picture", "training pictures")
    );
    Ok(Some(Begun { run: dir.path, digest: data.digest, about }))
}

/// The data set with which a run began, among the one at `dst` and those that were there before.
///
/// # Errors
/// If there are others only: preparing again would not bring it back.
fn of_run(begun: &Begun, dst: &Path) -> Result<Option<PathBuf>> {
    let here = dataset::is_prepared(dst).then(|| dst.to_path_buf());
    let all: Vec<PathBuf> = here.into_iter().chain(prepare::before(dst)).collect();
    let digest = |folder: &PathBuf| dataset::describe(folder).ok().map(|(_, digest)| digest);
    if let Some(found) = all.iter().find(|folder| digest(folder).as_ref() == Some(&begun.digest)) {
        if found != dst {
            print::line(format_args!(
                "{} began with {}: using that",
                begun.run.display(),
                found.display()
            ));
        }
        return Ok(Some(found.clone()));
    }
    let Some(other) = all.first() else { return Ok(None) };
    // A damaged description has its own, better words.
    let (summary, _) = dataset::describe(other)?;
    bail!(
        "{} began with other pictures or labels ({}) than those in {} ({:?}, {}, {}); start a new \
         run with --run NAME, or name the run's own prepared folder with --data",
        begun.run.display(),
        begun.about,
        other.display(),
        summary.name,
        print::count(summary.classes.len() as u64, "class", "classes"),
        print::count(summary.n_train, "training picture", "training pictures"),
    );
}

/// Says that the pictures of a run have changed since it began, if they have.
fn say_whether_changed(wanted: &Wanted<'_>, begun: &Begun, found: &Path) {
    let Wanted { src, options, .. } = wanted;
    let used = || {
        print::line(format_args!(
            "{} is prepared already: using {}",
            src.display(),
            found.display()
        ));
    };
    // The run continues with what it began with, even if its source is gone or has changed.
    let Ok(reading) = read(src, options) else { return used() };
    match dataset::changes_since(found, &reading.files) {
        Ok(Some(changes)) if !changes.is_empty() => print::line(format_args!(
            "{} has changed since {} began: {}; this run continues with the pictures it began with, \
             {}; to train on the changed ones, start a new run with --run NAME",
            src.display(),
            begun.run.display(),
            describe(&changes),
            found.display()
        )),
        _ => used(),
    }
}

/// Changes of a source in words: `2 files added (cat/7.jpg, cat/8.jpg), 1 removed (dog/1.jpg)`.
pub(crate) fn describe(changes: &Changes) -> String {
    let kinds =
        [(&changes.added, "added"), (&changes.removed, "removed"), (&changes.changed, "changed")];
    let one = |(files, what): (&Files, &str)| {
        let names: Vec<_> = files.first.iter().map(|path| path.display().to_string()).collect();
        let more = if files.n > names.len() as u64 { ", …" } else { "" };
        let n = print::count(files.n, "file", "files");
        format!("{n} {what} ({}{more})", names.join(", "))
    };
    let some = kinds.into_iter().filter(|(files, _)| files.n > 0).map(one);
    some.collect::<Vec<_>>().join(", ")
}

/// The folder `<folder>-<side>` next to `src`.
pub(super) fn beside(src: &Path, side: usize) -> Result<PathBuf> {
    let name = if src.is_file() { src.file_stem() } else { src.file_name() };
    let name = name.with_context(|| {
        format!(
            "{} has no name to put a prepared folder beside: prepare it to a place of your choice, \
             `{} prepare {} DST`, and use --data DST",
            src.display(),
            print::program(),
            src.display()
        )
    })?;
    let mut name = name.to_owned();
    name.push(format!("-{side}"));
    Ok(src.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_with_numbers_and_first_names() {
        let files = |n, first: &[&str]| Files { n, first: first.iter().map(Into::into).collect() };
        let changes = Changes {
            added: files(2, &["cat/7.jpg", "cat/8.jpg"]),
            removed: files(0, &[]),
            changed: files(1_300, &["dog/1.jpg"]),
        };
        assert_eq!(
            describe(&changes),
            "2 files added (cat/7.jpg, cat/8.jpg), 1,300 files changed (dog/1.jpg, …)"
        );
    }

    #[test]
    fn a_prepared_folder_lies_beside_its_source_and_the_root_folder_has_no_beside() {
        assert_eq!(beside(Path::new("/a/b"), 72).unwrap(), Path::new("/a/b-72"));
        let said = beside(Path::new("/"), 72).unwrap_err().to_string();
        assert!(said.contains("prepare / DST"), "{said}");
    }
}
