//! Real two-dimensional transforms of small maps, one map in each lane of a vector.
//!
//! A map is placed in a tile of `P` × `P` numbers (P is 16 or 32) and surrounded by zeros. First
//! its rows are transformed, then its columns. The row transforms of real numbers are
//! conjugate-symmetric, so columns 0 to P/2 suffice. After the rows, columns 0 and P/2 are real.
//! Both are stored in one complex column, column 0 (the pair). A transformed column has `P`
//! numbers; the pair has P/2 + 1 for each of its two columns. No step normalizes: [`scale`] makes
//! up for all factors at the end.

use pulp::Simd;

use super::fft::{Complex, Roots, Transform};
use super::product::{BLOCK, COMPLEX_BLOCK, block, load, store};

/// Columns of a tile whose sides are `points`.
pub(super) const fn columns(points: usize) -> usize {
    points / 2
}

/// Frequencies of a column.
pub(super) const fn frequencies(points: usize, column: usize) -> usize {
    if column == 0 { points + 2 } else { points }
}

/// Frequencies of the longest column.
pub(super) const fn most_frequencies(points: usize) -> usize {
    frequencies(points, 0)
}

/// Frequencies of all columns.
pub(super) const fn all_frequencies(points: usize) -> usize {
    columns(points) * points + 2
}

/// Factor by which the inverse transform of a product of spectra is multiplied to give the
/// convolution.
pub(super) fn scale(points: usize) -> f32 {
    // A transform and its inverse multiply by the number of points, and the rows of a map by two.
    1.0 / (2 * points * points) as f32
}

/// A square map in its tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Square {
    /// Rows and columns of the map.
    pub(super) side: usize,
    /// Rows above it and columns to the left.
    pub(super) at: usize,
}

impl Square {
    /// Numbers of a block of maps by pixels.
    pub(super) fn pixels(self) -> usize {
        self.side * self.side * BLOCK
    }

    /// Numbers of one column of a block of maps after [`rows`].
    pub(super) fn column(self) -> usize {
        self.side * COMPLEX_BLOCK
    }

    /// Numbers of all columns of a block of maps after [`rows`].
    pub(super) fn columns(self, points: usize) -> usize {
        columns(points) * self.column()
    }
}

/// Copies maps `[maps, pixels]`, which begin `stride` numbers apart, into lanes: `[pixels, 16]`.
/// Unused lanes are 0.
#[inline(always)]
pub(super) fn spread(maps: usize, x: &[f32], stride: usize, pixels: &mut [f32]) {
    let n = pixels.len() / BLOCK;
    let (pixels, _) = pixels.as_chunks_mut::<BLOCK>();
    if maps < BLOCK {
        pixels.fill([0.0; BLOCK]);
        for lane in 0..maps {
            for (to, from) in pixels.iter_mut().zip(&x[lane * stride..][..n]) {
                to[lane] = *from;
            }
        }
        return;
    }
    // Four by four, which the compiler makes into shuffles.
    for lane in (0..BLOCK).step_by(4) {
        let x: [&[f32]; 4] = std::array::from_fn(|i| &x[(lane + i) * stride..][..n]);
        let [(a, a_rest), (b, b_rest), (c, c_rest), (d, d_rest)] = x.map(|x| x.as_chunks::<4>());
        let (fours, rest) = pixels.as_chunks_mut::<4>();
        for ((((to, a), b), c), d) in fours.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            for i in 0..4 {
                if let Some(to) = to[i][lane..].first_chunk_mut() {
                    *to = [a[i], b[i], c[i], d[i]];
                }
            }
        }
        for (i, to) in rest.iter_mut().enumerate() {
            to[lane..lane + 4].copy_from_slice(&[a_rest[i], b_rest[i], c_rest[i], d_rest[i]]);
        }
    }
}

