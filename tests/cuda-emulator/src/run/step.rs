//! The interpreter's loop.

use super::warp::{Group, Stop, Warp};
use super::{FaultKind, Result, Stage};
use crate::lanes::LANES;
use crate::program::Action;

/// Jumps back after which a warp counts as endless.
const ENDLESS: u32 = 1 << 28;

impl Warp {
    /// The lanes an instruction waits for, where it names any.
    pub(super) fn needs(&self, at: usize, mask: u32, stage: &Stage<'_>) -> u32 {
        let named = match &stage.launch.program.code[at].action {
            Action::Barrier | Action::LoadMatrix(_) | Action::Multiply(_) => u32::MAX,
            Action::SyncWarp { mask: row } => self.first(*row, mask),
            Action::Shuffle(shuffle) => self.first(shuffle.mask, mask),
            Action::Vote(vote) => self.first(vote.mask, mask),
            Action::Reduce(reduce) => self.first(reduce.mask, mask),
            _ => 0,
        };
        named & self.live
    }

    fn first(&self, row: u32, mask: u32) -> u32 {
        self.registers.word(row)[mask.trailing_zeros() as usize % LANES]
    }

    /// Runs a group until the warp stops or another group is to run.
    pub(super) fn run_group(
        &mut self,
        mut group: Group,
        stage: &mut Stage<'_>,
    ) -> Result<Option<Stop>> {
        let program = stage.launch.program;
        let counting = stage.launch.counting;
        let mut limit = self.limit();
        loop {
            if group.at >= limit {
                if group.at > limit {
                    self.put(group.at, group.mask, false);
                    return Ok(None);
                }
                group.mask |= self.join(group.at, false);
                limit = self.limit();
            }
            let at = group.at as usize;
            let instruction = &program.code[at];
            let mut mask = group.mask;
            if let Some(guard) = instruction.guard {
                let bits = self.registers.predicate(guard.number);
                mask &= if guard.negated { !bits } else { bits };
            }
            if counting {
                stage.counts.run(at, mask);
            }
            if let Action::Plain { run, slots, .. } = &instruction.action {
                if mask != 0 {
                    run(&mut self.registers, *slots, mask);
                }
                group.at += 1;
                continue;
            }
            if mask == 0 {
                group.at += 1;
                continue;
            }
            match &instruction.action {
                Action::Branch(target) => {
                    self.jumps_back += u32::from(*target as usize <= at);
                    if self.jumps_back > ENDLESS {
                        let mut fault =
                            stage.fault("runs without end".into(), instruction.line, None);
                        fault.kind = FaultKind::Endless;
                        return Err(fault);
                    }
                    if mask == group.mask {
                        group.at = *target;
                        continue;
                    }
                    if counting {
                        stage.counts.diverged(at);
                    }
                    self.put(*target, mask, false);
                    group.mask &= !mask;
                    group.at += 1;
                    limit = self.limit();
                }
                Action::Switch { index, targets } => {
                    let wanted = *self.registers.word(*index);
                    for lane in lanes(mask) {
                        let target = targets.get(wanted[lane] as usize).copied();
                        let beyond = || {
                            stage.fault("switches beyond its table".into(), instruction.line, None)
                        };
                        self.put(target.ok_or_else(beyond)?, 1 << lane, false);
                    }
                    self.put(group.at + 1, group.mask & !mask, false);
                    return Ok(None);
                }
                Action::Exit => {
                    self.live &= !mask;
                    group.mask &= !mask;
                    if group.mask == 0 {
                        return Ok(None);
                    }
                    group.at += 1;
                }
                Action::Plain { .. } => {}
                Action::Load(access) => {
                    self.load(access, at, mask, stage)?;
                    group.at += 1;
                }
                Action::Store(access) => {
                    self.store(access, at, mask, stage)?;
                    group.at += 1;
                }
                Action::Atomic(atomic) => {
                    self.atomic(atomic, at, mask, stage)?;
                    group.at += 1;
                }
                Action::CopyAsync(copy) => {
                    self.copy_async(copy, at, mask, stage)?;
                    group.at += 1;
                }
                Action::CopyCommit | Action::CopyWait(_) => {
                    if mask != self.live {
                        let what =
                            "counts groups of copies in divergent code, which is not emulated";
                        return Err(stage.fault(what.into(), instruction.line, None));
                    }
                    match instruction.action {
                        Action::CopyWait(n) => self.copy_wait(n, stage),
                        _ => self.committed.push_back(std::mem::take(&mut self.begun)),
                    }
                    group.at += 1;
                }
                Action::ActiveMask { d } => {
                    self.registers.set_word(*d, &[mask; LANES], mask);
                    group.at += 1;
                }
                Action::Trap => {
                    let thread = self.number * 32 + mask.trailing_zeros();
                    let mut fault = stage.fault("traps".into(), instruction.line, Some(thread));
                    fault.kind = FaultKind::Trap;
                    return Err(fault);
                }
                together => {
                    // Lanes whose guard says no go on; the others wait for all that are named.
                    self.put(group.at + 1, group.mask & !mask, false);
                    mask |= self.join(group.at, true);
                    let needs = self.needs(at, mask, stage);
                    if mask & needs != needs {
                        self.put(group.at, mask, true);
                        return Ok(None);
                    }
                    group.mask = mask;
                    group.at += 1;
                    if let Action::Barrier = together {
                        self.put(group.at, group.mask, false);
                        return Ok(Some(Stop::Barrier(instruction.line)));
                    }
                    self.across(together, at, mask, stage)?;
                    limit = self.limit();
                }
            }
        }
    }
}

/// The lanes of a mask, lowest first.
pub(super) fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            lane
        })
    })
}
