//! The functions of plain opcodes, on one lane.
//!
//! There is one table per family. Each line has the spellings of an opcode and its function on one
//! lane; the types of the function are the classes of the operands.

mod integer;
mod float;
mod compare;
mod convert;
pub(crate) mod half;

use crate::lanes::{Run, Shape};

/// A plain operation: reads registers, writes one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) run: Run,
    pub(crate) shape: Shape,
}

/// Finds the operation of an opcode without `.ftz`.
pub(crate) fn find(opcode: &str) -> Option<Operation> {
    integer::find(opcode)
        .or_else(|| float::find(opcode))
        .or_else(|| compare::find(opcode))
        .or_else(|| convert::find(opcode))
}

/// Makes `find(opcode) -> Option<Operation>` of lines `"opcode" | "alias" => two |a: T, b: T| -> T
/// { expression }`.
macro_rules! table {
    ($($($name:literal)|+ => $arity:ident |$($arg:ident: $kind:ty),+| -> $out:ty {$value:expr})*) => {
        pub(super) fn find(opcode: &str) -> Option<super::Operation> {
            match opcode {
                $($($name)|+ => {
                    let run = $crate::lanes::for_this_machine!(|r, s, mask| {
                        $crate::lanes::$arity::map(r, s, mask, #[inline(always)] |$($arg: $kind),+| -> $out { $value })
                    });
                    let shape = $crate::lanes::$arity::shape(|$($arg: $kind),+| -> $out { $value });
                    Some(super::Operation { run, shape })
                })*
                _ => None,
            }
        }
    };
}
use table;
