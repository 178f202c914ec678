//! The confusion matrix as CSV and PNG.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use super::canvas::{self, Area, FONT, drawing};

/// Most class names that can be read in a picture.
const MOST_NAMES: usize = 60;

/// Pictures by true class (rows) and most probable class (columns).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confusion {
    classes: Vec<String>,
    counts: Vec<u64>,
}

impl Confusion {
    /// A matrix without pictures.
    pub(crate) fn new(classes: Vec<String>) -> Self {
        let counts = vec![0; classes.len() * classes.len()];
        Self { classes, counts }
    }

    /// Counts one picture.
    pub(crate) fn add(&mut self, label: usize, predicted: usize) {
        self.counts[label * self.classes.len() + predicted] += 1;
    }

    /// Row of a class: how often each class was predicted for it.
    fn row(&self, label: usize) -> &[u64] {
        let n = self.classes.len();
        &self.counts[label * n..(label + 1) * n]
    }

    /// The most frequent mistakes: true class, predicted class, number of pictures.
    pub(crate) fn worst(&self, most: usize) -> Vec<(&str, &str, u64)> {
        let n = self.classes.len();
        let mut mistakes: Vec<(usize, u64)> = self.counts.iter().copied().enumerate().collect();
        mistakes.retain(|(i, count)| i / n != i % n && *count > 0);
        mistakes.sort_by_key(|(i, count)| (std::cmp::Reverse(*count), *i));
        let name = |i: usize| self.classes[i].as_str();
        mistakes.into_iter().take(most).map(|(i, c)| (name(i / n), name(i % n), c)).collect()
    }

    /// Writes one row per true class and one column per predicted class, with names.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn write_csv(&self, file: &Path) -> Result<()> {
        let write = || -> Result<()> {
            let mut csv = csv::Writer::from_path(file)?;
            csv.write_record(std::iter::once("true \\ predicted").chain(self.names()))?;
            for (label, name) in self.names().enumerate() {
                csv.write_field(name)?;
                csv.write_record(self.row(label).iter().map(u64::to_string))?;
            }
            Ok(csv.flush()?)
        };
        write().with_context(|| format!("{} can't be written", file.display()))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(String::as_str)
    }

    /// Draws the fractions of each row as shades, with numbers and names if there is room.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn write_png(&self, file: &Path) -> Result<()> {
        let n = self.classes.len().max(1);
        let cell = (900 / n).clamp(1, 64) as i32;
        let named = n <= MOST_NAMES;
        let longest = self.names().map(|name| name.chars().count().min(24)).max().unwrap_or(0);
        let size = f64::from(cell).mul_add(0.3, 6.0).min(18.0);
        let margin = if named { 60 + (longest as f64 * size * 0.62) as i32 } else { 60 };
        let side = cell * n as i32;
        let pixels = ((margin + side + 24) as u32, (margin + side + 24) as u32);
        canvas::png(file, pixels, |area| {
            area.fill(&WHITE).map_err(drawing)?;
            self.cells(area, (margin, cell))?;
            let text = |size: f64| (FONT, size).into_font().color(&RGBColor(50, 50, 50));
            let across = "columns: predicted class    rows: true class";
            area.draw(&Text::new(across, (margin, 12), text(17.0))).map_err(drawing)?;
            if named {
                self.draw_names(area, (margin, cell, size))?;
            }
            Ok(())
        })
    }

    fn cells(&self, area: &Area<BitMapBackend>, (margin, cell): (i32, i32)) -> Result<()> {
        for label in 0..self.classes.len() {
            let row = self.row(label);
            let all = row.iter().sum::<u64>().max(1);
            for (predicted, &count) in row.iter().enumerate() {
                let share = count as f64 / all as f64;
                let (x, y) = (margin + cell * predicted as i32, margin + cell * label as i32);
                let gap = i32::from(cell > 6);
                let box_ = [(x, y), (x + cell - gap, y + cell - gap)];
                let fill = shade(share, label == predicted);
                area.draw(&Rectangle::new(box_, fill.filled())).map_err(drawing)?;
                if cell >= 24 && count > 0 {
                    let ink = if share > 0.5 { WHITE } else { RGBColor(50, 50, 50) };
                    let size = (f64::from(cell) * 0.34).min(18.0);
                    let style = (FONT, size).into_font().color(&ink).pos(center());
                    let middle = (x + cell / 2, y + cell / 2);
                    area.draw(&Text::new(count.to_string(), middle, style)).map_err(drawing)?;
                }
            }
        }
        Ok(())
    }

    fn draw_names(
        &self,
        area: &Area<BitMapBackend>,
        (margin, cell, size): (i32, i32, f64),
    ) -> Result<()> {
        use plotters::style::text_anchor::{HPos, Pos, VPos};
        let ink = RGBColor(50, 50, 50);
        for (i, name) in self.names().enumerate() {
            let name: String = name.chars().take(24).collect();
            let middle = margin + cell * i as i32 + cell / 2;
            let style = (FONT, size).into_font().color(&ink);
            let left = style.clone().pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(name.clone(), (margin - 8, middle), left)).map_err(drawing)?;
            let upright = style.transform(FontTransform::Rotate270);
            let up = upright.pos(Pos::new(HPos::Left, VPos::Center));
            area.draw(&Text::new(name, (middle, margin - 8), up)).map_err(drawing)?;
        }
        Ok(())
    }
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

    fn three() -> Confusion {
        let mut confusion = Confusion::new(vec!["cat".into(), "dog, small".into(), "cow".into()]);
        for (label, predicted) in [(0, 0), (0, 1), (0, 1), (1, 1), (2, 0)] {
            confusion.add(label, predicted);
        }
        confusion
    }

    #[test]
    fn rows_are_true_classes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.csv");
        three().write_csv(&file).unwrap();
        assert_eq!(
            std::fs::read_to_string(file).unwrap(),
            "true \\ predicted,cat,\"dog, small\",cow\ncat,1,2,0\n\"dog, small\",0,1,0\ncow,1,0,0\n"
        );
    }

    #[test]
    fn the_most_frequent_mistake_comes_first() {
        assert_eq!(three().worst(5), [("cat", "dog, small", 2), ("cow", "cat", 1)]);
    }

    #[test]
    fn few_and_many_classes_can_be_drawn() {
        let dir = tempfile::tempdir().unwrap();
        three().write_png(&dir.path().join("three.png")).unwrap();
        let many = Confusion::new((0..1000).map(|i| format!("class {i}")).collect());
        many.write_png(&dir.path().join("many.png")).unwrap();
        let picture = image::open(dir.path().join("many.png")).unwrap();
        assert!(picture.width() < 1200, "{}", picture.width());
    }
}
