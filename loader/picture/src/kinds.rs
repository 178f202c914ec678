//! Recognizes files by their first bytes: the kinds that are read, and others by name.

use image::ImageFormat;

/// The kinds that are read, in the words of messages.
pub(crate) const READ: &str = "JPEG, PNG, GIF, BMP, TIFF, WebP or PPM/PGM/PBM";

/// A kind of picture file that is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// A JPEG, behind this many bytes that don't belong to it.
    Jpeg(usize),
    /// A kind that the `image` crate reads.
    Other(ImageFormat),
}

/// The kind of a file.
///
/// # Errors
/// A sentence that names what the bytes are and how they become a picture that is read.
pub(crate) fn recognize(bytes: &[u8]) -> Result<Kind, String> {
    if bytes.is_empty() {
        return Err("an empty file".into());
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return Err("a file of zeros only, as an interrupted copy leaves it".into());
    }
    let blank = |byte: &&u8| b" \t\r\n\0\xEF\xBB\xBF".contains(byte);
    let blanks = bytes.iter().take(64).take_while(blank).count();
    if bytes[blanks..].starts_with(b"\xFF\xD8\xFF") {
        return Ok(Kind::Jpeg(blanks));
    }
    if let Some((name, command)) = raw_photo(bytes) {
        return Err(refused(name, command));
    }
    if let Some(format) = format(bytes) {
        return Ok(Kind::Other(format));
    }
    match other(bytes) {
        Some((name, command)) => Err(refused(name, command)),
        None => Err(format!("not a picture of a known kind ({READ})")),
    }
}

fn format(bytes: &[u8]) -> Option<ImageFormat> {
    let is_pnm = matches!(bytes, [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n' | b'#', ..]);
    let is_webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(ImageFormat::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(ImageFormat::Gif),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(ImageFormat::Tiff),
        // The size of the header behind the file's: 12, 40 to 124.
        [b'B', b'M', ..] if matches!(bytes.get(14..18), Some([12..=124, 0, 0, 0])) => {
            Some(ImageFormat::Bmp)
        }
        _ if is_webp => Some(ImageFormat::WebP),
        _ if is_pnm => Some(ImageFormat::Pnm),
        _ => None,
    }
}

/// A way from a kind that is not read to one that is.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// By this command.
    Command(&'static str),
    /// By what stands here as a sentence's end.
    Words(&'static str),
}

use Way::{Command, Words};

const MAGICK: Way = Command("magick OLD NEW.png");
const DEVELOP: Way = Command("dcraw_emu -w OLD");
const FRAMES: Way = Command("ffmpeg -i OLD NEW-%05d.jpg");
const UNPACK: Way = Words("unpack it first");

fn refused(name: &str, way: Way) -> String {
    match way {
        Command(command) => {
            format!("{name}, which is not read; convert it to JPEG or PNG (`{command}`)")
        }
        Words(words) => format!("{name}, not a picture; {words}"),
    }
}

/// A refusal of a file whose kind is read, but not in every form.
pub(crate) fn of_another_form(format: ImageFormat, bytes: &[u8]) -> String {
    let form = match format {
        ImageFormat::Tiff => form_of_tiff(bytes),
        _ => "of a form",
    };
    let name = name(format);
    format!("a {name} {form} that is not read; convert it to JPEG or PNG (`magick OLD NEW.png`)")
}

/// Names what keeps a TIFF from being read, as far as its first directory says.
fn form_of_tiff(bytes: &[u8]) -> &'static str {
    let tags = first_tags(bytes).unwrap_or_default();
    let of = |tag: u16| tags.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value);
    let (compression, colors, numbers) = (of(259), of(262), of(339));
    match (compression, colors, numbers) {
        (Some(2 | 3), ..) => "with a compression (fax, group 3)",
        (Some(34712), ..) => "with a compression (JPEG 2000)",
        (Some(34887), ..) => "with a compression (LERC)",
        (Some(50000), ..) => "with a compression (Zstandard)",
        (Some(50001 | 34927), ..) => "with a compression (WebP)",
        (_, Some(3), _) => "with a palette",
        (_, Some(6), _) => "with colors (YCbCr)",
        (_, Some(8..=10), _) => "with colors (Lab)",
        (.., Some(3)) => "with colors (floating-point numbers)",
        _ => "of a form",
    }
}

/// A refusal of a file that its decoder can't read to the end.
pub(crate) fn damaged(format: ImageFormat) -> String {
    format!("a {} that is damaged or was cut short", name(format))
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::WebP => "WebP",
        _ => "PPM, PGM or PBM",
    }
}

/// Endings of names of pictures that the `image` crate doesn't know.
#[rustfmt::skip]
const ENDINGS: [&str; 28] = [
    "jpe", "heic", "heif", "hif", "jxl", "jp2", "j2k", "jpf", "jpx", "jxr", "psd", "pcx", "svg",
    "cr2", "cr3", "nef", "dng", "arw", "orf", "rw2", "raf", "raw", "pef", "srw", "dib", "pnm", "img",
    "image",
];

