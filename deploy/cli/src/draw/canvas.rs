//! Drawings without system fonts or system libraries: DejaVu Sans is embedded, PNGs come from
//! the `image` crate. Lines of text, and pictures inside a drawing.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The font of all drawings.
pub(crate) const FONT: &str = "dejavu";

/// Color of text.
pub(crate) const INK: RGBColor = RGBColor(30, 30, 30);
/// Color of text that comes second.
pub(crate) const GRAY: RGBColor = RGBColor(96, 96, 96);

/// Something to draw on.
pub(crate) type Area<B> = DrawingArea<B, Shift>;

/// Writes `width × height` pixels that `paint` fills to a PNG.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn png(
    file: &Path,
    (width, height): (u32, u32),
    paint: impl FnOnce(&Area<BitMapBackend>) -> Result<()>,
) -> Result<()> {
    load_font();
    let mut pixels = vec![255; width as usize * height as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        paint(&area)?;
        area.present().map_err(drawing)?;
    }
    let mut encoded = Vec::new();
    // Named, since `image::save_buffer` brings the encoders of all formats along.
    let encoder = PngEncoder::new(&mut encoded);
    let color = ExtendedColorType::Rgb8;
    let written = encoder.write_image(&pixels, width, height, color).map_err(std::io::Error::other);
    let written = written.and_then(|()| std::fs::write(file, encoded));
    written.with_context(|| format!("{} can't be written", file.display()))
}

/// Writes a drawing of `width × height` to an SVG.
///
/// # Errors
/// If the file can't be written.
pub(crate) fn svg(
    file: &Path,
    size: (u32, u32),
    paint: impl FnOnce(&Area<SVGBackend>) -> Result<()>,
) -> Result<()> {
    load_font();
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        paint(&area)?;
        area.present().map_err(drawing)?;
    }
    // A reader's machine need not have DejaVu; its own sans serif is close.
    let text = text.replace(&format!("\"{FONT}\""), "\"DejaVu Sans, Verdana, sans-serif\"");
    std::fs::write(file, text).with_context(|| format!("{} can't be written", file.display()))
}

/// Draws a picture whose upper left corner is at `at`.
///
/// # Errors
/// If it can't be drawn.
pub(crate) fn picture(area: &Area<BitMapBackend>, picture: RgbImage, at: (i32, i32)) -> Result<()> {
    let size = picture.dimensions();
    let element = BitMapElement::with_owned_buffer(at, size, picture.into_raw())
        .context("a picture has three bytes per pixel")?;
    area.draw(&element).map_err(drawing)
}

/// A way to write one line of text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    size: i32,
    is_bold: bool,
    color: RGBColor,
    /// True if the text ends at its place, and does not begin there.
    is_right: bool,
    most: Option<i32>,
}

impl Write {
    /// Text of this size, in pixels.
    pub(crate) fn new(size: i32) -> Self {
        Self { size, is_bold: false, color: INK, is_right: false, most: None }
    }

    /// The same in bold.
    pub(crate) fn bold(self) -> Self {
        Self { is_bold: true, ..self }
    }

    /// The same in another color.
    pub(crate) fn color(self, color: RGBColor) -> Self {
        Self { color, ..self }
    }

    /// The same, ending where it would begin.
    pub(crate) fn right(self) -> Self {
        Self { is_right: true, ..self }
    }

    /// The same, cut with a mark if it is wider than this many pixels.
    pub(crate) fn within(self, most: i32) -> Self {
        Self { most: Some(most), ..self }
    }

    /// Width of a text in pixels.
    ///
    /// # Errors
    /// If the font can't be used.
    pub(crate) fn width<B: DrawingBackend>(&self, area: &Area<B>, text: &str) -> Result<i32>
    where
        B::ErrorType: 'static,
    {
        Ok(area.estimate_text_size(text, &self.style()).map_err(drawing)?.0 as i32)
    }

    fn style(&self) -> TextStyle<'static> {
        let weight = if self.is_bold { FontStyle::Bold } else { FontStyle::Normal };
        let anchor = if self.is_right { HPos::Right } else { HPos::Left };
        let style = (FONT, self.size, weight).into_font().color(&self.color);
        style.pos(Pos::new(anchor, VPos::Top))
    }

    /// Writes a text whose top is at `at`; returns its width.
    ///
    /// # Errors
    /// If it can't be drawn.
    pub(crate) fn at<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        text: &str,
        at: (i32, i32),
    ) -> Result<i32>
    where
        B::ErrorType: 'static,
    {
        let mut shown = text.to_owned();
        let mut width = self.width(area, &shown)?;
        let mut letters: Vec<char> = text.chars().collect();
        while self.most.is_some_and(|most| width > most) && letters.pop().is_some() {
            shown = letters.iter().collect::<String>().trim_end().to_owned() + "…";
            width = self.width(area, &shown)?;
        }
        area.draw(&Text::new(shown, at, self.style())).map_err(drawing)?;
        Ok(width)
    }
}

/// `out` with this ending, in place of `.svg` or `.png` if it has one.
pub(crate) fn ending(out: &Path, ending: &str) -> PathBuf {
    match out.extension().and_then(|e| e.to_str()) {
        Some("svg" | "png") => out.with_extension(ending),
        _ => {
            let mut name = out.as_os_str().to_owned();
            name.push(format!(".{ending}"));
            name.into()
        }
    }
}

/// An error of plotters as one of ours.
pub(crate) fn drawing<E: std::error::Error + Send + Sync>(
    error: DrawingAreaErrorKind<E>,
) -> anyhow::Error {
    anyhow!("{error}")
}

fn load_font() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let fonts =
            [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())];
        for (style, bytes) in fonts {
            assert!(register_font(FONT, style, bytes).is_ok(), "the embedded font is a font");
        }
    });
}