/// The inverse of [`spread`]: `put` gets a number of a map and its new value.
#[inline(always)]
pub(super) fn gather(
    pixels: &[f32],
    maps: usize,
    y: &mut [f32],
    mut put: impl FnMut(&mut f32, f32),
) {
    let (pixels, _) = pixels.as_chunks::<BLOCK>();
    let (fours, rest) = pixels.as_chunks::<4>();
    for (lane, y) in y.chunks_exact_mut(pixels.len()).take(maps).enumerate() {
        let (to, to_rest) = y.as_chunks_mut::<4>();
        for (to, from) in to.iter_mut().zip(fours) {
            let from: [f32; 4] = std::array::from_fn(|i| from[i][lane]);
            for i in 0..4 {
                put(&mut to[i], from[i]);
            }
        }
        for (to, from) in to_rest.iter_mut().zip(rest) {
            put(to, from[lane]);
        }
    }
}

/// A vector of real numbers.
#[inline(always)]
fn load_real<S: Simd>(values: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&values[at..at + S::F32_LANES]).0[0]
}

#[inline(always)]
fn store_real<S: Simd>(values: &mut [f32], at: usize, value: S::f32s) {
    S::as_mut_simd_f32s(&mut values[at..at + S::F32_LANES]).0[0] = value;
}

/// Twice the transforms of a and of b at k, from the transform of a + i·b at k and, in `opposite`,
/// at −k, for real a and b.
#[inline(always)]
fn split<S: Simd>(
    simd: S,
    z: Complex<S::f32s>,
    opposite: Complex<S::f32s>,
) -> [Complex<S::f32s>; 2] {
    [
        Complex { re: simd.add_f32s(z.re, opposite.re), im: simd.sub_f32s(z.im, opposite.im) },
        Complex { re: simd.add_f32s(z.im, opposite.im), im: simd.sub_f32s(opposite.re, z.re) },
    ]
}

/// The inverse of [`split`] without its factor 2: the transform of a + i·b at k and at −k.
#[inline(always)]
fn join<S: Simd>(simd: S, a: Complex<S::f32s>, b: Complex<S::f32s>) -> [Complex<S::f32s>; 2] {
    [
        Complex { re: simd.sub_f32s(a.re, b.im), im: simd.add_f32s(a.im, b.re) },
        Complex { re: simd.add_f32s(a.re, b.im), im: simd.sub_f32s(b.re, a.im) },
    ]
}

/// Factor of number `x` of a row in the row's transform at `column`: exp(−2πi · column · x / P).
/// For the pair (column 0), the two real factors: for column 0, then for column P/2.
#[inline(always)]
fn root_of_row<const P: usize>(roots: &Roots, column: usize, x: usize) -> [f32; 2] {
    match (column, x % 2) {
        (0, 0) => [1.0, 1.0],
        (0, _) => [1.0, -1.0],
        _ => roots.root(column * x % P, P),
    }
}

/// Transforms of rows or columns in tiles of `P` × `P` numbers. One `Tile` serves one kind of
/// transform and maps of one square, since its memory keeps the zeros around a map.
#[derive(Debug)]
pub(super) struct Tile<'a, S: Simd, const P: usize> {
    simd: S,
    roots: &'a Roots,
    transform: Transform<S::f32s, P>,
}

impl<'a, S: Simd, const P: usize> Tile<'a, S, P> {
    #[inline(always)]
    pub(super) fn new(simd: S, roots: &'a Roots) -> Self {
        Self { simd, roots, transform: Transform::new(simd) }
    }

    /// The rows of a block of maps, transformed: `pixels` `[side, side, 16]` → `to`
    /// `[columns, side, 2, 16]`, twice the transforms.
    #[inline(always)]
    pub(super) fn rows(&mut self, Square { side, at }: Square, pixels: &[f32], to: &mut [f32]) {
        let (simd, half) = (self.simd, P / 2);
        for lane in (0..BLOCK).step_by(S::F32_LANES) {
            for row in (0..side).step_by(2) {
                let two = row + 1 < side;
                for (x, z) in self.transform.z[at..at + side].iter_mut().enumerate() {
                    let pixel = (row * side + x) * BLOCK + lane;
                    z.re = load_real::<S>(pixels, pixel);
                    z.im = if two {
                        load_real::<S>(pixels, pixel + side * BLOCK)
                    } else {
                        simd.splat_f32s(0.0)
                    };
                }
                self.transform.run(simd, self.roots);
                let z = &self.transform.out;
                for column in 0..half {
                    let [a, b] = if column == 0 {
                        let (first, middle) = (z[0].add(simd, z[0]), z[half].add(simd, z[half]));
                        [
                            Complex { re: first.re, im: middle.re },
                            Complex { re: first.im, im: middle.im },
                        ]
                    } else {
                        split(simd, z[column], z[P - column])
                    };
                    let to_row = (column * side + row) * COMPLEX_BLOCK;
                    store::<S>(to, to_row, lane, a);
                    if two {
                        store::<S>(to, to_row + COMPLEX_BLOCK, lane, b);
                    }
                }
            }
        }
    }

