//! Accesses to shared memory, and copies that go there by themselves.

use super::access::{Addresses, Values};
use super::step::lanes;
use super::warp::{Coming, Warp};
use super::{FaultKind, Result, Stage};
use crate::lanes::LANES;
use crate::memory::Touching;
use crate::program::{Access, CopyAsync, NOWHERE};

impl Warp {
    pub(super) fn load_shared(
        &mut self,
        access: &Access,
        addresses: &Addresses,
        at: usize,
        mask: u32,
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        let size = access.width * access.count;
        if stage.launch.counting {
            stage.counts.shared(at, addresses, mask, size);
        }
        // Lanes side by side often read the same: judged once.
        let mut last = (u64::MAX, u32::MAX);
        for lane in lanes(mask) {
            if addresses[lane] != last.0 || last.1 + 1 != lane as u32 {
                self.inside_shared(addresses[lane], size, at, lane, stage)?;
            }
            let by = self.toucher(lane);
            if let Err(what) = stage.shared.read(addresses[lane] as usize, size, by) {
                return Err(self.blame(stage, at, lane, addresses[lane], what));
            }
            last = (addresses[lane], lane as u32);
        }
        if access.width == 4 && !access.wide {
            match access.count {
                1 => self.gather::<1>(access, addresses, mask, stage),
                2 => self.gather::<2>(access, addresses, mask, stage),
                _ => self.gather::<4>(access, addresses, mask, stage),
            }
            return Ok(());
        }
        for (i, &slot) in access
            .values
            .iter()
            .enumerate()
            .take(access.count)
            .filter(|(_, slot)| **slot != NOWHERE)
        {
            let mut values = [0u64; LANES];
            for lane in lanes(mask) {
                let from = addresses[lane] as usize + i * access.width;
                let bytes = &stage.shared.bytes[from..from + access.width];
                let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
                let unused = 64 - 8 * access.width;
                values[lane] =
                    if access.signed { ((value << unused) as i64 >> unused) as u64 } else { value };
            }
            if access.wide {
                self.registers.set_double(slot, &values, mask);
            } else {
                self.registers.set_word(slot, &values.map(|value| value as u32), mask);
            }
        }
        Ok(())
    }

    /// `N` words a lane, judged before.
    #[inline(always)]
    fn gather<const N: usize>(
        &mut self,
        access: &Access,
        addresses: &Addresses,
        mask: u32,
        stage: &Stage<'_>,
    ) {
        let words: &[[u8; 4]] = stage.shared.bytes.as_chunks().0;
        let mut out = [[0u32; LANES]; N];
        for lane in 0..LANES {
            if mask >> lane & 1 == 1 {
                let from = addresses[lane] as usize / 4;
                let found = &words[from..from + N];
                for i in 0..N {
                    out[i][lane] = u32::from_le_bytes(found[i]);
                }
            }
        }
        for i in (0..N).filter(|i| access.values[*i] != NOWHERE) {
            self.registers.set_word(access.values[i], &out[i], mask);
        }
    }

    pub(super) fn store_shared(
        &mut self,
        access: &Access,
        addresses: &Addresses,
        values: &Values,
        at: usize,
        mask: u32,
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        let size = access.width * access.count;
        if stage.launch.counting {
            stage.counts.shared(at, addresses, mask, size);
        }
        for lane in lanes(mask) {
            let to = addresses[lane];
            self.inside_shared(to, size, at, lane, stage)?;
            if let Err(what) = stage.shared.write(to as usize, size, self.toucher(lane), false) {
                return Err(self.blame(stage, at, lane, to, what));
            }
            let bytes = &mut stage.shared.bytes[to as usize..to as usize + size];
            for (i, bytes) in bytes.chunks_exact_mut(access.width).enumerate() {
                bytes.copy_from_slice(&values[i][lane].to_le_bytes()[..access.width]);
            }
        }
        Ok(())
    }

    #[inline(always)]
    pub(super) fn inside_shared(
        &self,
        address: u64,
        size: usize,
        at: usize,
        lane: usize,
        stage: &Stage<'_>,
    ) -> Result<()> {
        let len = stage.shared.len;
        if address.saturating_add(size as u64) > len as u64 {
            let what =
                format!("accesses {size} bytes at {address} of {len} bytes of shared memory");
            return Err(self.blame(stage, at, lane, address, what));
        }
        if !address.is_multiple_of(size as u64) {
            let what = format!("accesses {size} bytes of shared memory, misaligned");
            let mut fault = self.blame(stage, at, lane, address, what);
            fault.kind = FaultKind::Misaligned;
            return Err(fault);
        }
        Ok(())
    }

    /// Begins a copy: the source is read now, the destination belongs to the copy until its wait.
    pub(super) fn copy_async(
        &mut self,
        copy: &CopyAsync,
        at: usize,
        mask: u32,
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        let (to, from) = (self.addresses(copy.to), self.addresses(copy.from));
        let sizes = *self.registers.word(copy.source_size);
        let reading =
            lanes(mask).filter(|lane| sizes[*lane] != 0).fold(0, |mask, lane| mask | 1 << lane);
        if stage.launch.counting {
            stage.counts.global(at, &from, reading, copy.size);
        }
        for lane in lanes(mask) {
            let n = (sizes[lane] as usize).min(copy.size);
            let mut bytes = [0; 16];
            if n != 0 {
                self.touch_part(stage, at, lane, from[lane], n, copy.size)?;
                for (i, byte) in bytes.iter_mut().enumerate().take(n) {
                    // SAFETY: `touch_part` found these bytes inside a live allocation.
                    *byte = unsafe { super::access::read(from[lane] + i as u64, 1) } as u8;
                }
            }
            self.inside_shared(to[lane], copy.size, at, lane, stage)?;
            if let Err(what) =
                stage.shared.write(to[lane] as usize, copy.size, self.toucher(lane), true)
            {
                return Err(self.blame(stage, at, lane, to[lane], what));
            }
            self.begun.push(Coming { to: to[lane] as usize, size: copy.size, bytes, lane });
        }
        Ok(())
    }

    /// Reads `n` bytes of an access of `size`, which is what has to be aligned.
    fn touch_part(
        &self,
        stage: &mut Stage<'_>,
        at: usize,
        lane: usize,
        address: u64,
        n: usize,
        size: usize,
    ) -> Result<()> {
        if !address.is_multiple_of(size as u64) {
            let mut fault =
                self.blame(stage, at, lane, address, format!("copies {size} bytes, misaligned"));
            fault.kind = FaultKind::Misaligned;
            return Err(fault);
        }
        if n == size {
            return self.touch(stage, at, lane, address, size, Touching::Read);
        }
        (0..n as u64).try_for_each(|i| self.touch(stage, at, lane, address + i, 1, Touching::Read))
    }

    /// Lets copies arrive until at most `n` groups are on their way.
    pub(super) fn copy_wait(&mut self, n: u32, stage: &mut Stage<'_>) {
        while self.committed.len() > n as usize {
            for coming in self.committed.pop_front().unwrap_or_default() {
                let by = self.toucher(coming.lane);
                stage.shared.arrive(coming.to, &coming.bytes[..coming.size], by);
            }
        }
    }
}
