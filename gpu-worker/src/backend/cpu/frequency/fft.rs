//! Fourier transforms of 16 or 32 complex numbers. Each lane of a vector computes a transform of
//! its own.

use std::f64::consts::TAU;

use pulp::Simd;

/// A complex number in each lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Complex<V> {
    pub(super) re: V,
    pub(super) im: V,
}

/// exp(−2πi k / 32) for k = 0 … 31, as real and imaginary part.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Roots([[f32; 2]; 32]);

impl Roots {
    pub(in super::super) fn new() -> Self {
        Self(std::array::from_fn(|k| {
            let angle = -TAU * k as f64 / 32.0;
            [libm::cos(angle) as f32, libm::sin(angle) as f32]
        }))
    }

    /// exp(−2πi k / n), for an n that divides 32.
    #[inline(always)]
    pub(super) fn root(&self, k: usize, n: usize) -> [f32; 2] {
        self.0[k * (32 / n) % 32]
    }
}

impl<V: Copy> Complex<V> {
    #[inline(always)]
    pub(super) fn zero<S: Simd<f32s = V>>(simd: S) -> Self {
        let zero = simd.splat_f32s(0.0);
        Self { re: zero, im: zero }
    }

    #[inline(always)]
    pub(super) fn add<S: Simd<f32s = V>>(self, simd: S, other: Self) -> Self {
        Self { re: simd.add_f32s(self.re, other.re), im: simd.add_f32s(self.im, other.im) }
    }

    #[inline(always)]
    pub(super) fn sub<S: Simd<f32s = V>>(self, simd: S, other: Self) -> Self {
        Self { re: simd.sub_f32s(self.re, other.re), im: simd.sub_f32s(self.im, other.im) }
    }

    /// Exchanges real and imaginary part. A transform with an exchange before and after it is the
    /// inverse transform but for scale.
    #[inline(always)]
    pub(super) fn swap(self) -> Self {
        Self { re: self.im, im: self.re }
    }

    #[inline(always)]
    fn times<S: Simd<f32s = V>>(self, simd: S, [re, im]: [f32; 2]) -> Self {
        let (c, s) = (simd.splat_f32s(re), simd.splat_f32s(im));
        Self {
            re: simd.negate_mul_add_f32s(self.im, s, simd.mul_f32s(self.re, c)),
            im: simd.mul_add_f32s(self.re, s, simd.mul_f32s(self.im, c)),
        }
    }
}

/// The transform of four numbers.
#[inline(always)]
fn four<S: Simd>(simd: S, z: [Complex<S::f32s>; 4]) -> [Complex<S::f32s>; 4] {
    let (sum, difference) = (z[0].add(simd, z[2]), z[0].sub(simd, z[2]));
    let (sums, d) = (z[1].add(simd, z[3]), z[1].sub(simd, z[3]));
    // −i · d is (d.im, −d.re).
    [
        sum.add(simd, sums),
        Complex { re: simd.add_f32s(difference.re, d.im), im: simd.sub_f32s(difference.im, d.re) },
        sum.sub(simd, sums),
        Complex { re: simd.sub_f32s(difference.re, d.im), im: simd.add_f32s(difference.im, d.re) },
    ]
}

/// The transform of eight numbers.
#[inline(always)]
fn eight<S: Simd>(simd: S, roots: &Roots, z: [Complex<S::f32s>; 8]) -> [Complex<S::f32s>; 8] {
    let even = four(simd, [z[0], z[2], z[4], z[6]]);
    let odd = four(simd, [z[1], z[3], z[5], z[7]]);
    let mut all = [z[0]; 8];
    for k in 0..4 {
        let turned = if k == 0 { odd[k] } else { odd[k].times(simd, roots.root(k, 8)) };
        all[k] = even[k].add(simd, turned);
        all[k + 4] = even[k].sub(simd, turned);
    }
    all
}

/// The transform of `P` numbers, 16 or 32, in place.
///
/// With n = P/4 · n₁ + n₂ and k = k₁ + 4 · k₂, it transforms four numbers over n₁, multiplies by
/// exp(−2πi n₂k₁ / P), then transforms P/4 numbers over n₂.
#[inline(always)]
pub(super) fn transform<S: Simd, const P: usize>(
    simd: S,
    roots: &Roots,
    z: &mut [Complex<S::f32s>; P],
) {
    let rest = P / 4;
    for n in 0..rest {
        let columns = four(simd, [z[n], z[n + rest], z[n + 2 * rest], z[n + 3 * rest]]);
        z[n] = columns[0];
        for k in 1..4 {
            z[n + k * rest] =
                if n == 0 { columns[k] } else { columns[k].times(simd, roots.root(n * k, P)) };
        }
    }
    let turned = *z;
    for k in 0..4 {
        let from = &turned[k * rest..(k + 1) * rest];
        if P == 16 {
            let all = four(simd, [from[0], from[1], from[2], from[3]]);
            for (i, number) in all.into_iter().enumerate() {
                z[k + 4 * i] = number;
            }
        } else {
            let all = eight(simd, roots, std::array::from_fn(|i| from[i]));
            for (i, number) in all.into_iter().enumerate() {
                z[k + 4 * i] = number;
            }
        }
    }
}
