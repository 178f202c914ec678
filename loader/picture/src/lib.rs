//! Turns any picture file into a square of pixels, and a stored JPEG back into its pixels.
//!
//! The same for training pictures and for `predict`: the short side is scaled to `side` (up where
//! it must be) and the center cut out. Pictures are turned as their EXIF data says; transparent
//! pixels lie over white; 16 bits become 8; gray and CMYK become RGB.
//!
//! A crate of its own, since decoders and filters are most of what the loader compiles and change
//! least.

mod jpeg;
mod kinds;
mod read;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// Turns the bytes of a picture file into pixels, `[side, side, 3]`.
///
/// # Errors
/// A sentence about what is wrong with the bytes.
pub fn square(bytes: &[u8], side: usize) -> Result<Vec<u8>, String> {
    let picture = catching_panics(|| read::rgb(bytes))?;
    let (width, height) = picture.dimensions();
    match width.min(height) as usize {
        0 => Err("a picture without pixels".into()),
        short if short == side => Ok(cropped(&picture, side)),
        _ => scaled(&picture, side),
    }
}

/// The center of a picture whose short side is `side`, at whole pixels: at half pixels it would be
/// resampled, which costs 10 dB.
fn cropped(picture: &RgbImage, side: usize) -> Vec<u8> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let (left, top) = ((width - side) / 2, (height - side) / 2);
    let rows = picture.chunks(3 * width).skip(top).take(side);
    rows.flat_map(|row| &row[3 * left..][..3 * side]).copied().collect()
}

fn scaled(picture: &RgbImage, side: usize) -> Result<Vec<u8>, String> {
    let (width, height) = picture.dimensions();
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

/// Decodes a JPEG of a data set into `pixels`, `[side, side, 3]`.
///
/// # Errors
/// A sentence about what is wrong with the bytes, or that they hold another number of pixels.
pub fn stored_jpeg(jpeg: &[u8], pixels: &mut [u8]) -> Result<(), String> {
    catching_panics(|| jpeg::decode_again(jpeg, pixels))
}

/// Tells whether a picture file is a JPEG that [`stored_jpeg`] decodes to exactly these pixels.
pub fn is_jpeg_of(bytes: &[u8], pixels: &[u8]) -> bool {
    let mut again = vec![0; pixels.len()];
    bytes.starts_with(&[0xFF, 0xD8]) && stored_jpeg(bytes, &mut again).is_ok() && again == pixels
}

/// Runs a decoder and turns a panic into an error: zune-jpeg 0.5.15 panics on some damaged files,
/// which must not end the process.
fn catching_panics<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let decoded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode));
    decoded.unwrap_or_else(|_| Err("so damaged that its decoder gave up".into()))
}

/// Returns true if a file's name ends like a picture's, of a kind that is read or not.
pub fn has_picture_name(file: &str) -> bool {
    kinds::has_picture_name(file)
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
