//! Communication between the lanes of a warp: shuffles, votes, matches.

use super::step::lanes;
use super::warp::Warp;
use super::{Result, Stage};
use crate::lanes::LANES;
use crate::memory::POISON;
use crate::program::{Action, NOWHERE, Shuffle, ShuffleKind, VoteKind};

impl Warp {
    /// Runs an instruction for which all its lanes are here.
    pub(super) fn across(
        &mut self,
        action: &Action,
        at: usize,
        mask: u32,
        stage: &mut Stage<'_>,
    ) -> Result<()> {
        match action {
            Action::SyncWarp { .. } => self.syncs += 1,
            Action::Shuffle(shuffle) => self.shuffle(shuffle, mask),
            Action::Vote(vote) => {
                let bits = self.registers.predicate(vote.a);
                let ayes = mask & if vote.negated { !bits } else { bits };
                let all = |yes: bool| if yes { u32::MAX } else { 0 };
                match vote.kind {
                    VoteKind::Ballot => self.registers.set_word(vote.d, &[ayes; LANES], mask),
                    VoteKind::All => self.registers.set_predicate(vote.d, all(ayes == mask), mask),
                    VoteKind::Any => self.registers.set_predicate(vote.d, all(ayes != 0), mask),
                    VoteKind::Uniform => {
                        self.registers.set_predicate(vote.d, all(ayes == mask || ayes == 0), mask);
                    }
                }
            }
            Action::Reduce(reduce) => {
                let values = *self.registers.word(reduce.a);
                let mut found = lanes(mask).map(|lane| u64::from(values[lane]));
                let first = found.next().unwrap_or(0);
                let all = found.fold(first, |sum, value| {
                    super::atomic::combine(reduce.kind, false, sum, value, 0)
                });
                self.registers.set_word(reduce.d, &[all as u32; LANES], mask);
            }
            Action::LoadMatrix(load) => self.load_matrix(load, at, mask, stage)?,
            Action::Multiply(multiply) => self.multiply(multiply),
            _ => {}
        }
        Ok(())
    }

    /// The pseudocode of the PTX manual; a lane that takes no part gives poison.
    fn shuffle(&mut self, shuffle: &Shuffle, mask: u32) {
        let a = *self.registers.word(shuffle.a);
        let b = *self.registers.word(shuffle.b);
        let c = *self.registers.word(shuffle.c);
        let mut out = [0; LANES];
        let mut valid = 0u32;
        for lane in 0..LANES as i32 {
            let i = lane as usize;
            let (by, clamp, segment) =
                ((b[i] & 31) as i32, (c[i] & 31) as i32, (c[i] >> 8 & 31) as i32);
            let max = lane & segment | clamp & !segment;
            let min = lane & segment;
            let (from, inside) = match shuffle.kind {
                ShuffleKind::Up => (lane - by, lane - by >= max),
                ShuffleKind::Down => (lane + by, lane + by <= max),
                ShuffleKind::Butterfly => (lane ^ by, lane ^ by <= max),
                ShuffleKind::Index => (min | by & !segment, (min | by & !segment) <= max),
            };
            let from = if inside { from } else { lane };
            let from = from as usize & 31;
            out[i] = if mask >> from & 1 == 1 { a[from] } else { u32::from_le_bytes(POISON) };
            valid |= u32::from(inside) << lane;
        }
        if shuffle.d != NOWHERE {
            self.registers.set_word(shuffle.d, &out, mask);
        }
        if shuffle.valid != NOWHERE {
            self.registers.set_predicate(shuffle.valid, valid, mask);
        }
    }
}
