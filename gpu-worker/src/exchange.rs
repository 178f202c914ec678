//! With the other half, at the plan's exchange points: what is sent, what is due, how long it took.
//!
//! Both halves run the same program, so what one sends next is what the other expects next: frames
//! come in the order in which they are due, and one that isn't due is an error that names both. How
//! bytes travel is a [`Peer`]'s business: over gRPC or inside one process ([`memory`]).

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::recipe::Encoding;

use crate::backend::{Backend, Download};
use crate::error::{Error, Result};

pub(crate) mod grpc;
pub mod inflow;
pub mod memory;

/// Which pass a tensor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Training: how many steps were done before.
    Train(u64),
    /// Evaluation: which batch, which test view.
    Eval {
        /// Number of the minibatch in its split.
        batch: u64,
        /// 0: centre, 1 to 10: the ten crops.
        view: u32,
    },
}

/// Which way through the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Activations, up.
    Forward,
    /// Gradients, down.
    Backward,
}

/// Names one tensor that crosses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Of which pass.
    pub pass: Pass,
    /// Before which layer; `logits` after the last.
    pub at: &'static str,
    /// Which way.
    pub direction: Direction,
    /// Which slice of the minibatch.
    pub slice: usize,
    /// Digest of the minibatch: both halves must have been given the same pictures.
    pub minibatch: u64,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pass {
            Pass::Train(step) => write!(f, "step {step}")?,
            Pass::Eval { batch, view } => write!(f, "evaluation batch {batch} view {view}")?,
        }
        let Self { at, direction, slice, minibatch, .. } = self;
        write!(f, " {at} {direction} slice {slice} of minibatch {minibatch:016x}")
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "activations",
            Self::Backward => "gradient",
        })
    }
}

/// A tensor from the other half, whole.
#[derive(Debug)]
pub struct Arrival {
    /// What it says it is.
    pub key: ArrivedKey,
    /// Its bytes, in pieces.
    pub parts: Vec<Bytes>,
    /// f16 or not.
    pub wire: Encoding,
    /// Scaled by `2^exponent`.
    pub exponent: i32,
    /// When its first bytes were here.
    pub began: Instant,
    /// When its last were.
    pub ended: Instant,
}

/// [`Key`] as it came, with a name that need not be one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedKey {
    /// Of which pass.
    pub pass: Pass,
    /// Before which layer.
    pub at: String,
    /// Which way.
    pub direction: Direction,
    /// Which slice.
    pub slice: usize,
    /// Digest of the minibatch.
    pub minibatch: u64,
}

impl ArrivedKey {
    fn is(&self, key: &Key) -> bool {
        self.pass == key.pass
            && self.at == key.at
            && self.direction == key.direction
            && self.slice == key.slice
            && self.minibatch == key.minibatch
    }
}

impl From<Key> for ArrivedKey {
    fn from(key: Key) -> Self {
        Self {
            pass: key.pass,
            at: key.at.to_string(),
            direction: key.direction,
            slice: key.slice,
            minibatch: key.minibatch,
        }
    }
}

impl fmt::Display for ArrivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pass {
            Pass::Train(step) => write!(f, "step {step}")?,
            Pass::Eval { batch, view } => write!(f, "evaluation batch {batch} view {view}")?,
        }
        let Self { at, direction, slice, minibatch, .. } = self;
        write!(f, " {at} {direction} slice {slice} of minibatch {minibatch:016x}")
    }
}

/// The other half, as far as bytes are concerned.
pub trait Peer: Send {
    /// Sends without blocking; the bytes may still be on their way from the device.
    ///
    /// # Errors
    /// [`Error::PeerLost`] if nobody can get them any more.
    fn send(&mut self, key: Key, payload: Download) -> Result<()>;

    /// The next tensor, waiting for it at most `wait`; `None` if it isn't all here by then.
    ///
    /// # Errors
    /// [`Error::PeerLost`] if none can come any more.
    fn next(&mut self, wait: Duration) -> Result<Option<Arrival>>;

    /// What was sent in training since this was last asked, as far as it is known.
    fn sent(&mut self) -> Vec<Travel> {
        Vec::new()
    }
}

/// A tensor's way, as one end saw it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Travel {
    /// Which tensor.
    pub key: Key,
    /// Its length.
    pub bytes: u64,
    /// First byte given to the connection, or taken from it.
    pub began: Instant,
    /// Last byte.
    pub ended: Instant,
}

/// What crossed at one exchange point in one direction during a step, and what it cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossing {
    /// Where.
    pub at: &'static str,
    /// Which way.
    pub direction: Direction,
    /// Received.
    pub bytes: u64,
    /// From first to last byte, summed over slices.
    pub transfer_ms: f64,
    /// Blocked on bytes the other half had begun to send.
    pub wait_ms: f64,
    /// Blocked before it had.
    pub late_ms: f64,
}

/// The exchange of one pass: knows what is due, counts what it costs.
pub struct Exchange<'a> {
    peer: Option<&'a mut dyn Peer>,
    pass: Pass,
    minibatch: u64,
    wire: Encoding,
    deadline: Duration,
    crossings: Vec<Crossing>,
    received: Vec<Travel>,
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("pass", &self.pass).finish_non_exhaustive()
    }
}

impl<'a> Exchange<'a> {
    /// For one pass; no peer for a whole network.
    pub fn new(
        peer: Option<&'a mut dyn Peer>,
        pass: Pass,
        minibatch: u64,
        wire: Encoding,
        deadline: Duration,
    ) -> Self {
        let (crossings, received) = (Vec::new(), Vec::new());
        Self { peer, pass, minibatch, wire, deadline, crossings, received }
    }

