//! `predict --plot`: pictures with bars for their most probable classes.

use std::path::Path;

use anyhow::{Result, bail};
use image::RgbImage;

use super::write::best;
use crate::commands::known::Known;
use crate::draw::predictions::{self, Bar, Cell};
use crate::print;

/// Most pictures that are drawn.
const MOST: usize = 40;
/// Bars per picture, as in the paper.
const BARS: usize = 5;

/// A picture with its most probable classes.
#[derive(Debug)]
struct Seen {
    picture: RgbImage,
    /// Name of the file.
    name: String,
    /// The true class, if it is known.
    label: Option<usize>,
    best: Vec<(usize, f32)>,
}

/// The pictures of one drawing.
#[derive(Debug)]
pub(super) struct Bars {
    known: Known,
    seen: Vec<Seen>,
    /// Number of pictures that found no room.
    left_out: usize,
}

impl Bars {
    /// A drawing without pictures.
    pub(super) fn new(known: Known) -> Self {
        Self { known, seen: Vec::new(), left_out: 0 }
    }

    /// Adds a picture `[side, side, 3]` with the probability of each class.
    pub(super) fn add(&mut self, path: &Path, pixels: &[u8], side: usize, probabilities: &[f32]) {
        let side = side as u32;
        let picture = RgbImage::from_raw(side, side, pixels.to_vec());
        let Some(picture) = picture.filter(|_| self.seen.len() < MOST) else {
            self.left_out += 1;
            return;
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let best = best(probabilities, BARS);
        let picture = predictions::scaled(&picture);
        self.seen.push(Seen { picture, name, label: self.known.of(path), best });
    }

    /// Writes the drawing, and says so.
    ///
    /// # Errors
    /// If no picture could be read, or the file can't be written.
    pub(super) fn write_png(self, out: &Path, classes: &[String]) -> Result<()> {
        if self.seen.is_empty() {
            bail!("no picture could be read, so {} is not written", print::path(out));
        }
        let cells = self.seen.into_iter().map(|seen| cell(seen, classes)).collect();
        predictions::write_png(out, cells)?;
        let left_out = match self.left_out {
            0 => String::new(),
            n => {
                format!(" with the first {MOST} pictures; {} left out", print::thousands(n as u64))
            }
        };
        print::note(format_args!("{}{left_out}", print::path(out)));
        Ok(())
    }
}

fn cell(seen: Seen, classes: &[String]) -> Cell {
    let name = |class: usize| print::visible(classes.get(class).map_or("?", String::as_str));
    let bar = |(class, share): &(usize, f32)| Bar {
        name: name(*class),
        share: f64::from(*share),
        right: seen.label == Some(*class),
    };
    Cell {
        bars: seen.best.iter().map(bar).collect(),
        caption: seen.label.map_or_else(|| print::visible(&seen.name), name),
        known: seen.label.is_some(),
        picture: seen.picture,
    }
}