/// Returns true if a file's name ends like a picture's, of a kind that is read or not.
pub(crate) fn has_picture_name(file: &str) -> bool {
    let ending = file.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
    ImageFormat::from_path(file).is_ok()
        || ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// Containers of one form: four bytes of length, `ftyp`, and a brand.
fn container(bytes: &[u8]) -> Option<(&'static str, Way)> {
    let kind = bytes.get(4..8)?;
    let moving = ("a video", FRAMES);
    match kind {
        b"moov" | b"mdat" | b"wide" | b"free" | b"skip" if bytes.len() > 16 => Some(moving),
        b"ftyp" => Some(match bytes.get(8..12)? {
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"mif2"
            | b"msf1" => match bytes.get(16..64.min(bytes.len())) {
                Some(others) if others.windows(4).any(|b| b == b"avif") => {
                    ("an AVIF picture", AVIF)
                }
                _ => ("a HEIC picture", HEIC),
            },
            b"avif" | b"avis" => ("an AVIF picture", AVIF),
            b"crx " => ("a raw photo (CR3)", DEVELOP),
            _ => moving,
        }),
        _ => None,
    }
}

const HEIC: Way = Command("heif-convert OLD NEW.jpg");
const AVIF: Way = Command("avifdec OLD NEW.png");

/// Files that begin with fixed bytes.
#[rustfmt::skip]
const BEGINNINGS: &[(&[u8], &str, Way)] = &[
    (b"\0\0\0\x0CjP  ",        "a JPEG 2000 picture", Command("opj_decompress -i OLD -o NEW.png")),
    (b"\xFF\x4F\xFF\x51",      "a JPEG 2000 picture", Command("opj_decompress -i OLD -o NEW.png")),
    (b"\0\0\0\x0CJXL ",        "a JPEG XL picture",   Command("djxl OLD NEW.png")),
    (b"\xFF\x0A",              "a JPEG XL picture",   Command("djxl OLD NEW.png")),
    (b"II\xBC\x01",            "a JPEG XR picture",   MAGICK),
    (b"\xFF\xD8",              "a JPEG that breaks off at its beginning", Words("copy it anew")),
    (b"\0\0\x01\0",            "an icon (ICO)",       MAGICK),
    (b"icns",                  "an icon (ICNS)",      MAGICK),
    (b"8BPS",                  "a Photoshop file (PSD)", Command("magick 'OLD[0]' NEW.png")),
    (b"gimp xcf",              "a GIMP file (XCF)",   MAGICK),
    (b"DDS ",                  "a texture (DDS)",     MAGICK),
    (b"\x76\x2F\x31\x01",      "an OpenEXR picture",  MAGICK),
    (b"#?RADIANCE",            "a Radiance HDR picture", MAGICK),
    (b"qoif",                  "a QOI picture",       MAGICK),
    (b"farbfeld",              "a farbfeld picture",  MAGICK),
    (b"PF\n",                  "a PFM picture",       MAGICK),
    (b"Pf\n",                  "a PFM picture",       MAGICK),
    (b"\xD7\xCD\xC6\x9A",      "a drawing (WMF)",     MAGICK),
    (b"IIRO",                  "a raw photo (ORF)",   DEVELOP),
    (b"IIRS",                  "a raw photo (ORF)",   DEVELOP),
    (b"MMOR",                  "a raw photo (ORF)",   DEVELOP),
    (b"IIU\0",                 "a raw photo (RW2)",   DEVELOP),
    (b"FUJIFILMCCD-RAW",       "a raw photo (RAF)",   DEVELOP),
    (b"FOVb",                  "a raw photo (X3F)",   DEVELOP),
    (b"\0MRM",                 "a raw photo (MRW)",   DEVELOP),
    (b"%PDF",                  "a PDF document",      Command("pdftoppm -png OLD NEW")),
    (b"%!PS",                  "a PostScript document", Command("magick OLD NEW.png")),
    (b"\x1A\x45\xDF\xA3",      "a video",             FRAMES),
    (b"\0\0\x01\xBA",          "a video",             FRAMES),
    (b"\0\0\x01\xB3",          "a video",             FRAMES),
    (b"FLV\x01",               "a video",             FRAMES),
    (b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", "a video",  FRAMES),
    (b"OggS",                  "an Ogg file",         FRAMES),
    (b"PK\x03\x04",            "a zip archive",       UNPACK),
    (b"PK\x05\x06",            "an empty zip archive", Words("fetch it anew")),
    (b"\x1F\x8B",              "gzipped data",        UNPACK),
    (b"BZh",                   "bzip2 data",          UNPACK),
    (b"\xFD7zXZ\0",            "xz data",             UNPACK),
    (b"\x28\xB5\x2F\xFD",      "Zstandard data",      UNPACK),
    (b"7z\xBC\xAF\x27\x1C",    "a 7z archive",        UNPACK),
    (b"Rar!",                  "a RAR archive",       UNPACK),
    (b"\x93NUMPY",             "a NumPy array",       Words("save each picture as PNG")),
    (b"\x89HDF\r\n\x1A\n",     "an HDF5 file",        Words("save each picture as PNG")),
    (b"SQLite format 3",       "a SQLite database",   Words("take it out of the folder")),
    (b"\x7FELF",               "a program",           Words("take it out of the folder")),
    (b"MZ",                    "a program",           Words("take it out of the folder")),
    (b"\0\x05\x16\x07",        "macOS metadata (a `._` file)", Words("the picture is beside it")),
    (b"\0\x05\x16\0",          "macOS metadata (a `._` file)", Words("the picture is beside it")),
    (b"version https://git-lfs", "a pointer of Git LFS", Words("fetch it with `git lfs pull`")),
];

fn other(bytes: &[u8]) -> Option<(&'static str, Way)> {
    let fixed = BEGINNINGS.iter().find(|(beginning, ..)| bytes.starts_with(beginning));
    if let Some(&(_, name, way)) = fixed {
        return Some((name, way));
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"AVI ") {
        return Some(("a video", FRAMES));
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Some(("a tar archive", UNPACK));
    }
    container(bytes).or_else(|| text(bytes)).or_else(|| old(bytes))
}

/// Pages, drawings and plain text.
fn text(bytes: &[u8]) -> Option<(&'static str, Way)> {
    let beginning = &bytes[..bytes.len().min(1024)];
    let strange = |byte: &u8| *byte < 32 && !b"\t\r\n\x0C\x1B".contains(byte);
    if beginning.iter().any(strange) {
        return None;
    }
    let text = String::from_utf8_lossy(beginning).to_lowercase();
    let page = ("a web page (HTML)", Words("fetch the picture anew"));
    if text.contains("<svg") {
        return Some(("an SVG drawing", Command("rsvg-convert -o NEW.png OLD")));
    }
    if ["<html", "<!doctype html", "<head", "<body"].iter().any(|tag| text.contains(tag)) {
        return Some(page);
    }
    let broken = text.chars().filter(|&c| c == char::REPLACEMENT_CHARACTER).count();
    let fetch = Words("if a picture should be here, fetch it anew");
    match text.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']).chars().next() {
        _ if broken > 2 => None,
        Some('<') => Some(("XML text", fetch)),
        Some('{') | Some('[') => Some(("JSON text", fetch)),
        _ => Some(("text", fetch)),
    }
}

/// Kinds of the eighties, whose beginnings say little.
fn old(bytes: &[u8]) -> Option<(&'static str, Way)> {
    if let [0x0A, 0 | 2..=5, 1, 1 | 2 | 4 | 8, ..] = bytes {
        return Some(("a PCX picture", MAGICK));
    }
    let signed = bytes.len() > 26 && bytes[bytes.len() - 18..].starts_with(b"TRUEVISION-XFILE");
    let head = bytes.get(..18)?;
    let likely = matches!(head[1], 0 | 1)
        && matches!(head[2], 1..=3 | 9..=11)
        && matches!(head[16], 8 | 15 | 16 | 24 | 32)
        && head[17] & 0xC0 == 0;
    (signed || likely).then_some(("a TGA picture", MAGICK))
}

/// Photos as the sensor saw them, most of them in the form of a TIFF whose first picture is a
/// thumbnail.
fn raw_photo(bytes: &[u8]) -> Option<(&'static str, Way)> {
    if bytes.starts_with(b"II*\0") && bytes.get(8..10) == Some(b"CR") {
        return Some(("a raw photo (CR2)", DEVELOP));
    }
    let tags = first_tags(bytes)?;
    let of = |tag: u16| tags.iter().find(|(t, _)| *t == tag).map(|(_, value)| *value);
    if of(0xC612).is_some() {
        return Some(("a raw photo (DNG)", DEVELOP));
    }
    // NewSubfileType says a smaller version, SubIFDs say where the others are, Make is a camera's.
    let smaller = of(0x00FE).is_some_and(|kind| kind & 1 == 1);
    let is_raw = of(0x010F).is_some() && (smaller || of(0x0103) == Some(34713));
    let sony_or_nikon = is_raw || smaller && of(0x014A).is_some();
    sony_or_nikon.then_some(("a raw photo", DEVELOP))
}

/// Tags of a TIFF's first directory, with the beginnings of their values.
fn first_tags(bytes: &[u8]) -> Option<Vec<(u16, u32)>> {
    let little = bytes.starts_with(b"II*\0");
    if !little && !bytes.starts_with(b"MM\0*") {
        return None;
    }
    let number = |at: usize, n: usize| -> Option<u32> {
        let bytes = bytes.get(at..at.checked_add(n)?)?;
        let add = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
        Some(if little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) })
    };
    let at = number(4, 4)? as usize;
    let n = number(at, 2)? as usize;
    let tag = |n: usize| {
        let entry = at.checked_add(2 + 12 * n)?;
        let short = number(entry + 2, 2)? == 3;
        Some((number(entry, 2)? as u16, number(entry + 8, if short { 2 } else { 4 })?))
    };
    Some((0..n.min(256)).map_while(tag).collect())
}
