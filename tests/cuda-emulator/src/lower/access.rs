//! Loads, stores, atomic accesses, asynchronous copies and tensor operations.

use super::Lowering;
use crate::program::{
    Access, Action, Address, Atomic, AtomicKind, CopyAsync, Factor, Family, Fixed, LoadMatrix,
    Multiply, NOWHERE,
};
use crate::ptx::{Class, Operand, Space};

/// The modifiers of an access, understood.
struct Modifiers {
    space: Space,
    count: usize,
    width: usize,
    signed: bool,
}

fn modifiers(words: &[&str]) -> Result<Modifiers, String> {
    let mut found = Modifiers { space: Space::Generic, count: 1, width: 0, signed: false };
    for word in words {
        match *word {
            "global" => found.space = Space::Global,
            "shared" | "shared::cta" => found.space = Space::Shared,
            "const" => found.space = Space::Const,
            "local" => found.space = Space::Local,
            "param" | "param::entry" => found.space = Space::Param,
            "v2" => found.count = 2,
            "v4" => found.count = 4,
            // Cached or not, ordered or not: here every access is seen at once.
            "nc" | "volatile" | "relaxed" | "acquire" | "release" | "weak" | "cta" | "gpu"
            | "sys" => {}
            "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt" => {}
            hint if hint.starts_with("L1::") || hint.starts_with("L2::") => {}
            "b128" => return Err("128-bit registers are unknown here".into()),
            kind => {
                found.width = crate::ptx::variable::width_of(&format!(".{kind}"))
                    .ok_or_else(|| format!("unknown form: .{kind}"))?;
                found.signed = kind.starts_with('s');
            }
        }
    }
    if found.width == 0 { Err("no type".into()) } else { Ok(found) }
}

