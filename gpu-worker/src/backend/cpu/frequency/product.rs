//! Products of spectra: sums of complex products, in the layout in which the transforms leave them.

use pulp::Simd;

use super::super::unroll::unrolled;
use super::fft::Complex;

/// Maps in a block. At each frequency, a block has the real parts of its 16 maps, then their
/// imaginary parts.
pub(super) const BLOCK: usize = 16;

/// Numbers of a block at one frequency.
pub(super) const COMPLEX_BLOCK: usize = 2 * BLOCK;

/// The block that starts at number `at`.
#[inline(always)]
pub(super) fn block(values: &[f32], at: usize) -> &[f32; COMPLEX_BLOCK] {
    match values[at..].first_chunk() {
        Some(block) => block,
        None => unreachable!("every block is whole"),
    }
}

#[inline(always)]
fn block_mut(values: &mut [f32], at: usize) -> &mut [f32; COMPLEX_BLOCK] {
    match values[at..].first_chunk_mut() {
        Some(block) => block,
        None => unreachable!("every block is whole"),
    }
}

/// The complex numbers of a block in the lanes from `lane`.
#[inline(always)]
pub(super) fn load<S: Simd>(block: &[f32; COMPLEX_BLOCK], lane: usize) -> Complex<S::f32s> {
    let part = |at: usize| S::as_simd_f32s(&block[at..at + S::F32_LANES]).0[0];
    Complex { re: part(lane), im: part(BLOCK + lane) }
}

/// Writes the complex numbers of the block at `at` in the lanes from `lane`.
#[inline(always)]
pub(super) fn store<S: Simd>(to: &mut [f32], at: usize, lane: usize, value: Complex<S::f32s>) {
    let to = block_mut(to, at);
    S::as_mut_simd_f32s(&mut to[lane..lane + S::F32_LANES]).0[0] = value.re;
    S::as_mut_simd_f32s(&mut to[BLOCK + lane..BLOCK + lane + S::F32_LANES]).0[0] = value.im;
}

/// Adds `s · conj(v)` to a sum, lane by lane; `s` is one number for all lanes.
macro_rules! accumulate {
    ($simd:ident, $sum:expr, [$re:expr, $im:expr], $v:ident) => {{
        let (re, im) = ($simd.splat_f32s($re), $simd.splat_f32s($im));
        $sum.re = $simd.mul_add_f32s(im, $v.im, $simd.mul_add_f32s(re, $v.re, $sum.re));
        $sum.im = $simd.negate_mul_add_f32s(re, $v.im, $simd.mul_add_f32s(im, $v.re, $sum.im));
    }};
}

/// Sizes of one frequency's product over maps.
#[derive(Debug, Clone, Copy)]
pub(super) struct OverMaps {
    /// Maps that are summed over.
    pub(super) depth: usize,
    /// Images.
    pub(super) images: usize,
    /// Numbers from one image's blocks to the next one's.
    pub(super) image: usize,
}

/// `y[n] = Σ x[n][i] · conj(w[i])`: at one frequency, sums over maps i for every image n and lane.
/// `x` holds blocks of maps per image, `w` a block per map i, `y` a block per image.
#[inline(always)]
pub(super) fn over_maps<S: Simd>(simd: S, sizes: OverMaps, x: &[f32], w: &[f32], y: &mut [f32]) {
    let w = &w[..sizes.depth * COMPLEX_BLOCK];
    for lane in (0..BLOCK).step_by(S::F32_LANES) {
        let mut n = 0;
        while n < sizes.images {
            let (x, y) = (&x[n * sizes.image..], &mut y[n * COMPLEX_BLOCK..]);
            // Computes as many sums at once as fit the registers.
            n += match sizes.images - n {
                8.. if S::REGISTER_COUNT >= 32 => maps_of::<S, 8>(simd, sizes, x, w, lane, y),
                4.. => maps_of::<S, 4>(simd, sizes, x, w, lane, y),
                _ => maps_of::<S, 1>(simd, sizes, x, w, lane, y),
            };
        }
    }
}

