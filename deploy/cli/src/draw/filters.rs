//! Kernels of the first convolution as pictures, half A's above half B's, as in Figure 3 of the
//! paper.

use std::path::Path;

use anyhow::Result;
use image::RgbImage;
use plotters::prelude::*;

use super::canvas::{self, Area, GRAY, Write, drawing};

/// Width that the kernels of a block fill, as far as whole pixels allow.
const WIDTH: usize = 1240;
/// Most points per number of a kernel, along a side.
const MOST_ZOOM: usize = 24;
/// Room around everything.
const MARGIN: i32 = 32;
const HEAD: i32 = 104;
/// Room for the name of a block, and below a block.
const NAME: i32 = 40;
const BELOW: i32 = 24;

/// The kernels of one half.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Name of the half; none if there is one block.
    pub name: Option<String>,
    /// One picture per kernel, one point per number.
    pub kernels: Vec<RgbImage>,
}

/// Places of the kernels of all blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grid {
    across: usize,
    down: usize,
    /// Points per number, along a side.
    zoom: usize,
    /// Distance from one kernel to the next.
    pitch: usize,
}

impl Grid {
    /// A grid about five times as wide as high: 16 × 3 for the paper's 48 kernels.
    fn new(n: usize, side: usize) -> Self {
        let down = ((n as f64 * 3.0 / 16.0).sqrt().round() as usize).max(1);
        let across = n.div_ceil(down).max(1);
        let zoom = (WIDTH / across / (side + 1)).clamp(1, MOST_ZOOM);
        // A gap of about half a number keeps neighbors apart.
        Self { across, down, zoom, pitch: zoom * side + (zoom / 2).max(3) }
    }
}

/// Writes the kernels of all blocks under a title and a note.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn write_png(out: &Path, [title, note]: [&str; 2], blocks: &[Block]) -> Result<()> {
    let most = blocks.iter().map(|block| block.kernels.len()).max().unwrap_or(0);
    let side = blocks.iter().flat_map(|block| &block.kernels).map(RgbImage::width).max();
    let grid = Grid::new(most, side.unwrap_or(1) as usize);
    let name = if blocks.len() > 1 { NAME } else { 0 };
    let height = name + (grid.down * grid.pitch) as i32 + BELOW;
    let kernels = (grid.across * grid.pitch) as i32;
    let size = (
        2 * MARGIN + kernels.max(17 * title.chars().count() as i32).max(WIDTH as i32 / 2),
        HEAD + blocks.len() as i32 * height + MARGIN - BELOW,
    );
    canvas::png(out, (size.0 as u32, size.1 as u32), |area| {
        area.fill(&WHITE).map_err(drawing)?;
        Write::new(28).bold().at(area, title, (MARGIN, 24))?;
        Write::new(21).color(GRAY).at(area, note, (MARGIN, 62))?;
        for (i, block) in (0..).zip(blocks) {
            let top = HEAD + i * height;
            if let Some(name) = &block.name {
                Write::new(24).at(area, name, (MARGIN, top))?;
            }
            draw(area, block, grid, top + name)?;
        }
        Ok(())
    })
}

fn draw(area: &Area<BitMapBackend>, block: &Block, grid: Grid, top: i32) -> Result<()> {
    let zoom = grid.zoom as u32;
    for (i, kernel) in block.kernels.iter().enumerate() {
        let (width, height) = (zoom * kernel.width(), zoom * kernel.height());
        let enlarged =
            RgbImage::from_fn(width, height, |x, y| *kernel.get_pixel(x / zoom, y / zoom));
        let x = MARGIN + (i % grid.across * grid.pitch) as i32;
        canvas::picture(area, enlarged, (x, top + (i / grid.across * grid.pitch) as i32))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_48_kernels_of_a_half_are_three_rows_of_16() {
        let grid = |n| (Grid::new(n, 11).across, Grid::new(n, 11).down);
        assert_eq!(
            [48, 96, 24, 16, 12, 3, 1].map(grid),
            [(16, 3), (24, 4), (12, 2), (8, 2), (6, 2), (3, 1), (1, 1)]
        );
    }

    #[test]
    fn half_a_is_above_half_b_and_each_number_is_a_square() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("f.png");
        let kernel = |red: u8| {
            RgbImage::from_fn(2, 2, |x, y| image::Rgb([red, 100 * x as u8, 100 * y as u8]))
        };
        let block = |name: &str, first: u8| {
            let kernels = vec![kernel(first), kernel(first + 1)];
            Block { name: Some(name.into()), kernels }
        };
        write_png(&out, ["title", "note"], &[block("half A", 7), block("half B", 9)]).unwrap();
        let sheet = image::open(out).unwrap().to_rgb8();
        let Grid { zoom, pitch, .. } = Grid::new(2, 2);
        let height = NAME + pitch as i32 + BELOW;
        for (i, red) in (0..).zip([7, 8, 9, 10]) {
            let left = MARGIN + i % 2 * pitch as i32;
            let top = HEAD + NAME + i / 2 * height;
            for (x, y) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let at = |from: i32, n: i32, within: i32| (from + n * zoom as i32 + within) as u32;
                for within in [0, zoom as i32 - 1] {
                    let pixel = sheet.get_pixel(at(left, x, within), at(top, y, within));
                    assert_eq!(pixel.0, [red, 100 * x as u8, 100 * y as u8], "{i}: {x}, {y}");
                }
            }
        }
    }
}
