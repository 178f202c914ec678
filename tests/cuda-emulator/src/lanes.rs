//! Registers of a warp, and how one operation is applied to all 32 lanes.
//!
//! A 32-bit register is a row of 32 lanes, a 64-bit one two rows, a predicate one bit a lane. The
//! helpers are inlined into functions compiled for the machine's vector instructions, where their
//! loops become a handful of instructions.

use crate::ptx::Class;

/// Threads of a warp.
pub(crate) const LANES: usize = 32;

/// All lanes of a warp.
pub(crate) const ALL: u32 = u32::MAX;

/// One 32-bit register of all lanes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub(crate) struct Row(pub(crate) [u32; LANES]);

/// The registers of one warp.
#[derive(Debug)]
pub(crate) struct Registers {
    rows: Vec<Row>,
    predicates: Vec<u32>,
}

/// Operands of a plain operation: first row, or number of a predicate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slots {
    pub(crate) d: u32,
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) c: u32,
    pub(crate) e: u32,
}

/// A plain operation, compiled for this machine.
pub(crate) type Run = fn(&mut Registers, Slots, u32);

impl Registers {
    pub(crate) fn new(n_rows: usize, n_predicates: usize) -> Self {
        Self { rows: vec![Row([0; LANES]); n_rows], predicates: vec![0; n_predicates] }
    }

    pub(crate) fn clear(&mut self) {
        self.rows.fill(Row([0; LANES]));
        self.predicates.fill(0);
    }

    #[inline(always)]
    pub(crate) fn word(&self, row: u32) -> &[u32; LANES] {
        &self.rows[row as usize].0
    }

    #[inline(always)]
    pub(crate) fn word_mut(&mut self, row: u32) -> &mut [u32; LANES] {
        &mut self.rows[row as usize].0
    }

    #[inline(always)]
    pub(crate) fn double(&self, row: u32) -> &[u64; LANES] {
        let rows = &self.rows[row as usize..row as usize + 2];
        // SAFETY: two rows are 256 contiguous bytes, aligned to 128, and any bits are a u64.
        unsafe { &*rows.as_ptr().cast() }
    }

    #[inline(always)]
    pub(crate) fn double_mut(&mut self, row: u32) -> &mut [u64; LANES] {
        let rows = &mut self.rows[row as usize..row as usize + 2];
        // SAFETY: as in `double`, and the borrow of both rows is exclusive.
        unsafe { &mut *rows.as_mut_ptr().cast() }
    }

    #[inline(always)]
    pub(crate) fn predicate(&self, number: u32) -> u32 {
        self.predicates[number as usize]
    }

    #[inline(always)]
    pub(crate) fn set_predicate(&mut self, number: u32, bits: u32, mask: u32) {
        let old = &mut self.predicates[number as usize];
        *old = *old & !mask | bits & mask;
    }

    #[inline(always)]
    pub(crate) fn set_word(&mut self, row: u32, values: &[u32; LANES], mask: u32) {
        blend(self.word_mut(row), values, mask);
    }

    #[inline(always)]
    pub(crate) fn set_double(&mut self, row: u32, values: &[u64; LANES], mask: u32) {
        blend(self.double_mut(row), values, mask);
    }
}

/// Takes over the lanes of `mask`.
#[inline(always)]
fn blend<T: Copy>(old: &mut [T; LANES], new: &[T; LANES], mask: u32) {
    if mask == ALL {
        *old = *new;
    } else {
        for lane in 0..LANES {
            old[lane] = if mask >> lane & 1 == 1 { new[lane] } else { old[lane] };
        }
    }
}

/// A value one lane can hold, and where it lies.
pub(crate) trait Lane: Copy {
    /// Class of the registers that hold the type.
    const CLASS: Class;
    fn get(registers: &Registers, slot: u32, lane: usize) -> Self;
    fn put(
        registers: &mut Registers,
        slot: u32,
        mask: u32,
        value: impl Fn(&Registers, usize) -> Self,
    );
}

macro_rules! lane {
    ($read:ident, $write:ident, $bits:ty, $class:ident: $($kind:ty, $from:expr, $to:expr;)*) => {$(
        impl Lane for $kind {
            const CLASS: Class = Class::$class;
            #[inline(always)]
            fn get(registers: &Registers, slot: u32, lane: usize) -> Self {
                let from: fn($bits) -> $kind = $from;
                from(registers.$read(slot)[lane])
            }
            #[inline(always)]
            fn put(registers: &mut Registers, slot: u32, mask: u32, value: impl Fn(&Registers, usize) -> Self) {
                let to: fn($kind) -> $bits = $to;
                let mut out = [0; LANES];
                for (lane, out) in out.iter_mut().enumerate() {
                    *out = to(value(registers, lane));
                }
                registers.$write(slot, &out, mask);
            }
        }
    )*};
}

