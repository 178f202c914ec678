//! Files that are no tar although their name or place says so: compressed archives, web pages.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::doubt::{Doubt, Instead};

/// A kind of file by its first bytes, and the command that unpacks it.
struct Kind {
    magic: &'static [u8],
    /// The kind in words, to be read after `it is`.
    what: &'static str,
    unpack: Unpack,
}

#[derive(Clone, Copy)]
enum Unpack {
    Tar,
    Zip,
    Command(&'static str),
    /// Nothing that a usual command unpacks.
    No,
}

const fn kind(magic: &'static [u8], what: &'static str, unpack: Unpack) -> Kind {
    Kind { magic, what, unpack }
}

const KINDS: [Kind; 15] = [
    kind(b"\x1f\x8b", "compressed with gzip", Unpack::Tar),
    kind(b"PK\x03\x04", "a zip archive", Unpack::Zip),
    kind(b"PK\x05\x06", "an empty zip archive", Unpack::No),
    kind(b"\xfd7zXZ\0", "compressed with xz", Unpack::Tar),
    kind(b"\x28\xb5\x2f\xfd", "compressed with zstd", Unpack::Tar),
    kind(b"BZh", "compressed with bzip2", Unpack::Tar),
    kind(b"\x1f\x9d", "compressed with compress", Unpack::Tar),
    kind(b"LZIP", "compressed with lzip", Unpack::Tar),
    kind(b"\x04\x22\x4d\x18", "compressed with lz4", Unpack::No),
    kind(b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", Unpack::Command("7z x -o")),
    kind(b"Rar!", "a RAR archive", Unpack::Command("unrar x ")),
    kind(b"\x89HDF", "an HDF5 file", Unpack::No),
    kind(b"PAR1", "a Parquet table", Unpack::No),
    kind(
        b"version https://git-lfs",
        "a placeholder of Git LFS (fetch it: git lfs pull)",
        Unpack::No,
    ),
    kind(b"ARROW1", "an Arrow table", Unpack::No),
];

/// Endings of compressed archives, and of archives that are no tars.
const ENDINGS: [&str; 20] = [
    ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz", ".tar.zst", ".tzst",
    ".tar.lz4", ".tar.lz", ".tar.z", ".zip", ".7z", ".rar", ".gz", ".xz", ".bz2", ".zst", ".tar",
];

/// Returns true if a file's name is that of a compressed archive.
pub(super) fn has_compressed_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    ENDINGS.iter().any(|ending| *ending != ".tar" && lower.ends_with(ending))
}

/// Says what a file is that is no tar, and how to unpack it; `None` if it may be a tar.
pub(super) fn doubt(path: &Path) -> Option<Doubt> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(512).read_to_end(&mut start).ok()?;
    let shown = path.display();
    if start.is_empty() {
        let why = format!("{shown}: it is empty (0 bytes); download or copy it again");
        return Some(Doubt { why, instead: None });
    }
    if is_page(&start) {
        let why = format!(
            "{shown}: it is a web page and no archive, as servers send it instead of a download \
             (look into it with a browser); download it again"
        );
        return Some(Doubt { why, instead: None });
    }
    let kind = KINDS.iter().find(|kind| start.starts_with(kind.magic))?;
    let command = command(path, kind.unpack);
    let then = match &command {
        Some((command, to)) => {
            format!("unpack it first: `{command}`, then prepare {}", net::quoted(to))
        }
        None => "expected a tar or a folder".into(),
    };
    let why = format!("{shown}: it is {}; {then}", kind.what);
    Some(Doubt { why, instead: command.map(|(command, _)| Instead::Before(command)) })
}

/// The command that unpacks a plain tar, and the folder that it makes.
pub(super) fn unpack_tar(path: &Path) -> String {
    command(path, Unpack::Tar).map(|(command, _)| command).unwrap_or_default()
}

fn is_page(start: &[u8]) -> bool {
    let text = String::from_utf8_lossy(start).to_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    ["<!doctype", "<html", "<?xml", "<head", "<script"].iter().any(|tag| text.starts_with(tag))
}

fn command(path: &Path, unpack: Unpack) -> Option<(String, PathBuf)> {
    let to = free_folder(path);
    let (file, folder) = (net::quoted(path), net::quoted(&to));
    let command = match unpack {
        Unpack::Tar => format!("mkdir {folder} && tar xf {file} -C {folder}"),
        Unpack::Zip => format!("unzip -q {file} -d {folder}"),
        Unpack::Command("7z x -o") => format!("7z x -o{folder} {file}"),
        Unpack::Command(_) => format!("mkdir {folder} && unrar x {file} {folder}/"),
        Unpack::No => return None,
    };
    Some((command, to))
}

/// A folder beside an archive that doesn't exist yet, named after the archive.
fn free_folder(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lower = name.to_lowercase();
    let ending = ENDINGS.iter().find(|ending| lower.ends_with(**ending));
    let stem = name.get(..name.len() - ending.map_or(0, |ending| ending.len())).unwrap_or(&name);
    let stem = if stem.is_empty() { "pictures" } else { stem };
    let more = (1..).map(|i| match i {
        1 => format!("{stem}-unpacked"),
        i => format!("{stem}-unpacked-{i}"),
    });
    let first = (stem != name).then(|| stem.to_string());
    let mut names = first.into_iter().chain(more).map(|name| path.with_file_name(name));
    names.find(|path| !path.exists()).unwrap_or_else(|| path.with_extension("unpacked"))
}

#[cfg(test)]
mod tests;
