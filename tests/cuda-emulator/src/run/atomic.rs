//! Atomic accesses, one lane after the other.

use super::access::{read, write};
use super::step::lanes;
use super::warp::Warp;
use super::{Result, Stage};
use crate::lanes::LANES;
use crate::lower::{SHARED_WINDOW, WINDOW_OFFSET};
use crate::memory::Touching;
use crate::program::{Atomic, AtomicKind, NOWHERE};
use crate::ptx::Space;
use std::sync::Mutex;

/// Held while a value in global memory is exchanged: blocks run on several threads.
static EXCHANGING: Mutex<()> = Mutex::new(());

impl Warp {
    pub(super) fn atomic(
        &mut self,
        atomic: &Atomic,
        at: usize,
        mask: u32,
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        let addresses = self.addresses(atomic.address);
        let width = if atomic.wide { 8 } else { 4 };
        let operand = |warp: &Self, slot: u32, lane: usize| match slot {
            NOWHERE => 0,
            slot if atomic.wide => warp.registers.double(slot)[lane],
            slot => warp.registers.word(slot)[lane].into(),
        };
        let mut old = [0u64; LANES];
        for lane in lanes(mask) {
            let (b, c) = (operand(self, atomic.b, lane), operand(self, atomic.c, lane));
            let address = addresses[lane];
            let shared = atomic.space == Space::Shared
                || atomic.space == Space::Generic && address & !WINDOW_OFFSET == SHARED_WINDOW;
            if shared {
                let offset = address & WINDOW_OFFSET;
                self.inside_shared(offset, width, at, lane, stage)?;
                let from = offset as usize;
                if let Err(what) = stage.shared.atomic(from, width, self.toucher(lane)) {
                    return Err(self.blame(stage, at, lane, address, what));
                }
                let bytes = &mut stage.shared.bytes[from..from + width];
                old[lane] = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
                let new = combine(atomic.kind, atomic.wide, old[lane], b, c);
                bytes.copy_from_slice(&new.to_le_bytes()[..width]);
            } else {
                self.touch(stage, at, lane, address, width, Touching::Atomic)?;
                let _held = EXCHANGING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                // SAFETY: `touch` found the value inside a live allocation, aligned.
                old[lane] = unsafe { read(address, width) };
                let new = combine(atomic.kind, atomic.wide, old[lane], b, c);
                // SAFETY: as above.
                unsafe { write(address, width, new) };
            }
        }
        if stage.launch.counting {
            stage.counts.atomic(at, mask);
        }
        match atomic.d {
            NOWHERE => {}
            d if atomic.wide => self.registers.set_double(d, &old, mask),
            d => self.registers.set_word(d, &old.map(|value| value as u32), mask),
        }
        Ok(())
    }
}

/// The new value.
pub(super) fn combine(kind: AtomicKind, wide: bool, old: u64, b: u64, c: u64) -> u64 {
    let sign = |value: u64| if wide { value as i64 } else { i64::from(value as u32 as i32) };
    let pick = |take_b: bool| if take_b { b } else { old };
    match kind {
        AtomicKind::Add => old.wrapping_add(b),
        AtomicKind::AddF32 => {
            (f32::from_bits(old as u32) + f32::from_bits(b as u32)).to_bits().into()
        }
        AtomicKind::AddF64 => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        AtomicKind::MinSigned => pick(sign(b) < sign(old)),
        AtomicKind::MaxSigned => pick(sign(b) > sign(old)),
        AtomicKind::MinUnsigned => old.min(b),
        AtomicKind::MaxUnsigned => old.max(b),
        AtomicKind::And => old & b,
        AtomicKind::Or => old | b,
        AtomicKind::Xor => old ^ b,
        AtomicKind::Exchange => b,
        AtomicKind::CompareExchange => {
            if old == b {
                c
            } else {
                old
            }
        }
        AtomicKind::Increment => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicKind::Decrement => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
    }
}
