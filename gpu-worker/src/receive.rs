//! Minibatches from the run's loaders, of which any can answer any request.
//!
//! The request determines the pictures and crops of a minibatch, so every answer is checked
//! against it. A loader whose answer is wrong is not asked again; one that is slow is asked
//! only if no other answers.

pub(crate) mod check; // what a loader must answer
mod loaders; // the run's loaders, and this worker's experience with each
mod ask; // one question, put to one loader after another until one answers
mod feed; // minibatches that are requested before they are needed

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::shape::Shape;
use proto::DESCRIPTION_LIMIT;
use proto::chunk::{Assembler, mean_image};
use proto::digest::sha256;
use proto::wire::batch_chunk::Content;
use proto::wire::loader_client::LoaderClient;
use proto::wire::{BatchHead, BatchRequest, DescribeRequest};
use tonic::Status;
use tonic::transport::Channel;

use crate::error::{Error, Result};
use crate::network::Mean;
pub(crate) use ask::Wait;
use ask::{Answer, Asked, Failure, Sign};
use check::Pictures;
pub(crate) use feed::Feed;
pub(crate) use loaders::Loaders;

/// Longest minibatch accepted: 1,024 crops of 512 × 512.
const LONGEST: u64 = 1024 * 3 * 512 * 512;

/// A minibatch as loaders send it: u8 crops, and the changes that the first kernel makes to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Minibatch {
    /// Labels `[n]`.
    pub labels: Vec<u32>,
    /// Crops `[n]`: row, column, flip (0 or 1), shift of red, green, blue.
    pub crops: Vec<[f32; 6]>,
    /// Side of the crops.
    pub crop: usize,
    /// Pixels `[n, 3, crop, crop]` before the flip, in pieces.
    pub pixels: Vec<Bytes>,
    /// Digest of the whole minibatch, by the loader: both halves must have received the same.
    pub digest: u64,
}

impl Minibatch {
    /// Number of images.
    pub fn n_images(&self) -> usize {
        self.labels.len()
    }

    /// Checks the minibatch against the plan, so that no kernel reads beyond its buffers.
    pub(crate) fn check(
        &self,
        input: Shape,
        batch: usize,
        side: usize,
        classes: usize,
    ) -> Result<()> {
        let n = self.n_images();
        let bad = |why: String| Err(Error::BadData { loader: "minibatch".into(), why });
        let bytes: usize = self.pixels.iter().map(Bytes::len).sum();
        if n == 0 || n > batch || self.crops.len() != n || bytes != n * input.len() {
            return bad(format!(
                "{n} labels, {} crops and {bytes} bytes of pixels; expected 1 to {batch} images \
                 of {} bytes",
                self.crops.len(),
                input.len()
            ));
        }
        if let Some(label) = self.labels.iter().find(|l| **l as usize >= classes) {
            return bad(format!("label {label}, but the network has {classes} classes"));
        }
        let room = side.saturating_sub(input.side) as f32;
        let outside =
            |p: &&[f32; 6]| !(0.0..=room).contains(&p[0]) || !(0.0..=room).contains(&p[1]);
        match self.crops.iter().find(outside) {
            Some(p) => bad(format!(
                "a crop of side {} at row {}, column {} of a picture of side {side}",
                input.side, p[0], p[1]
            )),
            None => Ok(()),
        }
    }

    /// The minibatch of a loader's message.
    ///
    /// # Errors
    /// A description, if the lengths in the message differ.
    pub fn from_wire(head: BatchHead, pixels: Vec<Bytes>) -> std::result::Result<Self, String> {
        let n = head.n_images as usize;
        let lengths = [head.label.len(), head.row.len(), head.column.len(), head.flip.len()];
        if lengths.iter().any(|l| *l != n) || head.shift.len() != 3 * n {
            return Err(format!(
                "a minibatch of {n} images with {lengths:?} labels, rows, columns and flips and {} \
                 shifts",
                head.shift.len()
            ));
        }
        let crops = (0..n)
            .map(|i| {
                let [red, green, blue] = [0, 1, 2].map(|c| head.shift[3 * i + c]);
                let flip = f32::from(u8::from(head.flip[i]));
                [head.row[i] as f32, head.column[i] as f32, flip, red, green, blue]
            })
            .collect();
        let crop = head.crop as usize;
        Ok(Self { labels: head.label, crops, crop, pixels, digest: head.digest })
    }
}