    /// How tensors travel; logits always as they are, so that both halves see the same numbers.
    pub(crate) fn wire(&self, at: &str) -> Encoding {
        if at == LOGITS { Encoding::F32 } else { self.wire }
    }

    /// Sends one slice on its way.
    pub(crate) fn send(
        &mut self,
        at: &'static str,
        direction: Direction,
        slice: usize,
        payload: Download,
    ) -> Result<()> {
        let key = self.key(at, direction, slice);
        match &mut self.peer {
            Some(peer) => peer.send(key, payload),
            None => Err(Error::PeerLost { why: "this network is whole".into() }),
        }
    }

    /// Receives one slice. While it isn't there, `work` is called as long as it has something to
    /// do (weight gradients); only once the device is through with it does this count as waiting.
    pub(crate) fn receive<B: Backend>(
        &mut self,
        dev: &mut B,
        at: &'static str,
        direction: Direction,
        slice: usize,
        work: impl FnMut(&mut B) -> Result<bool>,
    ) -> Result<Received> {
        let key = self.key(at, direction, slice);
        let Some(peer) = &mut self.peer else {
            return Err(Error::PeerLost { why: "this network is whole".into() });
        };
        let arrival = cover(*peer, dev, self.deadline, work)?;
        let blocked = Instant::now();
        let was_there = arrival.is_some();
        let arrival = match arrival {
            Some(arrival) => arrival,
            None => peer.next(self.deadline)?.ok_or_else(|| Error::PeerSilent {
                at: key.to_string(),
                waited_ms: self.deadline.as_millis() as u64,
            })?,
        };
        if !arrival.key.is(&key) {
            return Err(Error::Mixed { got: arrival.key.to_string(), want: key.to_string() });
        }
        let (mut wait_ms, mut late_ms) = (0.0, 0.0);
        if !was_there {
            let now = Instant::now();
            let began = arrival.began.clamp(blocked, now);
            late_ms = ms(began - blocked);
            wait_ms = ms(now - began);
        }
        let bytes = arrival.parts.iter().map(Bytes::len).sum::<usize>() as u64;
        self.count(at, direction, bytes, ms(arrival.ended - arrival.began), wait_ms, late_ms);
        self.received.push(Travel { key, bytes, began: arrival.began, ended: arrival.ended });
        let late = if late_ms > 0.0 { late_ms / (late_ms + wait_ms) } else { 0.0 };
        Ok(Received { parts: arrival.parts, wire: arrival.wire, exponent: arrival.exponent, late })
    }

    fn key(&self, at: &'static str, direction: Direction, slice: usize) -> Key {
        Key { pass: self.pass, at, direction, slice, minibatch: self.minibatch }
    }

    fn count(
        &mut self,
        at: &'static str,
        direction: Direction,
        bytes: u64,
        transfer_ms: f64,
        wait_ms: f64,
        late_ms: f64,
    ) {
        let same = |c: &&mut Crossing| c.at == at && c.direction == direction;
        if let Some(crossing) = self.crossings.iter_mut().find(same) {
            crossing.bytes += bytes;
            crossing.transfer_ms += transfer_ms;
            crossing.wait_ms += wait_ms;
            crossing.late_ms += late_ms;
        } else {
            let new = Crossing { at, direction, bytes, transfer_ms, wait_ms, late_ms };
            self.crossings.push(new);
        }
    }

    /// What crossed, point by point and tensor by tensor, in the order of the pass.
    pub fn into_parts(self) -> (Vec<Crossing>, Vec<Travel>) {
        (self.crossings, self.received)
    }
}

/// Works while nothing has arrived. A device that queues gets one piece of work beyond the one it
/// is at, so that what arrives does not wait behind the rest.
fn cover<B: Backend>(
    peer: &mut dyn Peer,
    dev: &mut B,
    deadline: Duration,
    mut work: impl FnMut(&mut B) -> Result<bool>,
) -> Result<Option<Arrival>> {
    let started = Instant::now();
    let mut arrival = peer.next(Duration::ZERO)?;
    let (mut last, mut more) = (dev.mark()?, true);
    while arrival.is_none() && more {
        more = work(dev)?;
        let queued = dev.mark()?;
        while arrival.is_none() && !dev.passed(&last)? && started.elapsed() < deadline {
            arrival = peer.next(LOOK_AGAIN)?;
        }
        last = queued;
        if arrival.is_none() {
            arrival = peer.next(Duration::ZERO)?;
        }
    }
    while arrival.is_none() && !dev.passed(&last)? && started.elapsed() < deadline {
        arrival = peer.next(LOOK_AGAIN)?;
    }
    Ok(arrival)
}

/// Between two looks at a device that is still busy.
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// The exchange point after the last layer.
pub(crate) const LOGITS: &str = "logits";

/// A received tensor.
#[derive(Debug)]
pub(crate) struct Received {
    parts: Vec<Bytes>,
    wire: Encoding,
    exponent: i32,
    /// Share of the wait for it before the other half began to send.
    pub(crate) late: f64,
}

impl Received {
    /// Places it on the device from number `at` on.
    ///
    /// # Errors
    /// [`Error::SliceSize`] unless it has `want` numbers.
    pub(crate) fn place<B: Backend>(
        &self,
        dev: &mut B,
        to: &mut B::Floats,
        at: usize,
        want: usize,
    ) -> Result<()> {
        let a_number = match self.wire {
            Encoding::F32 => 4,
            Encoding::F16 => 2,
        };
        let bytes: usize = self.parts.iter().map(Bytes::len).sum();
        if bytes != want * a_number {
            return Err(Error::SliceSize { got: bytes, want: want * a_number });
        }
        dev.upload(&self.parts, self.wire, self.exponent, to, at)
    }
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
