//! Letters without system fonts: DejaVu Sans, embedded.

use std::sync::OnceLock;

use plotters::style::{FontStyle, register_font};

/// The family name to draw with, once [`ready`] was called.
pub(crate) const FAMILY: &str = "dejavu";

/// Makes [`FAMILY`] known to plotters; any number of times.
pub(crate) fn ready() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let fonts =
            [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())];
        for (style, bytes) in fonts {
            assert!(register_font(FAMILY, style, bytes).is_ok(), "the embedded font is a font");
        }
    });
}
