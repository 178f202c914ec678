//! Decodes JPEGs of people's: the right pixels, or a refusal.
//!
//! zune-jpeg 0.5.15 is fast, but decodes some kinds to other pictures and fills with gray what is
//! missing. It is given what it decodes right: one baseline scan without restarts, with luma and
//! halved or whole chroma, and nothing behind it. All else is decoded here, plainly, to the bits
//! of libjpeg. `golden` and `tests` compare both.

mod bits;
mod header;
mod pixels;
mod scan;

use image::RgbImage;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use self::bits::Table;
use self::header::{Component, Frame, Header, Next, Scan};
use self::pixels::Samples;

/// Most scans of a picture: a small file could keep the decoder busy with more of them for long.
const MAX_SCANS: usize = 400;

/// Bits that follow the data for zune-jpeg: more than it reads ahead.
const ONES: usize = 512;

/// The coefficients of 8×8 samples, row by row.
type Block = [i16; 64];

/// A reason not to decode a JPEG.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// Data end before the picture does.
    Cut,
    /// Data that can't be right.
    Damaged,
    /// A kind that no camera writes; in words that follow "a JPEG".
    Kind(&'static str),
}

impl Fault {
    fn words(self) -> String {
        match self {
            Fault::Cut => "a JPEG that was cut short: a part of the picture is missing".into(),
            Fault::Damaged => "a damaged JPEG: a part of the picture can't be read".into(),
            Fault::Kind(kind) => format!(
                "a JPEG {kind}, which is not read; save it as an ordinary JPEG or PNG \
                 (`magick OLD.jpg NEW.png`)"
            ),
        }
    }
}

/// A decoded JPEG and its EXIF data, a TIFF.
pub(crate) struct Decoded<'a> {
    pub(crate) picture: RgbImage,
    pub(crate) exif: Option<&'a [u8]>,
}

/// Decodes a JPEG that starts with its start marker; `check` sees its size before memory is taken.
///
/// # Errors
/// A sentence about what is wrong with the bytes, or what `check` says.
pub(crate) fn decode(
    bytes: &[u8],
    check: impl FnOnce(u64, u64) -> Result<(), String>,
) -> Result<Decoded<'_>, String> {
    let mut header = Header::new(bytes);
    let first = header.next().map_err(Fault::words)?;
    let Next::Scan(scan, at) = first else { return Err(Fault::Cut.words()) };
    let frame = &header.frame;
    check(frame.width as u64, frame.height as u64)?;
    let picture = match plain(&header, &scan, at).and_then(|whole| fast(&whole, frame)) {
        Some(picture) => picture,
        None => right(&mut header, scan, at).map_err(Fault::words)?,
    };
    Ok(Decoded { picture, exif: header.exif })
}

/// Decodes a whole JPEG that was decoded before into `pixels`, `[height, width, 3]`, without
/// turning it.
///
/// # Errors
/// A sentence about what is wrong with the bytes, or that they hold another number of pixels.
pub(crate) fn decode_again(bytes: &[u8], pixels: &mut [u8]) -> Result<(), String> {
    let mut header = Header::new(bytes);
    let first = header.next().map_err(Fault::words)?;
    let Next::Scan(scan, at) = first else { return Err(Fault::Cut.words()) };
    let n = 3 * header.frame.width * header.frame.height;
    if n != pixels.len() {
        return Err(format!("{n} bytes of pixels, expected {}", pixels.len()));
    }
    if is_usual(&header, &scan) {
        let options = DecoderOptions::new_fast().jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        return decoder.decode_into(pixels).map_err(|e| format!("JPEG: {e}"));
    }
    let picture = right(&mut header, scan, at).map_err(Fault::words)?;
    pixels.copy_from_slice(&picture);
    Ok(())
}

