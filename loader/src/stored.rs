//! A picture file as a prepared data set would store it, without the set: what `predict` reads.

use std::path::Path;

use crate::Error;

/// Reads a picture file as a network sees it before cropping: `[3, side, side]`.
///
/// Without the JPEG step of a prepared data set.
///
/// # Errors
/// [`Error::Io`], or [`Error::Picture`] with what is wrong with it.
pub fn image_file_to_stored(path: &Path, side: usize) -> Result<Vec<u8>, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let pixels = picture::square(&bytes, side)
        .map_err(|why| Error::Picture { name: path.display().to_string(), why })?;
    let plane = |c: usize| pixels.iter().skip(c).step_by(3).copied();
    Ok(plane(0).chain(plane(1)).chain(plane(2)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_for_predict_has_its_colors_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jpg");
        let red = [220, 30, 30].repeat(8 * 8);
        let encoder = jpeg_encoder::Encoder::new_file(&path, 100).unwrap();
        encoder.encode(&red, 8, 8, jpeg_encoder::ColorType::Rgb).unwrap();
        let planes = image_file_to_stored(&path, 8).unwrap();
        for (plane, want) in [220_u8, 30, 30].into_iter().enumerate() {
            let plane = &planes[64 * plane..][..64];
            assert!(plane.iter().all(|got| got.abs_diff(want) <= 3), "{plane:?}, wanted {want}");
        }
        let missing = image_file_to_stored(&folder.path().join("b.png"), 8).unwrap_err();
        assert!(missing.to_string().contains("b.png"), "{missing}");
    }
}
