//! Drawings without system fonts or system libraries: DejaVu Sans is embedded, PNGs come from
//! the `image` crate.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;

/// The font of all drawings.
pub(crate) const FONT: &str = "dejavu";

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
    image::save_buffer(file, &pixels, width, height, image::ExtendedColorType::Rgb8)
        .with_context(|| format!("{} can't be written", file.display()))
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
