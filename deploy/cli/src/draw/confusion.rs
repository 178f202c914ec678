//! The confusion matrix as PNG.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use super::canvas::{self, Area, FONT, drawing};
use crate::confusion::Confusion;

/// Most class names that can be read in a picture.
const MOST_NAMES: usize = 60;
/// Most cells across; several of more classes share a cell.
const MOST_CELLS: usize = 1000;
/// Side of the matrix in pixels, with enough classes.
const SIDE: usize = 900;
/// Most characters of a name.
const NAME: usize = 24;

/// The cells of a matrix: each is one pair of classes, or of groups of neighboring classes.
struct Cells {
    /// Cells across.
    n: usize,
    /// Classes per cell.
    classes: usize,
    /// Pixels of a cell.
    pixels: i32,
    /// Pictures by row and column; right and wrong ones apart, since a group has both.
    counts: BTreeMap<(usize, usize), (u64, u64)>,
    /// Pictures of each row.
    rows: Vec<u64>,
}

impl Cells {
    fn new(confusion: &Confusion) -> Self {
        let classes = confusion.classes().len().div_ceil(MOST_CELLS).max(1);
        let n = confusion.classes().len().div_ceil(classes).max(1);
        let (mut counts, mut rows) = (BTreeMap::<_, (u64, u64)>::new(), vec![0; n]);
        for (label, predicted, pictures) in confusion.pairs() {
            let cell = counts.entry((label / classes, predicted / classes)).or_default();
            match label == predicted {
                true => cell.0 += pictures,
                false => cell.1 += pictures,
            }
            rows[label / classes] += pictures;
        }
        Self { n, classes, pixels: (SIDE / n).clamp(1, 64) as i32, counts, rows }
    }

    /// Pictures of a cell, their share of the row, and whether they are right: of a group's own
    /// cell only the right ones count.
    fn get(&self, row: usize, column: usize) -> (u64, f64, bool) {
        let (right, wrong) = self.counts.get(&(row, column)).copied().unwrap_or_default();
        let count = if row == column { right } else { wrong };
        (count, count as f64 / self.rows[row].max(1) as f64, row == column)
    }
}

/// Draws the fractions of each row as shades, with numbers and names if there is room.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn write_png(confusion: &Confusion, file: &Path) -> Result<()> {
    let cells = Cells::new(confusion);
    let names = confusion.classes();
    let named = names.len() <= MOST_NAMES;
    let longest = names.iter().map(|name| name.chars().count().min(NAME)).max().unwrap_or(0);
    let size = f64::from(cells.pixels).mul_add(0.3, 6.0).min(18.0);
    let margin = if named { 60 + (longest as f64 * size * 0.62) as i32 } else { 60 };
    let side = (margin + cells.pixels * cells.n as i32 + 24) as u32;
    canvas::png(file, (side, side), |area| {
        area.fill(&WHITE).map_err(drawing)?;
        draw_cells(area, margin, &cells)?;
        let style = (FONT, 17.0).into_font().color(&RGBColor(50, 50, 50));
        area.draw(&Text::new(heading(cells.classes), (margin, 12), style)).map_err(drawing)?;
        if named {
            draw_names(area, names, (margin, cells.pixels, size))?;
        }
        Ok(())
    })
}

fn heading(classes: usize) -> String {
    let axes = "columns: predicted class    rows: true class";
    match classes {
        1 => axes.to_owned(),
        n => format!("{axes}    a point: {n} by {n} classes; blue: the right ones"),
    }
}

fn draw_cells(area: &Area<BitMapBackend>, margin: i32, cells: &Cells) -> Result<()> {
    let pixels = cells.pixels;
    let gap = i32::from(pixels > 6);
    let corner =
        |row: usize, column: usize| (margin + pixels * column as i32, margin + pixels * row as i32);
    let draw = |row: usize, column: usize| -> Result<()> {
        let (count, share, right) = cells.get(row, column);
        let (x, y) = corner(row, column);
        let rectangle = [(x, y), (x + pixels - gap, y + pixels - gap)];
        let fill = shade(share, right).filled();
        area.draw(&Rectangle::new(rectangle, fill)).map_err(drawing)?;
        if pixels >= 24 && count > 0 {
            let ink = if share > 0.5 { WHITE } else { RGBColor(50, 50, 50) };
            let size = (f64::from(pixels) * 0.34).min(18.0);
            let style = (FONT, size).into_font().color(&ink).pos(center());
            let middle = (x + pixels / 2, y + pixels / 2);
            area.draw(&Text::new(count.to_string(), middle, style)).map_err(drawing)?;
        }
        Ok(())
    };
    if gap > 0 {
        return (0..cells.n * cells.n).try_for_each(|i| draw(i / cells.n, i % cells.n));
    }
    // Without gaps the empty cells are one area.
    let all = [(margin, margin), corner(cells.n, cells.n)];
    area.draw(&Rectangle::new(all, shade(0.0, true).filled())).map_err(drawing)?;
    cells.counts.keys().try_for_each(|(row, column)| draw(*row, *column))
}

fn draw_names(
    area: &Area<BitMapBackend>,
    names: &[String],
    (margin, pixels, size): (i32, i32, f64),
) -> Result<()> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    let ink = RGBColor(50, 50, 50);
    for (i, name) in names.iter().enumerate() {
        let name: String = name.chars().take(NAME).collect();
        let middle = margin + pixels * i as i32 + pixels / 2;
        let style = (FONT, size).into_font().color(&ink);
        let left = style.clone().pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(name.clone(), (margin - 8, middle), left)).map_err(drawing)?;
        let upright = style.transform(FontTransform::Rotate270);
        let up = upright.pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(name, (middle, margin - 8), up)).map_err(drawing)?;
    }
    Ok(())
}

fn center() -> plotters::style::text_anchor::Pos {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    Pos::new(HPos::Center, VPos::Center)
}

/// From white to blue for right predictions, from white to orange for wrong ones.
fn shade(share: f64, right: bool) -> RGBColor {
    let full = if right { [23.0, 92.0, 156.0] } else { [208.0, 88.0, 22.0] };
    // The root makes rare mistakes visible.
    let strength = share.sqrt();
    let [r, g, b] = full.map(|to: f64| (246.0 + (to - 246.0) * strength) as u8);
    RGBColor(r, g, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confusion::tests::three;

    fn drawn(confusion: &Confusion) -> image::RgbImage {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.png");
        write_png(confusion, &file).unwrap();
        image::open(file).unwrap().to_rgb8()
    }

    fn many(n: usize) -> Confusion {
        Confusion::new((0..n).map(|i| format!("class {i}")).collect())
    }

    #[test]
    fn few_and_many_classes_can_be_drawn() {
        drawn(&three());
        let picture = drawn(&many(1000));
        assert!(picture.width() < 1200, "{}", picture.width());
    }

    #[test]
    fn of_ten_thousand_classes_each_point_is_a_group_and_keeps_its_mistakes() {
        let mut confusion = many(10_000);
        confusion.add(25, 25); // row and column 2
        confusion.add(9_995, 7); // row 999, column 0
        let picture = drawn(&confusion);
        assert_eq!(picture.dimensions(), (1084, 1084));
        assert_eq!(picture.get_pixel(62, 62).0, [23, 92, 156], "right");
        assert_eq!(picture.get_pixel(60, 1059).0, [208, 88, 22], "wrong");
        assert_eq!(picture.get_pixel(500, 500).0, [246, 246, 246], "nothing");
    }
}
