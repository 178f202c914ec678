//! Floats of sixteen and nineteen bits, converted by hand.

/// IEEE half precision, exactly.
pub(crate) fn to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 0x3FF));
    match exponent {
        // A subnormal is its fraction times 2^-24.
        0 => f32::from_bits((fraction as f32 * f32::from_bits(0x3380_0000)).to_bits() | sign),
        31 => f32::from_bits(sign | 0x7F80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// To the nearest half, ties to even.
pub(crate) fn from_f32(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7FFF_FFFF;
    if magnitude > 0x7F80_0000 {
        return 0x7FFF;
    }
    // From 65520 on the nearest half is infinite.
    if magnitude >= 0x477F_F000 {
        return sign | 0x7C00;
    }
    if magnitude < 0x3880_0000 {
        // Below the normal halves adding 0.5 leaves the rounded fraction in the lowest bits.
        let sum = f32::from_bits(magnitude) + 0.5;
        return sign | (sum.to_bits() - 0x3F00_0000) as u16;
    }
    let rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
    sign | ((rounded >> 13) - (112 << 10)) as u16
}

/// The upper half of an f32.
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// To the nearest bfloat16, ties to even.
pub(crate) fn bf16_from_f32(value: f32) -> u16 {
    if value.is_nan() {
        return 0x7FFF;
    }
    let bits = value.to_bits();
    ((u64::from(bits) + 0x7FFF + u64::from(bits >> 16 & 1)) >> 16) as u16
}

/// To the nearest tf32 (ten bits of fraction), ties away from zero.
pub(crate) fn tf32_from_f32(value: f32) -> u32 {
    if !value.is_finite() {
        return value.to_bits();
    }
    (value.to_bits() + 0x1000) & !0x1FFF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_to_f32_and_back() {
        for bits in (0..=u16::MAX).filter(|bits| !to_f32(*bits).is_nan()) {
            assert_eq!(from_f32(to_f32(bits)), bits);
        }
    }

    #[test]
    fn halves_round_to_nearest_even() {
        assert_eq!(from_f32(2049.0), from_f32(2048.0));
        assert_eq!(from_f32(2051.0), from_f32(2052.0));
        assert_eq!(from_f32(65519.9), 0x7BFF);
        assert_eq!(from_f32(65520.0), 0x7C00);
    }
}
