//! One instruction at a time over a pool of awkward operands, against what Rust makes of them.

use crate::device::{Device, kernel};

/// Register prefix and type of a load or store, by the letter that stands for it in a form.
fn register(kind: char) -> (&'static str, &'static str) {
    match kind {
        'h' => ("%h", "u16"),
        'r' => ("%r", "u32"),
        'l' => ("%rd", "u64"),
        'f' => ("%f", "f32"),
        'd' => ("%d", "f64"),
        _ => panic!("no register is called {kind}"),
    }
}

/// Applies `opcode` to all combinations of operands from `pool`, and holds each result against
/// `want`.
///
/// `form` is one letter for the result, `=`, and one an operand: `h`, `r`, `l`, `f`, `d`; a result
/// `p` is a predicate. Results compare by bits, but any NaN is as good as another.
pub(crate) fn check(opcode: &str, form: &str, pool: &[u64], want: impl Fn(&[u64]) -> u64) {
    let (result, kinds) = form.split_once('=').unwrap();
    let (result, n) = (result.chars().next().unwrap(), kinds.len());
    let mut body = format!(
        "mul.lo.u32 %r1, %r31, {0};\nmul.wide.u32 %rd1, %r1, 8;\nadd.u64 %rd1, %rd1, %a1;\n\
         shl.b64 %rd2, %o, 1;\nadd.u64 %rd2, %rd2, %a0;\n",
        n
    );
    let mut operands = Vec::new();
    for (i, kind) in kinds.chars().enumerate() {
        let (prefix, of) = register(kind);
        body += &format!("ld.global.{of} {prefix}{}, [%rd1+{}];\n", 10 + i, 8 * i);
        operands.push(format!("{prefix}{}", 10 + i));
    }
    let operands = operands.join(", ");
    body += &match result {
        'p' => format!(
            "{opcode} %p1, {operands};\nselp.u32 %r9, 1, 0, %p1;\nst.global.u32 [%rd2], %r9;"
        ),
        kind => {
            let (prefix, of) = register(kind);
            format!("{opcode} {prefix}9, {operands};\nst.global.{of} [%rd2], {prefix}9;")
        }
    };
    let n_rows = pool.len().pow(n as u32).next_multiple_of(64);
    let row = |i: usize| -> Vec<u64> {
        (0..n as u32).map(|at| pool[i / pool.len().pow(at) % pool.len()]).collect()
    };
    let rows: Vec<Vec<u64>> = (0..n_rows).map(row).collect();
    let device = Device::of_ptx(kernel(2, &body));
    let args = [device.upload(&vec![0u64; n_rows]), device.upload(&rows.concat())];
    device.launch("k", n_rows as u32 / 64, 64, &args).unwrap();
    let results = device.download::<u64>(args[0], n_rows).unwrap();
    for (row, got) in rows.iter().zip(results) {
        let want = want(row);
        let nan = match result {
            'f' => f32::from_bits(got as u32).is_nan() && f32::from_bits(want as u32).is_nan(),
            'd' => f64::from_bits(got).is_nan() && f64::from_bits(want).is_nan(),
            _ => false,
        };
        assert!(got == want || nan, "{opcode} of {row:x?} gives {got:x}, not {want:x}");
    }
}

/// Numbers that meet every edge: of bytes, halves, words and positions in them.
pub(crate) const WHOLE: [u64; 16] = [
    0,
    1,
    2,
    7,
    31,
    32,
    33,
    0x80,
    0xFF,
    0x7FFF,
    0x8000_0000,
    0x7FFF_FFFF,
    0xFFFF_FFFF,
    0x1234_5678_9ABC_DEF0,
    0x8000_0000_0000_0000,
    u64::MAX,
];

fn two(opcode: &str, form: &str, want: impl Fn(u64, u64) -> u64) {
    check(opcode, form, &WHOLE, |row| want(row[0], row[1]));
}

fn three(opcode: &str, form: &str, want: impl Fn(u64, u64, u64) -> u64) {
    check(opcode, form, &WHOLE, |row| want(row[0], row[1], row[2]));
}

fn one(opcode: &str, form: &str, want: impl Fn(u64) -> u64) {
    check(opcode, form, &WHOLE, |row| want(row[0]));
}

