//! A contact sheet: pictures in rows, each with captions.

use std::path::Path;

use anyhow::Result;
use image::{RgbImage, imageops};
use plotters::prelude::*;

use super::canvas::{self, Area, FONT, drawing};

/// Side of a picture on the sheet.
pub(crate) const THUMB: u32 = 128;
const GAP: u32 = 10;
const CAPTION: u32 = 17;
const HEAD: u32 = 44;

/// One picture of a sheet.
#[derive(Debug, Clone)]
pub(crate) struct Tile {
    /// The picture, of side [`THUMB`].
    pub picture: RgbImage,
    /// Lines below it; as many for each picture.
    pub captions: Vec<String>,
}

/// A square picture at the size that it has on a sheet.
pub(crate) fn thumbnail(picture: &RgbImage) -> RgbImage {
    // Enlarged, pixels stay visible; made smaller, they are averaged.
    let filter = match picture.width() {
        ..THUMB => imageops::FilterType::Nearest,
        _ => imageops::FilterType::Triangle,
    };
    imageops::resize(picture, THUMB, THUMB, filter)
}

/// A square picture at the size of a drawing for people, who want to see what is on it.
pub(crate) fn scaled(picture: &RgbImage, side: u32) -> RgbImage {
    let filter = match side / picture.width().max(1) {
        0 => imageops::FilterType::Triangle,
        1..6 => imageops::FilterType::CatmullRom,
        // A few large pixels would only become a blur.
        _ => imageops::FilterType::Nearest,
    };
    imageops::resize(picture, side, side, filter)
}

/// Writes a sheet under a title.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn write_png(out: &Path, title: &str, tiles: Vec<Tile>) -> Result<()> {
    let lines = tiles.iter().map(|tile| tile.captions.len()).max().unwrap_or(0) as u32;
    let n = tiles.len() as u32;
    let across = (f64::from(n) * 1.6).sqrt().ceil().max(1.0) as u32;
    let down = n.div_ceil(across);
    let (dx, dy) = (THUMB + GAP, THUMB + 3 + lines * CAPTION + GAP);
    // A title is readable above few pictures, too.
    let width = (across * dx + GAP).max(2 * GAP + 10 * title.chars().count() as u32);
    canvas::png(out, (width, HEAD + down * dy + GAP), |area| {
        area.fill(&WHITE).map_err(drawing)?;
        let heading = (FONT, 20).into_font().color(&RGBColor(30, 30, 30));
        area.draw(&Text::new(title.to_owned(), (GAP as i32, 12), heading)).map_err(drawing)?;
        for (i, tile) in (0..).zip(tiles) {
            let (x, y) = (GAP + i % across * dx, HEAD + i / across * dy);
            draw_tile(area, tile, (x as i32, y as i32))?;
        }
        Ok(())
    })
}

fn draw_tile(area: &Area<BitMapBackend>, tile: Tile, (x, y): (i32, i32)) -> Result<()> {
    canvas::picture(area, tile.picture, (x, y))?;
    let style = (FONT, 13).into_font().color(&RGBColor(60, 60, 60));
    for (line, text) in (0..).zip(&tile.captions) {
        let at = (x, y + (THUMB + 3 + line * CAPTION) as i32);
        area.draw(&Text::new(shortened(text), at, style.clone())).map_err(drawing)?;
    }
    Ok(())
}

/// A caption that fits under its picture.
fn shortened(text: &str) -> String {
    const FITS: usize = 17;
    if text.chars().count() <= FITS {
        return text.to_owned();
    }
    text.chars().take(FITS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_room_for_every_picture_and_caption() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("s.png");
        let picture = thumbnail(&RgbImage::from_pixel(2, 2, image::Rgb([200, 0, 0])));
        let captions = ["cat", "an unusually long name"].map(String::from).to_vec();
        write_png(&out, "two", vec![Tile { picture, captions }; 3]).unwrap();
        let sheet = image::open(out).unwrap().to_rgb8();
        assert!(sheet.width() > 3 * THUMB && sheet.height() > HEAD + THUMB + 2 * CAPTION);
        assert_eq!(sheet.get_pixel(GAP + 1, HEAD + 1).0, [200, 0, 0]);
    }

    #[test]
    fn a_long_caption_is_cut_with_a_mark() {
        assert_eq!(shortened("an unusually long name"), "an unusually lon…");
        assert_eq!(shortened("cat"), "cat");
    }
}
