//! The exchange with the other half at the plan's exchange points: checks that each tensor is the
//! one that is due, and measures transfers and waits.
//!
//! Both halves run the same program, so each sends tensors in the order in which the other expects
//! them; a tensor out of order is an error that names both. A [`Peer`] carries the bytes, over gRPC
//! or inside one process ([`in_process`]).

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::recipe::Encoding;

use crate::backend::{Backend, Download};
use crate::error::{Error, Result};

mod key; // which tensor: minibatch, exchange point, direction, micro-batch
pub mod frame; // tensor ⇄ messages
pub(crate) mod grpc; // the other half in another process
pub mod goodput; // the exchange by itself, measured
pub mod in_process; // the other half in this process

pub use key::{BatchId, Direction, TensorKey};

/// A complete tensor from the other half.
#[derive(Debug)]
pub struct ReceivedTensor {
    /// The tensor that its header names.
    pub key: TensorKey,
    /// The bytes, in pieces.
    pub parts: Vec<Bytes>,
    /// CRC-32 of all bytes.
    pub crc32: u32,
    /// The encoding of the numbers.
    pub encoding: Encoding,
    /// The numbers were multiplied by `2^exponent` before encoding.
    pub exponent: i32,
    /// Arrival of the announcement.
    pub began: Instant,
    /// Arrival of the last bytes.
    pub ended: Instant,
}

/// A connection to the other half.
pub trait Peer: Send {
    /// Sends without blocking; the bytes may still be on their way from the device.
    ///
    /// # Errors
    /// [`Error::PeerLost`] if the other half can't receive any more.
    fn send(&mut self, key: TensorKey, payload: Download) -> Result<()>;

    /// The next tensor, or `None` if it isn't complete after `wait`.
    ///
    /// # Errors
    /// [`Error::PeerLost`] if no more tensors can come, [`Error::Interrupted`] if none is wanted.
    fn next(&mut self, wait: Duration) -> Result<Option<ReceivedTensor>>;

    /// The tensors of training steps that were sent since the last call.
    fn sent(&mut self) -> Vec<Transfer> {
        Vec::new()
    }
}

/// The transfer of one tensor, as one end saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Transfer {
    /// The tensor.
    pub key: TensorKey,
    /// Length of the tensor.
    pub bytes: u64,
    /// The first byte was given to the connection, or taken from it.
    pub began: Instant,
    /// The last byte was given or taken.
    pub ended: Instant,
}

/// Received bytes and times at one exchange point, in one direction, during one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExchangeStats {
    /// The exchange point.
    pub at: &'static str,
    /// Activations or gradient.
    pub direction: Direction,
    /// Bytes received.
    pub bytes: u64,
    /// Checksum of the tensors received, in order.
    pub checksum: u32,
    /// Time from first to last byte, summed over micro-batches.
    pub transfer_ms: f64,
    /// Time blocked while the other half was sending.
    pub wait_ms: f64,
    /// Time blocked before the other half began to send.
    pub late_ms: f64,
}

/// The exchange during one minibatch.
pub struct Exchange<'a> {
    peer: Option<&'a mut dyn Peer>,
    batch: BatchId,
    digest: u64,
    encoding: Encoding,
    deadline: Duration,
    stats: Vec<ExchangeStats>,
    received: Vec<Transfer>,
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("batch", &self.batch).finish_non_exhaustive()
    }
}

impl<'a> Exchange<'a> {
    /// The exchange for one minibatch with this digest; without a peer for a whole network.
    pub fn new(
        peer: Option<&'a mut dyn Peer>,
        batch: BatchId,
        digest: u64,
        encoding: Encoding,
        deadline: Duration,
    ) -> Self {
        let (stats, received) = (Vec::new(), Vec::new());
        Self { peer, batch, digest, encoding, deadline, stats, received }
    }

    /// The encoding at an exchange point; logits are always f32, so that both halves see the same
    /// numbers.
    pub(crate) fn encoding(&self, at: &str) -> Encoding {
        if at == LOGITS { Encoding::F32 } else { self.encoding }
    }

    /// Begins to send one micro-batch.
    pub(crate) fn send(
        &mut self,
        at: &'static str,
        direction: Direction,
        micro_batch: usize,
        payload: Download,
    ) -> Result<()> {
        let key = self.key(at, direction, micro_batch);
        match &mut self.peer {
            Some(peer) => peer.send(key, payload),
            None => Err(no_peer()),
        }
    }

