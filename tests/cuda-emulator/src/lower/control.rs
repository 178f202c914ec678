//! Branches, barriers, comparisons, addresses and what lanes say to each other.

use super::{LOCAL_WINDOW, Lowering, PARAM_WINDOW, SHARED_WINDOW, WINDOW_OFFSET, special};
use crate::program::{
    Action, AtomicKind, Family, Fixed, NOWHERE, Reduce, Shuffle, ShuffleKind, Vote, VoteKind,
};
use crate::ptx::{Class, Operand};

impl Lowering<'_> {
    pub(super) fn control(&mut self, opcode: &str, operands: &[Operand]) -> Result<(), String> {
        match (opcode, operands) {
            ("bra" | "bra.uni", [Operand::Symbol(label, 0)]) => {
                self.open.push((self.code.len(), vec![label.clone()]));
                self.push(Action::Branch(0), Family::Branch);
            }
            ("brx.idx" | "brx.idx.uni", [index, Operand::Symbol(table, 0)]) => {
                let index = self.read(index, Class::Word)?;
                let targets = self.tables.get(table.as_str()).ok_or("unknown table of targets")?;
                self.open.push((self.code.len(), targets.to_vec()));
                self.push(Action::Switch { index, targets: Vec::new() }, Family::Branch);
            }
            ("ret" | "ret.uni" | "exit", []) => self.push(Action::Exit, Family::Branch),
            ("trap", []) => self.push(Action::Trap, Family::Other),
            ("bar.warp.sync", [mask]) => {
                let mask = self.read(mask, Class::Word)?;
                self.push(Action::SyncWarp { mask }, Family::Barrier);
            }
            (
                "bar.sync"
                | "bar.cta.sync"
                | "barrier.sync"
                | "barrier.cta.sync"
                | "barrier.sync.aligned"
                | "barrier.cta.sync.aligned",
                [Operand::Integer(0)],
            ) => self.push(Action::Barrier, Family::Barrier),
            // Lanes and blocks see each other's writes at once here; what needs a barrier is found
            // by races.
            (fence, []) if fence.starts_with("membar.") || fence.starts_with("fence.") => {}
            _ => return Err(format!("unknown form with {} operands", operands.len())),
        }
        Ok(())
    }

    /// Sets the targets of all branches.
    pub(super) fn close(&mut self) -> Result<(), String> {
        for (at, labels) in std::mem::take(&mut self.open) {
            let line = self.code[at].line;
            let find = |label: &String| {
                self.labels
                    .get(label.as_str())
                    .copied()
                    .ok_or_else(|| format!("line {line}: no label {label}"))
            };
            let found = labels.iter().map(find).collect::<Result<Vec<u32>, String>>()?;
            match &mut self.code[at].action {
                Action::Branch(target) => *target = found[0],
                Action::Switch { targets, .. } => *targets = found,
                _ => {}
            }
        }
        Ok(())
    }

    /// `setp.lt.and.ftz.f32 p|q, a, b, c`
    pub(super) fn compare(&mut self, words: &[&str], operands: &[Operand]) -> Result<(), String> {
        let joins = words.iter().copied().find(|word| matches!(*word, "and" | "or" | "xor"));
        let kept: Vec<&str> = words.iter().copied().filter(|word| Some(*word) != joins).collect();
        let opcode = format!("setp.{}", kept.join("."));
        let (first, second) = match operands.first().ok_or("no operands")? {
            Operand::Pair(first, second) => (*first, Some(*second)),
            Operand::Register(first) => (*first, None),
            other => return Err(format!("{other:?} where a predicate should be")),
        };
        if joins.is_none() && second.is_none() {
            return self.plain(&opcode, operands);
        }
        let [_, a, b, with @ ..] = operands else { return Err("too few operands".into()) };
        let truth = self.temporary(Class::Predicate);
        self.plain(&opcode, &[Operand::Register(truth), a.clone(), b.clone()])?;
        let mut results = vec![(first, truth)];
        if let Some(second) = second {
            let opposite = self.temporary(Class::Predicate);
            self.emit("not.pred", opposite, &[truth])?;
            results.push((second, opposite));
        }
        match (joins, with) {
            (Some(join), [with]) => {
                let with = self.read(with, Class::Predicate)?;
                for (_, truth) in &results {
                    self.emit(&format!("{join}.pred"), *truth, &[*truth, with])?;
                }
            }
            (None, []) => {}
            _ => return Err("operands do not fit".into()),
        }
        // Last, as a result may be an operand as well.
        results.into_iter().try_for_each(|(d, truth)| self.emit("mov.pred", d, &[truth]))
    }

    /// `cvta.to.global.u64` and back: an address is an offset in its window when generic.
    pub(super) fn convert_address(
        &mut self,
        words: &[&str],
        operands: &[Operand],
    ) -> Result<(), String> {
        let (to, space) = match words {
            ["to", space, "u64"] => (true, *space),
            [space, "u64"] => (false, *space),
            _ => return Err("unknown form".into()),
        };
        let [d, a] = operands else { return Err("two operands should be here".into()) };
        let (d, a) = (self.written(d, Class::Double)?, self.read(a, Class::Double)?);
        let window = match space {
            "global" | "const" => return self.emit("mov.b64", d, &[a]),
            "shared" => SHARED_WINDOW,
            "local" => LOCAL_WINDOW,
            "param" => PARAM_WINDOW,
            _ => return Err("unknown space".into()),
        };
        let (opcode, bits) = if to { ("and.b64", WINDOW_OFFSET) } else { ("or.b64", window) };
        let bits = self.fixed(Fixed::Bits(bits), Class::Double);
        self.emit(opcode, d, &[a, bits])
    }

    /// `mov.b64 d, {a, b}` and `mov.b64 {a, b}, d`.
    pub(super) fn move_parts(&mut self, kind: &str, operands: &[Operand]) -> Result<(), String> {
        let (whole, part, half) = match kind {
            "b32" => (Class::Word, Class::Word, "b16"),
            "b64" => (Class::Double, Class::Word, "b32"),
            _ => return Err("unknown form".into()),
        };
        match operands {
            [d, Operand::Vector(parts)] => {
                let d = self.written(d, whole)?;
                let slots = parts
                    .iter()
                    .map(|p| self.read(p, part))
                    .collect::<Result<Vec<u32>, String>>()?;
                match slots[..] {
                    [low, high] => self.emit(&format!("join.{half}"), d, &[low, high]),
                    [a, b, c, e] if kind == "b64" => {
                        let (low, high) =
                            (self.temporary(Class::Word), self.temporary(Class::Word));
                        self.emit("join.b16", low, &[a, b])?;
                        self.emit("join.b16", high, &[c, e])?;
                        self.emit("join.b32", d, &[low, high])
                    }
                    _ => Err("unknown number of parts".into()),
                }
            }
            [Operand::Vector(parts), a] => {
                let a = self.read(a, whole)?;
                let slots = parts
                    .iter()
                    .map(|p| self.written(p, part))
                    .collect::<Result<Vec<u32>, String>>()?;
                match slots[..] {
                    [low, high] => self.split(kind, a, [low, high]),
                    [p, q, r, s] if kind == "b64" => {
                        let (low, high) =
                            (self.temporary(Class::Word), self.temporary(Class::Word));
                        self.split("b64", a, [low, high])?;
                        self.split("b32", low, [p, q])?;
                        self.split("b32", high, [r, s])
                    }
                    _ => Err("unknown number of parts".into()),
                }
            }
            _ => Err("unknown form".into()),
        }
    }

    fn split(&mut self, kind: &str, a: u32, [low, high]: [u32; 2]) -> Result<(), String> {
        // The source may be one of the parts: it is read whole before either is written.
        let part = self.temporary(Class::Word);
        if high != NOWHERE {
            self.emit(&format!("high.{kind}"), part, &[a])?;
        }
        if low != NOWHERE {
            self.emit(&format!("low.{kind}"), low, &[a])?;
        }
        if high != NOWHERE { self.emit("mov.b32", high, &[part]) } else { Ok(()) }
    }

    /// `shfl`, `vote`, `redux` and `activemask`.
    pub(super) fn across_lanes(
        &mut self,
        words: &[&str],
        operands: &[Operand],
    ) -> Result<(), String> {
        let action = match (words, operands) {
            (["shfl", "sync", kind, "b32"], [d, a, b, c, mask]) => {
                let kind = match *kind {
                    "up" => ShuffleKind::Up,
                    "down" => ShuffleKind::Down,
                    "bfly" => ShuffleKind::Butterfly,
                    "idx" => ShuffleKind::Index,
                    _ => return Err("unknown form".into()),
                };
                let (d, valid) = match d {
                    Operand::Pair(d, valid) => (*d, *valid),
                    other => (self.written(other, Class::Word)?, NOWHERE),
                };
                let mut word = |operand| self.read(operand, Class::Word);
                let (a, b, c, mask) = (word(a)?, word(b)?, word(c)?, word(mask)?);
                Action::Shuffle(Box::new(Shuffle { kind, d, valid, a, b, c, mask }))
            }
            (["vote", "sync", kind, result], [d, a, mask]) => {
                let (kind, class) = match (*kind, *result) {
                    ("all", "pred") => (VoteKind::All, Class::Predicate),
                    ("any", "pred") => (VoteKind::Any, Class::Predicate),
                    ("uni", "pred") => (VoteKind::Uniform, Class::Predicate),
                    ("ballot", "b32") => (VoteKind::Ballot, Class::Word),
                    _ => return Err("unknown form".into()),
                };
                let (a, negated) = match a {
                    Operand::NotRegister(a) => (*a, true),
                    other => (self.read(other, Class::Predicate)?, false),
                };
                let mask = self.read(mask, Class::Word)?;
                Action::Vote(Box::new(Vote { kind, d: self.written(d, class)?, a, negated, mask }))
            }
            (["redux", "sync", kind, kind_of], [d, a, mask]) => {
                let kind = match (*kind, *kind_of) {
                    ("add", _) => AtomicKind::Add,
                    ("min", "s32") => AtomicKind::MinSigned,
                    ("max", "s32") => AtomicKind::MaxSigned,
                    ("min", "u32") => AtomicKind::MinUnsigned,
                    ("max", "u32") => AtomicKind::MaxUnsigned,
                    ("and", _) => AtomicKind::And,
                    ("or", _) => AtomicKind::Or,
                    ("xor", _) => AtomicKind::Xor,
                    _ => return Err("unknown form".into()),
                };
                let (a, mask) = (self.read(a, Class::Word)?, self.read(mask, Class::Word)?);
                Action::Reduce(Box::new(Reduce { kind, d: self.written(d, Class::Word)?, a, mask }))
            }
            (["activemask", "b32"], [d]) => Action::ActiveMask { d: self.written(d, Class::Word)? },
            _ => return Err("unknown opcode or form".into()),
        };
        self.push(action, special::family("shfl"));
        Ok(())
    }
}