/// Results of each operation on two signed or unsigned numbers of some width.
macro_rules! sums {
    ($unsigned:ty, $signed:ty, $wide:ty, $swide:ty, $bits:literal, $form:literal) => {{
        let (u, s) = (|a: u64| a as $unsigned, |a: u64| a as $signed);
        let back = |a: $signed| u64::from(a as $unsigned);
        let name = |opcode: &str, sign: &str| format!("{opcode}.{sign}{}", $bits);
        two(&name("add", "s"), $form, |a, b| u(a).wrapping_add(u(b)).into());
        two(&name("sub", "u"), $form, |a, b| u(a).wrapping_sub(u(b)).into());
        two(&name("mul.lo", "s"), $form, |a, b| u(a).wrapping_mul(u(b)).into());
        two(&name("mul.hi", "u"), $form, |a, b| {
            u64::from(((u(a) as $wide * u(b) as $wide) >> $bits) as $unsigned)
        });
        two(&name("mul.hi", "s"), $form, |a, b| {
            back(((s(a) as $swide * s(b) as $swide) >> $bits) as $signed)
        });
        two(&name("min", "u"), $form, |a, b| u(a).min(u(b)).into());
        two(&name("max", "u"), $form, |a, b| u(a).max(u(b)).into());
        two(&name("min", "s"), $form, |a, b| back(s(a).min(s(b))));
        two(&name("max", "s"), $form, |a, b| back(s(a).max(s(b))));
        // Hardware gives some number for a division by zero; here it is all ones, and the rest
        // whole.
        two(&name("div", "u"), $form, |a, b| {
            u(a).checked_div(u(b)).unwrap_or(<$unsigned>::MAX).into()
        });
        two(&name("rem", "u"), $form, |a, b| u(a).checked_rem(u(b)).unwrap_or(u(a)).into());
        two(&name("div", "s"), $form, |a, b| {
            back(if s(b) == 0 { -1 } else { s(a).wrapping_div(s(b)) })
        });
        two(&name("rem", "s"), $form, |a, b| {
            back(if s(b) == 0 { s(a) } else { s(a).wrapping_rem(s(b)) })
        });
        two(&name("xor", "b"), $form, |a, b| u(a ^ b).into());
        two(&name("and", "b"), $form, |a, b| u(a & b).into());
        two(&name("or", "b"), $form, |a, b| u(a | b).into());
        one(&name("not", "b"), &$form[..3], |a| u(!a).into());
        one(&name("neg", "s"), &$form[..3], |a| back(s(a).wrapping_neg()));
        one(&name("abs", "s"), &$form[..3], |a| back(s(a).wrapping_abs()));
        let shift = format!("{}r", &$form[..3]);
        two(&name("shl", "b"), &shift, |a, by| u(a).checked_shl(by as u32).unwrap_or(0).into());
        two(&name("shr", "u"), &shift, |a, by| u(a).checked_shr(by as u32).unwrap_or(0).into());
        two(&name("shr", "s"), &shift, |a, by| back(s(a) >> (by as u32).min($bits - 1)));
        let compared = format!("p={}", &$form[2..]);
        for (sign, name) in
            [("lt", "s"), ("le", "s"), ("gt", "s"), ("ge", "s"), ("eq", "s"), ("ne", "s")]
        {
            let opcode = format!("setp.{sign}.{name}{}", $bits);
            two(&opcode, &compared, |a, b| ordered(sign, s(a).partial_cmp(&s(b))));
        }
        for (sign, name) in
            [("lt", "u"), ("le", "u"), ("gt", "u"), ("ge", "u"), ("eq", "b"), ("ne", "b")]
        {
            let opcode = format!("setp.{sign}.{name}{}", $bits);
            two(&opcode, &compared, |a, b| ordered(sign, u(a).partial_cmp(&u(b))));
        }
    }};
}

/// Whether a comparison by `sign` is true of two numbers; with a NaN only `ne` would be, of its
/// negation.
pub(crate) fn ordered(sign: &str, order: Option<std::cmp::Ordering>) -> u64 {
    let Some(order) = order else { return 0 };
    u64::from(match sign {
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        "gt" => order.is_gt(),
        "ge" => order.is_ge(),
        "eq" => order.is_eq(),
        _ => order.is_ne(),
    })
}

#[test]
fn whole_numbers_of_sixteen_bits() {
    sums!(u16, i16, u32, i32, 16, "h=hh");
}

#[test]
fn whole_numbers_of_thirty_two_bits() {
    sums!(u32, i32, u64, i64, 32, "r=rr");
}

#[test]
fn whole_numbers_of_sixty_four_bits() {
    sums!(u64, i64, u128, i128, 64, "l=ll");
}

