//! Conversions: each between two types, with the low bits of a register and nothing else.

use crate::opcodes::{WHOLE, check};

/// Sign- or zero-extends the low bits of a whole number.
fn low(value: u64, kind: &str) -> u64 {
    let bits: u32 = kind[1..].parse().unwrap();
    let unused = 64 - bits;
    match kind.starts_with('s') {
        true => ((value << unused) as i64 >> unused) as u64,
        false => value << unused >> unused,
    }
}

/// The letter of the register that holds a type.
fn letter(kind: &str) -> char {
    match &kind[1..] {
        "8" | "32" => 'r',
        "16" => 'h',
        _ => 'l',
    }
}

const KINDS: [&str; 8] = ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"];

#[test]
fn whole_numbers_are_cut_or_extended_by_their_own_sign() {
    for from in KINDS {
        for to in KINDS {
            let form = format!("{}={}", letter(to), letter(from));
            // An 8-bit result fills its register by its sign.
            let held = low(
                u64::MAX,
                match letter(to) {
                    'r' => "u32",
                    'h' => "u16",
                    _ => "u64",
                },
            );
            check(&format!("cvt.{to}.{from}"), &form, &WHOLE, |row| {
                low(low(row[0], from), to) & held
            });
        }
    }
}

#[test]
fn whole_numbers_become_the_nearest_float() {
    for from in KINDS {
        let value = |bits: u64| {
            let value = low(bits, from);
            if from.starts_with('s') { i128::from(value as i64) } else { i128::from(value) }
        };
        check(&format!("cvt.rn.f32.{from}"), &format!("f={}", letter(from)), &WHOLE, |row| {
            (value(row[0]) as f32).to_bits().into()
        });
        check(&format!("cvt.rn.f64.{from}"), &format!("d={}", letter(from)), &WHOLE, |row| {
            (value(row[0]) as f64).to_bits()
        });
    }
}

fn floats() -> Vec<f64> {
    let mut numbers = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-40, -1e-40];
    for magnitude in
        [0.0, 0.5, 1.5, 2.5, 2.75, 127.5, 32767.5, 65535.5, 2147483648.0, 4294967296.0, 1e19, 1e30]
    {
        numbers.extend([magnitude, -magnitude]);
    }
    numbers
}

/// Beyond its range a type gives its end. A NaN gives 0, or the topmost bit where 64 bits are
/// involved.
#[test]
fn floats_become_whole_numbers_as_told_and_end_at_the_ends() {
    type Rounding = fn(f64) -> f64;
    let roundings: [(&str, Rounding); 4] = [
        ("rzi", f64::trunc),
        ("rni", f64::round_ties_even),
        ("rmi", f64::floor),
        ("rpi", f64::ceil),
    ];
    for (name, round) in roundings {
        for to in &KINDS[2..] {
            let bits: u32 = to[1..].parse().unwrap();
            let (least, most) = match to.starts_with('s') {
                true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
                false => (0, (1i128 << bits) - 1),
            };
            let mask = u64::MAX >> (64 - bits);
            let want = |value: f64, wide: bool| match value.is_nan() {
                true if wide || bits == 64 => 1 << (bits - 1),
                true => 0,
                false => (round(value) as i128).clamp(least, most) as u64 & mask,
            };
            let of_singles: Vec<u64> =
                floats().iter().map(|value| (*value as f32).to_bits().into()).collect();
            check(
                &format!("cvt.{name}.{to}.f32"),
                &format!("{}=f", letter(to)),
                &of_singles,
                |row| want(f32::from_bits(row[0] as u32).into(), false),
            );
            let of_doubles: Vec<u64> = floats().iter().map(|value| value.to_bits()).collect();
            check(
                &format!("cvt.{name}.{to}.f64"),
                &format!("{}=d", letter(to)),
                &of_doubles,
                |row| want(f64::from_bits(row[0]), true),
            );
        }
        let of_singles: Vec<u64> =
            floats().iter().map(|value| (*value as f32).to_bits().into()).collect();
        check(&format!("cvt.{name}.f32.f32"), "f=f", &of_singles, |row| {
            (round(f32::from_bits(row[0] as u32).into()) as f32).to_bits().into()
        });
    }
}

