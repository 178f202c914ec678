//! The files that a data set was made from, as `source.tsv.gz` lists them: a line per file with its
//! length, its time in nanoseconds since 1970, and its path.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use proto::digest::{hex, sha256};
use sha2::{Digest, Sha256};

use super::{DESCRIPTION, damaged, read_checked, read_summary};
use crate::Error;
use crate::prepare::SourceFile;

/// Name of the list in a data set.
pub(crate) const SOURCE_FILES: &str = "source.tsv.gz";
/// Most names that are kept per kind of change.
const NAMED: usize = 5;

/// The files of a source in the order of their paths, compressed, with the digest of the list.
#[derive(Debug)]
pub(crate) struct SourceList {
    /// SHA-256 of the list.
    pub(crate) fingerprint: String,
    /// The list, compressed.
    pub(crate) gzip: Vec<u8>,
}

/// Differences between a source and the one that a data set was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Files that are new.
    pub added: Files,
    /// Files that are gone.
    pub removed: Files,
    /// Files with another length or time.
    pub changed: Files,
}

/// A number of files, the first ones named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Number of files.
    pub n: u64,
    /// The first of them.
    pub first: Vec<PathBuf>,
}

impl Changes {
    /// Tells whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.added.n + self.removed.n + self.changed.n == 0
    }
}

impl Files {
    fn add(&mut self, file: &SourceFile) {
        self.n += 1;
        if self.first.len() < NAMED {
            self.first.push(file.path.clone());
        }
    }
}

impl SourceList {
    /// Lists files, in any order.
    pub(crate) fn of(files: &[SourceFile]) -> Self {
        let mut hash = Sha256::new();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        for file in sorted(files) {
            let line = line(file);
            hash.update(&line);
            let _ = gzip.write_all(&line); // into memory
        }
        let gzip = gzip.finish().unwrap_or_default();
        Self { fingerprint: hex(&hash.finalize()), gzip }
    }
}

/// Finds the differences between the files of a source and those that the data set in `folder` was
/// made from; `None` if the data set doesn't say, because its format is 1.
///
/// # Errors
/// [`Error::Damaged`] and others of [`DataSet::open`](super::DataSet::open).
pub fn changes_since(folder: &Path, files: &[SourceFile]) -> Result<Option<Changes>, Error> {
    let (summary, _) = read_summary(folder)?;
    let (Some(fingerprint), Some(list)) = (&summary.fingerprint, &summary.source_files) else {
        return Ok(None);
    };
    let gzip = read_checked(folder, list)?;
    let path = folder.join(&list.file);
    let mut text = Vec::new();
    GzDecoder::new(&gzip[..]).read_to_end(&mut text).map_err(Error::io(&path, "unpack"))?;
    if sha256(&text) != *fingerprint {
        let why = format!("it is not the list of {DESCRIPTION}");
        return Err(damaged(path, "the list of the source's files", why));
    }
    let old: Option<Vec<_>> =
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parse).collect();
    let Some(old) = old else {
        let why = "a line of it has no length, time and path".to_string();
        return Err(damaged(path, "the list of the source's files", why));
    };
    Ok(Some(compare(&old, &sorted(files))))
}

fn sorted(files: &[SourceFile]) -> Vec<&SourceFile> {
    let mut files: Vec<_> = files.iter().collect();
    // Bytes, not components: the order of the written lines.
    files.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    files.dedup_by(|a, b| a.path == b.path);
    files
}

fn compare(old: &[SourceFile], new: &[&SourceFile]) -> Changes {
    let mut changes = Changes::default();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().copied().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.path.as_os_str().cmp(b.path.as_os_str()),
        };
        let was = if order.is_le() { old.next() } else { None };
        let is = if order.is_ge() { new.next() } else { None };
        match (was, is) {
            (Some(was), None) => changes.removed.add(was),
            (None, Some(is)) => changes.added.add(is),
            (Some(was), Some(is)) if was != is => changes.changed.add(is),
            _ => {}
        }
    }
}

fn line(file: &SourceFile) -> Vec<u8> {
    let mut line = format!("{}\t{}\t", file.bytes, file.modified_ns).into_bytes();
    for byte in file.path.as_os_str().as_bytes() {
        match byte {
            b'\\' => line.extend(b"\\\\"),
            b'\n' => line.extend(b"\\n"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\n');
    line
}

fn parse(line: &[u8]) -> Option<SourceFile> {
    let mut parts = line.splitn(3, |byte| *byte == b'\t');
    let mut number = || std::str::from_utf8(parts.next()?).ok();
    let (bytes, modified_ns) = (number()?.parse().ok()?, number()?.parse().ok()?);
    let mut path = Vec::new();
    let mut escaped = parts.next()?.iter();
    while let Some(byte) = escaped.next() {
        path.push(match byte {
            b'\\' if *escaped.next()? == b'n' => b'\n',
            byte => *byte,
        });
    }
    let path = OsStr::from_bytes(&path).to_owned().into_vec();
    Some(SourceFile { path: PathBuf::from(std::ffi::OsString::from_vec(path)), bytes, modified_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &[u8], bytes: u64, modified_ns: i64) -> SourceFile {
        SourceFile { path: OsStr::from_bytes(path).into(), bytes, modified_ns }
    }

    #[test]
    fn a_line_is_read_back_whatever_the_name() {
        for path in [
            &b"a/b c.jpg"[..],
            b"tab\there",
            b"new\nline",
            b"back\\n",
            b"\xff\xfe",
            "猫".as_bytes(),
        ] {
            let file = file(path, 7, -5);
            let line = line(&file);
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(parse(&line[..line.len() - 1]).unwrap(), file);
        }
        assert!(parse(b"7\tx\tname").is_none());
        assert!(parse(b"").is_none());
    }

    #[test]
    fn the_fingerprint_does_not_depend_on_the_order_and_sees_every_change() {
        let files = [file(b"b", 1, 1), file(b"a/x", 2, 2), file(b"a-", 3, 3)];
        let turned: Vec<_> = files.iter().rev().cloned().collect();
        let first = SourceList::of(&files);
        assert_eq!(first.fingerprint, SourceList::of(&turned).fingerprint);
        assert_eq!(first.gzip, SourceList::of(&turned).gzip);
        for changed in [file(b"c", 1, 1), file(b"b", 2, 1), file(b"b", 1, 2)] {
            let other = [changed, files[1].clone(), files[2].clone()];
            assert_ne!(first.fingerprint, SourceList::of(&other).fingerprint);
        }
    }

    #[test]
    fn changes_are_counted_and_the_first_ones_named() {
        let old = [file(b"a", 1, 1), file(b"b", 1, 1), file(b"c", 1, 1)];
        let mut new = vec![file(b"b", 1, 2), file(b"c", 1, 1)];
        new.extend((0..9).map(|i| file(format!("n{i}").as_bytes(), 1, 1)));
        let changes = compare(&old, &sorted(&new));
        assert_eq!((changes.removed.n, changes.changed.n, changes.added.n), (1, 1, 9));
        assert_eq!(changes.removed.first, [PathBuf::from("a")]);
        assert_eq!(changes.changed.first, [PathBuf::from("b")]);
        assert_eq!(changes.added.first.len(), NAMED);
        assert!(compare(&old, &sorted(&old)).is_empty());
    }
}