impl Lowering<'_> {
    fn address(&mut self, operand: &Operand) -> Result<Address, String> {
        let Operand::Address(base, offset) = operand else {
            return Err(format!("{operand:?} where an address should be"));
        };
        let wide = match **base {
            Operand::Register(number) => self.classes[number as usize] == Class::Double,
            _ => true,
        };
        let slot = self.read(base, if wide { Class::Double } else { Class::Word })?;
        Ok(Address { slot, wide, offset: *offset })
    }

    fn access(
        &mut self,
        words: &[&str],
        value: &Operand,
        address: &Operand,
        load: bool,
    ) -> Result<Box<Access>, String> {
        let Modifiers { space, count, width, signed } = modifiers(words)?;
        let one = [value.clone()];
        let parts: &[Operand] = if let Operand::Vector(parts) = value { parts } else { &one };
        if parts.len() != count {
            return Err(format!("{} values where {count} should be", parts.len()));
        }
        // A register may be wider than what is loaded into it or stored from it.
        let class = match parts.iter().find_map(|part| match part {
            Operand::Register(number) => Some(self.classes[*number as usize]),
            _ => None,
        }) {
            Some(class) => class,
            None if width == 8 => Class::Double,
            None => Class::Word,
        };
        let mut values = [NOWHERE; 4];
        for (slot, part) in values.iter_mut().zip(parts) {
            *slot = if load { self.written(part, class)? } else { self.read(part, class)? };
        }
        let wide = class == Class::Double;
        if class == Class::Predicate || width == 8 && !wide {
            return Err("the value does not fit its register".into());
        }
        let address = self.address(address)?;
        Ok(Box::new(Access { space, address, width, signed, count, values, wide }))
    }

    pub(super) fn load(&mut self, words: &[&str], operands: &[Operand]) -> Result<(), String> {
        let [value, address] = operands else { return Err("unknown form".into()) };
        let access = self.access(words, value, address, true)?;
        let family = match access.space {
            Space::Shared => Family::LoadShared,
            Space::Global | Space::Generic => Family::LoadGlobal,
            _ => Family::Other,
        };
        self.push(Action::Load(access), family);
        Ok(())
    }

    pub(super) fn store(&mut self, words: &[&str], operands: &[Operand]) -> Result<(), String> {
        let [address, value] = operands else { return Err("unknown form".into()) };
        let access = self.access(words, value, address, false)?;
        let family = match access.space {
            Space::Shared => Family::StoreShared,
            Space::Global | Space::Generic => Family::StoreGlobal,
            Space::Local => Family::Other,
            _ => return Err("this space cannot be written".into()),
        };
        self.push(Action::Store(access), family);
        Ok(())
    }

    pub(super) fn atomic(&mut self, words: &[&str], operands: &[Operand]) -> Result<(), String> {
        let mut space = Space::Generic;
        let mut names = Vec::new();
        for word in &words[1..] {
            match *word {
                "global" => space = Space::Global,
                "shared" | "shared::cta" => space = Space::Shared,
                "relaxed" | "acquire" | "release" | "acq_rel" | "cta" | "gpu" | "sys" => {}
                name => names.push(name),
            }
        }
        let [name, of] = names[..] else { return Err("unknown form".into()) };
        let kind = match (name, of) {
            ("add", "u32" | "s32" | "u64" | "s64") => AtomicKind::Add,
            ("add", "f32") => AtomicKind::AddF32,
            ("add", "f64") => AtomicKind::AddF64,
            ("min", "s32" | "s64") => AtomicKind::MinSigned,
            ("max", "s32" | "s64") => AtomicKind::MaxSigned,
            ("min", "u32" | "u64") => AtomicKind::MinUnsigned,
            ("max", "u32" | "u64") => AtomicKind::MaxUnsigned,
            ("and", "b32" | "b64") => AtomicKind::And,
            ("or", "b32" | "b64") => AtomicKind::Or,
            ("xor", "b32" | "b64") => AtomicKind::Xor,
            ("exch", "b32" | "b64") => AtomicKind::Exchange,
            ("cas", "b32" | "b64") => AtomicKind::CompareExchange,
            ("inc", "u32") => AtomicKind::Increment,
            ("dec", "u32") => AtomicKind::Decrement,
            _ => return Err("unknown form".into()),
        };
        let wide = of.ends_with("64");
        let class = if wide { Class::Double } else { Class::Word };
        let (d, rest) = match (words[0], operands) {
            ("red", rest) => (NOWHERE, rest),
            (_, [d, rest @ ..]) => (self.written(d, class)?, rest),
            _ => return Err("no operands".into()),
        };
        let [address, b, more @ ..] = rest else { return Err("too few operands".into()) };
        let address = self.address(address)?;
        let b = self.read(b, class)?;
        let c = match (kind, more) {
            (AtomicKind::CompareExchange, [c]) => self.read(c, class)?,
            (AtomicKind::CompareExchange, _) | (_, [_, ..]) => {
                return Err("operands do not fit".into());
            }
            _ => NOWHERE,
        };
        let family = if space == Space::Shared { Family::StoreShared } else { Family::StoreGlobal };
        self.push(Action::Atomic(Box::new(Atomic { kind, space, address, wide, d, b, c })), family);
        Ok(())
    }

    pub(super) fn copy_async(
        &mut self,
        words: &[&str],
        operands: &[Operand],
    ) -> Result<(), String> {
        let action = match (words, operands) {
            (["async", "commit_group"], []) => Action::CopyCommit,
            (["async", "wait_group"], [Operand::Integer(n)]) => Action::CopyWait(*n as u32),
            (
                ["async", "ca" | "cg", "shared" | "shared::cta", "global", hints @ ..],
                [to, from, size, more @ ..],
            ) if hints.iter().all(|hint| hint.starts_with("L2::")) => {
                let Operand::Integer(size @ (4 | 8 | 16)) = size else {
                    return Err("copies have 4, 8 or 16 bytes".into());
                };
                let source_size = match more {
                    [] => self.fixed(Fixed::Bits(*size), Class::Word),
                    [bytes] => self.read(bytes, Class::Word)?,
                    _ => return Err("unknown form".into()),
                };
                let (to, from) = (self.address(to)?, self.address(from)?);
                Action::CopyAsync(Box::new(CopyAsync {
                    to,
                    from,
                    size: *size as usize,
                    source_size,
                }))
            }
            // Waits for what was never committed, too.
            (["async", "wait_all"], []) => {
                self.push(Action::CopyCommit, Family::Other);
                Action::CopyWait(0)
            }
            _ => return Err("unknown form".into()),
        };
        let family =
            if matches!(action, Action::CopyAsync(_)) { Family::LoadGlobal } else { Family::Other };
        self.push(action, family);
        Ok(())
    }

    fn parts<const N: usize>(
        &mut self,
        operand: &Operand,
        write: bool,
    ) -> Result<[u32; N], String> {
        let one = [operand.clone()];
        let parts: &[Operand] = if let Operand::Vector(parts) = operand { parts } else { &one };
        let mut slots = [NOWHERE; N];
        if parts.len() > N {
            return Err("too many registers".into());
        }
        for (slot, part) in slots.iter_mut().zip(parts) {
            *slot = if write {
                self.written(part, Class::Word)?
            } else {
                self.read(part, Class::Word)?
            };
        }
        Ok(slots)
    }

    /// `ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {…}, [a]`
    pub(super) fn load_matrix(
        &mut self,
        words: &[&str],
        operands: &[Operand],
    ) -> Result<(), String> {
        let ["sync", "aligned", "m8n8", times, rest @ .., "b16"] = words else {
            return Err("unknown form".into());
        };
        let count = match *times {
            "x1" => 1,
            "x2" => 2,
            "x4" => 4,
            _ => return Err("unknown form".into()),
        };
        let transposed = rest.first() == Some(&"trans");
        let (["trans", "shared" | "shared::cta"] | ["shared" | "shared::cta"]) = rest else {
            return Err("unknown form".into());
        };
        let [values, address] = operands else { return Err("unknown form".into()) };
        let values = self.parts::<4>(values, true)?;
        if values.iter().filter(|slot| **slot != NOWHERE).count() != count {
            return Err("the number of registers does not fit".into());
        }
        let address = self.address(address)?;
        let load = LoadMatrix { address, transposed, count, values };
        self.push(Action::LoadMatrix(Box::new(load)), Family::LoadShared);
        Ok(())
    }

    pub(super) fn multiply(&mut self, opcode: &str, operands: &[Operand]) -> Result<(), String> {
        let (factor, depth) = match opcode {
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32" => (Factor::Half, 16),
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32" => (Factor::Half, 8),
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32" => (Factor::Brain, 16),
            "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32" => (Factor::Brain, 8),
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" => (Factor::Tf32, 8),
            "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32" => (Factor::Tf32, 4),
            _ => return Err("unknown form".into()),
        };
        let [d, a, b, c] = operands else { return Err("four operands should be here".into()) };
        let multiply = Multiply {
            factor,
            depth,
            d: self.parts(d, true)?,
            a: self.parts(a, false)?,
            b: self.parts(b, false)?,
            c: self.parts(c, false)?,
        };
        let words = if factor == Factor::Tf32 { depth / 4 } else { depth / 8 };
        let given = |slots: &[u32]| slots.iter().filter(|slot| **slot != NOWHERE).count();
        let fits = given(&multiply.a) == 2 * words && given(&multiply.b) == words;
        if !fits || given(&multiply.c) != 4 || given(&multiply.d) != 4 {
            return Err("the number of registers does not fit".into());
        }
        self.push(Action::Multiply(Box::new(multiply)), Family::Tensor);
        Ok(())
    }
}