#[test]
fn floats_become_floats_of_another_width() {
    let doubles: Vec<u64> = floats()
        .iter()
        .chain(&[0.1, 1e39, -1e-46, 16_777_217.0])
        .map(|value| value.to_bits())
        .collect();
    check("cvt.rn.f32.f64", "f=d", &doubles, |row| {
        (f64::from_bits(row[0]) as f32).to_bits().into()
    });
    let singles: Vec<u64> = floats().iter().map(|value| (*value as f32).to_bits().into()).collect();
    check("cvt.f64.f32", "d=f", &singles, |row| f64::from(f32::from_bits(row[0] as u32)).to_bits());
}

/// The value of a half by its definition.
fn half(bits: u64) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = ((bits >> 10 & 31) as i32, (bits & 0x3FF) as f64);
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

#[test]
fn every_half_and_bfloat_is_an_f32() {
    let all: Vec<u64> = (0..=0xFFFF).collect();
    check("cvt.f32.f16", "f=h", &all, |row| (half(row[0]) as f32).to_bits().into());
    check("cvt.f32.bf16", "f=h", &all, |row| row[0] << 16);
}

/// Halves that lie side by side, the point between them, and a hair on either side of it.
#[test]
fn floats_round_to_the_nearest_half_and_ties_to_even() {
    let mut singles = Vec::new();
    let mut halves = std::collections::BTreeMap::new();
    for bits in (0..0x7C00u64).step_by(37).chain([0, 0x3FF, 0x400, 0x7BFE]) {
        let between = ((half(bits) + half(bits + 1)) / 2.0) as f32;
        let even = bits + (bits & 1);
        for (value, nearest) in
            [(between.next_down(), bits), (between, even), (between.next_up(), bits + 1)]
        {
            for (value, nearest) in [(value, nearest), (-value, nearest | 0x8000)] {
                singles.push(u64::from(value.to_bits()));
                halves.insert(u64::from(value.to_bits()), nearest);
            }
        }
    }
    for (value, nearest) in
        [(65519.9, 0x7BFF), (65520.0, 0x7C00), (f32::INFINITY, 0x7C00), (f32::NAN, 0x7FFF)]
    {
        singles.push(u64::from(value.to_bits()));
        halves.insert(u64::from(value.to_bits()), nearest);
    }
    check("cvt.rn.f16.f32", "h=f", &singles, |row| halves[&row[0]]);
    check("cvt.rn.f16x2.f32", "r=ff", &singles[..40], |row| {
        halves[&row[0]] << 16 | halves[&row[1]]
    });
}

#[test]
fn floats_round_to_bfloat_and_tf32() {
    let mut singles: Vec<u64> = (0..256).map(|i| 0x3F80_0000 + i * 0x1234).collect();
    singles.extend([0x3F80_8000, 0x3F81_8000, 0x3F80_7FFF, 0x3F80_8001, 0x7F7F_FFFF, 0xFF80_0000]);
    check("cvt.rn.bf16.f32", "h=f", &singles, |row| {
        let (cut, rest) = (row[0] >> 16, row[0] & 0xFFFF);
        cut + u64::from(rest > 0x8000 || rest == 0x8000 && cut & 1 == 1)
    });
    singles.extend([0x3F80_1000, 0x3F80_0FFF, 0xBF80_1000]);
    singles.retain(|bits| *bits < 0x7F00_0000 || *bits > 0x8000_0000 && *bits != 0xFF80_0000);
    check("cvt.rna.tf32.f32", "r=f", &singles, |row| {
        let (cut, rest) = (row[0] >> 13 << 13, row[0] & 0x1FFF);
        cut + if rest >= 0x1000 { 0x2000 } else { 0 }
    });
}