lane! { word, set_word, u32, Word:
    u32, |v| v, |v| v;
    i32, |v| v as i32, |v| v as u32;
    u16, |v| v as u16, |v| v.into();
    i16, |v| v as i16, |v| (v as u16).into();
    f32, f32::from_bits, f32::to_bits;
}
lane! { double, set_double, u64, Double:
    u64, |v| v, |v| v;
    i64, |v| v as i64, |v| v as u64;
    f64, f64::from_bits, f64::to_bits;
}

impl Lane for bool {
    const CLASS: Class = Class::Predicate;
    #[inline(always)]
    fn get(registers: &Registers, slot: u32, lane: usize) -> Self {
        registers.predicate(slot) >> lane & 1 == 1
    }
    #[inline(always)]
    fn put(
        registers: &mut Registers,
        slot: u32,
        mask: u32,
        value: impl Fn(&Registers, usize) -> Self,
    ) {
        let mut bits = 0;
        for lane in 0..LANES {
            bits |= u32::from(value(registers, lane)) << lane;
        }
        registers.set_predicate(slot, bits, mask);
    }
}

/// The classes of an operation's result and operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) d: Class,
    pub(crate) operands: [Option<Class>; 4],
}

macro_rules! arity {
    ($name:ident: $($arg:ident $kind:ident),+; $($none:ident),*) => {
        /// Operations of so many operands: how they run over the lanes, and their classes.
        pub(crate) mod $name {
            use super::*;

            #[inline(always)]
            pub(crate) fn map<D: Lane, $($kind: Lane),+>(
                r: &mut Registers, s: Slots, mask: u32, f: impl Fn($($kind),+) -> D,
            ) {
                D::put(r, s.d, mask, |r, lane| f($($kind::get(r, s.$arg, lane)),+));
            }

            pub(crate) fn shape<D: Lane, $($kind: Lane),+>(_: impl Fn($($kind),+) -> D) -> Shape {
                Shape { d: D::CLASS, operands: [$(Some($kind::CLASS),)+ $($none),*] }
            }
        }
    };
}

arity! { one: a A; None, None, None }
arity! { two: a A, b B; None, None }
arity! { three: a A, b B, c C; None }
arity! { four: a A, b B, c C, e E; }

/// The vector instructions of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Wide,
    Fused,
    Any,
}

/// The best level of this machine.
pub(crate) fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        let fused = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("popcnt");
        if wide && fused {
            return Level::Wide;
        }
        if fused {
            return Level::Fused;
        }
    }
    Level::Any
}

/// Compiles `body` once a level and gives the function for this machine as a [`Run`].
macro_rules! for_this_machine {
    (|$r:ident, $s:ident, $mask:ident| $body:expr) => {{
        #[cfg(target_arch = "x86_64")]
        fn wide($r: &mut $crate::lanes::Registers, $s: $crate::lanes::Slots, $mask: u32) {
            #[target_feature(
                enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi1,bmi2,lzcnt,popcnt"
            )]
            fn inner($r: &mut $crate::lanes::Registers, $s: $crate::lanes::Slots, $mask: u32) {
                $body
            }
            // SAFETY: given out only where `level` found these instructions.
            unsafe { inner($r, $s, $mask) }
        }
        #[cfg(target_arch = "x86_64")]
        fn fused($r: &mut $crate::lanes::Registers, $s: $crate::lanes::Slots, $mask: u32) {
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
            fn inner($r: &mut $crate::lanes::Registers, $s: $crate::lanes::Slots, $mask: u32) {
                $body
            }
            // SAFETY: given out only where `level` found these instructions.
            unsafe { inner($r, $s, $mask) }
        }
        fn any($r: &mut $crate::lanes::Registers, $s: $crate::lanes::Slots, $mask: u32) {
            $body
        }
        let run: $crate::lanes::Run = match $crate::lanes::level() {
            #[cfg(target_arch = "x86_64")]
            $crate::lanes::Level::Wide => wide,
            #[cfg(target_arch = "x86_64")]
            $crate::lanes::Level::Fused => fused,
            _ => any,
        };
        run
    }};
}
pub(crate) use for_this_machine;
