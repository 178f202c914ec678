//! Floating-point instructions against Rust, over zeros, subnormals, infinities and NaN.

use crate::opcodes::{check, ordered};

fn singles() -> Vec<u64> {
    let numbers = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        0.1,
        3.0,
        16_777_217.0,
        1e30,
        -2e38,
        f32::MAX,
        1e-30,
        -1e-42,
        f32::MIN_POSITIVE,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    numbers.iter().map(|number: &f32| number.to_bits().into()).collect()
}

fn doubles() -> Vec<u64> {
    let numbers = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        0.1,
        3.0,
        1e300,
        -f64::MAX,
        1e-310,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    numbers.iter().map(|number: &f64| number.to_bits()).collect()
}

fn s(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn d(bits: u64) -> f64 {
    f64::from_bits(bits)
}

fn single(opcode: &str, want: impl Fn(f32, f32, f32) -> f32) {
    let n = if opcode.starts_with("fma") { 3 } else { 2 };
    check(opcode, &format!("f={}", "f".repeat(n)), &singles(), |row| {
        want(s(row[0]), s(row[1]), s(*row.get(2).unwrap_or(&0))).to_bits().into()
    });
}

fn of_one(opcode: &str, want: impl Fn(f32) -> f32) {
    check(opcode, "f=f", &singles(), |row| want(s(row[0])).to_bits().into());
}

fn double(opcode: &str, want: impl Fn(f64, f64, f64) -> f64) {
    let n = if opcode.starts_with("fma") { 3 } else { 2 };
    check(opcode, &format!("d={}", "d".repeat(n)), &doubles(), |row| {
        want(d(row[0]), d(row[1]), d(*row.get(2).unwrap_or(&0))).to_bits()
    });
}

#[test]
fn arithmetic_rounds_to_the_nearest() {
    single("add.f32", |a, b, _| a + b);
    single("sub.rn.f32", |a, b, _| a - b);
    single("mul.f32", |a, b, _| a * b);
    single("div.rn.f32", |a, b, _| a / b);
    single("fma.rn.f32", f32::mul_add);
    of_one("rcp.rn.f32", |a| 1.0 / a);
    of_one("sqrt.rn.f32", f32::sqrt);
    of_one("neg.f32", |a| -a);
    of_one("abs.f32", f32::abs);
    double("add.f64", |a, b, _| a + b);
    double("sub.rn.f64", |a, b, _| a - b);
    double("mul.f64", |a, b, _| a * b);
    double("div.rn.f64", |a, b, _| a / b);
    double("fma.rn.f64", f64::mul_add);
    check("sqrt.rn.f64", "d=d", &doubles(), |row| d(row[0]).sqrt().to_bits());
    check("rcp.rn.f64", "d=d", &doubles(), |row| (1.0 / d(row[0])).to_bits());
}

/// A NaN loses against a number, and -0 is less than +0.
#[test]
fn minimum_and_maximum_prefer_numbers() {
    let less = |a: f64, b: f64| a < b || a == b && a.is_sign_negative();
    let pick = |a: f64, b: f64, least: bool| match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if less(a, b) == least => a,
        _ => b,
    };
    single("min.f32", |a, b, _| pick(a.into(), b.into(), true) as f32);
    single("max.f32", |a, b, _| pick(a.into(), b.into(), false) as f32);
    double("min.f64", |a, b, _| pick(a, b, true));
    double("max.f64", |a, b, _| pick(a, b, false));
    // `.NaN` lets the NaN win. Zeros aside: Rust leaves open which it gives.
    let pool: Vec<u64> = singles().split_off(2);
    check("max.NaN.f32", "f=ff", &pool, |row| {
        let (a, b) = (s(row[0]), s(row[1]));
        if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }.to_bits().into()
    });
}

/// A comparison with NaN is false, and one ending in `u` true.
#[test]
fn comparisons_know_nan() {
    for sign in ["lt", "le", "gt", "ge", "eq", "ne"] {
        check(&format!("setp.{sign}.f32"), "p=ff", &singles(), |row| {
            ordered(sign, s(row[0]).partial_cmp(&s(row[1])))
        });
        check(&format!("setp.{sign}u.f32"), "p=ff", &singles(), |row| {
            let order = s(row[0]).partial_cmp(&s(row[1]));
            u64::from(order.is_none()) | ordered(sign, order)
        });
        check(&format!("setp.{sign}.f64"), "p=dd", &doubles(), |row| {
            ordered(sign, d(row[0]).partial_cmp(&d(row[1])))
        });
        check(&format!("setp.{sign}u.f64"), "p=dd", &doubles(), |row| {
            let order = d(row[0]).partial_cmp(&d(row[1]));
            u64::from(order.is_none()) | ordered(sign, order)
        });
    }
    check("setp.nan.f32", "p=ff", &singles(), |row| {
        u64::from(s(row[0]).is_nan() || s(row[1]).is_nan())
    });
    check("setp.num.f32", "p=ff", &singles(), |row| {
        u64::from(!(s(row[0]).is_nan() || s(row[1]).is_nan()))
    });
}

fn flushed(a: f32) -> f32 {
    if a.is_subnormal() { 0f32.copysign(a) } else { a }
}

