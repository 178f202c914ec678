//! Whole numbers, bits and predicates.

super::table! {
    "add.s16" | "add.u16" => two |a: u16, b: u16| -> u16 { a.wrapping_add(b) }
    "sub.s16" | "sub.u16" => two |a: u16, b: u16| -> u16 { a.wrapping_sub(b) }
    "mul.lo.s16" | "mul.lo.u16" => two |a: u16, b: u16| -> u16 { a.wrapping_mul(b) }
    "mad.lo.s16" | "mad.lo.u16" => three |a: u16, b: u16, c: u16| -> u16 { a.wrapping_mul(b).wrapping_add(c) }
    "mul.hi.u16" => two |a: u16, b: u16| -> u16 { ((a as u32 * b as u32) >> 16) as u16 }
    "mul.hi.s16" => two |a: i16, b: i16| -> i16 { ((a as i32 * b as i32) >> 16) as i16 }
    "mad.hi.u16" => three |a: u16, b: u16, c: u16| -> u16 { (((a as u32 * b as u32) >> 16) as u16).wrapping_add(c) }
    "mad.hi.s16" => three |a: i16, b: i16, c: i16| -> i16 { (((a as i32 * b as i32) >> 16) as i16).wrapping_add(c) }
    "mul.wide.u16" => two |a: u16, b: u16| -> u32 { a as u32 * b as u32 }
    "mul.wide.s16" => two |a: i16, b: i16| -> i32 { a as i32 * b as i32 }
    "mad.wide.u16" => three |a: u16, b: u16, c: u32| -> u32 { (a as u32 * b as u32).wrapping_add(c) }
    "mad.wide.s16" => three |a: i16, b: i16, c: i32| -> i32 { (a as i32 * b as i32).wrapping_add(c) }
    "div.u16" => two |a: u16, b: u16| -> u16 { a.checked_div(b).unwrap_or(u16::MAX) }
    "div.s16" => two |a: i16, b: i16| -> i16 { if b == 0 { -1 } else { a.wrapping_div(b) } }
    "rem.u16" => two |a: u16, b: u16| -> u16 { a.checked_rem(b).unwrap_or(a) }
    "rem.s16" => two |a: i16, b: i16| -> i16 { if b == 0 { a } else { a.wrapping_rem(b) } }
    "min.u16" => two |a: u16, b: u16| -> u16 { a.min(b) }
    "max.u16" => two |a: u16, b: u16| -> u16 { a.max(b) }
    "min.s16" => two |a: i16, b: i16| -> i16 { a.min(b) }
    "max.s16" => two |a: i16, b: i16| -> i16 { a.max(b) }
    "abs.s16" => one |a: i16| -> i16 { a.wrapping_abs() }
    "neg.s16" => one |a: i16| -> i16 { a.wrapping_neg() }
    "and.b16" => two |a: u16, b: u16| -> u16 { a & b }
    "or.b16" => two |a: u16, b: u16| -> u16 { a | b }
    "xor.b16" => two |a: u16, b: u16| -> u16 { a ^ b }
    "not.b16" => one |a: u16| -> u16 { !a }
    "shl.b16" => two |a: u16, by: u32| -> u16 { if by < 16 { a << by } else { 0 } }
    "shr.u16" | "shr.b16" => two |a: u16, by: u32| -> u16 { if by < 16 { a >> by } else { 0 } }
    "shr.s16" => two |a: i16, by: u32| -> i16 { a >> by.min(15) }
    "selp.b16" | "selp.u16" | "selp.s16" | "selp.f16" | "selp.bf16" => three |a: u16, b: u16, p: bool| -> u16 { if p { a } else { b } }
    "mov.b16" | "mov.u16" | "mov.s16" | "mov.f16" | "mov.bf16" => one |a: u16| -> u16 { a }
    "add.s32" | "add.u32" => two |a: u32, b: u32| -> u32 { a.wrapping_add(b) }
    "sub.s32" | "sub.u32" => two |a: u32, b: u32| -> u32 { a.wrapping_sub(b) }
    "mul.lo.s32" | "mul.lo.u32" => two |a: u32, b: u32| -> u32 { a.wrapping_mul(b) }
    "mad.lo.s32" | "mad.lo.u32" => three |a: u32, b: u32, c: u32| -> u32 { a.wrapping_mul(b).wrapping_add(c) }
    "mul.hi.u32" => two |a: u32, b: u32| -> u32 { ((a as u64 * b as u64) >> 32) as u32 }
    "mul.hi.s32" => two |a: i32, b: i32| -> i32 { ((a as i64 * b as i64) >> 32) as i32 }
    "mad.hi.u32" => three |a: u32, b: u32, c: u32| -> u32 { (((a as u64 * b as u64) >> 32) as u32).wrapping_add(c) }
    "mad.hi.s32" => three |a: i32, b: i32, c: i32| -> i32 { (((a as i64 * b as i64) >> 32) as i32).wrapping_add(c) }
    "mul.wide.u32" => two |a: u32, b: u32| -> u64 { a as u64 * b as u64 }
    "mul.wide.s32" => two |a: i32, b: i32| -> i64 { a as i64 * b as i64 }
    "mad.wide.u32" => three |a: u32, b: u32, c: u64| -> u64 { (a as u64 * b as u64).wrapping_add(c) }
    "mad.wide.s32" => three |a: i32, b: i32, c: i64| -> i64 { (a as i64 * b as i64).wrapping_add(c) }
    "div.u32" => two |a: u32, b: u32| -> u32 { a.checked_div(b).unwrap_or(u32::MAX) }
    "div.s32" => two |a: i32, b: i32| -> i32 { if b == 0 { -1 } else { a.wrapping_div(b) } }
    "rem.u32" => two |a: u32, b: u32| -> u32 { a.checked_rem(b).unwrap_or(a) }
    "rem.s32" => two |a: i32, b: i32| -> i32 { if b == 0 { a } else { a.wrapping_rem(b) } }
    "min.u32" => two |a: u32, b: u32| -> u32 { a.min(b) }
    "max.u32" => two |a: u32, b: u32| -> u32 { a.max(b) }
    "min.s32" => two |a: i32, b: i32| -> i32 { a.min(b) }
    "max.s32" => two |a: i32, b: i32| -> i32 { a.max(b) }
    "abs.s32" => one |a: i32| -> i32 { a.wrapping_abs() }
    "neg.s32" => one |a: i32| -> i32 { a.wrapping_neg() }
    "and.b32" => two |a: u32, b: u32| -> u32 { a & b }
    "or.b32" => two |a: u32, b: u32| -> u32 { a | b }
    "xor.b32" => two |a: u32, b: u32| -> u32 { a ^ b }
    "not.b32" => one |a: u32| -> u32 { !a }
    "shl.b32" => two |a: u32, by: u32| -> u32 { if by < 32 { a << by } else { 0 } }
    "shr.u32" | "shr.b32" => two |a: u32, by: u32| -> u32 { if by < 32 { a >> by } else { 0 } }
    "shr.s32" => two |a: i32, by: u32| -> i32 { a >> by.min(31) }
    "selp.b32" | "selp.u32" | "selp.s32" | "selp.f32" => three |a: u32, b: u32, p: bool| -> u32 { if p { a } else { b } }
    "mov.b32" | "mov.u32" | "mov.s32" | "mov.f32" => one |a: u32| -> u32 { a }
    "add.s64" | "add.u64" => two |a: u64, b: u64| -> u64 { a.wrapping_add(b) }
    "sub.s64" | "sub.u64" => two |a: u64, b: u64| -> u64 { a.wrapping_sub(b) }
    "mul.lo.s64" | "mul.lo.u64" => two |a: u64, b: u64| -> u64 { a.wrapping_mul(b) }
    "mad.lo.s64" | "mad.lo.u64" => three |a: u64, b: u64, c: u64| -> u64 { a.wrapping_mul(b).wrapping_add(c) }
    "mul.hi.u64" => two |a: u64, b: u64| -> u64 { ((a as u128 * b as u128) >> 64) as u64 }
    "mul.hi.s64" => two |a: i64, b: i64| -> i64 { ((a as i128 * b as i128) >> 64) as i64 }
    "mad.hi.u64" => three |a: u64, b: u64, c: u64| -> u64 { (((a as u128 * b as u128) >> 64) as u64).wrapping_add(c) }
    "mad.hi.s64" => three |a: i64, b: i64, c: i64| -> i64 { (((a as i128 * b as i128) >> 64) as i64).wrapping_add(c) }
    "div.u64" => two |a: u64, b: u64| -> u64 { a.checked_div(b).unwrap_or(u64::MAX) }
    "div.s64" => two |a: i64, b: i64| -> i64 { if b == 0 { -1 } else { a.wrapping_div(b) } }
    "rem.u64" => two |a: u64, b: u64| -> u64 { a.checked_rem(b).unwrap_or(a) }
    "rem.s64" => two |a: i64, b: i64| -> i64 { if b == 0 { a } else { a.wrapping_rem(b) } }
    "min.u64" => two |a: u64, b: u64| -> u64 { a.min(b) }
    "max.u64" => two |a: u64, b: u64| -> u64 { a.max(b) }
    "min.s64" => two |a: i64, b: i64| -> i64 { a.min(b) }
    "max.s64" => two |a: i64, b: i64| -> i64 { a.max(b) }
    "abs.s64" => one |a: i64| -> i64 { a.wrapping_abs() }
    "neg.s64" => one |a: i64| -> i64 { a.wrapping_neg() }
    "and.b64" => two |a: u64, b: u64| -> u64 { a & b }
    "or.b64" => two |a: u64, b: u64| -> u64 { a | b }
    "xor.b64" => two |a: u64, b: u64| -> u64 { a ^ b }
    "not.b64" => one |a: u64| -> u64 { !a }
    "shl.b64" => two |a: u64, by: u32| -> u64 { if by < 64 { a << by } else { 0 } }
    "shr.u64" | "shr.b64" => two |a: u64, by: u32| -> u64 { if by < 64 { a >> by } else { 0 } }
    "shr.s64" => two |a: i64, by: u32| -> i64 { a >> by.min(63) }
    "selp.b64" | "selp.u64" | "selp.s64" | "selp.f64" => three |a: u64, b: u64, p: bool| -> u64 { if p { a } else { b } }
    "mov.b64" | "mov.u64" | "mov.s64" | "mov.f64" => one |a: u64| -> u64 { a }
    "popc.b32" => one |a: u32| -> u32 { a.count_ones() }
    "clz.b32" => one |a: u32| -> u32 { a.leading_zeros() }
    "brev.b32" => one |a: u32| -> u32 { a.reverse_bits() }
    "bfind.u32" => one |a: u32| -> u32 { if a == 0 { u32::MAX } else { 31 - a.leading_zeros() } }
    "bfind.s32" => one |a: i32| -> u32 { { let a = a ^ a >> 31; if a == 0 { u32::MAX } else { 31 - a.leading_zeros() } } }
    "bfind.shiftamt.u32" => one |a: u32| -> u32 { if a == 0 { u32::MAX } else { a.leading_zeros() } }
    "bfind.shiftamt.s32" => one |a: i32| -> u32 { { let a = a ^ a >> 31; if a == 0 { u32::MAX } else { a.leading_zeros() } } }
    "bfe.u32" => three |a: u32, at: u32, len: u32| -> u32 { field(a.into(), at, len, 32) as u32 }
    "bfe.s32" => three |a: u32, at: u32, len: u32| -> u32 { signed_field(a.into(), at, len, 32) as u32 }
    "bfi.b32" => four |a: u32, into: u32, at: u32, len: u32| -> u32 { insert(a.into(), into.into(), at, len) as u32 }
    "popc.b64" => one |a: u64| -> u32 { a.count_ones() }
    "clz.b64" => one |a: u64| -> u32 { a.leading_zeros() }
    "brev.b64" => one |a: u64| -> u64 { a.reverse_bits() }
    "bfind.u64" => one |a: u64| -> u32 { if a == 0 { u32::MAX } else { 63 - a.leading_zeros() } }
    "bfind.s64" => one |a: i64| -> u32 { { let a = a ^ a >> 63; if a == 0 { u32::MAX } else { 63 - a.leading_zeros() } } }
    "bfind.shiftamt.u64" => one |a: u64| -> u32 { if a == 0 { u32::MAX } else { a.leading_zeros() } }
    "bfind.shiftamt.s64" => one |a: i64| -> u32 { { let a = a ^ a >> 63; if a == 0 { u32::MAX } else { a.leading_zeros() } } }
    "bfe.u64" => three |a: u64, at: u32, len: u32| -> u64 { field(a, at, len, 64) }
    "bfe.s64" => three |a: u64, at: u32, len: u32| -> u64 { signed_field(a, at, len, 64) }
    "bfi.b64" => four |a: u64, into: u64, at: u32, len: u32| -> u64 { insert(a, into, at, len) }
    "shf.l.wrap.b32" => three |low: u32, high: u32, by: u32| -> u32 { (pair(low, high) << (by & 31) >> 32) as u32 }
    "shf.r.wrap.b32" => three |low: u32, high: u32, by: u32| -> u32 { (pair(low, high) >> (by & 31)) as u32 }
    "shf.l.clamp.b32" => three |low: u32, high: u32, by: u32| -> u32 { (pair(low, high) << by.min(32) >> 32) as u32 }
    "shf.r.clamp.b32" => three |low: u32, high: u32, by: u32| -> u32 { (pair(low, high) >> by.min(32)) as u32 }
    "prmt.b32" => three |a: u32, b: u32, select: u32| -> u32 { permute(pair(a, b), select) }
    "lop3.b32" => four |a: u32, b: u32, c: u32, table: u32| -> u32 { look_up(a, b, c, table) }
    "dp4a.s32.s32" => three |a: u32, b: u32, c: u32| -> u32 { dot4(a, b, c) }
    "and.pred" => two |a: bool, b: bool| -> bool { a & b }
    "or.pred" => two |a: bool, b: bool| -> bool { a | b }
    "xor.pred" => two |a: bool, b: bool| -> bool { a ^ b }
    "not.pred" => one |a: bool| -> bool { !a }
    "mov.pred" => one |a: bool| -> bool { a }
    "selp.pred" => three |a: bool, b: bool, p: bool| -> bool { if p { a } else { b } }
    // Halves of registers, for `mov.b32 {a, b}, c` and back.
    "join.b16" => two |low: u16, high: u16| -> u32 { u32::from(low) | u32::from(high) << 16 }
    "join.b32" => two |low: u32, high: u32| -> u64 { pair(low, high) }
    "low.b32" => one |a: u32| -> u16 { a as u16 }
    "high.b32" => one |a: u32| -> u16 { (a >> 16) as u16 }
    "low.b64" => one |a: u64| -> u32 { a as u32 }
    "high.b64" => one |a: u64| -> u32 { (a >> 32) as u32 }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn ones(len: u32) -> u64 {
    if len >= 64 { u64::MAX } else { (1 << len) - 1 }
}

/// `bfe` without a sign: only the low eight bits of position and length count.
fn field(a: u64, at: u32, len: u32, _width: u32) -> u64 {
    a.checked_shr(at & 255).unwrap_or(0) & ones(len & 255)
}

/// `bfe` with a sign: beyond the register everything is its topmost bit.
fn signed_field(a: u64, at: u32, len: u32, width: u32) -> u64 {
    let (at, len) = (at & 255, len & 255);
    if len == 0 {
        return 0;
    }
    let a = (a << (64 - width)) as i64 >> (64 - width);
    let shifted = a >> at.min(63);
    if len >= 64 { shifted as u64 } else { (shifted << (64 - len) >> (64 - len)) as u64 }
}

fn insert(a: u64, into: u64, at: u32, len: u32) -> u64 {
    let mask = ones(len & 255).checked_shl(at & 255).unwrap_or(0);
    into & !mask | a.checked_shl(at & 255).unwrap_or(0) & mask
}

/// `prmt` in its default mode: four bytes of eight, each as it is or as its sign.
fn permute(bytes: u64, select: u32) -> u32 {
    let bytes = bytes.to_le_bytes();
    u32::from_le_bytes(std::array::from_fn(|i| {
        let wanted = select >> (4 * i);
        let byte = bytes[(wanted & 7) as usize];
        if wanted & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 }
    }))
}

fn look_up(a: u32, b: u32, c: u32, table: u32) -> u32 {
    let term = |bit: u32| {
        let side = |value: u32, on: u32| if on == 1 { value } else { !value };
        let row = side(a, bit >> 2 & 1) & side(b, bit >> 1 & 1) & side(c, bit & 1);
        if table >> bit & 1 == 1 { row } else { 0 }
    };
    (0..8).map(term).fold(0, |sum, term| sum | term)
}

fn dot4(a: u32, b: u32, c: u32) -> u32 {
    let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    products
        .fold(c, |sum, (a, b)| sum.wrapping_add((i32::from(a as i8) * i32::from(b as i8)) as u32))
}