impl Loaders {
    /// Fetches one minibatch.
    pub(crate) async fn batch(
        self: Arc<Self>,
        request: BatchRequest,
        pictures: Arc<Pictures>,
        wait: &Wait,
    ) -> Result<Minibatch> {
        let turn = request.step;
        let call = {
            let (request, pictures) = (request.clone(), pictures.clone());
            move |channel, to: Asked| {
                let next_step = (request.view == 0).then(|| request.step.saturating_add(to.stride));
                let request = BatchRequest { next_step, ..request.clone() };
                let pictures = pictures.clone();
                async move { minibatch(channel, request, &pictures, to.sign).await }
            }
        };
        let call = Arc::new(call);
        let answer = self.ask(turn, wait, call.clone()).await?;
        self.probe(&call);
        Ok(answer)
    }

    /// Fetches the mean image of the run's pictures.
    pub(crate) async fn mean(
        self: Arc<Self>,
        pictures: Arc<Pictures>,
        deadline: Duration,
    ) -> Result<Mean> {
        let wait = Wait::new(deadline);
        wait.begins();
        let call = move |channel, _| {
            let pictures = pictures.clone();
            async move { mean(channel, &pictures).await }
        };
        self.ask(0, &wait, Arc::new(call)).await
    }
}

/// Asks a loader for one minibatch, and checks it.
async fn minibatch(
    channel: Channel,
    request: BatchRequest,
    pictures: &Pictures,
    sign: Sign,
) -> std::result::Result<Answer<Minibatch>, Failure> {
    let lie = |why: String| Failure::Wrong(why);
    let mut client = LoaderClient::new(channel).max_decoding_message_size(proto::MESSAGE_LIMIT);
    let mut stream = client.batch(request.clone()).await?.into_inner();
    let (mut head, mut n_read) = (None, None);
    let mut pixels = Assembler::new(LONGEST);
    while let Some(chunk) = stream.message().await? {
        match chunk.content {
            Some(Content::Making(making)) => {
                // The same number again means that nothing was read since.
                if n_read.replace(making.n_read) != Some(making.n_read) {
                    sign.give();
                }
                continue;
            }
            Some(Content::Head(h)) => head = Some(h),
            Some(Content::Pixels(chunk)) => {
                pixels.take(chunk).map_err(|e| Status::data_loss(e.to_string()))?;
            }
            None => return Err(lie("it sent an empty chunk".into())),
        }
        sign.give();
    }
    // A stream that ends too early was given up by a loader that is late, or is just ending.
    let early = |what| Status::unavailable(format!("the stream ended before its {what}"));
    let head = head.ok_or_else(|| early("head"))?;
    if !pixels.is_complete() {
        return Err(early("last pixels").into());
    }
    let bytes = pixels.progress().0;
    pictures.check(&request, &head, bytes).map_err(lie)?;
    let made = Duration::from_micros(head.made_us);
    let value = Minibatch::from_wire(head, pixels.into_parts()).map_err(lie)?;
    Ok(Answer { value, made: Some(made) })
}

/// Asks a loader for the mean image, and checks that it is the run's.
async fn mean(channel: Channel, pictures: &Pictures) -> std::result::Result<Answer<Mean>, Failure> {
    let mut client = LoaderClient::new(channel).max_decoding_message_size(DESCRIPTION_LIMIT);
    let set = client.describe(DescribeRequest {}).await?.into_inner();
    pictures.check_description(&set).map_err(Failure::Wrong)?;
    let side = set.side as usize;
    let bytes = set.mean.len();
    let values = mean_image(&set.mean, side)
        .filter(|_| sha256(&set.mean) == pictures.mean_sha256)
        .ok_or_else(|| {
            Failure::Wrong(format!(
                "its mean image ({bytes} bytes) is not the run's; expected {}",
                pictures.mean_sha256
            ))
        })?;
    Ok(Answer { value: Mean { side, values }, made: None })
}
