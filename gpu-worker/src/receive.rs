//! Minibatches from the run's loaders, of which any can answer any request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::shape::Shape;
use net::Backoff;
use net::{Reaction, reaction};
use net::{Role, Trust};
use proto::DESCRIPTION_LIMIT;
use proto::chunk::{Assembler, mean_image};
use proto::wire::loader_client::LoaderClient;
use proto::wire::{BatchHead, BatchRequest, DataSet, DescribeRequest, batch_chunk::Content};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::error::{Error, Result};
use crate::network::Mean;

/// Longest minibatch accepted: 1,024 crops of 512 × 512.
const LONGEST: u64 = 1024 * 3 * 512 * 512;

/// Checksum errors after which the disk is to blame, and not the network.
const DAMAGED_TRIES: usize = 3;

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

/// The loaders of the run; any of them can answer any request.
#[derive(Debug, Default)]
pub(crate) struct Loaders {
    trust: Trust,
    known: Mutex<Vec<(String, Option<Channel>)>>,
}

impl Loaders {
    pub(crate) fn new(trust: Trust) -> Self {
        Self { trust, known: Mutex::default() }
    }

    /// Replaces the list of addresses; keeps the connections to those that stay.
    pub(crate) fn set(&self, addresses: Vec<String>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::take(&mut *known);
        let kept = |address: &String| {
            old.iter().find(|(a, _)| a == address).and_then(|(_, channel)| channel.clone())
        };
        *known = addresses.into_iter().map(|a| (a.clone(), kept(&a))).collect();
    }

    fn pick(&self, number: usize) -> Option<(String, Option<Channel>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() { None } else { Some(known[number % known.len()].clone()) }
    }

    fn keep(&self, address: &str, channel: Option<Channel>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = known.iter_mut().find(|(a, _)| a == address) {
            entry.1 = channel;
        }
    }

