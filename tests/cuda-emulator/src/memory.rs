//! Memory that kernels reach: allocations, what of them was ever written, and who touched what.
//!
//! A device pointer is the host's address of the bytes, from a range set aside for the device.
//! Freed addresses stay unmapped, and every access is checked against the exact bounds of an
//! allocation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

/// The value of bytes that were never written, where reading them is no error: a signaling NaN.
pub(crate) const POISON: [u8; 4] = 0x7FA0_DEAD_u32.to_le_bytes();

/// The location of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Device(usize),
    /// Pinned host memory, which all devices reach.
    Host,
}

/// One allocation.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) start: u64,
    pub(crate) len: usize,
    pub(crate) place: Place,
    /// For each word, which of its four bytes were written; empty where the host writes unseen.
    written: Box<[AtomicU8]>,
    /// The blocks that touched each word, and the run of 255 launches in which they did.
    stamps: std::sync::Mutex<(u64, Arc<Stamps>)>,
}

/// A zeroed slice; the pages come when touched.
fn zeroed<T>(len: usize) -> Box<[T]>
where
    T: Zeroable,
{
    // SAFETY: `Zeroable` is implemented only for atomics, for which zero bytes are a value.
    unsafe { Box::new_zeroed_slice(len).assume_init() }
}

/// Types for which zero bytes are a value.
trait Zeroable {}
impl Zeroable for AtomicU8 {}
impl Zeroable for AtomicU32 {}
impl Zeroable for AtomicU64 {}

impl Allocation {
    pub(crate) fn new(start: u64, len: usize, place: Place) -> Self {
        let n_words = if place == Place::Host { 0 } else { len.div_ceil(4) };
        Self { start, len, place, written: zeroed(n_words), stamps: Default::default() }
    }

    pub(crate) fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    /// Whether all of `size` bytes at `offset` were written.
    #[inline(always)]
    pub(crate) fn is_written(&self, offset: usize, size: usize) -> bool {
        if self.written.is_empty() {
            return true;
        }
        if offset.is_multiple_of(4) && size.is_multiple_of(4) {
            return self.written[offset / 4..(offset + size) / 4]
                .iter()
                .all(|word| word.load(Relaxed) == 15);
        }
        (offset..offset + size)
            .all(|byte| self.written[byte / 4].load(Relaxed) >> (byte % 4) & 1 == 1)
    }

    /// Notes that `size` bytes at `offset` are written.
    #[inline(always)]
    pub(crate) fn set_written(&self, offset: usize, size: usize) {
        self.mark(offset, size, |word, bits| {
            if word.load(Relaxed) & bits != bits {
                word.fetch_or(bits, Relaxed);
            }
        });
    }

    fn set_unwritten(&self, offset: usize, size: usize) {
        self.mark(offset, size, |word, bits| {
            word.fetch_and(!bits, Relaxed);
        });
    }

    #[inline(always)]
    fn mark(&self, offset: usize, size: usize, how: impl Fn(&AtomicU8, u8)) {
        if self.written.is_empty() {
            return;
        }
        let (mut at, end) = (offset, offset + size);
        while at < end {
            let (from, to) = (at % 4, (at % 4 + end - at).min(4));
            how(&self.written[at / 4], ((1u8 << to) - 1) & !((1u8 << from) - 1));
            at += to - from;
        }
    }

    /// Takes over which bytes of `from` were written, with a copy of them.
    pub(crate) fn copy_written(&self, offset: usize, from: &Self, from_offset: usize, size: usize) {
        if from.is_written(from_offset, size) {
            return self.set_written(offset, size);
        }
        for byte in 0..size {
            if from.is_written(from_offset + byte, 1) {
                self.set_written(offset + byte, 1);
            } else {
                self.set_unwritten(offset + byte, 1);
            }
        }
    }

    /// The stamps of launch number `launch`.
    pub(crate) fn stamps(&self, launch: u64) -> Arc<Stamps> {
        let mut kept = self.stamps.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let generation = launch / 255 + 1;
        if kept.0 != generation {
            let n_words = self.written.len();
            *kept =
                (generation, Arc::new(Stamps { writes: zeroed(n_words), reads: zeroed(n_words) }));
        }
        kept.1.clone()
    }
}

/// The block that last wrote each word, and the blocks that read it, each with the launch.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    writes: Box<[AtomicU32]>,
    reads: Box<[AtomicU32]>,
}

/// Several blocks.
const MANY: u32 = 0xFF_FFFF;
/// Atomic accesses of any block.
const ATOMIC: u32 = 0xFF_FFFE;

/// A kind of access to a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touching {
    Read,
    Write,
    Atomic,
}

