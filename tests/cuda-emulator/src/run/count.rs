//! Counters of a launch: instructions by family, memory accesses by instruction.

use super::Launch;
use super::access::Addresses;
use super::step::lanes;

/// Bytes memory is fetched in.
const SECTOR: u64 = 32;

/// One memory instruction's accesses.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) requests: u64,
    /// Sectors touched; or wavefronts, in shared memory.
    pub(crate) actual: u64,
    /// The fewest that could carry the bytes asked for.
    pub(crate) ideal: u64,
    /// Sectors of a contiguous run of as many bytes from the lowest address on.
    pub(crate) span: u64,
}

/// One instruction's runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) warps: u64,
    pub(crate) lanes: u64,
    pub(crate) diverged: u64,
    pub(crate) traffic: Traffic,
}

/// All counts of a launch, by instruction; empty where nobody counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) by_instruction: Vec<Count>,
}

impl Counts {
    pub(crate) fn new(launch: &Launch<'_>) -> Self {
        let n = if launch.counting { launch.program.code.len() } else { 0 };
        Self { by_instruction: vec![Count::default(); n] }
    }

    /// Takes over what another thread counted.
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.by_instruction.iter_mut().zip(&other.by_instruction) {
            sum.warps += count.warps;
            sum.lanes += count.lanes;
            sum.diverged += count.diverged;
            sum.traffic.requests += count.traffic.requests;
            sum.traffic.actual += count.traffic.actual;
            sum.traffic.ideal += count.traffic.ideal;
            sum.traffic.span += count.traffic.span;
        }
    }

    pub(super) fn run(&mut self, at: usize, mask: u32) {
        self.by_instruction[at].warps += u64::from(mask != 0);
        self.by_instruction[at].lanes += u64::from(mask.count_ones());
    }

    pub(super) fn diverged(&mut self, at: usize) {
        self.by_instruction[at].diverged += 1;
    }

    pub(super) fn atomic(&mut self, at: usize, mask: u32) {
        self.by_instruction[at].traffic.requests += u64::from(mask != 0);
    }

    /// A request of `size` bytes a lane to global memory.
    pub(super) fn global(&mut self, at: usize, addresses: &Addresses, mask: u32, size: usize) {
        if mask == 0 {
            return;
        }
        let mut starts: Vec<u64> = lanes(mask).map(|lane| addresses[lane]).collect();
        starts.sort_unstable();
        starts.dedup();
        let bytes = (starts.len() * size) as u64;
        let sectors = |from: u64, bytes: u64| (from + bytes).div_ceil(SECTOR) - from / SECTOR;
        let mut touched: Vec<u64> = starts.iter().map(|start| start / SECTOR).collect();
        touched.dedup();
        let traffic = &mut self.by_instruction[at].traffic;
        traffic.requests += 1;
        traffic.actual += touched.len() as u64;
        traffic.ideal += bytes.div_ceil(SECTOR);
        traffic.span += sectors(starts[0], bytes);
    }

    /// A request of `size` bytes a lane to shared memory: 32 banks of four bytes.
    ///
    /// Wide requests take turns: half of the lanes for 8 bytes, a quarter for 16. In a turn a bank
    /// gives one word; lanes that want the same word share it.
    pub(super) fn shared(&mut self, at: usize, addresses: &Addresses, mask: u32, size: usize) {
        if mask == 0 {
            return;
        }
        let lanes_a_turn = (32 * 4 / size.max(4)).min(32);
        let mut wavefronts = 0;
        let mut words_asked = Vec::with_capacity(128);
        for turn in 0..32 / lanes_a_turn {
            let mut words = Vec::with_capacity(32);
            let part = if lanes_a_turn == 32 { u32::MAX } else { (1 << lanes_a_turn) - 1 };
            for lane in lanes(mask & part << (turn * lanes_a_turn)) {
                words.extend(addresses[lane] / 4..(addresses[lane] + size as u64).div_ceil(4));
            }
            words.sort_unstable();
            words.dedup();
            let mut banks = [0u64; 32];
            words.iter().for_each(|word| banks[(word % 32) as usize] += 1);
            wavefronts += banks.iter().max().copied().unwrap_or(0);
            words_asked.append(&mut words);
        }
        words_asked.sort_unstable();
        words_asked.dedup();
        let traffic = &mut self.by_instruction[at].traffic;
        traffic.requests += 1;
        traffic.actual += wavefronts;
        traffic.ideal += ideal_wavefronts(mask, lanes_a_turn).min(wavefronts);
        traffic.span += (words_asked.len() as u64).div_ceil(32);
    }
}

/// A turn for each part of the warp with an active lane.
fn ideal_wavefronts(mask: u32, lanes_a_turn: usize) -> u64 {
    let part = if lanes_a_turn == 32 { u32::MAX } else { (1 << lanes_a_turn) - 1 };
    (0..32 / lanes_a_turn).filter(|turn| mask >> (turn * lanes_a_turn) & part != 0).count() as u64
}
