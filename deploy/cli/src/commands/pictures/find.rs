//! Picture files: of paths, of folders with all that is below them, of patterns and of lists.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use loader::prepare::{passed_over, product};

use super::glob;
use super::passed::{PassedOver, Reason};
use super::read;
use crate::print;

/// The result of a search.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Picture files in the order in which they were asked for; in a folder, by name.
    pub(super) pictures: Vec<PathBuf>,
    /// A sentence for each thing that was asked for and leads to no picture.
    pub(super) problems: Vec<String>,
    /// Files in folders that are not predicted.
    pub(super) passed: PassedOver,
    /// Folders by device and inode: each is walked once.
    walked: HashSet<(u64, u64)>,
}

/// Finds the pictures of paths and of a list; `-` is standard input.
///
/// # Errors
/// If the list can't be read or is empty.
pub(super) fn find(paths: &[PathBuf], list: Option<&Path>) -> Result<Found> {
    let mut found = Found::default();
    for path in paths {
        match glob::is_pattern(path) && path.symlink_metadata().is_err() {
            true => found.pattern(path),
            false => found.asked(path),
        }
    }
    if let Some(list) = list {
        listed(list)?.iter().for_each(|path| found.asked(path));
    }
    Ok(found)
}

/// The paths in a list, one per line, or separated by NUL if it has any (`find -print0`).
fn listed(list: &Path) -> Result<Vec<PathBuf>> {
    let mut bytes = Vec::new();
    let name = if list == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes).context("the list can't be read")?;
        "the list on standard input".to_owned()
    } else {
        bytes = std::fs::read(list)
            .with_context(|| format!("the list {} can't be read", print::path(list)))?;
        format!("the list {}", print::path(list))
    };
    let paths = paths(&bytes);
    if paths.is_empty() {
        bail!("{name} is empty: write one path per line");
    }
    Ok(paths)
}

fn paths(list: &[u8]) -> Vec<PathBuf> {
    let list = list.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(list);
    let by_nul = list.contains(&0);
    let separator = if by_nul { 0 } else { b'\n' };
    let path = |line: &[u8]| {
        let line = if by_nul { line } else { line.strip_suffix(b"\r").unwrap_or(line) };
        (!line.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(line)))
    };
    list.split(|byte| *byte == separator).filter_map(path).collect()
}

impl Found {
    /// A path that somebody named: it is a picture, or a folder with some.
    fn asked(&mut self, path: &Path) {
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.problem(path, "there is no such file or folder");
            }
            Err(error) => self.problem(path, &format!("it can't be read: {error}")),
            Ok(about) if about.is_dir() => self.asked_folder(path, &about),
            // Anything else is refused, by name, when it is read.
            Ok(_) => self.pictures.push(path.to_path_buf()),
        }
    }

    fn asked_folder(&mut self, folder: &Path, about: &Metadata) {
        if self.walked.contains(&(about.dev(), about.ino())) {
            return; // its pictures are there already
        }
        let before = self.state();
        self.walk(folder, about);
        self.check_any(before, folder, "no picture is in this folder or below it");
    }

    fn pattern(&mut self, pattern: &Path) {
        let (paths, problems) = glob::expand(pattern);
        let before = self.state();
        self.problems.extend(problems);
        for path in &paths {
            self.inside(path);
        }
        let why = match paths.is_empty() {
            true => "nothing matches this pattern",
            false => "this pattern matches no picture",
        };
        self.check_any(before, pattern, why);
    }

    /// Numbers that grow with everything that is said or found about a path.
    fn state(&self) -> (usize, usize, usize) {
        (self.pictures.len(), self.problems.len(), self.passed.len())
    }

    fn check_any(&mut self, before: (usize, usize, usize), path: &Path, why: &str) {
        if (before.0, before.1) != (self.pictures.len(), self.problems.len()) {
            return;
        }
        let passed = self.passed.len() - before.2;
        let passed = match passed {
            0 => String::new(),
            n => format!(" ({} passed over)", print::count(n as u64, "file was", "files were")),
        };
        self.problem(path, &format!("{why}{passed}"));
    }

    /// A path that nobody named: one inside a folder, or one that a pattern matches.
    fn inside(&mut self, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if passed_over(&name).is_some() {
            return self.passed.add(Reason::System, path);
        }
        match std::fs::metadata(path) {
            Err(error) => self.problem(path, &format!("it can't be read: {error}")),
            Ok(about) if about.is_dir() => self.folder_inside(path, &about),
            Ok(about) if !about.is_file() => self.passed.add(Reason::Special, path),
            Ok(_) => match read::is_picture(path) {
                Ok(true) => self.pictures.push(path.to_path_buf()),
                Ok(false) => self.passed.add(Reason::NotPicture, path),
                Err(why) => self.problem(path, &why),
            },
        }
    }

    fn folder_inside(&mut self, folder: &Path, about: &Metadata) {
        if leads_up(folder) {
            self.passed.add(Reason::LinkUp, folder);
        } else if product(folder).is_some() {
            self.passed.add(Reason::Product, folder);
        } else {
            self.walk(folder, about);
        }
    }

    fn walk(&mut self, folder: &Path, about: &Metadata) {
        if !self.walked.insert((about.dev(), about.ino())) {
            return;
        }
        let entries = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
        let mut entries: Vec<PathBuf> = match entries {
            Ok(entries) => entries,
            Err(error) => {
                return self.problem(folder, &format!("this folder can't be listed: {error}"));
            }
        };
        entries.sort();
        entries.iter().for_each(|path| self.inside(path));
    }

    fn problem(&mut self, path: &Path, why: &str) {
        self.problems.push(format!("{}: {why}", print::path(path)));
    }
}

/// Returns true if a path is a link to a folder that the link lies in, however deep.
fn leads_up(path: &Path) -> bool {
    let is_link = path.symlink_metadata().is_ok_and(|about| about.is_symlink());
    let (target, own) = (path.canonicalize(), path.parent().map(Path::canonicalize));
    match (is_link, target, own) {
        (true, Ok(target), Some(Ok(own))) => own.starts_with(target),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
