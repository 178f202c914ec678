//! Floating-point arithmetic.
//!
//! `fma` is fused and everything with `.rn` is rounded as IEEE 754 says, so bits are those of a GPU
//! except for the payload of a NaN. The approximations are better here than on hardware.

super::table! {
    "add.f32" | "add.rn.f32" => two |a: f32, b: f32| -> f32 { a + b }
    "sub.f32" | "sub.rn.f32" => two |a: f32, b: f32| -> f32 { a - b }
    "mul.f32" | "mul.rn.f32" => two |a: f32, b: f32| -> f32 { a * b }
    "fma.rn.f32" | "mad.rn.f32" => three |a: f32, b: f32, c: f32| -> f32 { a.mul_add(b, c) }
    "div.rn.f32" | "div.full.f32" | "div.approx.f32" => two |a: f32, b: f32| -> f32 { a / b }
    "rcp.rn.f32" | "rcp.approx.f32" => one |a: f32| -> f32 { 1.0 / a }
    "sqrt.rn.f32" | "sqrt.approx.f32" => one |a: f32| -> f32 { a.sqrt() }
    "neg.f32" => one |a: f32| -> f32 { -a }
    "abs.f32" => one |a: f32| -> f32 { a.abs() }
    "max.f32" => two |a: f32, b: f32| -> f32 { if a.is_nan() || a < b { b } else if b.is_nan() || a > b { a } else { f32::from_bits(a.to_bits() & b.to_bits()) } }
    "min.f32" => two |a: f32, b: f32| -> f32 { if a.is_nan() || a > b { b } else if b.is_nan() || a < b { a } else { f32::from_bits(a.to_bits() | b.to_bits()) } }
    "copysign.f32" => two |a: f32, b: f32| -> f32 { b.copysign(a) }
    "testp.finite.f32" => one |a: f32| -> bool { a.is_finite() }
    "testp.infinite.f32" => one |a: f32| -> bool { a.is_infinite() }
    "testp.number.f32" => one |a: f32| -> bool { !a.is_nan() }
    "testp.notanumber.f32" => one |a: f32| -> bool { a.is_nan() }
    "add.f64" | "add.rn.f64" => two |a: f64, b: f64| -> f64 { a + b }
    "sub.f64" | "sub.rn.f64" => two |a: f64, b: f64| -> f64 { a - b }
    "mul.f64" | "mul.rn.f64" => two |a: f64, b: f64| -> f64 { a * b }
    "fma.rn.f64" | "mad.rn.f64" => three |a: f64, b: f64, c: f64| -> f64 { a.mul_add(b, c) }
    "div.rn.f64" => two |a: f64, b: f64| -> f64 { a / b }
    "rcp.rn.f64" | "rcp.approx.ftz.f64" => one |a: f64| -> f64 { 1.0 / a }
    "sqrt.rn.f64" => one |a: f64| -> f64 { a.sqrt() }
    "neg.f64" => one |a: f64| -> f64 { -a }
    "abs.f64" => one |a: f64| -> f64 { a.abs() }
    "max.f64" => two |a: f64, b: f64| -> f64 { if a.is_nan() || a < b { b } else if b.is_nan() || a > b { a } else { f64::from_bits(a.to_bits() & b.to_bits()) } }
    "min.f64" => two |a: f64, b: f64| -> f64 { if a.is_nan() || a > b { b } else if b.is_nan() || a < b { a } else { f64::from_bits(a.to_bits() | b.to_bits()) } }
    "copysign.f64" => two |a: f64, b: f64| -> f64 { b.copysign(a) }
    "testp.finite.f64" => one |a: f64| -> bool { a.is_finite() }
    "testp.infinite.f64" => one |a: f64| -> bool { a.is_infinite() }
    "testp.number.f64" => one |a: f64| -> bool { !a.is_nan() }
    "testp.notanumber.f64" => one |a: f64| -> bool { a.is_nan() }
    "max.NaN.f32" => two |a: f32, b: f32| -> f32 { if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) } }
    "min.NaN.f32" => two |a: f32, b: f32| -> f32 { if a.is_nan() || b.is_nan() { f32::NAN } else { a.min(b) } }
    // Through f64, whose error is far below that of the hardware.
    "rsqrt.approx.f32" => one |a: f32| -> f32 { (1.0 / f64::from(a).sqrt()) as f32 }
    "ex2.approx.f32" => one |a: f32| -> f32 { (f64::from(a).exp2()) as f32 }
    "lg2.approx.f32" => one |a: f32| -> f32 { (f64::from(a).log2()) as f32 }
    "sin.approx.f32" => one |a: f32| -> f32 { (f64::from(a).sin()) as f32 }
    "cos.approx.f32" => one |a: f32| -> f32 { (f64::from(a).cos()) as f32 }
    "tanh.approx.f32" => one |a: f32| -> f32 { (f64::from(a).tanh()) as f32 }
    "rsqrt.approx.f64" => one |a: f64| -> f64 { 1.0 / a.sqrt() }
    // Directed rounding: the sum and its error are exact in f64.
    "add.rm.f32" => two |a: f32, b: f32| -> f32 { rounded(f64::from(a), f64::from(b), Direction::Down) }
    "sub.rm.f32" => two |a: f32, b: f32| -> f32 { rounded(f64::from(a), -f64::from(b), Direction::Down) }
    "mul.rm.f32" => two |a: f32, b: f32| -> f32 { product(a, b, Direction::Down) }
    "fma.rm.f32" => three |a: f32, b: f32, c: f32| -> f32 { rounded(f64::from(a) * f64::from(b), f64::from(c), Direction::Down) }
    "add.rp.f32" => two |a: f32, b: f32| -> f32 { rounded(f64::from(a), f64::from(b), Direction::Up) }
    "sub.rp.f32" => two |a: f32, b: f32| -> f32 { rounded(f64::from(a), -f64::from(b), Direction::Up) }
    "mul.rp.f32" => two |a: f32, b: f32| -> f32 { product(a, b, Direction::Up) }
    "fma.rp.f32" => three |a: f32, b: f32, c: f32| -> f32 { rounded(f64::from(a) * f64::from(b), f64::from(c), Direction::Up) }
    "add.rz.f32" => two |a: f32, b: f32| -> f32 { rounded(f64::from(a), f64::from(b), Direction::ToZero) }
    "sub.rz.f32" => two |a: f32, b: f32| -> f32 { rounded(f64::from(a), -f64::from(b), Direction::ToZero) }
    "mul.rz.f32" => two |a: f32, b: f32| -> f32 { product(a, b, Direction::ToZero) }
    "fma.rz.f32" => three |a: f32, b: f32, c: f32| -> f32 { rounded(f64::from(a) * f64::from(b), f64::from(c), Direction::ToZero) }
    // Added around an operation by `.ftz` and `.sat`.
    "flush.f32" => one |a: f32| -> f32 { if a.is_subnormal() { 0f32.copysign(a) } else { a } }
    "saturate.f32" | "cvt.sat.f32.f32" => one |a: f32| -> f32 { if a > 0.0 { a.min(1.0) } else { 0.0 } }
}

/// The direction of rounding.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
    ToZero,
}

/// `a · b` rounded once, in `direction`.
fn product(a: f32, b: f32, direction: Direction) -> f32 {
    let exact = f64::from(a) * f64::from(b);
    rounded(exact, 0f64.copysign(exact), direction)
}

/// `x + y` rounded once, in `direction`.
fn rounded(x: f64, y: f64, direction: Direction) -> f32 {
    let sum = x + y;
    let nearest = sum as f32;
    if !sum.is_finite() {
        return nearest;
    }
    if sum == 0.0 && direction == Direction::Down && x.is_sign_negative() != y.is_sign_negative() {
        return -0.0;
    }
    // Knuth's two-sum: `sum + error` is exactly x + y.
    let back = sum - x;
    let error = (x - (sum - back)) + (y - back);
    let rest = sum - f64::from(nearest);
    let rest = if rest == 0.0 { error } else { rest };
    let down = direction == Direction::Down || direction == Direction::ToZero && sum > 0.0;
    match rest {
        rest if rest < 0.0 && down => nearest.next_down(),
        rest if rest > 0.0 && !down => nearest.next_up(),
        _ => nearest,
    }
}