    /// The inverse of [`Self::rows`] but for scale: `from` `[columns, side, 2, 16]`, columns
    /// `column` numbers apart → `pixels`, times `scale`.
    #[inline(always)]
    pub(super) fn rows_back(
        &mut self,
        Square { side, at }: Square,
        column: usize,
        from: &[f32],
        scale: f32,
        pixels: &mut [f32],
    ) {
        let (simd, half) = (self.simd, P / 2);
        let scale = simd.splat_f32s(scale);
        for lane in (0..BLOCK).step_by(S::F32_LANES) {
            for row in (0..side).step_by(2) {
                let two = row + 1 < side;
                let z = &mut self.transform.z;
                for k in 0..half {
                    let from_row = k * column + row * COMPLEX_BLOCK;
                    let a = load::<S>(block(from, from_row), lane);
                    let b = if two {
                        load::<S>(block(from, from_row + COMPLEX_BLOCK), lane)
                    } else {
                        Complex::zero(simd)
                    };
                    if k == 0 {
                        z[0] = Complex { re: b.re, im: a.re };
                        z[half] = Complex { re: b.im, im: a.im };
                    } else {
                        let [there, opposite] = join(simd, a, b);
                        z[k] = there.swap();
                        z[P - k] = opposite.swap();
                    }
                }
                self.transform.run(simd, self.roots);
                for (x, z) in self.transform.out[at..at + side].iter().enumerate() {
                    let pixel = (row * side + x) * BLOCK + lane;
                    let Complex { re: b, im: a } = *z;
                    store_real::<S>(pixels, pixel, simd.mul_f32s(a, scale));
                    if two {
                        store_real::<S>(pixels, pixel + side * BLOCK, simd.mul_f32s(b, scale));
                    }
                }
            }
        }
    }

    /// One column, transformed: `from` `[side, 2, 16]` → a block at each frequency, `step` numbers
    /// apart in `to`.
    #[inline(always)]
    pub(super) fn column(
        &mut self,
        Square { side, at }: Square,
        number: usize,
        from: &[f32],
        to: &mut [f32],
        step: usize,
    ) {
        for lane in (0..BLOCK).step_by(S::F32_LANES) {
            for (row, z) in self.transform.z[at..at + side].iter_mut().enumerate() {
                *z = load::<S>(block(from, row * COMPLEX_BLOCK), lane);
            }
            self.transform.run(self.simd, self.roots);
            self.put_column(number, false, lane, to, step);
        }
    }

    /// One column of a block of kernels, transformed, or its conjugate: `w` `[K, K, 16]` in the
    /// corner of the tile → a block at each frequency, `step` numbers apart in `to`.
    #[inline(always)]
    pub(super) fn column_of_kernel(
        &mut self,
        side: usize,
        number: usize,
        w: &[f32],
        conjugate: bool,
        to: &mut [f32],
        step: usize,
    ) {
        let simd = self.simd;
        for lane in (0..BLOCK).step_by(S::F32_LANES) {
            for (row, to) in self.transform.z[..side].iter_mut().enumerate() {
                let mut z = Complex::zero(simd);
                for x in 0..side {
                    let w = load_real::<S>(w, (row * side + x) * BLOCK + lane);
                    let [re, im] = root_of_row::<P>(self.roots, number, x);
                    z.re = simd.mul_add_f32s(w, simd.splat_f32s(re), z.re);
                    z.im = simd.mul_add_f32s(w, simd.splat_f32s(im), z.im);
                }
                *to = z;
            }
            if side <= Transform::<S::f32s, P>::REST {
                self.transform.run_of_first(simd, self.roots, side);
            } else {
                self.transform.run(simd, self.roots);
            }
            self.put_column(number, conjugate, lane, to, step);
        }
    }

