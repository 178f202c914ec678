//! The decoder of the loader by itself: stored pictures that are in memory already, on one core.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use loader::dataset::PictureEncoding;
use loader::{Source, Split};

use super::streaming::{cpu_seconds, since};

/// Most pictures that are decoded in turn, spread over the training pictures.
const MOST: u64 = 512;

/// JPEG files that one core decodes per second of its time; `None` if the pictures are stored
/// otherwise.
pub(super) fn images_per_core_s(source: &Source, measured: Duration) -> Result<Option<f64>> {
    let jpegs = jpegs(source)?;
    if jpegs.is_empty() {
        return Ok(None);
    }
    let side = source.describe().side;
    let mut pixels = vec![0; 3 * side * side];
    let own = std::process::id();
    let (started, busy, mut n) = (Instant::now(), cpu_seconds(own)?, 0.0);
    for jpeg in jpegs.iter().cycle() {
        if n > 0.0 && started.elapsed() >= measured {
            break;
        }
        picture::stored_jpeg(jpeg, &mut pixels).map_err(|why| anyhow!("a stored JPEG is {why}"))?;
        n += 1.0;
    }
    Ok(Some(n / since(own, busy)?))
}

/// The files of some training pictures that are stored as JPEG.
fn jpegs(source: &Source) -> Result<Vec<Vec<u8>>> {
    let Source::Prepared(data) = source else { return Ok(Vec::new()) };
    let n_train = data.describe().n_train;
    let some = n_train.min(MOST);
    let mut jpegs = Vec::new();
    for i in 0..some {
        let mut stored = Vec::new();
        if data.read_stored(Split::Train, i * n_train / some, &mut stored)? == PictureEncoding::Jpeg
        {
            jpegs.push(stored);
        }
    }
    Ok(jpegs)
}
