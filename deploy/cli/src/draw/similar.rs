//! Pictures, each with those most like it, as in Figure 4 (right) of the paper.

use std::path::Path;

use anyhow::Result;
use image::RgbImage;
use plotters::prelude::*;

use super::canvas::{self, Area, GRAY, INK, Write, drawing};
use super::sheet;

/// Side of a picture.
const SIDE: i32 = 180;
/// Room between pictures, and between a query and the pictures like it.
const GAP: i32 = 12;
const BETWEEN: i32 = 40;
/// Room around everything, and above the first row.
const MARGIN: i32 = 28;
const HEAD: i32 = 76;
/// Room for the two lines below a picture, and below these.
const CAPTION: i32 = 56;
const BELOW: i32 = 22;

/// One picture and those like it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The picture.
    pub query: Tile,
    /// The pictures like it, nearest first.
    pub found: Vec<Tile>,
}

/// A picture with two lines below it.
#[derive(Debug, Clone)]
pub(crate) struct Tile {
    /// The picture, from [`scaled`].
    pub picture: RgbImage,
    /// The first line: the class.
    pub caption: String,
    /// The second line.
    pub below: String,
    /// True if the class is known to be the query's.
    pub same: bool,
}

/// A square picture at the size that it has in the drawing.
pub(crate) fn scaled(picture: &RgbImage) -> RgbImage {
    sheet::scaled(picture, SIDE as u32)
}

/// Writes the drawing; the title stands above the pictures that were found.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn write_png(out: &Path, title: &str, rows: Vec<Row>) -> Result<()> {
    let most = rows.iter().map(|row| row.found.len()).max().unwrap_or(0) as i32;
    let (left, dy) = (MARGIN + SIDE + BETWEEN, SIDE + CAPTION + BELOW);
    let title_width = 13 * title.chars().count() as i32;
    let width = left + (most * (SIDE + GAP) - GAP).max(title_width) + MARGIN;
    let height = HEAD + rows.len() as i32 * dy + MARGIN - BELOW;
    canvas::png(out, (width as u32, height as u32), |area| {
        area.fill(&WHITE).map_err(drawing)?;
        Write::new(22).bold().at(area, "Picture", (MARGIN, 26))?;
        Write::new(22).bold().at(area, title, (left, 26))?;
        for (i, row) in (0..).zip(rows) {
            let y = HEAD + i * dy;
            draw(area, row.query, (MARGIN, y))?;
            for (j, tile) in (0..).zip(row.found) {
                draw(area, tile, (left + j * (SIDE + GAP), y))?;
            }
        }
        Ok(())
    })
}

fn draw(area: &Area<BitMapBackend>, tile: Tile, (x, y): (i32, i32)) -> Result<()> {
    canvas::picture(area, tile.picture, (x, y))?;
    let caption = Write::new(19).within(SIDE);
    let caption = if tile.same { caption.bold().color(INK) } else { caption.color(GRAY) };
    caption.at(area, &tile.caption, (x, y + SIDE + 6))?;
    Write::new(17).color(GRAY).within(SIDE).at(area, &tile.below, (x, y + SIDE + 31))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_picture_stands_left_of_those_like_it() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("s.png");
        let tile = |red| Tile {
            picture: scaled(&RgbImage::from_pixel(8, 8, image::Rgb([red, 0, 0]))),
            caption: "a class with a very long name".into(),
            below: "12.5".into(),
            same: red == 40,
        };
        let row = |red| Row { query: tile(red), found: vec![tile(red + 1), tile(red + 2)] };
        write_png(&out, "nearest", vec![row(10), row(40)]).unwrap();
        let sheet = image::open(out).unwrap().to_rgb8();
        let red = |x: i32, y: i32| sheet.get_pixel(x as u32 + 1, y as u32 + 1).0[0];
        let left = MARGIN + SIDE + BETWEEN;
        let second = HEAD + SIDE + CAPTION + BELOW;
        assert_eq!([red(MARGIN, HEAD), red(left, HEAD)], [10, 11]);
        assert_eq!([red(MARGIN, second), red(left + SIDE + GAP, second)], [40, 42]);
    }
}