    /// Writes a transformed column, or its conjugate.
    #[inline(always)]
    fn put_column(&self, number: usize, conjugate: bool, lane: usize, to: &mut [f32], step: usize) {
        let (simd, z) = (self.simd, &self.transform.out);
        if number > 0 {
            for (k, z) in z.iter().enumerate() {
                self.put(*z, conjugate, lane, to, k * step);
            }
            return;
        }
        let by_two = simd.splat_f32s(0.5);
        for k in 0..=P / 2 {
            let both = split(simd, z[k], z[(P - k) % P]);
            for (i, Complex { re, im }) in both.into_iter().enumerate() {
                let half = Complex { re: simd.mul_f32s(re, by_two), im: simd.mul_f32s(im, by_two) };
                self.put(half, conjugate, lane, to, (i * (P / 2 + 1) + k) * step);
            }
        }
    }

    /// Writes a number, or its conjugate, to the block at `at`.
    #[inline(always)]
    fn put(&self, z: Complex<S::f32s>, conjugate: bool, lane: usize, to: &mut [f32], at: usize) {
        let im = if conjugate { self.simd.neg_f32s(z.im) } else { z.im };
        store::<S>(to, at, lane, Complex { re: z.re, im });
    }

    /// The first `n` numbers of a column of the tile from its spectrum but for scale, real and
    /// imaginary parts exchanged.
    #[inline(always)]
    fn swapped_from_spectrum(
        &mut self,
        number: usize,
        from: &[f32],
        step: usize,
        lane: usize,
        n: usize,
    ) -> &[Complex<S::f32s>; P] {
        let simd = self.simd;
        let z = &mut self.transform.z;
        if number > 0 {
            for (k, z) in z.iter_mut().enumerate() {
                *z = load::<S>(block(from, k * step), lane).swap();
            }
        } else {
            let half = P / 2;
            for k in 0..=half {
                let [a, b] = [k, half + 1 + k].map(|k| load::<S>(block(from, k * step), lane));
                let [there, opposite] = join(simd, a, b);
                z[(P - k) % P] = opposite.swap();
                z[k] = there.swap();
            }
        }
        self.transform.run_to_first(simd, self.roots, n);
        &self.transform.out
    }

    /// The inverse of [`Self::column`] but for scale: blocks `step` numbers apart → `to`
    /// `[side, 2, 16]`.
    #[inline(always)]
    pub(super) fn column_back(
        &mut self,
        Square { side, at }: Square,
        number: usize,
        from: &[f32],
        step: usize,
        to: &mut [f32],
    ) {
        for lane in (0..BLOCK).step_by(S::F32_LANES) {
            let z = self.swapped_from_spectrum(number, from, step, lane, P);
            for (row, z) in z[at..at + side].iter().enumerate() {
                store::<S>(to, row * COMPLEX_BLOCK, lane, z.swap());
            }
        }
    }

    /// Adds to `sums` `[side, side, 16]` what one column of the tile contributes to the numbers in
    /// its corner, but for scale; `from` has a block at each of the column's frequencies.
    #[inline(always)]
    pub(super) fn fold(
        &mut self,
        side: usize,
        number: usize,
        from: &[f32],
        step: usize,
        sums: &mut [f32],
    ) {
        // A column stands for itself and for its conjugate on the right, those of the pair for
        // themselves.
        let weight = if number == 0 { 0.5 } else { 1.0 };
        let (simd, roots) = (self.simd, self.roots);
        for lane in (0..BLOCK).step_by(S::F32_LANES) {
            let z = self.swapped_from_spectrum(number, from, step, lane, side);
            for x in 0..side {
                let [re, im] = root_of_row::<P>(roots, number, x).map(|part| weight * part);
                let (re, im) = (simd.splat_f32s(re), simd.splat_f32s(im));
                for (row, z) in z[..side].iter().map(|z| z.swap()).enumerate() {
                    let at = (row * side + x) * BLOCK + lane;
                    let sum = simd.mul_add_f32s(z.re, re, load_real::<S>(sums, at));
                    store_real::<S>(sums, at, simd.mul_add_f32s(z.im, im, sum));
                }
            }
        }
    }
}
