//! Gives registers their rows, so that those not alive at once share one.
//!
//! PTX names thousands of registers; a warp's file must stay in the first-level cache. Lanes never
//! share a value, so what holds for one thread's path through the code holds under divergence.

use crate::program::{Action, Fixed, Instruction, Role};
use crate::ptx::Class;
use std::collections::HashMap;

/// The result of [`allocate`].
pub(super) struct Rows {
    pub(super) n_rows: usize,
    pub(super) n_predicates: usize,
    pub(super) fixed: Vec<(Fixed, Class, u32)>,
}

/// Rewrites every register of `code` to its row, or its number among the predicates.
pub(super) fn allocate(
    code: &mut [Instruction],
    classes: &[Class],
    fixed: &HashMap<(Fixed, Class), u32>,
) -> Rows {
    let mut place = vec![u32::MAX; classes.len()];
    let mut n_predicates = 0;
    for (register, _) in classes.iter().enumerate().filter(|(_, class)| **class == Class::Predicate)
    {
        place[register] = n_predicates;
        n_predicates += 1;
    }
    let mut free = Free::default();
    let mut kept: Vec<(Fixed, Class, u32)> = Vec::new();
    for ((value, class), &register) in fixed {
        if *class != Class::Predicate {
            place[register as usize] = free.take(*class);
        }
        kept.push((value.clone(), *class, place[register as usize]));
    }

    let lives = lives(code, classes.len());
    let mut by_start: Vec<usize> = (0..classes.len())
        .filter(|&register| place[register] == u32::MAX && lives[register].0 <= lives[register].1)
        .collect();
    by_start.sort_by_key(|&register| lives[register]);
    let mut ends: Vec<Vec<usize>> = vec![Vec::new(); code.len() + 1];
    let mut now = 0;
    for register in by_start {
        let (start, end) = lives[register];
        // A row whose last reader is this very instruction may be its result: all is read first.
        for done in ends[now..=start].iter_mut().flat_map(std::mem::take) {
            free.give(classes[done], place[done]);
        }
        now = start;
        place[register] = free.take(classes[register]);
        // A result nobody reads still needs a row of its own while it is written.
        ends[end.max(start + 1)].push(register);
    }
    for instruction in code {
        instruction.registers(|slot, _| *slot = place[*slot as usize]);
    }
    Rows { n_rows: free.n_rows as usize, n_predicates: n_predicates as usize, fixed: kept }
}

/// Rows given back.
#[derive(Default)]
struct Free {
    single: Vec<u32>,
    double: Vec<u32>,
    n_rows: u32,
}

impl Free {
    fn take(&mut self, class: Class) -> u32 {
        let (list, size) = match class {
            Class::Double => (&mut self.double, 2),
            _ => (&mut self.single, 1),
        };
        list.pop().unwrap_or_else(|| {
            self.n_rows += size;
            self.n_rows - size
        })
    }

    fn give(&mut self, class: Class, row: u32) {
        match class {
            Class::Double => self.double.push(row),
            _ => self.single.push(row),
        }
    }
}

/// First and last instruction at which each register is alive; first > last for one never seen.
fn lives(code: &mut [Instruction], n_registers: usize) -> Vec<(usize, usize)> {
    let mut lives = vec![(usize::MAX, 0); n_registers];
    let extend = |life: &mut (usize, usize), at: usize| *life = (life.0.min(at), life.1.max(at));
    for (at, instruction) in code.iter_mut().enumerate() {
        instruction.registers(|slot, _| extend(&mut lives[*slot as usize], at));
    }
    let blocks = blocks(code);
    let n_words = n_registers.div_ceil(64);
    let mut alive_in = vec![vec![0u64; n_words]; blocks.len()];
    let (mut reads, mut writes) = (alive_in.clone(), alive_in.clone());
    for (block, (from, to, _)) in blocks.iter().enumerate() {
        for instruction in &mut code[*from..*to] {
            let partial = instruction.guard.is_some();
            instruction.registers(|slot, role| {
                let (word, bit) = (*slot as usize / 64, 1 << (*slot % 64));
                match role {
                    Role::Read if writes[block][word] & bit == 0 => reads[block][word] |= bit,
                    // A guarded write leaves the other lanes' old value alive.
                    Role::Write if partial && writes[block][word] & bit == 0 => {
                        reads[block][word] |= bit
                    }
                    Role::Write => writes[block][word] |= bit,
                    Role::Read => {}
                }
            });
        }
    }
    let mut changed = true;
    while changed {
        changed = false;
        for block in (0..blocks.len()).rev() {
            for word in 0..n_words {
                let out = blocks[block].2.iter().fold(0, |out, &next| out | alive_in[next][word]);
                let new = reads[block][word] | out & !writes[block][word];
                changed |= new != alive_in[block][word];
                alive_in[block][word] = new;
            }
        }
    }
    for (block, (from, to, next)) in blocks.iter().enumerate() {
        for register in 0..n_registers {
            let alive = |block: usize| alive_in[block][register / 64] >> (register % 64) & 1 == 1;
            if alive(block) {
                extend(&mut lives[register], *from);
            }
            if next.iter().any(|&next| alive(next)) {
                extend(&mut lives[register], *to - 1);
            }
        }
    }
    lives
}

/// Basic blocks: first instruction, one past the last, following blocks.
fn blocks(code: &[Instruction]) -> Vec<(usize, usize, Vec<usize>)> {
    let mut leads = vec![false; code.len() + 1];
    leads[0] = true;
    leads[code.len()] = true;
    let targets = |instruction: &Instruction| match &instruction.action {
        Action::Branch(target) => Some(vec![*target as usize]),
        Action::Switch { targets, .. } => {
            Some(targets.iter().map(|target| *target as usize).collect())
        }
        Action::Exit => Some(Vec::new()),
        _ => None,
    };
    for (at, instruction) in code.iter().enumerate() {
        if let Some(targets) = targets(instruction) {
            leads[at + 1] = true;
            targets.into_iter().for_each(|target| leads[target] = true);
        }
    }
    let starts: Vec<usize> = (0..code.len()).filter(|&at| leads[at]).collect();
    let number = |at: usize| starts.binary_search(&at).ok();
    let block = |(i, &from): (usize, &usize)| {
        let to = starts.get(i + 1).copied().unwrap_or(code.len());
        let last = &code[to - 1];
        let mut next: Vec<usize> = targets(last).into_iter().flatten().filter_map(number).collect();
        let ends = last.guard.is_none() && targets(last).is_some();
        next.extend((!ends).then(|| number(to)).flatten());
        (from, to, next)
    };
    starts.iter().enumerate().map(block).collect()
}
