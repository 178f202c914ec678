//! Decodes a picture file of any kind that is read.

use std::io::Cursor;

use image::error::{ImageError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use crate::jpeg;
use crate::kinds::{self, Kind};

/// Largest picture accepted, in pixels: more than any camera's, and half a gigabyte at 16 bits per
/// color.
const MAX_PIXELS: u64 = 128 << 20;
const MAX_BYTES: u64 = 512 << 20;

/// Decodes the bytes of a picture file, upright and over white.
///
/// # Errors
/// A sentence about what is wrong with the bytes.
pub(crate) fn rgb(bytes: &[u8]) -> Result<RgbImage, String> {
    match kinds::recognize(bytes)? {
        Kind::Jpeg(behind) => from_jpeg(&bytes[behind..]),
        Kind::Other(format) => with_image(bytes, format),
    }
}

fn from_jpeg(bytes: &[u8]) -> Result<RgbImage, String> {
    let decoded = jpeg::decode(bytes, |width, height| check(width, height, 4 * width * height))?;
    let orientation = decoded.exif.and_then(Orientation::from_exif_chunk);
    let mut picture = DynamicImage::from(decoded.picture);
    picture.apply_orientation(orientation.unwrap_or(Orientation::NoTransforms));
    Ok(picture.into_rgb8())
}

fn with_image(bytes: &[u8], format: ImageFormat) -> Result<RgbImage, String> {
    let words = |e| words(&e, format, bytes);
    let reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut decoder = reader.into_decoder().map_err(words)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let (width, height) = decoder.dimensions();
    check(width.into(), height.into(), decoder.total_bytes())?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(words)?;
    picture.apply_orientation(orientation);
    if matches!(picture, DynamicImage::ImageRgb32F(_) | DynamicImage::ImageRgba32F(_)) {
        return Err(kinds::of_another_form(format, bytes));
    }
    Ok(if picture.color().has_alpha() { over_white(picture) } else { picture.into_rgb8() })
}

/// Refuses a size before memory is taken: a few damaged bytes may claim anything.
fn check(width: u64, height: u64, bytes: u64) -> Result<(), String> {
    if width * height > MAX_PIXELS || bytes > MAX_BYTES {
        let most = MAX_PIXELS >> 20;
        return Err(format!("{width}×{height} pixels, at most {most} million are taken"));
    }
    Ok(())
}

fn words(error: &ImageError, format: ImageFormat, bytes: &[u8]) -> String {
    match error {
        ImageError::Unsupported(_) => kinds::of_another_form(format, bytes),
        ImageError::Limits(e) if e.kind() == LimitErrorKind::InsufficientMemory => {
            "larger than the memory that is allowed for a picture".into()
        }
        _ => kinds::damaged(format),
    }
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
