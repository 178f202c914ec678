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

/// The first number of the transform of four or eight numbers: their sum.
#[inline(always)]
fn sum<S: Simd>(simd: S, z: &[Complex<S::f32s>]) -> Complex<S::f32s> {
    if z.len() == 4 {
        z[0].add(simd, z[2]).add(simd, z[1].add(simd, z[3]))
    } else {
        let even = z[0].add(simd, z[4]).add(simd, z[2].add(simd, z[6]));
        even.add(simd, z[1].add(simd, z[5]).add(simd, z[3].add(simd, z[7])))
    }
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

/// Memory of a transform of `P` numbers, 16 or 32. Keeping it saves clearing it again.
///
/// With n = P/4 · n₁ + n₂ and k = k₁ + 4 · k₂, the transform first transforms four numbers over n₁
/// and multiplies by exp(−2πi n₂k₁ / P), then transforms P/4 numbers over n₂.
#[derive(Debug)]
pub(super) struct Transform<V, const P: usize> {
    /// Input, at first 0. A transform leaves it as it is.
    pub(super) z: [Complex<V>; P],
    half_way: [Complex<V>; P],
    /// Output.
    pub(super) out: [Complex<V>; P],
}

impl<V: Copy, const P: usize> Transform<V, P> {
    /// Numbers of each transform in the second half.
    pub(super) const REST: usize = P / 4;

    #[inline(always)]
    pub(super) fn new<S: Simd<f32s = V>>(simd: S) -> Self {
        let zeros = [Complex::zero(simd); P];
        Self { z: zeros, half_way: zeros, out: zeros }
    }

    /// Transforms `z` to `out`.
    #[inline(always)]
    pub(super) fn run<S: Simd<f32s = V>>(&mut self, simd: S, roots: &Roots) {
        self.run_to_first(simd, roots, P);
    }

    /// Transforms `z`, but computes only the first `n` numbers of `out`. The others may hold
    /// anything.
    #[inline(always)]
    pub(super) fn run_to_first<S: Simd<f32s = V>>(&mut self, simd: S, roots: &Roots, n: usize) {
        for n in 0..Self::REST {
            let all = four(simd, std::array::from_fn(|i| self.z[n + i * Self::REST]));
            self.turn(simd, roots, n, all);
        }
        self.finish(simd, roots, n);
    }

    /// Transforms `z` to `out` if only its first `n` numbers may differ from 0; `n` is at most
    /// [`Self::REST`] and the same in all transforms with this memory.
    #[inline(always)]
    pub(super) fn run_of_first<S: Simd<f32s = V>>(&mut self, simd: S, roots: &Roots, n: usize) {
        for i in 0..Self::REST {
            if i < n {
                self.turn(simd, roots, i, [self.z[i]; 4]);
            }
        }
        self.finish(simd, roots, P);
    }

    /// Multiplies the four numbers k₁ of n₂ = n by their roots.
    #[inline(always)]
    fn turn<S: Simd<f32s = V>>(&mut self, simd: S, roots: &Roots, n: usize, all: [Complex<V>; 4]) {
        self.half_way[n] = all[0];
        for (k, z) in all.into_iter().enumerate().skip(1) {
            let turned = if n == 0 { z } else { z.times(simd, roots.root(n * k, P)) };
            self.half_way[n + k * Self::REST] = turned;
        }
    }

    /// The second half, for the first `n` numbers.
    #[inline(always)]
    fn finish<S: Simd<f32s = V>>(&mut self, simd: S, roots: &Roots, n: usize) {
        let rest = Self::REST;
        for k in 0..4 {
            let from = &self.half_way[k * rest..(k + 1) * rest];
            if n <= k + 4 {
                // Only number k, which is the plain sum, in the order of the whole transform.
                if n > k {
                    self.out[k] = sum(simd, from);
                }
            } else if P == 16 {
                let all = four(simd, [from[0], from[1], from[2], from[3]]);
                for (i, number) in all.into_iter().enumerate() {
                    self.out[k + 4 * i] = number;
                }
            } else {
                let all = eight(simd, roots, std::array::from_fn(|i| from[i]));
                for (i, number) in all.into_iter().enumerate() {
                    self.out[k + 4 * i] = number;
                }
            }
        }
    }
}