/// Tells whether zune-jpeg decodes a whole JPEG of this kind right.
fn is_usual(header: &Header, scan: &Scan) -> bool {
    let frame = &header.frame;
    let sampling: Vec<_> = frame.components.iter().map(|c| c.sampling).collect();
    let usual = match sampling[..] {
        [luma] => luma == (1, 1),
        [luma, (1, 1), (1, 1)] => luma.0 <= 2 && luma.1 <= 2,
        _ => false,
    };
    let whole = scan.parts.iter().map(|part| part.0).eq(0..sampling.len()) && !scan.progressive;
    // The few columns of a narrow picture are interpolated otherwise than libjpeg does it.
    let narrow = frame.width < 16;
    let rgb = colors(header) == Colors::Rgb;
    usual && whole && !narrow && header.restart_interval == 0 && !rgb
}

/// The bytes of a JPEG that zune-jpeg decodes right, without its end; none for another kind.
fn plain(header: &Header, scan: &Scan, at: usize) -> Option<Vec<u8>> {
    if !is_usual(header, scan) {
        return None;
    }
    let mut tables = scan.parts.iter().flat_map(|part| [&header.dc[part.1], &header.ac[part.2]]);
    if !tables.all(|table| table.as_ref().is_some_and(Table::leaves_ones_free)) {
        return None;
    }
    let data = header.bytes.get(at..)?;
    let end = at + data.windows(2).position(|two| two[0] == 0xFF && two[1] != 0)?;
    // Bits of 1 instead of the end marker: no code, so that zune-jpeg, which takes what it needs
    // from behind an end, stops with an error where data are missing.
    let whole = || [&header.bytes[..end], &[0xFF, 0].repeat(ONES / 8)].concat();
    (header.bytes[end + 1] == 0xD9).then(whole)
}

/// Decodes with zune-jpeg; none if it finds anything strange.
fn fast(bytes: &[u8], frame: &Frame) -> Option<RgbImage> {
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().ok()?;
    if !matches!(decoder.input_colorspace()?, ColorSpace::YCbCr | ColorSpace::Luma)
        || decoder.dimensions()? != (frame.width, frame.height)
    {
        return None;
    }
    let mut pixels = vec![0; decoder.output_buffer_size()?];
    decoder.decode_into(&mut pixels).ok()?;
    RgbImage::from_raw(frame.width as u32, frame.height as u32, pixels)
}

/// One component's coefficients.
struct Plane {
    /// Blocks that belong to the picture, across and down.
    blocks: (usize, usize),
    /// Sampling factors, across and down.
    sampling: (usize, usize),
    /// Blocks in a row of `coefficients`, whole units of interleaved scans.
    stride: usize,
    coefficients: Vec<Block>,
    quantization: Option<[u16; 64]>,
    /// For each coefficient in zigzag order the lowest bit that is known; 255 for none.
    known: [u8; 64],
}

impl Plane {
    fn new(frame: &Frame, component: &Component) -> Plane {
        let (wide, high) = component.sampling;
        let stride = frame.units.0 * wide;
        let size = size(frame, component);
        Plane {
            blocks: (size.0.div_ceil(8), size.1.div_ceil(8)),
            sampling: component.sampling,
            stride,
            coefficients: vec![[0; 64]; stride * frame.units.1 * high],
            quantization: None,
            known: [255; 64],
        }
    }
}

/// Samples of a component that belong to the picture, across and down.
fn size(frame: &Frame, component: &Component) -> (usize, usize) {
    let (wide, high) = component.sampling;
    let across = (frame.width * wide).div_ceil(frame.sampling.0);
    (across, (frame.height * high).div_ceil(frame.sampling.1))
}

/// Decodes any kind, to the bits of libjpeg.
fn right(header: &mut Header, scan: Scan, at: usize) -> Result<RgbImage, Fault> {
    let divides = |c: &Component| {
        let most = header.frame.sampling;
        most.0.is_multiple_of(c.sampling.0) && most.1.is_multiple_of(c.sampling.1)
    };
    if !header.frame.components.iter().all(divides) {
        return Err(Fault::Kind("whose colors have resolutions that do not divide each other"));
    }
    let blocks = |c: &Component| {
        let (across, down) = size(&header.frame, c);
        across.div_ceil(8) * down.div_ceil(8)
    };
    // Before memory is taken: each block has at least a bit.
    if header.frame.components.iter().map(blocks).sum::<usize>() / 8 > header.bytes.len() {
        return Err(Fault::Cut);
    }
    let mut planes: Vec<_> =
        header.frame.components.iter().map(|c| Plane::new(&header.frame, c)).collect();
    let mut next = Next::Scan(scan, at);
    for _ in 0..MAX_SCANS {
        let Next::Scan(scan, at) = next else { return Err(Fault::Cut) };
        let end = one_scan(header, &scan, at, &mut planes)?;
        if planes.iter().all(|plane| plane.known == [0; 64]) {
            // Behind it is the end marker or something that is not of this picture.
            return colored(header, planes);
        }
        header.go_to(end);
        next = header.next()?;
    }
    Err(Fault::Kind("in more scans than a picture needs"))
}

