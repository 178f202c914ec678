//! Runs a launch: blocks over threads, warps in a varied order up to each barrier.

mod access;
mod across;
mod atomic;
pub(crate) mod count;
mod shared;
mod step;
mod tensor;
mod warp;

use crate::memory::{POISON, Touched, View};
use crate::program::{Fixed, Program, Special};
use crate::ptx::Class;
use crate::shared::{Shared, Toucher};
use count::Counts;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use warp::{Stop, Warp};

/// A kernel, its arguments and the memory it may reach.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) program: &'a Program,
    pub(crate) params: &'a [u8],
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) dynamic_shared: usize,
    pub(crate) view: &'a View,
    pub(crate) seed: u64,
    /// Number of the launch in the process.
    pub(crate) number: u64,
    /// Whether races between blocks are looked for.
    pub(crate) strict: bool,
    pub(crate) counting: bool,
    pub(crate) threads: usize,
}

/// The reason why a launch ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) what: String,
    /// Line of the PTX text.
    pub(crate) line: u32,
    /// Linear thread of the block.
    pub(crate) thread: Option<u32>,
    pub(crate) block: [u32; 3],
    /// The address, where one is to blame.
    pub(crate) address: Option<u64>,
}

/// The error that hardware would report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    IllegalAddress,
    Misaligned,
    Trap,
    Endless,
}

type Result<T> = std::result::Result<T, Box<Fault>>;

/// Runs all blocks; the fault of the earliest block in this seed's order wins.
pub(crate) fn run(launch: &Launch<'_>) -> (Counts, Option<Fault>) {
    let n_blocks = launch.grid.iter().map(|n| *n as usize).product::<usize>();
    let next = AtomicUsize::new(0);
    let found: Mutex<Option<(usize, Fault)>> = Mutex::new(None);
    let stop = AtomicUsize::new(usize::MAX);
    let work = || {
        let mut block = Block::new(launch);
        loop {
            let at = next.fetch_add(1, Relaxed);
            if at >= n_blocks || at > stop.load(Relaxed) {
                return block.stage.counts;
            }
            let index = if launch.seed % 2 == 1 { n_blocks - 1 - at } else { at };
            if let Err(fault) = block.run(index) {
                stop.fetch_min(at, Relaxed);
                let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if found.as_ref().is_none_or(|(earlier, _)| at < *earlier) {
                    *found = Some((at, *fault));
                }
            }
        }
    };
    let n_threads = launch.threads.min(n_blocks).max(1);
    let mut counts = Counts::new(launch);
    if n_threads == 1 {
        counts.add(&work());
    } else {
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..n_threads).map(|_| scope.spawn(work)).collect();
            counts.add(&work());
            for other in others {
                counts.add(&other.join().expect("the interpreter does not panic"));
            }
        });
    }
    let fault = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    (counts, fault.map(|(_, fault)| fault))
}

/// A block at work; one a thread, used again for block after block.
struct Block<'a> {
    warps: Vec<Warp>,
    stage: Stage<'a>,
}

/// The state that the warps of a block share.
struct Stage<'a> {
    launch: &'a Launch<'a>,
    shared: Shared,
    local: Vec<u8>,
    /// Number of threads.
    n_threads: u32,
    at: [u32; 3],
    /// Linear number of the block, from 1: what stamps carry.
    number: u32,
    /// For each instruction the allocation it met last.
    met: Vec<usize>,
    counts: Counts,
}

impl<'a> Block<'a> {
    fn new(launch: &'a Launch<'a>) -> Self {
        let program = launch.program;
        let n_threads = launch.block.iter().product::<u32>();
        let warps = (0..n_threads.div_ceil(32))
            .map(|number| Warp::new(program, number, n_threads))
            .collect();
        let shared = program.static_shared + launch.dynamic_shared;
        let stage = Stage {
            launch,
            shared: Shared::new(shared, program.grain, program.syncs_warps),
            local: vec![0; program.local * n_threads as usize],
            n_threads,
            at: [0; 3],
            number: 0,
            met: vec![0; program.code.len()],
            counts: Counts::new(launch),
        };
        Self { warps, stage }
    }

