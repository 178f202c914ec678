//! Pictures with bars for their most probable classes, as in Figure 4 (left) of the paper.

use std::path::Path;

use anyhow::Result;
use image::RgbImage;
use plotters::prelude::*;

use super::canvas::{self, Area, GRAY, INK, Write, drawing};
use super::sheet;

/// Side of a picture, and width of its bars.
const SIDE: i32 = 300;
/// Room between pictures.
const GAP: i32 = 36;
/// Pictures in a row.
const ACROSS: i32 = 4;
/// Room for the line above, and for the caption below a picture.
const HEAD: i32 = 72;
const CAPTION: i32 = 44;
/// Height of a bar, and distance from one to the next.
const BAR: i32 = 30;
const NEXT_BAR: i32 = 36;

const RIGHT: RGBColor = RGBColor(247, 170, 98);
const OTHER: RGBColor = RGBColor(170, 203, 232);
const TRACK: RGBColor = RGBColor(240, 240, 240);

/// A picture with its bars.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    /// The picture, from [`scaled`].
    pub picture: RgbImage,
    /// The line below it.
    pub caption: String,
    /// True if the caption is the picture's class.
    pub known: bool,
    /// The most probable classes in order; as many for each picture.
    pub bars: Vec<Bar>,
}

/// A class and its probability.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    /// Name of the class.
    pub name: String,
    /// Probability, from 0 to 1.
    pub share: f64,
    /// True if it is known that the picture is of this class.
    pub right: bool,
}

/// A square picture at the size that it has in the drawing.
pub(crate) fn scaled(picture: &RgbImage) -> RgbImage {
    sheet::scaled(picture, SIDE as u32)
}

/// Writes the drawing.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn write_png(out: &Path, cells: Vec<Cell>) -> Result<()> {
    let n = cells.len() as i32;
    let across = n.clamp(2, ACROSS); // the heading needs the width of two
    let bars = cells.iter().map(|cell| cell.bars.len()).max().unwrap_or(0) as i32;
    let (dx, dy) = (SIDE + GAP, SIDE + CAPTION + bars * NEXT_BAR + GAP);
    let size = (GAP + across * dx, HEAD + (n + across - 1) / across * dy);
    canvas::png(out, (size.0 as u32, size.1 as u32), |area| {
        area.fill(&WHITE).map_err(drawing)?;
        heading(area, bars, cells.iter().any(|cell| cell.known))?;
        for (i, cell) in (0..).zip(cells) {
            draw(area, cell, (GAP + i % across * dx, HEAD + i / across * dy))?;
        }
        Ok(())
    })
}

fn heading(area: &Area<BitMapBackend>, bars: i32, known: bool) -> Result<()> {
    let text = match bars {
        1 => "The most probable class".to_owned(),
        n => format!("The {n} most probable classes"),
    };
    let end = GAP + Write::new(24).bold().at(area, &text, (GAP, 22))?;
    if known {
        let mark = Rectangle::new([(end + 28, 20), (end + 52, 44)], RIGHT.filled());
        area.draw(&mark).map_err(drawing)?;
        Write::new(22).color(GRAY).at(area, "the right one", (end + 62, 24))?;
    }
    Ok(())
}

fn draw(area: &Area<BitMapBackend>, cell: Cell, (x, y): (i32, i32)) -> Result<()> {
    canvas::picture(area, cell.picture, (x, y))?;
    let caption = Write::new(23).color(if cell.known { INK } else { GRAY });
    let caption = if cell.known { caption.bold() } else { caption };
    caption.within(SIDE).at(area, &cell.caption, (x, y + SIDE + 9))?;
    (0..)
        .zip(&cell.bars)
        .try_for_each(|(i, bar)| draw_bar(area, bar, (x, y + SIDE + CAPTION + i * NEXT_BAR)))
}

fn draw_bar(area: &Area<BitMapBackend>, bar: &Bar, (x, y): (i32, i32)) -> Result<()> {
    let color = if bar.right { RIGHT } else { OTHER };
    let width = (bar.share.clamp(0.0, 1.0) * f64::from(SIDE)).round() as i32;
    for (width, color) in [(SIDE, TRACK), (width.max(2), color)] {
        let corners = [(x, y), (x + width, y + BAR)];
        area.draw(&Rectangle::new(corners, color.filled())).map_err(drawing)?;
    }
    let text = Write::new(20);
    let room = text.width(area, "100 %")? + 16;
    text.within(SIDE - 10 - room).at(area, &bar.name, (x + 10, y + 8))?;
    text.color(GRAY).right().at(area, &percent(bar.share), (x + SIDE - 8, y + 8))?;
    Ok(())
}

/// A probability as people say it.
fn percent(share: f64) -> String {
    match 100.0 * share {
        p if p >= 0.95 => format!("{p:.0} %"),
        p if p >= 0.05 => format!("{p:.1} %"),
        _ => "0 %".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(cells: Vec<Cell>) -> RgbImage {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("p.png");
        write_png(&out, cells).unwrap();
        image::open(out).unwrap().to_rgb8()
    }

    fn cell(right: usize) -> Cell {
        let shares = [0.5, 0.25, 0.125, 0.0625, 0.03];
        let bar = |(i, share)| Bar { name: format!("class {i}"), share, right: i == right };
        Cell {
            picture: scaled(&RgbImage::from_pixel(64, 64, image::Rgb([10, 20, 30]))),
            caption: "a caption that is too long for the room below a picture".into(),
            known: true,
            bars: shares.into_iter().enumerate().map(bar).collect(),
        }
    }

    #[test]
    fn bars_are_as_long_as_their_probability_and_the_right_one_has_its_color() {
        let sheet = drawn(vec![cell(1), cell(9)]);
        let count = |x: u32, color: RGBColor| {
            let here = |p: &(u32, u32, &image::Rgb<u8>)| {
                let inside = (x..x + SIDE as u32).contains(&p.0) && p.1 > HEAD as u32;
                inside && p.2.0 == [color.0, color.1, color.2]
            };
            sheet.enumerate_pixels().filter(here).count() as i32
        };
        // Text covers some of each bar.
        let near = |got: i32, want: i32| (want * 6 / 10..=want * 105 / 100).contains(&got);
        let x = GAP as u32;
        assert!(near(count(x, RIGHT), 75 * BAR), "{}", count(x, RIGHT));
        assert!(near(count(x, OTHER), 216 * BAR), "{}", count(x, OTHER));
        assert_eq!(count(x + (SIDE + GAP) as u32, RIGHT), 0, "not among the five");
        assert_eq!(sheet.get_pixel(x + 1, HEAD as u32 + 1).0, [10, 20, 30]);
    }

    #[test]
    fn nine_pictures_take_three_rows() {
        let (one, nine) = (drawn(vec![cell(0)]), drawn(vec![cell(0); 9]));
        assert_eq!(nine.width(), (GAP + 4 * (SIDE + GAP)) as u32);
        assert_eq!(nine.height() - HEAD as u32, 3 * (one.height() - HEAD as u32));
    }

    #[test]
    fn small_probabilities_are_not_said_to_be_nothing_and_nothing_is() {
        assert_eq!([0.996, 0.0123, 0.0009, 0.0001].map(percent), ["100 %", "1 %", "0.1 %", "0 %"]);
    }
}
