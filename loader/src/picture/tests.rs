//! Pictures of every kind that people have, made here.

use std::io::Cursor;

use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};
use jpeg_encoder::{ColorType, Encoder};

use super::*;

const RED: [u8; 3] = [220, 30, 30];
const BLUE: [u8; 3] = [30, 30, 220];

fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Vec::new();
    picture.into().write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

fn jpeg(pixels: &[u8], width: u16, height: u16, color: ColorType, exif: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 95);
    if let Some(exif) = exif {
        encoder.add_exif_metadata(exif).unwrap();
    }
    encoder.encode(pixels, width, height, color).unwrap();
    bytes
}

/// Left half red, right half blue.
fn halves(width: u16, height: u16) -> Vec<u8> {
    let row = (0..width).flat_map(|x| if x < width / 2 { RED } else { BLUE });
    (0..height).flat_map(|_| row.clone()).collect()
}

fn at(square: &[u8], side: usize, row: usize, column: usize) -> [u8; 3] {
    square[3 * (side * row + column)..][..3].try_into().unwrap()
}

fn near(got: [u8; 3], want: [u8; 3], by: u8) -> bool {
    got.iter().zip(want).all(|(g, w)| g.abs_diff(w) <= by)
}

#[test]
fn a_photo_that_was_taken_upright_is_turned() {
    // TIFF, little-endian, one entry: orientation (0x0112), a short: 6, a quarter to the right.
    let exif =
        [b"II*\0\x08\0\0\0\x01\0".as_slice(), &[0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0], &[0; 4]]
            .concat();
    let bytes = jpeg(&halves(64, 32), 64, 32, ColorType::Rgb, Some(&exif));
    let turned = square(&bytes, 32).unwrap();
    for column in [2, 16, 29] {
        assert!(near(at(&turned, 32, 2, column), RED, 12), "{:?}", at(&turned, 32, 2, column));
        assert!(near(at(&turned, 32, 29, column), BLUE, 12));
    }
}

#[test]
fn the_center_of_a_wide_picture_is_kept_and_its_short_side_fills_the_square() {
    // Green, then 32 columns red | blue in the middle, then green.
    let column = |x: usize| match x {
        16..32 => RED,
        32..48 => BLUE,
        _ => [0, 255, 0],
    };
    let pixels: Vec<u8> = (0..32).flat_map(|_| (0..64).flat_map(column)).collect();
    let bytes = png(RgbImage::from_raw(64, 32, pixels).unwrap());
    assert_eq!(at(&square(&bytes, 32).unwrap(), 32, 5, 15), RED);
    let larger = square(&bytes, 96).unwrap();
    assert!(near(at(&larger, 96, 48, 20), RED, 2) && near(at(&larger, 96, 48, 75), BLUE, 2));
    let smaller = square(&bytes, 8).unwrap();
    assert!(near(at(&smaller, 8, 4, 1), RED, 8) && near(at(&smaller, 8, 4, 6), BLUE, 8));
}

#[test]
fn a_picture_of_75_by_56_is_enlarged_and_one_of_the_right_size_is_not_touched() {
    let small = png(RgbImage::from_raw(75, 56, halves(75, 56)).unwrap());
    let large = square(&small, 256).unwrap();
    assert_eq!(large.len(), 256 * 256 * 3);
    assert!(near(at(&large, 256, 128, 20), RED, 2) && near(at(&large, 256, 128, 235), BLUE, 2));
    let same = png(RgbImage::from_raw(75, 75, halves(75, 75)).unwrap());
    assert_eq!(square(&same, 75).unwrap(), halves(75, 75));
}

#[test]
fn transparent_pixels_lie_over_white() {
    let picture = ImageBuffer::from_fn(16, 16, |_, y| {
        Rgba([100_u8, 0, 200, [0, 255, 128, 128][y as usize / 4]])
    });
    let flat = square(&png(picture), 16).unwrap();
    let rows = [0, 4, 8].map(|row| at(&flat, 16, row, 3));
    assert_eq!(rows, [[255; 3], [100, 0, 200], [177, 127, 227]]);
    let gray = ImageBuffer::from_pixel(16, 16, LumaA([0_u16, 0x8080]));
    assert_eq!(at(&square(&png(gray), 16).unwrap(), 16, 0, 0), [127; 3]);
}

#[test]
fn sixteen_bits_become_eight_and_gray_becomes_three_equal_colors() {
    let deep = ImageBuffer::from_pixel(16, 16, Rgb([0x1212_u16, 0x8080, 0xFFFF]));
    assert_eq!(at(&square(&png(deep), 16).unwrap(), 16, 0, 0), [0x12, 0x80, 0xFF]);
    let gray = ImageBuffer::from_pixel(16, 16, Luma([77_u8]));
    assert_eq!(at(&square(&png(gray), 16).unwrap(), 16, 0, 0), [77; 3]);
    let gray = jpeg(&[77; 256], 16, 16, ColorType::Luma, None);
    assert!(near(at(&square(&gray, 16).unwrap(), 16, 3, 3), [77; 3], 1));
}

#[test]
fn inks_become_colors() {
    for color in [ColorType::Cmyk, ColorType::CmykAsYcck] {
        // Cyan and black, no magenta, no yellow: dark blue-green.
        let inks: Vec<u8> = [200, 0, 0, 51].repeat(256);
        let bytes = jpeg(&inks, 16, 16, color, None);
        let got = at(&square(&bytes, 16).unwrap(), 16, 8, 8);
        assert!(near(got, [44, 204, 204], 6), "{color:?}: {got:?}");
    }
}

#[test]
fn what_is_no_whole_picture_is_named_so() {
    let whole = jpeg(&halves(64, 64), 64, 64, ColorType::Rgb, None);
    let png = png(RgbImage::from_raw(64, 64, halves(64, 64)).unwrap());
    let why = |bytes: &[u8]| square(bytes, 32).unwrap_err();
    assert_eq!(why(b""), "an empty file");
    assert!(why(b"Dear diary, today I took no picture.").starts_with("not a picture"));
    for part in [whole.len() / 2, whole.len() - 2] {
        assert_eq!(why(&whole[..part]), "a JPEG that ends before its end marker");
    }
    assert!(square(&png[..png.len() / 2], 32).is_err());
    assert!(square(&whole[..20], 32).is_err());
}

#[test]
fn a_picture_for_predict_has_its_colors_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    std::fs::write(&path, png(RgbImage::from_raw(8, 8, halves(8, 8)).unwrap())).unwrap();
    let planes = image_file_to_stored(&path, 8).unwrap();
    assert_eq!([planes[0], planes[64], planes[128]], RED);
    let missing = image_file_to_stored(&folder.path().join("b.png"), 8).unwrap_err();
    assert!(missing.to_string().contains("b.png"), "{missing}");
}

/// Memory was once taken for whatever a damaged header claims.
#[test]
fn a_small_file_that_claims_a_huge_picture_is_refused_by_its_size() {
    let mut bytes = png(RgbImage::from_raw(64, 64, halves(64, 64)).unwrap());
    bytes[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    let sum = crc32fast::hash(&bytes[12..29]).to_be_bytes();
    bytes[29..33].copy_from_slice(&sum);
    let why = square(&bytes, 32).unwrap_err();
    assert!(why.starts_with("60000×60000 pixels"), "{why}");
}
