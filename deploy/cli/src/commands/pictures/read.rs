//! Picture files, read without surprises: never a pipe or device, never one of any size.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::network::Stored;

/// Longest file that is read as a picture.
const LONGEST: u64 = 1 << 30;

/// Bytes from which the kind of a picture can be told.
const BEGINNING: u64 = 64;

/// Reads a picture as a network sees it before cropping.
///
/// # Errors
/// A sentence about what is wrong with the file.
pub(super) fn picture(path: &Path, side: usize) -> Result<Stored, String> {
    let file = open(path)?;
    let bytes = file.metadata().map_err(unread)?.len();
    if bytes > LONGEST {
        let longest = LONGEST >> 20;
        return Err(format!("{} MB, at most {longest} MB are read as a picture", bytes >> 20));
    }
    let bytes = beginning(file, LONGEST).map_err(unread)?;
    picture::square(&bytes, side)
}

/// Returns true if a file's name or its first bytes say that it is a picture.
///
/// # Errors
/// A sentence, if the file can't be read.
pub(super) fn is_picture(path: &Path) -> Result<bool, String> {
    if path.file_name().is_some_and(|name| picture::has_picture_name(&name.to_string_lossy())) {
        return Ok(true);
    }
    let bytes = beginning(open(path)?, BEGINNING).map_err(unread)?;
    Ok(image::guess_format(&bytes).is_ok())
}

/// Opens a plain file; anything else is refused before it is opened, because opening a pipe could
/// wait without end.
fn open(path: &Path) -> Result<File, String> {
    let about = std::fs::metadata(path).map_err(unread)?;
    if !about.is_file() {
        return Err("not a file: pipes, sockets and devices are not read; save the picture to a \
                    file first"
            .into());
    }
    File::open(path).map_err(unread)
}

fn beginning(file: File, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unread(error: std::io::Error) -> String {
    format!("it can't be read: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_known_by_its_name_or_its_first_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let is = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            is_picture(&path).unwrap()
        };
        assert!(is("a.JPG", b"") && is("b.heic", b"x") && is("c", b"\xFF\xD8\xFF\xE0"));
        assert!(!is("notes.txt", b"jpg") && !is("empty", b"") && !is("jpg", b"x"));
    }

    #[test]
    fn a_file_of_any_size_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big.jpg");
        File::create(&path).unwrap().set_len(LONGEST + (1 << 20)).unwrap();
        let said = picture(&path, 8).unwrap_err();
        assert!(said.contains("1025 MB"), "{said}");
    }
}