impl Stamps {
    /// Notes an access by `block` in the launch of `epoch`; gives the other block it races with.
    #[inline(always)]
    pub(crate) fn touch(&self, word: usize, epoch: u32, block: u32, how: Touching) -> Option<u32> {
        let (Some(writes), Some(reads)) = (self.writes.get(word), self.reads.get(word)) else {
            return None;
        };
        let who = if how == Touching::Atomic { ATOMIC } else { block };
        let (mine, many) = (epoch << 24 | who, epoch << 24 | MANY);
        let other = |stamp: u32| (stamp >> 24 == epoch && stamp != mine).then_some(stamp & MANY);
        // Blocks run on several threads. Each says what it does before it looks what others said,
        // so that of two that race at the same time one sees the other.
        if how == Touching::Read {
            let read = reads.load(Relaxed);
            if read != mine && read != many && other(reads.swap(mine, SeqCst)).is_some() {
                reads.store(many, SeqCst);
            }
            return other(writes.load(SeqCst));
        }
        if writes.load(Relaxed) != mine
            && let Some(found) = other(writes.swap(mine, SeqCst))
        {
            return Some(found);
        }
        other(reads.load(SeqCst))
    }

    /// Name of the other side of a race, for reports.
    pub(crate) fn named(block: u32) -> String {
        match block {
            MANY => "several other blocks".into(),
            ATOMIC => "atomic accesses".into(),
            block => format!("block number {}", block - 1),
        }
    }
}

/// The parts of an allocation that one launch touched, coarsely.
#[derive(Debug)]
pub(crate) struct Touched {
    shift: u32,
    pub(crate) reads: Box<[AtomicU64]>,
    pub(crate) writes: Box<[AtomicU64]>,
}

impl Touched {
    pub(crate) fn new(len: usize) -> Self {
        let shift = (len.div_ceil(1 << 16)).next_power_of_two().trailing_zeros().max(5);
        let n = (len >> shift) / 64 + 1;
        Self { shift, reads: zeroed(n), writes: zeroed(n) }
    }

    /// Number of bytes in a part; accesses within one part are not distinguished.
    pub(crate) fn part(&self) -> usize {
        1 << self.shift
    }

    /// First bytes of all parts that were written.
    pub(crate) fn written_parts(&self) -> impl Iterator<Item = usize> {
        let bits = |(i, word): (usize, &AtomicU64)| {
            let word = word.load(Relaxed);
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| 64 * i + bit)
        };
        self.writes.iter().enumerate().flat_map(bits).map(|part| part << self.shift)
    }

    /// Notes that bytes `from..to` were touched.
    #[inline(always)]
    pub(crate) fn set(bits: &[AtomicU64], shift: u32, from: usize, to: usize) {
        for part in from >> shift..=(to - 1) >> shift {
            let (word, bit) = (&bits[part / 64], 1 << (part % 64));
            if word.load(Relaxed) & bit == 0 {
                word.fetch_or(bit, Relaxed);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn note(&self, from: usize, to: usize, writes: bool) {
        Self::set(if writes { &self.writes } else { &self.reads }, self.shift, from, to);
    }

    /// The record of one access to a range, for comparing copies with launches.
    pub(crate) fn of_range(len: usize, from: usize, to: usize, writes: bool) -> Self {
        let touched = Self::new(len);
        if from < to {
            touched.note(from, to, writes);
        }
        touched
    }
}

/// An allocation as one launch sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) allocation: Arc<Allocation>,
    pub(crate) stamps: OnceLock<Arc<Stamps>>,
    pub(crate) touched: OnceLock<Touched>,
}

/// The memory a launch can reach, by address.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) seen: Vec<Seen>,
}

impl View {
    /// The allocation that may hold `address`: the last that begins at or before it.
    pub(crate) fn find(&self, address: u64) -> Option<usize> {
        self.seen.partition_point(|seen| seen.allocation.start <= address).checked_sub(1)
    }
}

/// All allocations of all devices.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    live: BTreeMap<u64, Arc<Allocation>>,
    /// Freed ranges, newest last, for reports.
    freed: Vec<(u64, usize)>,
    arenas: Vec<Arena>,
    /// Bytes taken on each device.
    taken: BTreeMap<usize, usize>,
}

/// Addresses set aside for a device.
#[derive(Debug)]
struct Arena {
    start: u64,
    next: u64,
}

/// Addresses of a device; never reused before all were used.
const ARENA: u64 = 1 << 40;
/// Unmapped or unused bytes between allocations.
const GAP: u64 = 4096;

impl Memory {
    pub(crate) fn taken(&self, device: usize) -> usize {
        self.taken.get(&device).copied().unwrap_or(0)
    }

    /// Takes `len` bytes on `device`; the caller has checked that so many are free.
    pub(crate) fn allocate(&mut self, device: usize, len: usize) -> Option<Arc<Allocation>> {
        while self.arenas.len() <= device {
            let start = map(0, ARENA as usize, libc::PROT_NONE)?;
            self.arenas.push(Arena { start, next: start });
        }
        let span = (len as u64).next_multiple_of(GAP);
        let arena = &mut self.arenas[device];
        if arena.next + span + GAP > arena.start + ARENA {
            arena.next = arena.start;
        }
        // Anything still alive where the next allocation would go is jumped over.
        while let Some((_, old)) = self.live.range(..arena.next + span + GAP).next_back() {
            if old.end() + GAP <= arena.next || old.place != Place::Device(device) {
                break;
            }
            arena.next = old.end().next_multiple_of(GAP) + GAP;
        }
        let start = arena.next;
        if start + span > arena.start + ARENA {
            return None;
        }
        map(start, span as usize, libc::PROT_READ | libc::PROT_WRITE)?;
        arena.next = start + span + GAP;
        *self.taken.entry(device).or_default() += len;
        let allocation = Arc::new(Allocation::new(start, len, Place::Device(device)));
        self.live.insert(start, allocation.clone());
        Some(allocation)
    }

