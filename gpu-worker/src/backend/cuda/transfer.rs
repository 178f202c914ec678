//! Numbers between host and device, beside the compute stream.
//!
//! Everything passes through *slots*: page-locked host memory with device memory of the same size.
//! Up: the host fills a slot, the up stream copies it, then the compute stream moves it where it
//! belongs, in order with the operations: the copy itself lies under whatever is computing. Down:
//! the compute stream moves the numbers into a slot, the down stream copies it, and whoever sends
//! them waits for that, on another thread. Page-locked memory goes to gRPC as it is.
//!
//! What orders a slot's users: `ready` holds the compute stream back until the copy up has ended,
//! or the down stream until the numbers are in the slot; `done` holds the host back until the
//! compute stream has emptied the slot, or until the numbers have arrived.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes as Piece;
use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaEvent, CudaStream, DriverError, result};
use model::recipe::Encoding;

use super::launch::THREADS;
use super::memory::{Bytes, Floats};
use super::pinned::Pinned;
use super::{Cuda, fault};
use crate::backend::{Download, EXPONENTS, Encoded};
use crate::error::{Error, Result};
use crate::watch::Watch;

/// Numbers in a slot, and slots each way, before anybody has said what will be moved.
pub(super) const USUAL: (usize, usize) = (1 << 20, 2);
/// In front of the numbers on their way down: the largest magnitude's bits.
const HEADER: usize = 16;

/// Memory on both sides, with the events that order its users.
#[derive(Debug)]
struct Slot {
    host: Pinned,
    device: Bytes,
    /// Up: the copy has ended. Down: the slot is filled.
    ready: CudaEvent,
    /// Up: the slot is empty again. Down: the copy has ended.
    done: CudaEvent,
}

impl Slot {
    fn new(dev: &Cuda, bytes: usize) -> Result<Self> {
        // Whoever waits for one sleeps: a spinning thread would take a core from the loader.
        let sleeping = Some(CUevent_flags::CU_EVENT_BLOCKING_SYNC);
        let event = || dev.context.new_event(sleeping).map_err(fault(&dev.label, "event"));
        let slot = Self {
            host: Pinned::new(&dev.context, HEADER + bytes)
                .map_err(fault(&dev.label, "page-locked memory"))?,
            device: Bytes::zeros(dev, "transfer slot", HEADER + bytes)?,
            ready: event()?,
            done: event()?,
        };
        // The memory was taken and zeroed on the compute stream; others use it now.
        dev.compute.synchronize().map_err(fault(&dev.label, "transfer slot"))?;
        Ok(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The memory must outlive copies that still run; after a fault none do.
        let _ = self.done.synchronize();
    }
}

/// The slots of both ways.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Bytes of numbers in one.
    bytes: usize,
    up: Vec<Slot>,
    next_up: usize,
    down: Arc<Mutex<Vec<Slot>>>,
}

impl Slots {
    fn new(dev: &Cuda, bytes: usize, n: usize) -> Result<Self> {
        let slots = || (0..n).map(|_| Slot::new(dev, bytes)).collect::<Result<Vec<_>>>();
        Ok(Self { bytes, up: slots()?, next_up: 0, down: Arc::new(Mutex::new(slots()?)) })
    }
}

fn width(encoding: Encoding) -> usize {
    match encoding {
        Encoding::F32 => 4,
        Encoding::F16 => 2,
    }
}

/// Reads pieces as if they were one.
struct Pieces<'a> {
    rest: &'a [Piece],
    at: usize,
}

impl Pieces<'_> {
    fn fill(&mut self, mut to: &mut [u8]) {
        while let Some(piece) = self.rest.first()
            && !to.is_empty()
        {
            let from = &piece[self.at..];
            let n = from.len().min(to.len());
            let (these, rest) = to.split_at_mut(n);
            these.copy_from_slice(&from[..n]);
            to = rest;
            self.at += n;
            if self.at == piece.len() {
                (self.rest, self.at) = (&self.rest[1..], 0);
            }
        }
    }
}

/// Takes `n` slots each way for tensors of up to `len` numbers.
pub(super) fn reserve(dev: &mut Cuda, len: usize, n: usize) -> Result<()> {
    let (bytes, have) = (len * 4, dev.slots.up.len());
    if bytes > dev.slots.bytes || n > have {
        let bytes = bytes.max(dev.slots.bytes);
        // First those that were: a card that is nearly full has no room for both.
        dev.slots = Slots::default();
        dev.slots = Slots::new(dev, bytes, n.max(have))?;
    }
    Ok(())
}

