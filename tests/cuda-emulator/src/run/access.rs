//! Loads and stores: addresses, then the space they are in.

use super::step::lanes;
use super::warp::Warp;
use super::{Fault, FaultKind, Result, Stage};
use crate::lanes::LANES;
use crate::lower::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_OFFSET};
use crate::memory::{Stamps, Touching};
use crate::program::{Access, Address, NOWHERE};
use crate::ptx::Space;

/// The addresses of all lanes.
pub(super) type Addresses = [u64; LANES];

/// Values on their way between registers and memory: by value of the vector, then by lane.
pub(super) type Values = [[u64; LANES]; 4];

impl Warp {
    #[inline(always)]
    pub(super) fn addresses(&self, address: Address) -> Addresses {
        if address.wide {
            let base = self.registers.double(address.slot);
            std::array::from_fn(|lane| base[lane].wrapping_add_signed(address.offset))
        } else {
            let base = self.registers.word(address.slot);
            std::array::from_fn(|lane| base[lane].wrapping_add(address.offset as u32).into())
        }
    }

    pub(super) fn load(
        &mut self,
        access: &Access,
        at: usize,
        mask: u32,
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        let addresses = self.addresses(access.address);
        if access.space == Space::Shared {
            return self.load_shared(access, &addresses, at, mask, stage);
        }
        let mut values = [[0; LANES]; 4];
        for (space, mask, addresses) in by_space(access.space, mask, addresses) {
            match space {
                Space::Shared => {
                    self.load_shared(access, &addresses, at, mask, stage)?;
                    continue;
                }
                Space::Local | Space::Param => {
                    for lane in lanes(mask) {
                        let bytes =
                            self.private(space, addresses[lane], access, at, lane, stage)?;
                        for i in 0..access.count {
                            values[i][lane] =
                                value_of(&bytes[i * access.width..(i + 1) * access.width]);
                        }
                    }
                }
                _ => self.load_global(access, &addresses, at, mask, stage, &mut values)?,
            }
            self.take(access, &values, mask);
        }
        Ok(())
    }

    /// Puts loaded values into registers.
    #[inline(always)]
    fn take(&mut self, access: &Access, values: &Values, mask: u32) {
        let extend = |value: u64| match access.width {
            _ if !access.signed => value,
            1 => value as i8 as u64,
            2 => value as i16 as u64,
            4 => value as i32 as u64,
            _ => value,
        };
        for (values, &slot) in
            values.iter().zip(&access.values).filter(|(_, slot)| **slot != NOWHERE)
        {
            if access.wide {
                self.registers.set_double(slot, &values.map(extend), mask);
            } else {
                self.registers.set_word(
                    slot,
                    &std::array::from_fn(|lane| extend(values[lane]) as u32),
                    mask,
                );
            }
        }
    }

    /// The values to be stored.
    #[inline(always)]
    pub(super) fn given(&self, access: &Access) -> Values {
        let mut values = [[0; LANES]; 4];
        for (values, &slot) in
            values.iter_mut().zip(&access.values).filter(|(_, slot)| **slot != NOWHERE)
        {
            *values = match access.wide {
                true => *self.registers.double(slot),
                false => self.registers.word(slot).map(u64::from),
            };
        }
        values
    }

    pub(super) fn store(
        &mut self,
        access: &Access,
        at: usize,
        mask: u32,
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        let addresses = self.addresses(access.address);
        let values = self.given(access);
        for (space, mask, addresses) in by_space(access.space, mask, addresses) {
            match space {
                Space::Shared => self.store_shared(access, &addresses, &values, at, mask, stage)?,
                Space::Local => {
                    for lane in lanes(mask) {
                        let range =
                            self.private_range(space, addresses[lane], access, at, lane, stage)?;
                        for (i, bytes) in
                            stage.local[range].chunks_exact_mut(access.width).enumerate()
                        {
                            bytes.copy_from_slice(&values[i][lane].to_le_bytes()[..access.width]);
                        }
                    }
                }
                Space::Param => {
                    return Err(self.blame(
                        stage,
                        at,
                        0,
                        addresses[0],
                        "writes its parameters".into(),
                    ));
                }
                _ => self.store_global(access, &addresses, &values, at, mask, stage)?,
            }
        }
        Ok(())
    }

    fn load_global(
        &mut self,
        access: &Access,
        addresses: &Addresses,
        at: usize,
        mask: u32,
        stage: &mut Stage<'_>,
        values: &mut Values,
    ) -> Result<()> {
        let size = access.width * access.count;
        if stage.launch.counting {
            stage.counts.global(at, addresses, mask, size);
        }
        for lane in lanes(mask) {
            let address = addresses[lane];
            self.touch(stage, at, lane, address, size, Touching::Read)?;
            for (i, values) in values.iter_mut().enumerate().take(access.count) {
                // SAFETY: `touch` found all `size` bytes inside a live allocation, aligned. Another
                // block may write them meanwhile only in a kernel that races, which is reported.
                values[lane] = unsafe { read(address + (i * access.width) as u64, access.width) };
            }
        }
        Ok(())
    }