    /// Takes pinned host memory, filled with poison.
    pub(crate) fn allocate_host(&mut self, len: usize) -> Option<Arc<Allocation>> {
        let start = map(0, len.max(1), libc::PROT_READ | libc::PROT_WRITE)?;
        let bytes = start as *mut u8;
        for i in 0..len {
            // SAFETY: mapped above, `len` bytes long, and known to nobody else yet.
            unsafe { bytes.add(i).write(POISON[i % 4]) };
        }
        let allocation = Arc::new(Allocation::new(start, len, Place::Host));
        self.live.insert(start, allocation.clone());
        Some(allocation)
    }

    /// Gives back the allocation that begins at `start`, if there is one.
    pub(crate) fn free(&mut self, start: u64) -> Option<Arc<Allocation>> {
        let allocation = self.live.remove(&start)?;
        if let Place::Device(device) = allocation.place {
            *self.taken.entry(device).or_default() -= allocation.len;
        }
        let span = (allocation.len.max(1) as u64).next_multiple_of(GAP);
        // Mapping over the pages with no access gives them back and keeps the address out of use.
        map(start, span as usize, libc::PROT_NONE);
        self.freed.push((start, allocation.len));
        Some(allocation)
    }

    /// The allocation that holds all `len` bytes at `address`.
    pub(crate) fn holding(&self, address: u64, len: usize) -> Option<&Arc<Allocation>> {
        let (_, allocation) = self.live.range(..=address).next_back()?;
        (address + len as u64 <= allocation.end()).then_some(allocation)
    }

    /// The memory that `device` can reach.
    pub(crate) fn view(&self, device: usize) -> View {
        let reaches = |place| place == Place::Host || place == Place::Device(device);
        let mine = self.live.values().filter(|allocation| reaches(allocation.place));
        let see = |allocation: &Arc<Allocation>| Seen {
            allocation: allocation.clone(),
            stamps: OnceLock::new(),
            touched: OnceLock::new(),
        };
        View { seen: mine.map(see).collect() }
    }

    /// Says what is at an address no kernel may touch.
    pub(crate) fn describe(&self, address: u64) -> String {
        let near = self.live.range(..=address).next_back().map(|(_, near)| near);
        if let Some(near) = near.filter(|near| address < near.end()) {
            return format!("memory of {:?}", near.place);
        }
        // Freed memory often lies behind an allocation that still lives.
        let was = |(start, len): &&(u64, usize)| (*start..start + *len as u64).contains(&address);
        if let Some((start, len)) = self.freed.iter().rev().find(was) {
            return format!("byte {} of a freed allocation of {len} bytes", address - start);
        }
        if let Some(near) = near.filter(|near| address < near.end() + (1 << 20)) {
            let (beyond, len) = (address - near.end(), near.len);
            return format!("{beyond} bytes behind the end of an allocation of {len} bytes");
        }
        match self.live.range(address..).next() {
            Some((start, _)) if start - address < 1 << 20 => {
                format!("{} bytes before an allocation", start - address)
            }
            _ => "no allocation".into(),
        }
    }
}

/// Maps `len` bytes, at `at` unless that is 0.
fn map(at: u64, len: usize, access: libc::c_int) -> Option<u64> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let fixed = if at == 0 { 0 } else { libc::MAP_FIXED };
    // SAFETY: fixed only over addresses this module set aside and no live allocation holds.
    let address = unsafe { libc::mmap(at as *mut _, len, access, flags | fixed, -1, 0) };
    (address != libc::MAP_FAILED).then_some(address as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    /// Two blocks on two threads go through the same words; how many races they see, both together.
    fn seen(first: Touching, second: Touching, n_words: usize) -> usize {
        let stamps = Stamps { writes: zeroed(n_words), reads: zeroed(n_words) };
        let start = Barrier::new(2);
        let go = |block: u32, how: Touching| {
            start.wait();
            (0..n_words).filter(|word| stamps.touch(*word, 1, block, how).is_some()).count()
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| go(1, first));
            go(2, second) + other.join().unwrap()
        })
    }

    #[test]
    fn of_two_blocks_that_race_at_the_same_time_one_sees_the_other() {
        const WORDS: usize = 1 << 18;
        assert!(seen(Touching::Write, Touching::Write, WORDS) >= WORDS);
        assert!(seen(Touching::Read, Touching::Write, WORDS) >= WORDS);
        assert!(seen(Touching::Atomic, Touching::Write, WORDS) >= WORDS);
        assert_eq!(seen(Touching::Read, Touching::Read, WORDS), 0);
        assert_eq!(seen(Touching::Atomic, Touching::Atomic, WORDS), 0);
    }
}
