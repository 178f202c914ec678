//! Picture files of every kind that `prepare` and `predict` take.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};
use jpeg_encoder::{ColorType, Encoder};

use crate::engine::Target;
use crate::mutate::Shape;

/// A picture decoded, once more in RGB, and the decoder's own buffers.
const MEMORY: usize = 2_200 << 20;

fn rgb() -> RgbImage {
    RgbImage::from_fn(24, 17, |x, y| image::Rgb([(x * 9) as u8, (y * 13) as u8, (x * y) as u8]))
}

fn jpeg(color: ColorType, progressive: bool, restart_interval: u16) -> Vec<u8> {
    let n = match color {
        ColorType::Luma => 1,
        ColorType::Rgb => 3,
        _ => 4,
    };
    let pixels: Vec<u8> = (0..24 * 17 * n).map(|i| (i * 7) as u8).collect();
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 80);
    encoder.set_progressive(progressive);
    encoder.set_restart_interval(restart_interval);
    encoder.encode(&pixels, 24, 17, color).unwrap();
    bytes
}

fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Makes the sums of a PNG's pieces right.
#[expect(clippy::ptr_arg, reason = "other seals change the length")]
pub(crate) fn seal_png(bytes: &mut Vec<u8>) {
    let mut at = 8;
    while let Some(head) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let end = at.saturating_add(8).saturating_add(length);
        let Some(covered) = bytes.get(at + 4..end).map(crc32fast::hash) else { return };
        let Some(sum) = bytes.get_mut(end..end + 4) else { return };
        sum.copy_from_slice(&covered.to_be_bytes());
        at = end + 4;
    }
}

pub(crate) fn targets() -> Vec<Target> {
    let deep = DynamicImage::from(rgb()).into_rgba16();
    let rgba = RgbaImage::from_fn(24, 17, |x, y| image::Rgba([x as u8, y as u8, 9, (x * y) as u8]));
    let (flat, alpha, deep) =
        (DynamicImage::from(rgb()), DynamicImage::from(rgba), DynamicImage::from(deep));
    let gray = DynamicImage::from(flat.to_luma8());
    let with = |format, of: &[&DynamicImage]| -> Vec<Vec<u8>> {
        of.iter().map(|picture| encoded(picture, format)).collect()
    };
    let jpegs = [ColorType::Rgb, ColorType::Luma, ColorType::Cmyk, ColorType::CmykAsYcck];
    // zune-jpeg decodes the first form, our own decoder the others.
    let forms = [(false, 0), (true, 0), (false, 2), (true, 2)];
    let of = |color| forms.map(|(progressive, interval)| jpeg(color, progressive, interval));
    let jpegs = jpegs.into_iter().flat_map(of).collect();
    let kinds = [
        ("jpeg", jpegs),
        ("png", with(ImageFormat::Png, &[&flat, &alpha, &deep, &gray])),
        ("gif", with(ImageFormat::Gif, &[&flat, &alpha])),
        ("bmp", with(ImageFormat::Bmp, &[&flat, &alpha, &gray])),
        ("webp", with(ImageFormat::WebP, &[&flat, &alpha])),
        ("pnm", with(ImageFormat::Pnm, &[&flat, &gray])),
        ("tiff", with(ImageFormat::Tiff, &[&flat, &alpha, &deep, &gray])),
    ];
    let target = |(kind, seeds): (&'static str, Vec<Vec<u8>>)| {
        let decode = |bytes: &[u8]| match picture::square(bytes, 16) {
            Ok(pixels) => pixels.len() == 3 * 16 * 16 || panic!("{} numbers", pixels.len()),
            Err(_) => false,
        };
        let target = Target::new(kind, MEMORY, Shape::Binary, seeds, decode);
        if kind == "png" { target.sealed(seal_png) } else { target }
    };
    kinds.into_iter().map(target).collect()
}