    /// Receives one micro-batch.
    ///
    /// Until it arrives `work` is called, as long as that has something to do (weight gradients).
    /// Waiting counts only from the moment at which the device has finished that work.
    pub(crate) fn receive<B: Backend>(
        &mut self,
        dev: &mut B,
        at: &'static str,
        direction: Direction,
        micro_batch: usize,
        work: impl FnMut(&mut B) -> Result<bool>,
    ) -> Result<Received> {
        let key = self.key(at, direction, micro_batch);
        let Some(peer) = &mut self.peer else { return Err(no_peer()) };
        let tensor = work_until_received(*peer, dev, self.deadline, work)?;
        let blocked = Instant::now();
        let was_there = tensor.is_some();
        let tensor = match tensor {
            Some(tensor) => tensor,
            None => wait(*peer, dev, self.deadline)?.ok_or_else(|| Error::PeerSilent {
                at: key.to_string(),
                waited_ms: self.deadline.as_millis() as u64,
            })?,
        };
        if tensor.key != key {
            return Err(Error::WrongTensor { got: tensor.key.to_string(), want: key.to_string() });
        }
        let (mut wait_ms, mut late_ms) = (0.0, 0.0);
        if !was_there {
            let now = Instant::now();
            let began = tensor.began.clamp(blocked, now);
            late_ms = ms(began - blocked);
            wait_ms = ms(now - began);
        }
        let bytes = tensor.parts.iter().map(Bytes::len).sum::<usize>() as u64;
        let transfer_ms = ms(tensor.ended - tensor.began);
        let checksum = tensor.crc32;
        self.count(ExchangeStats { at, direction, bytes, checksum, transfer_ms, wait_ms, late_ms });
        self.received.push(Transfer { key, bytes, began: tensor.began, ended: tensor.ended });
        let late = if late_ms > 0.0 { late_ms / (late_ms + wait_ms) } else { 0.0 };
        Ok(Received { tensor, late })
    }

    fn key(&self, at: &'static str, direction: Direction, micro_batch: usize) -> TensorKey {
        let at = Cow::Borrowed(at);
        TensorKey { batch: self.batch, at, direction, micro_batch, digest: self.digest }
    }

    fn count(&mut self, new: ExchangeStats) {
        let same = |s: &&mut ExchangeStats| s.at == new.at && s.direction == new.direction;
        match self.stats.iter_mut().find(same) {
            None => self.stats.push(new),
            Some(stats) => {
                stats.bytes += new.bytes;
                // Swapped micro-batches give another checksum.
                stats.checksum = stats.checksum.rotate_left(1) ^ new.checksum;
                stats.transfer_ms += new.transfer_ms;
                stats.wait_ms += new.wait_ms;
                stats.late_ms += new.late_ms;
            }
        }
    }

    /// The statistics of each exchange point, and each received tensor, in the order of arrival.
    pub fn into_parts(self) -> (Vec<ExchangeStats>, Vec<Transfer>) {
        (self.stats, self.received)
    }
}

fn no_peer() -> Error {
    Error::PeerLost { why: "this network is not cut in two: it has no other half".into() }
}

/// Works until a tensor arrives, or the work is done.
///
/// A device that queues gets only one piece of work beyond the present one, so that a tensor never
/// waits behind all the rest.
fn work_until_received<B: Backend>(
    peer: &mut dyn Peer,
    dev: &mut B,
    deadline: Duration,
    mut work: impl FnMut(&mut B) -> Result<bool>,
) -> Result<Option<ReceivedTensor>> {
    let started = Instant::now();
    let mut tensor = peer.next(Duration::ZERO)?;
    let (mut last, mut more) = (dev.mark()?, true);
    while tensor.is_none() && more {
        more = work(dev)?;
        let queued = dev.mark()?;
        while tensor.is_none() && !dev.passed(&last)? && started.elapsed() < deadline {
            tensor = peer.next(CHECK_AGAIN)?;
        }
        last = queued;
        if tensor.is_none() {
            tensor = peer.next(Duration::ZERO)?;
        }
    }
    while tensor.is_none() && !dev.passed(&last)? && started.elapsed() < deadline {
        tensor = peer.next(CHECK_AGAIN)?;
    }
    Ok(tensor)
}

/// Waits for the next tensor in short pieces: between them the peer may learn that none will come.
fn wait<B: Backend>(
    peer: &mut dyn Peer,
    dev: &B,
    deadline: Duration,
) -> Result<Option<ReceivedTensor>> {
    let started = Instant::now();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        let tensor = peer.next(left.min(ASK_AGAIN))?;
        dev.watch().mark();
        if tensor.is_some() || left.is_zero() {
            return Ok(tensor);
        }
    }
}

/// Longest piece of a wait for a tensor.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Time between two checks whether a device is still busy.
const CHECK_AGAIN: Duration = Duration::from_micros(200);

/// The exchange point after the last layer.
pub(crate) const LOGITS: &str = "logits";

/// The tensor that was due.
#[derive(Debug)]
pub(crate) struct Received {
    tensor: ReceivedTensor,
    /// Share of the wait that passed before the other half began to send.
    pub(crate) late: f64,
}

impl Received {
    /// Copies the tensor to the device, from number `at` on.
    ///
    /// # Errors
    /// [`Error::TensorSize`] unless it has `want` numbers.
    pub(crate) fn upload<B: Backend>(
        &self,
        dev: &mut B,
        to: &mut B::Floats,
        at: usize,
        want: usize,
    ) -> Result<()> {
        let ReceivedTensor { parts, encoding, exponent, .. } = &self.tensor;
        let bytes_per_number = match encoding {
            Encoding::F32 => 4,
            Encoding::F16 => 2,
        };
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        if bytes != want * bytes_per_number {
            return Err(Error::TensorSize { got: bytes, want: want * bytes_per_number });
        }
        dev.upload(parts, *encoding, *exponent, to, at)
    }
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