#[test]
fn products_with_sums_and_of_double_width() {
    let (u, s) = (|a: u64| a as u32, |a: u64| i64::from(a as i32));
    two("mul.wide.u32", "l=rr", |a, b| u64::from(u(a)) * u64::from(u(b)));
    two("mul.wide.s32", "l=rr", |a, b| (s(a) * s(b)) as u64);
    two("mul.wide.u16", "r=hh", |a, b| u64::from(a as u16) * u64::from(b as u16));
    two("mul.wide.s16", "r=hh", |a, b| (i32::from(a as i16) * i32::from(b as i16)) as u32 as u64);
    three("mad.lo.s32", "r=rrr", |a, b, c| u(a).wrapping_mul(u(b)).wrapping_add(u(c)).into());
    three("mad.hi.u32", "r=rrr", |a, b, c| {
        let high = ((u64::from(u(a)) * u64::from(u(b))) >> 32) as u32;
        high.wrapping_add(u(c)).into()
    });
    three("mad.wide.u32", "l=rrl", |a, b, c| (u64::from(u(a)) * u64::from(u(b))).wrapping_add(c));
    three("mad.wide.s32", "l=rrl", |a, b, c| ((s(a) * s(b)) as u64).wrapping_add(c));
    three("mad.lo.u64", "l=lll", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
}

/// Bit by bit, as the PTX manual describes it.
fn extract(a: u64, at: u64, len: u64, width: u32, signed: bool) -> u64 {
    let (at, len) = (at as u32 & 255, len as u32 & 255);
    let bit = |i: u32| if i < width { a >> i & 1 } else { 0 };
    let top = if signed && len > 0 { bit((at + len - 1).min(width - 1)) } else { 0 };
    (0..width).fold(0, |out, i| {
        let inside = i < len && at + i < width;
        out | if inside { bit(at + i) } else { top } << i
    })
}

#[test]
fn fields_of_bits() {
    three("bfe.u32", "r=rrr", |a, at, len| extract(a, at, len, 32, false));
    three("bfe.s32", "r=rrr", |a, at, len| extract(a, at, len, 32, true));
    three("bfe.u64", "l=lrr", |a, at, len| extract(a, at, len, 64, false));
    three("bfe.s64", "l=lrr", |a, at, len| extract(a, at, len, 64, true));
    let pool = [0, 1, 4, 31, 32, 0xFF, 0xDEAD_BEEF, 0xFFFF_FFFF];
    check("bfi.b32", "r=rrrr", &pool, |row| {
        let (a, b, at, len) = (row[0], row[1], row[2] as u32 & 255, row[3] as u32 & 255);
        (0..32).fold(0, |out, i| {
            let from = if i >= at && i - at < len { a >> (i - at) } else { b >> i };
            out | (from & 1) << i
        })
    });
    one("popc.b32", "r=r", |a| (a as u32).count_ones().into());
    one("clz.b32", "r=r", |a| (a as u32).leading_zeros().into());
    one("brev.b32", "r=r", |a| (a as u32).reverse_bits().into());
    one("popc.b64", "r=l", |a| a.count_ones().into());
    one("clz.b64", "r=l", |a| a.leading_zeros().into());
    one("brev.b64", "l=l", u64::reverse_bits);
    one("bfind.u32", "r=r", |a| (a as u32).checked_ilog2().unwrap_or(u32::MAX).into());
    one("bfind.s32", "r=r", |a| {
        let a = a as i32;
        (if a < 0 { !a } else { a } as u32).checked_ilog2().unwrap_or(u32::MAX).into()
    });
}

#[test]
fn shifts_of_pairs_and_bytes_picked_from_two_words() {
    let pair = |low: u64, high: u64| low & 0xFFFF_FFFF | high << 32;
    let funnel = |a, b, by: u32, left| {
        if left { (pair(a, b) << by >> 32) as u32 } else { (pair(a, b) >> by) as u32 }
    };
    for left in [true, false] {
        let side = if left { "l" } else { "r" };
        three(&format!("shf.{side}.wrap.b32"), "r=rrr", |a, b, by| {
            funnel(a, b, by as u32 & 31, left).into()
        });
        three(&format!("shf.{side}.clamp.b32"), "r=rrr", |a, b, by| {
            funnel(a, b, (by as u32).min(32), left).into()
        });
    }
    let pool = [0x3210, 0x7654, 0x0123, 0xFEDC, 0x1234_5678, 0x89AB_CDEF, 0x80FF_7F00];
    check("prmt.b32", "r=rrr", &pool, |row| {
        let bytes = pair(row[0], row[1]).to_le_bytes();
        (0..4).fold(0, |out, i| {
            let select = row[2] >> (4 * i) & 15;
            let byte = bytes[(select & 7) as usize];
            let byte = if select < 8 {
                byte
            } else if byte < 128 {
                0
            } else {
                255
            };
            out | u64::from(byte) << (8 * i)
        })
    });
    for table in [0xE8, 0x96, 0x1B] {
        let pool = [0xF0F0_F0F0, 0xCCCC_CCCC, 0xAAAA_AAAA, 0x1234_5678, table];
        check("lop3.b32", "r=rrrr", &pool, |row| {
            (0..32).fold(0, |out, i| {
                let index = (row[0] >> i & 1) << 2 | (row[1] >> i & 1) << 1 | row[2] >> i & 1;
                out | (row[3] >> index & 1) << i
            })
        });
    }
}

/// Both results of a comparison, when one of them is also what they are joined with.
#[test]
fn a_comparison_may_overwrite_the_predicate_it_is_joined_with() {
    let body = "
        setp.lt.u32 %p0, %t, 16;
        setp.lt.and.u32 %p0|%p1, %t, 8, %p0;
        selp.u32 %r1, 1, 0, %p0;
        selp.u32 %r2, 2, 0, %p1;
        add.u32 %r1, %r1, %r2;
        add.u64 %rd1, %a0, %o;
        st.global.u32 [%rd1], %r1;";
    let device = Device::of_ptx(kernel(1, body));
    let to = device.blank(128);
    device.launch("k", 1, 32, &[to]).unwrap();
    let want = (0..32).map(|lane| [1, 2, 0, 0][lane / 8]).collect::<Vec<u32>>();
    assert_eq!(device.download(to, 32), Ok(want));
}
