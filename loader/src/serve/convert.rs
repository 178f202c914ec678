//! Conversions between messages and the loader's own types: requests in, heads of minibatches out.

use proto::wire;

use crate::batch::{Minibatch, Request};
use crate::{Error, Split};

/// The request that a message makes, checked as far as possible without the data.
///
/// # Errors
/// [`Error::Request`] for an unknown split.
pub fn request(asked: &wire::BatchRequest) -> Result<Request, Error> {
    let split = match wire::Split::try_from(asked.split) {
        Ok(wire::Split::Train) => Split::Train,
        Ok(wire::Split::Val) => Split::Val,
        _ => {
            let why = format!("{}, expected train (1) or val (2)", asked.split);
            return Err(Error::Request { field: "split", why });
        }
    };
    Ok(Request {
        split,
        step: asked.step,
        n_images: asked.n_images as usize,
        seed: asked.seed,
        crop: asked.crop as usize,
        crop_offsets: asked.crop_offsets as usize,
        flip: asked.flip,
        color_noise: asked.color_noise,
        view: asked.view,
    })
}

impl From<&Minibatch> for wire::BatchHead {
    fn from(minibatch: &Minibatch) -> Self {
        Self {
            n_images: minibatch.n as u32,
            crop: minibatch.crop as u32,
            label: minibatch.labels.clone(),
            row: minibatch.rows.clone(),
            column: minibatch.columns.clone(),
            flip: minibatch.flips.clone(),
            shift: minibatch.shifts.concat(),
            image: minibatch.images.clone(),
            digest: minibatch.digest,
            ..Self::default() // which data set it is of, and how long it took
        }
    }
}