fn one_scan(header: &Header, scan: &Scan, at: usize, planes: &mut [Plane]) -> Result<usize, Fault> {
    for &(component, ..) in &scan.parts {
        let plane = &mut planes[component];
        let table = header.quantization[header.frame.components[component].table];
        plane.quantization = plane.quantization.or(table);
        for known in &mut plane.known[scan.first..=scan.last] {
            // A scan that repeats or leaves out bits makes other pixels.
            let expected = if scan.bit_before == 0 { 255 } else { scan.bit_before as u8 };
            if *known != expected {
                return Err(Fault::Damaged);
            }
            *known = scan.bit as u8;
        }
    }
    scan::decode(header, scan, at, planes)
}

/// The meaning of the components of a JPEG.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Colors {
    Gray,
    YCbCr,
    Rgb,
    Cmyk,
    Ycck,
}

/// The rules of libjpeg (`default_decompress_parms`).
fn colors(header: &Header) -> Colors {
    let ids: Vec<u8> = header.frame.components.iter().map(|c| c.id).collect();
    match (&ids[..], header.adobe) {
        ([_], _) => Colors::Gray,
        ([_, _, _, _], Some(0) | None) => Colors::Cmyk,
        ([_, _, _, _], Some(_)) => Colors::Ycck,
        (_, _) if header.jfif => Colors::YCbCr,
        (_, Some(0)) | (b"RGB", None) => Colors::Rgb,
        _ => Colors::YCbCr,
    }
}

fn colored(header: &Header, planes: Vec<Plane>) -> Result<RgbImage, Fault> {
    let frame = &header.frame;
    let mut components = Vec::new();
    for (plane, component) in planes.into_iter().zip(&frame.components) {
        let (wide, high) = component.sampling;
        components.push(Samples {
            values: pixels::samples(&plane, &plane.quantization.ok_or(Fault::Damaged)?),
            stride: 8 * plane.stride,
            size: size(frame, component),
            scale: (frame.sampling.0 / wide, frame.sampling.1 / high),
        });
    }
    let colors = colors(header);
    let mut picture = RgbImage::new(frame.width as u32, frame.height as u32);
    let mut rows = vec![Vec::new(); components.len()];
    for (y, out) in picture.chunks_mut(3 * frame.width).enumerate() {
        components.iter().zip(&mut rows).for_each(|(c, row)| c.full_row(y, row));
        paint(colors, &rows, out);
    }
    Ok(picture)
}

/// Writes one row of the picture from the rows of its components.
fn paint(colors: Colors, rows: &[Vec<u8>], out: &mut [u8]) {
    let out = out.chunks_exact_mut(3);
    match rows {
        [first, second, third, black @ ..] => {
            let three = first.iter().zip(second).zip(third).map(|((&a, &b), &c)| [a, b, c]);
            let mut black = black.iter().flatten();
            for (pixel, three) in out.zip(three) {
                let mut inked =
                    |inks| pixels::from_inks(inks, black.next().copied().unwrap_or_default());
                pixel.copy_from_slice(&match colors {
                    Colors::Cmyk => inked(three),
                    // Luma and chroma of inverted inks are inverted once more.
                    Colors::Ycck => inked(pixels::from_ycc(three).map(|v| 255 - v)),
                    Colors::YCbCr => pixels::from_ycc(three),
                    Colors::Rgb | Colors::Gray => three,
                });
            }
        }
        _ => {
            let gray = rows.iter().flatten();
            out.zip(gray).for_each(|(pixel, &value)| pixel.fill(value));
        }
    }
}

#[cfg(test)]
mod tests;
