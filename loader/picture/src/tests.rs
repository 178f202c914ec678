//! Pictures of every kind that people have, made here.

use std::io::Cursor;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};
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
        for (progressive, interval) in [(false, 0), (false, 2), (true, 0), (true, 2)] {
            let mut bytes = Vec::new();
            let mut encoder = Encoder::new(&mut bytes, 95);
            encoder.set_progressive(progressive);
            encoder.set_restart_interval(interval);
            encoder.encode(&inks, 16, 16, color).unwrap();
            let got = at(&square(&bytes, 16).unwrap(), 16, 8, 8);
            assert!(near(got, [44, 204, 204], 6), "{color:?}, {progressive}, {interval}: {got:?}");
        }
    }
}

#[test]
fn what_is_no_whole_picture_is_named_so() {
    let whole = jpeg(&halves(64, 64), 64, 64, ColorType::Rgb, None);
    let png = png(RgbImage::from_raw(64, 64, halves(64, 64)).unwrap());
    let why = |bytes: &[u8]| square(bytes, 32).unwrap_err();
    assert_eq!(why(b""), "an empty file");
    assert!(why(b"Dear diary, today I took no picture.").starts_with("text, not a picture"));
    assert!(why(b"\x03\x01\x04\x01\x05").starts_with("not a picture of a known kind"));
    assert!(why(&whole[..whole.len() / 2]).starts_with("a JPEG that was cut short"));
    assert_eq!(square(&whole[..whole.len() - 2], 32), square(&whole, 32), "the end marker alone");
    assert!(square(&png[..png.len() / 2], 32).is_err());
    assert!(square(&whole[..20], 32).is_err());
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

/// At half a pixel the picture was resampled once more, which costs 10 dB.
#[test]
fn a_picture_whose_short_side_fits_is_cropped_at_whole_pixels() {
    for (width, height) in [(37, 16), (38, 16), (16, 37), (16, 38), (16, 17), (17, 16)] {
        let picture = RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 6) as u8, (y * 6) as u8, (x * 31 + y * 17) as u8])
        });
        let (left, top) = ((width - 16) / 2, (height - 16) / 2);
        let center = image::imageops::crop_imm(&picture, left, top, 16, 16).to_image();
        assert_eq!(square(&png(picture), 16).unwrap(), center.into_raw(), "{width}×{height}");
    }
}

/// Every byte of a picture's data counts: where some are missing, other pixels would come out.
#[test]
fn a_jpeg_that_lacks_data_is_refused_wherever_it_breaks_off() {
    let colors = |i: u32| (i * i / 7 + i / 5) as u8;
    let pixels: Vec<u8> = (0..3 * 48 * 40).map(colors).collect();
    for progressive in [false, true] {
        for interval in [0, 3] {
            let mut bytes = Vec::new();
            let mut encoder = Encoder::new(&mut bytes, 85);
            encoder.set_progressive(progressive);
            encoder.set_restart_interval(interval);
            encoder.encode(&pixels, 48, 40, ColorType::Rgb).unwrap();
            let whole = square(&bytes, 32).unwrap();
            let begin = bytes.windows(2).position(|two| two == [0xFF, 0xDA]).unwrap() + 14;
            for end in begin..bytes.len() - 2 {
                for ending in [&[][..], &[0xFF, 0xD9], &[0xFF, 0xD9, 0, 1, 2, 0xFF, 0xDA]] {
                    let cut = [&bytes[..end], ending].concat();
                    let Ok(got) = square(&cut, 32) else { continue };
                    // The last bits may only be filling, or belong to the last blocks.
                    let missing = bytes.len() - 2 - end;
                    let differ =
                        got.iter().zip(&whole).filter(|(a, b)| a.abs_diff(**b) > 8).count();
                    let share = differ as f64 / whole.len() as f64;
                    let kind = format!("progressive {progressive}, restarts {interval}");
                    let fine = missing <= 2 && share < 0.02;
                    assert!(fine, "{kind}, {ending:?}: {missing} missing, {share} differ");
                }
            }
        }
    }
}

#[test]
fn names_of_pictures_are_known_whether_their_kind_is_read_or_not() {
    for name in ["a.jpg", "a.b.JPEG", "x.heic", "x.HEIF", "x.nef", "x.ppm", "x.svg", "x.jxl"] {
        assert!(has_picture_name(name), "{name}");
    }
    for name in ["jpg", "a.txt", "a.jpg.txt", "heic", "a.csv", ""] {
        assert!(!has_picture_name(name), "{name}");
    }
}
