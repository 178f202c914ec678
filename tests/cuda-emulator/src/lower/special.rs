//! Special registers by name, and small facts read off opcodes.

use crate::program::{Action, Family, Instruction, Special};
use crate::ptx::Space;

/// The special register of a name; those whose value is chance are refused.
pub(super) fn named(name: &str) -> Result<Special, String> {
    let axis = |letter: &str| "xyz".find(letter).filter(|_| letter.len() == 1);
    let found = match name.split_once('.') {
        Some((register, letter)) => axis(letter).and_then(|axis| match register {
            "%tid" => Some(Special::Tid(axis)),
            "%ntid" => Some(Special::Ntid(axis)),
            "%ctaid" => Some(Special::Ctaid(axis)),
            "%nctaid" => Some(Special::Nctaid(axis)),
            _ => None,
        }),
        None => match name {
            "%laneid" => Some(Special::Lane),
            "%warpid" => Some(Special::Warp),
            "%nwarpid" => Some(Special::Nwarp),
            "%lanemask_eq" => Some(Special::MaskEq),
            "%lanemask_lt" => Some(Special::MaskLt),
            "%lanemask_le" => Some(Special::MaskLe),
            "%lanemask_gt" => Some(Special::MaskGt),
            "%lanemask_ge" => Some(Special::MaskGe),
            "%dynamic_smem_size" => Some(Special::DynamicShared),
            _ => None,
        },
    };
    found.ok_or_else(|| format!("{name} is unknown here"))
}

/// The family under which counters count a plain opcode.
pub(super) fn family(opcode: &str) -> Family {
    let float = opcode.contains(".f32") || opcode.contains(".f64") || opcode.contains("f16");
    match opcode.split('.').next().unwrap_or("") {
        "fma" => Family::Ffma,
        "mov" | "selp" | "join" | "low" | "high" => Family::Other,
        _ if float => Family::Float,
        _ => Family::Integer,
    }
}

/// Whether the operands of an opcode are f32.
pub(super) fn source_is_float(opcode: &str) -> bool {
    opcode.ends_with(".f32")
}

/// Whether the result of an opcode is f32.
pub(super) fn result_is_float(opcode: &str) -> bool {
    let mut words = opcode.rsplit('.');
    let last = words.next();
    match opcode.starts_with("cvt.") {
        true => words.next() == Some("f32"),
        false => last == Some("f32"),
    }
}

/// The smallest access that can meet shared memory, and whether warps synchronize.
pub(super) fn shared_habits(code: &[Instruction]) -> (usize, bool) {
    let mut grain = 4;
    let mut syncs = false;
    for instruction in code {
        match &instruction.action {
            Action::Load(access) | Action::Store(access)
                if matches!(access.space, Space::Shared | Space::Generic) =>
            {
                grain = grain.min(access.width);
            }
            Action::SyncWarp { .. } => syncs = true,
            _ => {}
        }
    }
    (grain, syncs)
}
