//! A warp: its registers, and which of its threads are where.
//!
//! Threads that stand at the same instruction are a group. The group furthest behind runs first, so
//! that groups meet again where paths join. At an instruction that names its threads a group waits
//! for the rest of them.

use super::{Result, Stage};
use crate::lanes::{ALL, Registers};
use crate::program::Program;

/// Threads at one instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) at: u32,
    pub(super) mask: u32,
    /// Waits for other lanes of the warp.
    pub(super) blocked: bool,
}

/// The reason why a warp stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At the barrier of this line.
    Barrier(u32),
    Done,
}

/// A copy on its way to shared memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coming {
    pub(super) to: usize,
    pub(super) size: usize,
    pub(super) bytes: [u8; 16],
    pub(super) lane: usize,
}

/// 32 threads.
#[derive(Debug)]
pub(super) struct Warp {
    pub(super) number: u32,
    pub(super) registers: Registers,
    pub(super) groups: Vec<Group>,
    /// Lanes that have not returned.
    pub(super) live: u32,
    /// Number of synchronizations of lanes.
    pub(super) syncs: u32,
    /// Jumps back so far.
    pub(super) jumps_back: u32,
    /// Copies not yet committed, and committed groups of them.
    pub(super) begun: Vec<Coming>,
    pub(super) committed: std::collections::VecDeque<Vec<Coming>>,
}

impl Warp {
    pub(super) fn new(program: &Program, number: u32, n_threads: u32) -> Self {
        let mut warp = Self {
            number,
            registers: Registers::new(program.n_rows, program.n_predicates),
            groups: Vec::new(),
            live: 0,
            syncs: 0,
            jumps_back: 0,
            begun: Vec::new(),
            committed: Default::default(),
        };
        warp.start(n_threads);
        warp
    }

    /// Begins a block of `n_threads` threads.
    pub(super) fn start(&mut self, n_threads: u32) {
        let mine = (n_threads - self.number * 32).min(32);
        self.live = ALL >> (32 - mine);
        self.registers.clear();
        self.groups.clear();
        self.groups.push(Group { at: 0, mask: self.live, blocked: false });
        (self.syncs, self.jumps_back) = (0, 0);
        self.begun.clear();
        self.committed.clear();
    }

    /// Runs to the next barrier or the end.
    pub(super) fn run(&mut self, stage: &mut Stage<'_>) -> Result<Stop> {
        while let Some(group) = self.next_group(stage)? {
            if let Some(stop) = self.run_group(group, stage)? {
                return Ok(stop);
            }
        }
        Ok(Stop::Done)
    }

    /// Takes the group that is to run; `None` when all threads have returned.
    fn next_group(&mut self, stage: &Stage<'_>) -> Result<Option<Group>> {
        if self.groups.is_empty() {
            return Ok(None);
        }
        let ready = |group: &&Group| !group.blocked;
        let best = self.groups.iter().filter(ready).min_by_key(|group| group.at).copied();
        // Lanes waited for may have returned since.
        let best = match best {
            Some(best) => best,
            None => {
                let satisfied = |group: &&Group| {
                    let needs = self.needs(group.at as usize, group.mask, stage);
                    group.mask & needs == needs
                };
                match self.groups.iter().find(satisfied) {
                    Some(group) => *group,
                    None => return Err(self.stuck(stage)),
                }
            }
        };
        self.groups.retain(|group| group.at != best.at || group.blocked != best.blocked);
        Ok(Some(Group { blocked: false, ..best }))
    }

    fn stuck(&self, stage: &Stage<'_>) -> Box<super::Fault> {
        let code = &stage.launch.program.code;
        let mut places = self.groups.iter().map(|group| (code[group.at as usize].line, group.mask));
        let (line, mask) = places.next().unwrap_or_default();
        let mut what = format!("lanes {mask:08x} wait for others of their warp that never come");
        for (line, mask) in places {
            what += &format!("; lanes {mask:08x} wait at line {line}");
        }
        stage.fault(what, line, Some(self.number * 32 + mask.trailing_zeros()))
    }

    /// The place of the group furthest behind among those that could run.
    pub(super) fn limit(&self) -> u32 {
        self.groups
            .iter()
            .filter(|group| !group.blocked)
            .map(|group| group.at)
            .min()
            .unwrap_or(u32::MAX)
    }

    /// Puts threads aside, joining those that stand there.
    pub(super) fn put(&mut self, at: u32, mask: u32, blocked: bool) {
        if mask == 0 {
            return;
        }
        match self.groups.iter_mut().find(|group| group.at == at && group.blocked == blocked) {
            Some(group) => group.mask |= mask,
            None => self.groups.push(Group { at, mask, blocked }),
        }
    }

    /// Takes the threads that could run at `at`.
    pub(super) fn join(&mut self, at: u32, blocked: bool) -> u32 {
        match self.groups.iter().position(|group| group.at == at && group.blocked == blocked) {
            Some(found) => self.groups.swap_remove(found).mask,
            None => 0,
        }
    }
}
