//! Turns any picture file into a square of pixels, for training pictures and for `predict` alike.
//!
//! The short side is scaled to `side`, up or down, and the center is cut out. Pictures are rotated
//! as their EXIF data says, transparent pixels are laid over white, 16 bits become 8, gray and CMYK
//! become RGB.

use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use crate::Error;

/// Largest picture accepted, in pixels: more than any camera's, and half a gigabyte at 16 bits per
/// color.
const MAX_PIXELS: u64 = 128 << 20;
const MAX_BYTES: u64 = 512 << 20;

/// Reads a picture file as a square `[3, side, side]`, the input of a network before cropping.
///
/// Unlike a prepared data set, the square is not compressed as JPEG in between.
///
/// # Errors
/// [`Error::Io`], or [`Error::Picture`] with what is wrong with it.
pub fn image_file_to_stored(path: &Path, side: usize) -> Result<Vec<u8>, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let pixels = square(&bytes, side)
        .map_err(|why| Error::Picture { name: path.display().to_string(), why })?;
    let plane = |c: usize| pixels.iter().skip(c).step_by(3).copied();
    Ok(plane(0).chain(plane(1)).chain(plane(2)).collect())
}

/// Decodes a picture file's bytes into `[side, side, 3]`; the error is a sentence for people.
pub(crate) fn square(bytes: &[u8], side: usize) -> Result<Vec<u8>, String> {
    let picture = catching_panics(|| rgb(bytes))?;
    let (width, height) = picture.dimensions();
    if width == 0 || height == 0 {
        return Err("a picture without pixels".into());
    }
    if (width as usize, height as usize) == (side, side) {
        return Ok(picture.into_raw());
    }
    // Cropping before resizing gives the same picture for less work.
    let short = width.min(height);
    let (left, top) = (f64::from(width - short) / 2.0, f64::from(height - short) / 2.0);
    // Typed images: untyped ones would compile the filters of all thirteen pixel types, which
    // takes three quarters of this crate's build time.
    let source = TypedImageRef::<U8x3>::from_buffer(width, height, picture.as_raw())
        .map_err(|e| e.to_string())?;
    let mut pixels = vec![0; 3 * side * side];
    let mut target = TypedImage::<U8x3>::from_buffer(side as u32, side as u32, &mut pixels)
        .map_err(|e| e.to_string())?;
    let options = ResizeOptions::new()
        .crop(left, top, f64::from(short), f64::from(short))
        .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    Resizer::new().resize_typed(&source, &mut target, &options).map_err(|e| e.to_string())?;
    Ok(pixels)
}

/// Runs a decoder and turns a panic into an error: zune-jpeg 0.5.15 panics on some damaged files,
/// which must not end the process.
pub(crate) fn catching_panics<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let decoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode));
    decoded.unwrap_or_else(|_| Err("so damaged that its decoder gave up".into()))
}

fn rgb(bytes: &[u8]) -> Result<RgbImage, String> {
    if bytes.is_empty() {
        return Err("an empty file".into());
    }
    let reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let Some(format) = reader.format() else {
        return Err("not a picture of a known kind (JPEG, PNG, GIF, BMP, TIFF, WebP)".into());
    };
    if format == ImageFormat::Jpeg && !jpeg_is_whole(bytes) {
        // The decoder would fill the rest with gray.
        return Err("a JPEG that ends before its end marker".into());
    }
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let orientation = decoder.orientation().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS || decoder.total_bytes() > MAX_BYTES {
        // Before memory is taken: a few damaged bytes may claim anything.
        let most = MAX_PIXELS >> 20;
        return Err(format!("{width}×{height} pixels, at most {most} million are taken"));
    }
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    picture.apply_orientation(orientation);
    Ok(if picture.color().has_alpha() { over_white(picture) } else { picture.into_rgb8() })
}

/// Whether an end marker follows the last scan. (A preview inside EXIF has one of its own, but a
/// file that ends before its picture's first scan isn't decoded at all.)
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    // Inside a scan, 0xFF is never followed by either.
    let last = bytes.windows(2).rposition(|pair| pair == [0xFF, 0xD9] || pair == [0xFF, 0xDA]);
    last.is_some_and(|at| bytes[at + 1] == 0xD9)
}

fn over_white(picture: DynamicImage) -> RgbImage {
    let picture = picture.into_rgba8();
    let mut flat = RgbImage::new(picture.width(), picture.height());
    for (out, pixel) in flat.pixels_mut().zip(picture.pixels()) {
        let [r, g, b, alpha] = pixel.0.map(u32::from);
        out.0 = [r, g, b].map(|v| ((v * alpha + 255 * (255 - alpha) + 127) / 255) as u8);
    }
    flat
}

#[cfg(test)]
mod tests;
