//! The kind of a file, by the ending of its name: a first guess, before its bytes are seen.

/// The kind of a file among pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A picture by its name, of a kind that is read or not.
    Picture,
    /// No known ending: tried as a picture.
    Unknown,
    /// Not a picture by its name, with a description for people.
    Other(&'static str),
    /// An archive: pictures may be in it, but they aren't read.
    Archive,
}

const TEXTS: [&str; 50] = [
    "txt",
    "csv",
    "tsv",
    "json",
    "jsonl",
    "xml",
    "yaml",
    "yml",
    "md",
    "rst",
    "html",
    "htm",
    "pdf",
    "doc",
    "docx",
    "xls",
    "xlsx",
    "ods",
    "odt",
    "rtf",
    "log",
    "ini",
    "cfg",
    "toml",
    "py",
    "ipynb",
    "sh",
    "bat",
    "js",
    "m",
    "mat",
    "npy",
    "npz",
    "pkl",
    "pickle",
    "h5",
    "hdf5",
    "pt",
    "pth",
    "safetensors",
    "onnx",
    "parquet",
    "arrow",
    "db",
    "sqlite",
    "caffemodel",
    "prototxt",
    "tex",
    "bib",
    "lock",
];
const VIDEOS: [&str; 16] = [
    "mp4", "mov", "avi", "mkv", "webm", "mpg", "mpeg", "m4v", "3gp", "wmv", "wav", "mp3", "m4a",
    "aac", "flac", "ogg",
];
const ARCHIVES: [&str; 10] = ["zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "lz4"];

/// The kind of a file with this name.
pub(super) fn kind(name: &str) -> Kind {
    let Some(ending) = ending(name) else { return Kind::Unknown };
    let is = |endings: &[&str]| endings.contains(&ending.as_str());
    if picture::has_picture_name(name) {
        Kind::Picture
    } else if is(&TEXTS) {
        Kind::Other("texts, tables and programs")
    } else if is(&VIDEOS) {
        Kind::Other("videos and sounds")
    } else if is(&ARCHIVES) {
        Kind::Archive
    } else {
        Kind::Unknown
    }
}

/// Returns true if a file's ending is that of a picture.
pub(super) fn has_picture_name(name: &str) -> bool {
    kind(name.rsplit('/').next().unwrap_or(name)) == Kind::Picture
}

/// The ending of a file's name, in lower case.
pub(super) fn ending(name: &str) -> Option<String> {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, end)| end.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_a_name_says_what_a_file_may_be() {
        for name in ["a.jpg", "b.JPEG", "c.x.png", "IMG_1.HEIC"] {
            assert_eq!(kind(name), Kind::Picture, "{name}");
        }
        for name in ["README", "0003", "cat.0003", ".jpg", "a."] {
            assert_eq!(kind(name), Kind::Unknown, "{name}");
        }
        assert!(matches!(kind("n01443537_boxes.txt"), Kind::Other(_)));
        assert!(matches!(kind("clip.MOV"), Kind::Other(_)));
        assert_eq!(kind("more.zip"), Kind::Archive);
    }
}