#[test]
fn subnormals_are_flushed_where_it_is_said() {
    single("add.ftz.f32", |a, b, _| flushed(flushed(a) + flushed(b)));
    single("mul.ftz.f32", |a, b, _| flushed(flushed(a) * flushed(b)));
    single("fma.rn.ftz.f32", |a, b, c| flushed(flushed(a).mul_add(flushed(b), flushed(c))));
}

/// `.sat` brings everything into 0 … 1, and NaN to 0.
#[test]
fn saturation_ends_at_zero_and_one() {
    let saturated = |a: f32| if a > 0.0 { a.min(1.0) } else { 0.0 };
    single("add.sat.f32", |a, b, _| saturated(a + b));
    single("fma.rn.sat.f32", |a, b, c| saturated(a.mul_add(b, c)));
    of_one("cvt.sat.f32.f32", saturated);
}

/// Of sums and products that are exact in f64, or whose error's sign is known.
#[test]
fn directed_rounding_goes_where_it_is_told() {
    let below = |exact: f64| {
        let near = exact as f32;
        if f64::from(near) > exact { near.next_down() } else { near }
    };
    let above = |exact: f64| -below(-exact);
    let to_zero = |exact: f64| if exact > 0.0 { below(exact) } else { above(exact) };
    // Products of two f32 are exact in f64; zeros keep their sign there.
    let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
    single("mul.rm.f32", |a, b, _| below(product(a, b)));
    single("mul.rp.f32", |a, b, _| above(product(a, b)));
    single("mul.rz.f32", |a, b, _| to_zero(product(a, b)));
    // A sum that cancels is -0 only downwards.
    let zeros: Vec<u64> = [0.0f32, -0.0, 1.0, -1.0].iter().map(|x| x.to_bits().into()).collect();
    check("add.rm.f32", "f=ff", &zeros, |row| match (s(row[0]), s(row[1])) {
        (a, b) if a + b == 0.0 && row[0] + row[1] != 0 => (-0f32).to_bits().into(),
        (a, b) => (a + b).to_bits().into(),
    });
    // The sum of numbers far apart is the larger one, or its neighbor.
    let tiny = f32::MIN_POSITIVE;
    let pool: Vec<u64> = [1.0, tiny, -tiny].iter().map(|x: &f32| x.to_bits().into()).collect();
    check("add.rz.f32", "f=ff", &pool, |row| match s(row[0]) + s(row[1]) {
        1.0 if s(row[0]).min(s(row[1])) < 0.0 => 1f32.next_down().to_bits().into(),
        sum => sum.to_bits().into(),
    });
    // A product and a summand that are equal, or so far apart that only the direction counts.
    for (direction, up) in [("rp", true), ("rz", false), ("rm", false)] {
        check(&format!("fma.{direction}.f32"), "f=fff", &pool[..2], |row| {
            let (product, c) = (product(s(row[0]), s(row[1])), f64::from(s(row[2])));
            let larger = product.max(c) as f32;
            let rounded = match (product == c, up) {
                (true, _) => larger * 2.0,
                (false, true) => larger.next_up(),
                (false, false) => larger,
            };
            rounded.to_bits().into()
        });
    }
    // What is too large for rounding towards zero ends at the largest number.
    let large = [u64::from(f32::MAX.to_bits())];
    check("add.rz.f32", "f=ff", &large, |_| large[0]);
    check("add.rp.f32", "f=ff", &large, |_| f32::INFINITY.to_bits().into());
}

/// Far below what hardware promises (2 ulp and 2^-22), as the emulator goes by way of f64.
const APPROXIMATE: f64 = 1e-7;

#[test]
fn approximations_are_close() {
    let close = |opcode: &str, want: fn(f64) -> f64, pool: &[f32]| {
        for x in pool {
            let bits = [u64::from(x.to_bits())];
            // The result rounds to f32 whatever its way: compared by how far it is off.
            check_close(opcode, &bits, want(f64::from(*x)));
        }
    };
    close("ex2.approx.f32", f64::exp2, &[0.0, 1.0, -3.7, 20.25, -140.0]);
    close("lg2.approx.f32", f64::log2, &[1.0, 0.3, 10.0, 1e-20]);
    close("sin.approx.f32", f64::sin, &[0.0, 1.0, -3.0]);
    close("cos.approx.f32", f64::cos, &[0.0, 1.0, -3.0]);
    close("tanh.approx.f32", f64::tanh, &[0.0, 0.5, -20.0]);
    close("rsqrt.approx.f32", |x| 1.0 / x.sqrt(), &[1.0, 0.3, 1e20]);
    close("rcp.approx.f32", |x| 1.0 / x, &[1.0, 0.3, -7.0]);
    close("sqrt.approx.f32", f64::sqrt, &[0.0, 2.0, 1e-20]);
}

fn check_close(opcode: &str, operand: &[u64], want: f64) {
    use crate::device::{Device, kernel};
    let body = format!("ld.global.f32 %f1, [%a1];\n{opcode} %f2, %f1;\nst.global.f32 [%a0], %f2;");
    let device = Device::of_ptx(kernel(2, &body));
    let args = [device.blank(4), device.upload(operand)];
    device.launch("k", 1, 1, &args).unwrap();
    let got = f64::from(device.download::<f32>(args[0], 1).unwrap()[0]);
    let bound = APPROXIMATE * want.abs().max(f64::from(f32::MIN_POSITIVE));
    assert!((got - want).abs() <= bound, "{opcode} {operand:x?}: {got} {want}");
}