impl Cuda {
    /// Brings `len` bytes up, slot by slot; `place` moves a slot's bytes, from number `at` of them
    /// on, where they belong.
    fn bring(
        &mut self,
        from: &[Piece],
        len: usize,
        mut place: impl FnMut(&Self, &Bytes, Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let mut slots = std::mem::take(&mut self.slots.up);
        let n_slots = slots.len();
        let mut pieces = Pieces { rest: from, at: 0 };
        let mut at = 0;
        let moved = (|| {
            while at < len {
                let n = self.slots.bytes.min(len - at);
                let slot = &mut slots[self.slots.next_up];
                self.slots.next_up = (self.slots.next_up + 1) % n_slots;
                self.waited(|| slot.done.synchronize()).map_err(fault(&self.label, "upload"))?;
                pieces.fill(&mut slot.host.bytes_mut()[..n]);
                self.copy_up(slot, n).map_err(fault(&self.label, "upload"))?;
                place(self, &slot.device, at..at + n)?;
                slot.done.record(&self.compute).map_err(fault(&self.label, "upload"))?;
                at += n;
            }
            Ok(())
        })();
        self.slots.up = slots;
        moved
    }

    fn copy_up(&self, slot: &Slot, n: usize) -> std::result::Result<(), DriverError> {
        self.context.bind_to_thread()?;
        // SAFETY: both sides hold n bytes; the host side is page-locked, and neither is touched
        // before `done`, which the compute stream records behind `ready`.
        unsafe {
            result::memcpy_htod_async(
                slot.device.address(0),
                &slot.host.bytes()[..n],
                self.up.cu_stream(),
            )?;
        }
        slot.ready.record(&self.up)?;
        self.compute.wait(&slot.ready)
    }

    /// Copies on the compute stream.
    fn copy_within(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        let bound = self.context.bind_to_thread();
        // SAFETY: both ranges lie in buffers whose lengths the callers have checked; buffers live
        // until a free that is queued behind this copy.
        bound
            .and_then(|()| unsafe {
                result::memcpy_dtod_async(to, from, bytes, self.compute.cu_stream())
            })
            .map_err(fault(&self.label, "copy"))
    }
}

pub(super) fn upload(
    dev: &mut Cuda,
    from: &[Piece],
    encoding: Encoding,
    exponent: i32,
    to: &mut Floats,
    at: usize,
) -> Result<()> {
    let width = width(encoding);
    let len: usize = from.iter().map(Piece::len).sum();
    if !len.is_multiple_of(width) {
        let want = len.next_multiple_of(width);
        return Err(Error::Shape { tensor: "uploaded bytes", got: len, want });
    }
    if !EXPONENTS.contains(&exponent) {
        let got = exponent.unsigned_abs() as usize;
        return Err(Error::Shape { tensor: "exponent", got, want: *EXPONENTS.end() as usize });
    }
    to.at_least(at.saturating_add(len / width))?;
    dev.bring(from, len, |dev, slot, bytes| {
        let (at, n) = (at + bytes.start / width, bytes.len() / width);
        match encoding {
            Encoding::F32 => dev.copy_within(to.address(at), slot.address(0), bytes.len()),
            // SAFETY: order and types are those of transfer.cu; `to` holds n numbers from `at` on,
            // the slot n halves.
            Encoding::F16 => unsafe {
                let call = dev.call("transfer_f16_to_f32").write(to, at).read_bytes(slot, 0);
                call.float(power_of_two(-exponent)).int(n).one_thread_each(n)
            },
        }
    })
}

fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

pub(super) fn upload_bytes(dev: &mut Cuda, from: &[Piece], to: &mut Bytes) -> Result<()> {
    let len = from.iter().map(Piece::len).sum();
    to.at_least(len)?;
    dev.bring(from, len, |dev, slot, bytes| {
        dev.copy_within(to.address(bytes.start), slot.address(0), bytes.len())
    })
}

pub(super) fn download(
    dev: &mut Cuda,
    from: &Floats,
    range: Range<usize>,
    encoding: Encoding,
) -> Result<Download> {
    from.at_least(range.end)?;
    let width = width(encoding);
    let slot = dev.slots.bytes;
    if range.len() * width <= slot {
        let one = send(dev, from, range.clone(), &range, encoding)?;
        return Ok(Download::Pending(Box::new(move || one.wait())));
    }
    // Weights on their way to a checkpoint: slot by slot, one ahead.
    let mut bytes = Vec::with_capacity(range.len() * width);
    let (mut exponent, mut last) = (0, None);
    for start in range.clone().step_by(slot / width) {
        let these = start..range.end.min(start + slot / width);
        let next = send(dev, from, these, &range, encoding)?;
        if let Some(last) = last.replace(next) {
            bytes.extend_from_slice(&last.wait()?.bytes);
        }
    }
    if let Some(last) = last {
        let last = last.wait()?;
        bytes.extend_from_slice(&last.bytes);
        exponent = last.exponent;
    }
    Ok(Download::Ready(Encoded { bytes: bytes.into(), encoding, exponent }))
}

/// Numbers on their way down.
struct Leaving {
    slot: Lent,
    n_bytes: usize,
    encoding: Encoding,
    device: String,
    watch: Watch,
}

/// A slot that returns to its shelf when the last reader has let go of it.
struct Lent {
    slot: Option<Slot>,
    shelf: Arc<Mutex<Vec<Slot>>>,
}

impl Lent {
    fn slot(&self) -> &Slot {
        self.slot.as_ref().expect("taken only when dropped")
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.slot().host.bytes()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Numbers that nobody waited for (the peer is gone) may still be on their way: `send` takes
        // a slot only once they have arrived. Waiting here would hold up the network thread.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).extend(self.slot.take());
    }
}

/// A slot from the shelf whose last numbers have arrived.
fn arrived(shelf: &Mutex<Vec<Slot>>) -> Option<Slot> {
    let mut slots = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    let at = slots.iter().rposition(|slot| slot.done.is_complete())?;
    Some(slots.swap_remove(at))
}

/// Queues `these` numbers on their way; an f16's exponent comes from all of `range`.
fn send(
    dev: &mut Cuda,
    from: &Floats,
    these: Range<usize>,
    range: &Range<usize>,
    encoding: Encoding,
) -> Result<Leaving> {
    let shelf = dev.slots.down.clone();
    let kept = arrived(&shelf);
    let slot = kept.map_or_else(|| Slot::new(dev, dev.slots.bytes), Ok)?;
    let mut lent = Lent { slot: Some(slot), shelf };
    let Slot { host, device, ready, done } = lent.slot.as_mut().expect("just put there");
    let failed = fault(&dev.label, "download");
    let n = these.len();
    let n_bytes = n * width(encoding);
    match encoding {
        Encoding::F32 => {
            dev.copy_within(device.address(HEADER), from.address(these.start), n_bytes)?
        }
        Encoding::F16 => {
            zero_header(&dev.compute, device).map_err(&failed)?;
            let blocks = range.len().div_ceil(THREADS as usize).min(1024);
            // SAFETY: order and types are those of transfer.cu; `from` holds both ranges, the slot
            // its header and n halves.
            unsafe {
                dev.call("transfer_largest")
                    .write_bytes(device, 0)
                    .read(from, range.start)
                    .int(range.len())
                    .launch([blocks, 1, 1], THREADS)?;
                dev.call("transfer_f32_to_f16")
                    .write_bytes(device, 0)
                    .read(from, these.start)
                    .int(n)
                    .one_thread_each(n)?;
            }
        }
    }
    ready.record(&dev.compute).map_err(&failed)?;
    dev.down.wait(ready).map_err(&failed)?;
    // SAFETY: both sides hold a header and n_bytes; the host side is page-locked, and is read only
    // after `done`.
    unsafe {
        let to = &mut host.bytes_mut()[..HEADER + n_bytes];
        result::memcpy_dtoh_async(to, device.address(0), dev.down.cu_stream()).map_err(&failed)?;
    }
    done.record(&dev.down).map_err(&failed)?;
    let (device, watch) = (dev.label.clone(), dev.watch.clone());
    Ok(Leaving { slot: lent, n_bytes, encoding, device, watch })
}

fn zero_header(compute: &CudaStream, slot: &mut Bytes) -> std::result::Result<(), DriverError> {
    compute.context().bind_to_thread()?;
    // SAFETY: the slot begins with a header of this length.
    unsafe { result::memset_d8_async(slot.address(0), 0, HEADER, compute.cu_stream()) }
}

impl Leaving {
    fn wait(self) -> Result<Encoded> {
        let Self { slot, n_bytes, encoding, device, watch } = self;
        let call = watch.call();
        slot.slot().done.synchronize().map_err(fault(&device, "download"))?;
        drop(call);
        let largest = slot.as_ref().first_chunk().map_or(0, |bits| u32::from_le_bytes(*bits));
        let exponent = match encoding {
            Encoding::F32 => 0,
            Encoding::F16 => exponent(f32::from_bits(largest)),
        };
        let bytes = Piece::from_owner(slot).slice(HEADER..HEADER + n_bytes);
        Ok(Encoded { bytes, encoding, exponent })
    }
}

/// The power of two that brings `largest` just below f16's largest number; 0 for zero. The same
/// as in transfer.cu and on the CPU.
fn exponent(largest: f32) -> i32 {
    if largest == 0.0 {
        return 0;
    }
    let (fraction, exponent) = libm::frexpf(largest); // fraction in [½, 1)
    let over = fraction > 65504.0 / 65536.0; // f16 ends at 65504, a little below 2¹⁶
    (16 - exponent - i32::from(over)).clamp(*EXPONENTS.start(), *EXPONENTS.end())
}