#[inline(always)]
fn maps_of<S: Simd, const N: usize>(
    simd: S,
    sizes: OverMaps,
    x: &[f32],
    w: &[f32],
    lane: usize,
    y: &mut [f32],
) -> usize {
    let mut sums = [Complex::zero(simd); N];
    let mut rows = w.chunks_exact(COMPLEX_BLOCK);
    for from in (0..sizes.depth).step_by(BLOCK) {
        let x: [&[f32; COMPLEX_BLOCK]; N] =
            std::array::from_fn(|n| block(x, n * sizes.image + from * 2));
        for i in 0..BLOCK {
            let Some(row) = rows.next() else { break };
            let v = load::<S>(block(row, 0), lane);
            unrolled!(N, J => accumulate!(simd, sums[J], [x[J][i], x[J][BLOCK + i]], v));
        }
    }
    for (sum, y) in sums.into_iter().zip(y.chunks_exact_mut(COMPLEX_BLOCK)) {
        store::<S>(y, 0, lane, sum);
    }
    N
}

/// Sizes of one frequency's product over images.
#[derive(Debug, Clone, Copy)]
pub(super) struct OverImages {
    /// Images that are summed over.
    pub(super) images: usize,
    /// Numbers from one image's blocks to the next one's, of x and of dy.
    pub(super) x_image: usize,
    pub(super) dy_image: usize,
    /// Maps of x, for each of which a block of dw is written.
    pub(super) maps: usize,
}

/// `dw[i] = Σ x[n][i] · conj(dy[n])`: at one frequency, sums over images n for every map i and lane
/// of one block of dy. `dw` holds a block per map.
#[inline(always)]
pub(super) fn over_images<S: Simd>(
    simd: S,
    sizes: OverImages,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
) {
    const N: usize = 8;
    for lane in (0..BLOCK).step_by(S::F32_LANES) {
        for (b, dw) in
            dw[..sizes.maps * COMPLEX_BLOCK].chunks_mut(BLOCK * COMPLEX_BLOCK).enumerate()
        {
            let x = &x[b * COMPLEX_BLOCK..];
            for (i, dw) in dw.chunks_mut(N * COMPLEX_BLOCK).enumerate() {
                if S::REGISTER_COUNT >= 32 {
                    images_of::<S, N>(simd, sizes, x, dy, i * N, lane, dw);
                } else {
                    let (first, second) = dw.split_at_mut(dw.len().min(N / 2 * COMPLEX_BLOCK));
                    images_of::<S, 4>(simd, sizes, x, dy, i * N, lane, first);
                    images_of::<S, 4>(simd, sizes, x, dy, i * N + 4, lane, second);
                }
            }
        }
    }
}

/// The sums for `N` maps of a block of x, from map `first`. Maps beyond the end of `dw` are not
/// written.
#[inline(always)]
fn images_of<S: Simd, const N: usize>(
    simd: S,
    sizes: OverImages,
    x: &[f32],
    dy: &[f32],
    first: usize,
    lane: usize,
    dw: &mut [f32],
) {
    let mut sums = [Complex::zero(simd); N];
    for n in 0..sizes.images {
        let v = load::<S>(block(dy, n * sizes.dy_image), lane);
        let x = block(x, n * sizes.x_image);
        let part = |at: usize| -> &[f32; N] {
            match x[at..].first_chunk() {
                Some(part) => part,
                None => unreachable!("a block has 16 maps"),
            }
        };
        let (re, im) = (part(first), part(BLOCK + first));
        unrolled!(N, J => accumulate!(simd, sums[J], [re[J], im[J]], v));
    }
    for (sum, dw) in sums.into_iter().zip(dw.chunks_exact_mut(COMPLEX_BLOCK)) {
        store::<S>(dw, 0, lane, sum);
    }
}
