//! Declarations of variables, in a module and in a kernel's body.

use super::cursor::Cursor;
use super::{Space, Variable};

/// A variable's declaration with its `;`.
pub(crate) fn variable(cursor: &mut Cursor<'_>) -> Result<Variable, String> {
    let mut outside = false;
    let (mut space, mut align, mut width) = (None, 0, 0);
    while cursor.peek().starts_with('.') {
        match cursor.next() {
            ".extern" => outside = true,
            ".visible" | ".weak" | ".managed" => {}
            ".global" => space = Some(Space::Global),
            ".const" => space = Some(Space::Const),
            ".shared" => space = Some(Space::Shared),
            ".local" => space = Some(Space::Local),
            ".align" => align = cursor.integer()? as usize,
            kind => {
                width =
                    width_of(kind).ok_or_else(|| format!("line {}: type {kind}", cursor.line()))?
            }
        }
    }
    let mut space = space.ok_or_else(|| cursor.unexpected("a state space"))?;
    if outside && space != Space::Shared {
        return Err(format!("line {}: only shared memory may be extern", cursor.line()));
    }
    let name = cursor.next().to_owned();
    let mut size = width;
    while cursor.take("[") {
        if cursor.take("]") {
            space = Space::DynamicShared;
            size = 0;
        } else {
            size *= cursor.integer()? as usize;
            cursor.expect("]")?;
        }
    }
    let initial = if cursor.take("=") { initial(cursor, width)? } else { Vec::new() };
    cursor.expect(";")?;
    Ok(Variable { name, space, align: align.max(width).max(1), size, initial })
}

fn initial(cursor: &mut Cursor<'_>, width: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let listed = cursor.take("{");
    loop {
        let text = cursor.peek();
        let bits = text.strip_prefix("0f").or_else(|| text.strip_prefix("0d"));
        let value = match bits.and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            Some(bits) => {
                cursor.next();
                bits
            }
            None => cursor.integer()?,
        };
        bytes.extend_from_slice(&value.to_le_bytes()[..width]);
        if !cursor.take(",") {
            break;
        }
    }
    if listed {
        cursor.expect("}")?;
    }
    Ok(bytes)
}

/// Bytes of a fundamental type, by its name with the dot.
pub(crate) fn width_of(kind: &str) -> Option<usize> {
    Some(match kind {
        ".b8" | ".u8" | ".s8" => 1,
        ".b16" | ".u16" | ".s16" | ".f16" | ".bf16" => 2,
        ".b32" | ".u32" | ".s32" | ".f32" | ".f16x2" | ".bf16x2" => 4,
        ".b64" | ".u64" | ".s64" | ".f64" => 8,
        _ => return None,
    })
}