    fn run(&mut self, index: usize) -> Result<()> {
        let stage = &mut self.stage;
        let [nx, ny, _] = stage.launch.grid.map(|n| n as usize);
        stage.at = [index % nx, index / nx % ny, index / (nx * ny)].map(|at| at as u32);
        stage.number = index as u32 + 1;
        stage.shared.clear();
        // What the block before left is not this one's.
        stage.local.iter_mut().enumerate().for_each(|(i, byte)| *byte = POISON[i % 4]);
        for warp in &mut self.warps {
            warp.start(stage.n_threads);
            fill(warp, stage);
        }
        let mut random = stage.launch.seed ^ (index as u64) << 20;
        let mut order: Vec<usize> = (0..self.warps.len()).collect();
        while !order.is_empty() {
            shuffle(&mut order, &mut random);
            let mut barrier: Option<(u32, u32)> = None;
            let mut waiting = Vec::with_capacity(order.len());
            for &number in &order {
                if let Stop::Barrier(line) = self.warps[number].run(&mut self.stage)? {
                    let thread = number as u32 * 32;
                    match barrier {
                        Some((other, _)) if other != line => {
                            return Err(self.stage.fault(format!("waits at a barrier while others wait at the one of line {other}"), line, Some(thread)));
                        }
                        _ => barrier = Some((line, thread)),
                    }
                    waiting.push(number);
                }
            }
            waiting.sort_unstable();
            order = waiting;
            self.stage.shared.barrier();
        }
        Ok(())
    }
}

/// Puts the values known beforehand into a warp's registers.
fn fill(warp: &mut Warp, stage: &Stage<'_>) {
    let launch = stage.launch;
    for (fixed, class, slot) in &launch.program.fixed {
        let at = |lane: u32| match fixed {
            Fixed::Bits(bits) => *bits,
            Fixed::Special(special) => special_value(*special, warp.number, lane, stage).into(),
        };
        match class {
            Class::Word => {
                *warp.registers.word_mut(*slot) = std::array::from_fn(|lane| at(lane as u32) as u32)
            }
            Class::Double => {
                *warp.registers.double_mut(*slot) = std::array::from_fn(|lane| at(lane as u32))
            }
            Class::Predicate => {
                let bits = if at(0) == 0 { 0 } else { u32::MAX };
                warp.registers.set_predicate(*slot, bits, u32::MAX);
            }
        }
    }
}

fn special_value(special: Special, warp: u32, lane: u32, stage: &Stage<'_>) -> u32 {
    let [nx, ny, _] = stage.launch.block;
    let thread = warp * 32 + lane;
    match special {
        Special::Tid(axis) => [thread % nx, thread / nx % ny, thread / (nx * ny)][axis],
        Special::Ntid(axis) => stage.launch.block[axis],
        Special::Ctaid(axis) => stage.at[axis],
        Special::Nctaid(axis) => stage.launch.grid[axis],
        Special::Lane => lane,
        Special::Warp => warp,
        Special::Nwarp => stage.n_threads.div_ceil(32),
        Special::MaskEq => 1 << lane,
        Special::MaskLt => (1 << lane) - 1,
        Special::MaskLe => u32::MAX >> (31 - lane),
        Special::MaskGt => !(u32::MAX >> (31 - lane)),
        Special::MaskGe => !((1 << lane) - 1),
        Special::DynamicShared => stage.launch.dynamic_shared as u32,
    }
}

/// Fisher and Yates, fed by xorshift.
fn shuffle(order: &mut [usize], random: &mut u64) {
    for i in (1..order.len()).rev() {
        *random = next_random(*random);
        order.swap(i, (*random >> 33) as usize % (i + 1));
    }
}

/// A step of splitmix64: any seed will do.
pub(crate) fn next_random(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

impl Stage<'_> {
    fn fault(&self, what: String, line: u32, thread: Option<u32>) -> Box<Fault> {
        Box::new(Fault {
            kind: FaultKind::IllegalAddress,
            what,
            line,
            thread,
            block: self.at,
            address: None,
        })
    }

    /// The allocation with `bytes` at `address`; `at` is the instruction, whose last one is tried
    /// first.
    #[inline(always)]
    fn holding(&mut self, at: usize, address: u64, bytes: u64) -> Option<usize> {
        let seen = &self.launch.view.seen;
        let holds = |index: usize| {
            seen.get(index).is_some_and(|seen| {
                seen.allocation.start <= address && address + bytes <= seen.allocation.end()
            })
        };
        if holds(self.met[at]) {
            return Some(self.met[at]);
        }
        let index = self.launch.view.find(address).filter(|index| holds(*index))?;
        self.met[at] = index;
        Some(index)
    }

    /// The parts of allocation `index` that the launch touched.
    #[inline(always)]
    fn touched(&self, index: usize) -> &Touched {
        let seen = &self.launch.view.seen[index];
        seen.touched.get_or_init(|| Touched::new(seen.allocation.len))
    }
}

impl Warp {
    fn toucher(&self, lane: usize) -> Toucher {
        Toucher { thread: self.number * 32 + lane as u32, syncs: self.syncs }
    }
}