    fn addresses(&self) -> String {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(a, _)| a.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// A connection to the loader whose turn it is.
    async fn connect(&self, turn: usize) -> std::result::Result<Channel, Status> {
        let (address, channel) =
            self.pick(turn).ok_or_else(|| Status::unavailable("no loader has joined the run"))?;
        if let Some(channel) = channel {
            return Ok(channel);
        }
        // A loader that isn't trusted counts as unreachable: another one may answer.
        let dialed = self.trust.dial(Role::Loader, &address).await;
        let channel = dialed.map_err(|e| Status::unavailable(e.by("this worker")))?;
        self.keep(&address, Some(channel.clone()));
        Ok(channel)
    }

    /// Asks one loader after another until one answers.
    async fn ask<T, F>(
        &self,
        first: usize,
        deadline: Duration,
        call: impl Fn(Channel) -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, Status>>,
    {
        let started = Instant::now();
        let mut backoff = Backoff::default();
        let mut damaged = 0;
        for turn in first.. {
            // A loader that hangs must leave time for the others.
            let limit = (deadline / 4).min(deadline.saturating_sub(started.elapsed()));
            let loader = self.pick(turn).map(|(address, _)| address).unwrap_or_default();
            let answer = tokio::time::timeout(limit, async {
                let channel = self.connect(turn).await?;
                call(channel).await
            });
            let status = match answer.await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer in time"),
            };
            damaged += usize::from(status.code() == Code::DataLoss);
            if reaction(&status) == Reaction::Stop || damaged > DAMAGED_TRIES {
                return Err(Error::BadData { loader, why: status.message().into() });
            }
            self.keep(&loader, None);
            if started.elapsed() >= deadline {
                return Err(Error::NoData {
                    loaders: self.addresses(),
                    waited_ms: deadline.as_millis() as u64,
                    why: status.message().into(),
                });
            }
            tracing::debug!(loader, why = status.message(), "asking the next loader");
            backoff.pause().await;
        }
        unreachable!("the range of turns is endless")
    }

    /// Fetches one minibatch.
    pub(crate) async fn batch(
        &self,
        request: BatchRequest,
        deadline: Duration,
    ) -> Result<Minibatch> {
        let turn = request.step as usize;
        self.ask(turn, deadline, |channel| stream_batch(channel, request.clone())).await
    }

    /// Fetches the mean image and the side of the run's pictures.
    pub(crate) async fn mean(&self, digest: &str, deadline: Duration) -> Result<Mean> {
        let set: DataSet = self
            .ask(0, deadline, |channel| async move {
                let mut client =
                    LoaderClient::new(channel).max_decoding_message_size(DESCRIPTION_LIMIT);
                Ok(client.describe(DescribeRequest {}).await?.into_inner())
            })
            .await?;
        let bad = |why: String| Error::BadData { loader: self.addresses(), why };
        if set.digest != digest {
            return Err(bad(format!(
                "its data set is {}, expected the run's, {digest}",
                set.digest
            )));
        }
        let side = set.side as usize;
        let values = mean_image(&set.mean, side).ok_or_else(|| {
            bad(format!("a mean image of {} bytes for side {side}", set.mean.len()))
        })?;
        Ok(Mean { side, values })
    }
}

async fn stream_batch(
    channel: Channel,
    request: BatchRequest,
) -> std::result::Result<Minibatch, Status> {
    let mut client = LoaderClient::new(channel).max_decoding_message_size(proto::MESSAGE_LIMIT);
    let mut stream = client.batch(request).await?.into_inner();
    let mut head = None;
    let mut pixels = Assembler::new(LONGEST);
    while let Some(chunk) = stream.message().await? {
        match chunk.content {
            Some(Content::Head(h)) => head = Some(h),
            Some(Content::Pixels(chunk)) => {
                pixels.take(chunk).map_err(|e| Status::data_loss(e.to_string()))?;
            }
            None => return Err(Status::invalid_argument("an empty chunk")),
        }
    }
    let head = head.ok_or_else(|| Status::data_loss("the stream ended before its head"))?;
    if !pixels.is_complete() {
        return Err(Status::data_loss("the stream ended before its last pixels"));
    }
    Minibatch::from_wire(head, pixels.into_parts()).map_err(Status::invalid_argument)
}

/// Minibatches that are requested before they are needed.
#[derive(Debug)]
pub(crate) struct Feed {
    network: Handle,
    loaders: Arc<Loaders>,
    deadline: Duration,
    ahead: VecDeque<(BatchRequest, JoinHandle<Result<Minibatch>>)>,
}

impl Feed {
    pub(crate) fn new(network: Handle, loaders: Arc<Loaders>, deadline: Duration) -> Self {
        Self { network, loaders, deadline, ahead: VecDeque::new() }
    }

    /// Requests a minibatch that will be taken later.
    pub(crate) fn request(&mut self, request: BatchRequest) {
        if self.ahead.iter().all(|(asked, _)| *asked != request) {
            let (loaders, deadline) = (self.loaders.clone(), self.deadline);
            let asked = request.clone();
            let task = self.network.spawn(async move { loaders.batch(asked, deadline).await });
            self.ahead.push_back((request, task));
        }
    }

    /// Takes a minibatch; also returns the time that this blocked.
    pub(crate) fn take(&mut self, request: &BatchRequest) -> Result<(Minibatch, Duration)> {
        let started = Instant::now();
        self.request(request.clone());
        // Earlier requests aren't needed any more (another epoch's color noise).
        while let Some((asked, task)) = self.ahead.pop_front() {
            if asked == *request {
                let minibatch = self.network.block_on(task).unwrap_or_else(|e| {
                    Err(Error::BadData { loader: "receive".into(), why: e.to_string() })
                })?;
                return Ok((minibatch, started.elapsed()));
            }
            task.abort();
        }
        unreachable!("the request was put on the list above")
    }
}

impl Drop for Feed {
    /// Cancels the requests of an incarnation that has ended.
    fn drop(&mut self) {
        for (_, task) in &self.ahead {
            task.abort();
        }
    }
}