    fn store_global(
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
            stage.counts.global(at, addresses, mask, size);
        }
        for lane in lanes(mask) {
            let address = addresses[lane];
            self.touch(stage, at, lane, address, size, Touching::Write)?;
            for (i, values) in values.iter().enumerate().take(access.count) {
                // SAFETY: as for loads.
                unsafe { write(address + (i * access.width) as u64, access.width, values[lane]) };
            }
        }
        Ok(())
    }

    /// Judges one lane's access to global memory and notes it.
    #[inline(always)]
    pub(super) fn touch(
        &self,
        stage: &mut Stage<'_>,
        at: usize,
        lane: usize,
        address: u64,
        size: usize,
        how: Touching,
    ) -> Result<()> {
        if !address.is_multiple_of(size as u64) {
            let mut fault =
                self.blame(stage, at, lane, address, format!("accesses {size} bytes, misaligned"));
            fault.kind = FaultKind::Misaligned;
            return Err(fault);
        }
        let Some(index) = stage.holding(at, address, size as u64) else {
            let verb = if how == Touching::Read { "reads" } else { "writes" };
            return Err(self.blame(
                stage,
                at,
                lane,
                address,
                format!("{verb} {size} bytes outside of any allocation"),
            ));
        };
        let seen = &stage.launch.view.seen[index];
        let offset = (address - seen.allocation.start) as usize;
        if how != Touching::Write && !seen.allocation.is_written(offset, size) {
            let len = seen.allocation.len;
            let what =
                format!("reads byte {offset} of {len} of an allocation, which was never written");
            return Err(self.blame(stage, at, lane, address, what));
        }
        if how != Touching::Read {
            seen.allocation.set_written(offset, size);
        }
        stage.touched(index).note(offset, offset + size, how != Touching::Read);
        // Two blocks may share a word in halves; only whole words are told apart.
        if stage.launch.strict && size >= 4 {
            let launch = stage.launch.number;
            let stamps = seen.stamps.get_or_init(|| seen.allocation.stamps(launch));
            let epoch = (launch % 255) as u32 + 1;
            for word in offset / 4..(offset + size) / 4 {
                if let Some(other) = stamps.touch(word, epoch, stage.number, how) {
                    let other = Stamps::named(other);
                    let what = format!("races at byte {offset} of an allocation with {other}");
                    return Err(self.blame(stage, at, lane, address, what));
                }
            }
        }
        Ok(())
    }

    pub(super) fn blame(
        &self,
        stage: &Stage<'_>,
        at: usize,
        lane: usize,
        address: u64,
        what: String,
    ) -> Box<Fault> {
        let line = stage.launch.program.code[at].line;
        let mut fault = stage.fault(what, line, Some(self.number * 32 + lane as u32));
        fault.address = Some(address);
        fault
    }

    /// Bytes of a thread's own memory, or of the parameters.
    fn private<'a>(
        &self,
        space: Space,
        address: u64,
        access: &Access,
        at: usize,
        lane: usize,
        stage: &'a Stage<'_>,
    ) -> Result<&'a [u8]> {
        let range = self.private_range(space, address, access, at, lane, stage)?;
        Ok(if space == Space::Param { &stage.launch.params[range] } else { &stage.local[range] })
    }

    fn private_range(
        &self,
        space: Space,
        address: u64,
        access: &Access,
        at: usize,
        lane: usize,
        stage: &Stage<'_>,
    ) -> Result<std::ops::Range<usize>> {
        let size = access.width * access.count;
        let (start, len) = match space {
            Space::Param => (0, stage.launch.params.len()),
            _ => {
                let each = stage.launch.program.local;
                ((self.number as usize * 32 + lane) * each, each)
            }
        };
        if address.saturating_add(size as u64) > len as u64 || !address.is_multiple_of(size as u64)
        {
            let what = format!("accesses {size} bytes at {address} of {len} bytes of its own");
            return Err(self.blame(stage, at, lane, address, what));
        }
        Ok(start + address as usize..start + address as usize + size)
    }
}

/// Splits lanes by the space their addresses are in; all at once unless addresses are generic.
fn by_space(space: Space, mask: u32, addresses: Addresses) -> Vec<(Space, u32, Addresses)> {
    if space != Space::Generic {
        return vec![(space, mask, addresses)];
    }
    let windows = [
        (SHARED_WINDOW, Space::Shared),
        (LOCAL_WINDOW, Space::Local),
        (PARAM_WINDOW, Space::Param),
    ];
    let mut found = Vec::with_capacity(1);
    let mut rest = mask;
    for (window, space) in windows {
        let here = lanes(mask).filter(|lane| addresses[*lane] & !WINDOW_OFFSET == window);
        let here = here.fold(0, |here, lane| here | 1 << lane);
        if here != 0 {
            found.push((space, here, addresses.map(|address| address & WINDOW_OFFSET)));
            rest &= !here;
        }
    }
    if rest != 0 {
        found.push((Space::Global, rest, addresses));
    }
    found
}

fn value_of(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// # Safety
/// `width` bytes at `address` can be read and are aligned.
#[inline(always)]
pub(super) unsafe fn read(address: u64, width: usize) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            1 => (address as *const u8).read().into(),
            2 => (address as *const u16).read().into(),
            4 => (address as *const u32).read().into(),
            _ => (address as *const u64).read(),
        }
    }
}

/// # Safety
/// `width` bytes at `address` can be written and are aligned.
#[inline(always)]
pub(super) unsafe fn write(address: u64, width: usize, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        match width {
            1 => (address as *mut u8).write(value as u8),
            2 => (address as *mut u16).write(value as u16),
            4 => (address as *mut u32).write(value as u32),
            _ => (address as *mut u64).write(value),
        }
    }
}
