//! Matrix products: the one place of this backend that is unsafe, and where the time goes.
//!
//! The library picks its kernel by what the CPU can do. A product never crosses threads here.

use multiversion::multiversion;

use crate::ops::Accumulate;

/// Depth of one pass. The library's own cut through the depth depends on the other two sizes;
/// cutting first keeps each sum's order, and so its bits, the same for any number of images.
const DEPTH: usize = 512;

/// The kernel that the library picks on this CPU, in the library's own names; `scalar` is many
/// times slower than the others.
///
/// The library does not tell. These are its questions (gemm-f32 0.19, `gemm_fn!`, with `x86-v4`).
pub fn kernel() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "avx512f";
        }
        if std::arch::is_x86_feature_detected!("fma") {
            return "fma";
        }
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        return "neon";
    }
    "scalar"
}

/// A matrix inside a slice: element (r, c) is number `r · row_stride + c · column_stride`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other, `stride` apart.
    pub(super) fn rows(values: &'a [f32], stride: usize) -> Self {
        Self { values, row_stride: stride, column_stride: 1 }
    }

    /// The transpose.
    pub(super) fn t(self) -> Self {
        Self { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    /// The matrix that starts at column `c`.
    fn skip_columns(self, c: usize) -> Self {
        Self { values: &self.values[c * self.column_stride..], ..self }
    }

    /// The matrix that starts at row `r`.
    fn skip_rows(self, r: usize) -> Self {
        self.t().skip_columns(r).t()
    }

    /// Whether every element of `[rows, columns]` lies inside the slice.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        let last = |n: usize, stride: usize| n.checked_sub(1)?.checked_mul(stride);
        let last_row = last(rows, self.row_stride);
        let end = last_row.and_then(|row| row.checked_add(last(columns, self.column_stride)?));
        end.is_some_and(|end| end < self.values.len())
    }
}

/// `c = a · b` or `c += a · b` with `c` `[m, n]` (rows `stride` apart), `a` `[m, k]`, `b` `[k, n]`.
pub(super) fn product(
    [m, n, k]: [usize; 3],
    accumulate: Accumulate,
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    stride: usize,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    let depth = k.div_ceil(k.div_ceil(DEPTH));
    for from in (0..k).step_by(depth) {
        let accumulate = if from == 0 { accumulate } else { Accumulate::Add };
        let sizes = [m, n, depth.min(k - from)];
        pass(sizes, accumulate, a.skip_columns(from), b.skip_rows(from), c, stride);
    }
}

#[expect(unsafe_code, reason = "the library's interface is a raw one")]
fn pass(
    [m, n, k]: [usize; 3],
    accumulate: Accumulate,
    a: Matrix<'_>,
    b: Matrix<'_>,
    c: &mut [f32],
    stride: usize,
) {
    let written = Matrix::rows(c, stride);
    assert!(a.holds(m, k) && b.holds(k, n), "a product reads inside its matrices");
    assert!(written.holds(m, n) && stride >= n, "a product writes inside its matrix");
    // SAFETY: by the asserts no size is 0 and every element of a, b and c lies inside its slice;
    // lengths of slices fit isize, so the strides of more than one row or column do. Elements of c
    // don't overlap (stride ≥ n), and c is borrowed exclusively, so it overlaps neither a nor b.
    // All of it is initialized f32.
    unsafe {
        // Of the library's crates only the one of f32, which its front (`gemm::gemm`) calls in the
        // same way: with a column-major c, so a row-major product is passed as its transpose.
        let (m, n, a, b) = if stride > 1 { (n, m, b.t(), a.t()) } else { (m, n, a, b) };
        let (column_stride, row_stride) = if stride > 1 { (stride, 1) } else { (1, stride) };
        gemm_f32::gemm::f32::get_gemm_fn()(
            m,
            n,
            k,
            c.as_mut_ptr(),
            column_stride as isize,
            row_stride as isize,
            accumulate == Accumulate::Add,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm_common::Parallelism::None,
        );
    }
}

/// Writes (or adds) `from` `[rows, columns]` to `to` `[columns, rows]`; rows lie `…_stride` apart.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn transpose(
    accumulate: Accumulate,
    [rows, columns]: [usize; 2],
    from: &[f32],
    from_stride: usize,
    to: &mut [f32],
    to_stride: usize,
) {
    const TILE: usize = 16; // both sides of a tile stay in the first-level cache
    for row in (0..rows).step_by(TILE) {
        let end = rows.min(row + TILE);
        for column in (0..columns).step_by(TILE) {
            for c in column..columns.min(column + TILE) {
                let from = from[row * from_stride + c..].iter().step_by(from_stride);
                let to = to[c * to_stride + row..c * to_stride + end].iter_mut().zip(from);
                match accumulate {
                    Accumulate::Overwrite => to.for_each(|(to, from)| *to = *from),
                    Accumulate::Add => to.for_each(|(to, from)| *to += from),
                }
            }
        }
    }
}
