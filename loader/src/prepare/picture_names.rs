//! Names of picture files.

/// Endings of picture files, whether or not their decoder is built in.
const PICTURES: [&str; 28] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "gif", "bmp", "webp", "tif", "tiff", "ppm", "pgm", "pbm",
    "pnm", "pam", "tga", "ico", "pcx", "jp2", "j2k", "jxl", "avif", "heic", "heif", "img", "image",
    "dib", "apng",
];

/// Whether a file's ending is that of a picture.
pub(super) fn has_picture_name(name: &str) -> bool {
    ending(name).is_some_and(|ending| PICTURES.contains(&ending.as_str()))
}

/// The ending of a file's name, in lower case.
pub(super) fn ending(name: &str) -> Option<String> {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, end)| end.to_lowercase())
}
