//! Images ⇄ the matrices that convolution multiplies: a row for each (map, y, x) of the kernel, a
//! column for each place of the window.
//!
//! An image is first laid out with its zeros around it and its columns sorted by their remainder
//! modulo the stride. Then what a row of windows reads at one place of the kernel is contiguous,
//! whatever the stride, and no loop has an edge.

use std::ops::Range;

use multiversion::multiversion;

use crate::ops::Conv;

/// Numbers that are copied and added at once. Rows are padded to whole blocks.
pub(super) const BLOCK: usize = 16;

/// Geometry with which one convolution reads `maps` maps.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    conv: Conv,
    maps: usize,
    /// Rows of a padded map.
    rows: usize,
    /// Numbers of one remainder in a padded row.
    pitch: usize,
    /// First number that the first row of windows reads, for each row of the matrix.
    starts: Vec<usize>,
}

impl Windows {
    pub(super) fn new(conv: &Conv, maps: usize) -> Self {
        let Conv { kernel, stride, out_side, .. } = *conv;
        let rows = (out_side - 1) * stride + kernel;
        let pitch = (kernel - 1) / stride + out_side.next_multiple_of(BLOCK);
        let places = (0..maps * rows).filter(|row| row % rows < kernel);
        let starts = places.flat_map(|row| {
            (0..kernel).map(move |x| (row * stride + x % stride) * pitch + x / stride)
        });
        Self { conv: *conv, maps, rows, pitch, starts: starts.collect() }
    }

    /// Rows of the matrix.
    pub(super) fn depth(&self) -> usize {
        self.maps * self.conv.kernel * self.conv.kernel
    }

    /// Numbers of an image in its padded layout.
    pub(super) fn padded_len(&self) -> usize {
        self.maps * self.map()
    }

    /// Rows of windows that a matrix of at most `len` numbers holds, all strips alike.
    pub(super) fn strip(&self, len: usize) -> usize {
        let most = (len / (self.depth() * self.conv.out_side)).max(1);
        let out = self.conv.out_side;
        out.div_ceil(out.div_ceil(most))
    }

    /// Lays out one image, with `around` outside it.
    ///
    /// For the baseline alone: with wider vectors the compiler gathers, which is slower.
    pub(super) fn pad(&self, x: &[f32], around: f32, padded: &mut [f32]) {
        let Conv { side, stride, pad, .. } = self.conv;
        padded.fill(around);
        let maps = x.chunks_exact(side * side).zip(padded.chunks_exact_mut(self.map()));
        for (x, padded) in maps {
            let rows = padded.chunks_exact_mut(stride * self.pitch).skip(pad);
            for (x, row) in x.chunks_exact(side).zip(rows) {
                match stride {
                    1 => self.sort::<1>(x, row),
                    2 => self.sort::<2>(x, row),
                    4 => self.sort::<4>(x, row),
                    _ => self.sort_any(x, row),
                }
            }
        }
    }

    /// Reads one image back out of its padded layout; what no window reads is 0.
    #[inline(always)]
    fn unpad(&self, padded: &[f32], x: &mut [f32]) {
        let Conv { side, stride, pad, .. } = self.conv;
        let maps = padded.chunks_exact(self.map()).zip(x.chunks_exact_mut(side * side));
        for (padded, x) in maps {
            let mut rows = padded.chunks_exact(stride * self.pitch).skip(pad);
            for x in x.chunks_exact_mut(side) {
                match (rows.next(), stride) {
                    (None, _) => x.fill(0.0),
                    (Some(row), 1) => self.mix::<1>(row, x),
                    (Some(row), 2) => self.mix::<2>(row, x),
                    (Some(row), 4) => self.mix::<4>(row, x),
                    (Some(row), _) => self.mix_any(row, x),
                }
            }
        }
    }

    /// Numbers of a padded map.
    fn map(&self) -> usize {
        self.rows * self.conv.stride * self.pitch
    }

    /// Sorts a row's columns by their remainder modulo the stride, fast where the remainders
    /// start alike.
    #[inline(always)]
    fn sort<const STRIDE: usize>(&self, x: &[f32], row: &mut [f32]) {
        if !self.conv.pad.is_multiple_of(STRIDE) {
            return self.sort_any(x, row);
        }
        let skip = self.conv.pad / STRIDE;
        let (groups, rest) = x.as_chunks::<STRIDE>();
        for (remainder, to) in row.chunks_exact_mut(self.pitch).enumerate() {
            for (to, group) in to[skip..].iter_mut().zip(groups) {
                *to = group[remainder];
            }
            if let (Some(last), Some(to)) = (rest.get(remainder), to.get_mut(skip + groups.len())) {
                *to = *last;
            }
        }
    }

    #[inline(always)]
    fn sort_any(&self, x: &[f32], row: &mut [f32]) {
        for (remainder, to) in row.chunks_exact_mut(self.pitch).enumerate() {
            let (skip, first) = self.first(remainder);
            let from = x.get(first..).unwrap_or_default().iter().step_by(self.conv.stride);
            for (to, from) in to[skip..].iter_mut().zip(from) {
                *to = *from;
            }
        }
    }

    /// The inverse of [`Self::sort`].
    #[inline(always)]
    fn mix<const STRIDE: usize>(&self, row: &[f32], x: &mut [f32]) {
        let (groups, rest) = x.as_chunks_mut::<STRIDE>();
        let skip = self.conv.pad / STRIDE;
        if !self.conv.pad.is_multiple_of(STRIDE) || skip + groups.len() >= self.pitch {
            return self.mix_any(row, x);
        }
        let remainders: [&[f32]; STRIDE] =
            std::array::from_fn(|remainder| &row[remainder * self.pitch + skip..][..=groups.len()]);
        for (i, group) in groups.iter_mut().enumerate() {
            for (number, from) in group.iter_mut().zip(remainders) {
                *number = from[i];
            }
        }
        for (number, from) in rest.iter_mut().zip(remainders) {
            *number = from[groups.len()];
        }
    }

    #[inline(always)]
    fn mix_any(&self, row: &[f32], x: &mut [f32]) {
        x.fill(0.0);
        for (remainder, from) in row.chunks_exact(self.pitch).enumerate() {
            let (skip, first) = self.first(remainder);
            let to = x.get_mut(first..).unwrap_or_default().iter_mut().step_by(self.conv.stride);
            for (to, from) in to.zip(&from[skip..]) {
                *to = *from;
            }
        }
    }

    /// Of the padded columns with `remainder`: how many are zeros on the left, and which column
    /// of the image comes then.
    fn first(&self, remainder: usize) -> (usize, usize) {
        let Conv { stride, pad, .. } = self.conv;
        let skip = pad.saturating_sub(remainder).div_ceil(stride);
        (skip, skip * stride + remainder - pad)
    }

    /// First number that row `row` of windows reads, for each row of the matrix.
    #[inline(always)]
    pub(super) fn places(&self, row: usize) -> impl Iterator<Item = usize> {
        let row = row * self.conv.stride * self.conv.stride * self.pitch;
        self.starts.iter().map(move |start| start + row)
    }

    /// Writes the rows `depths` of the matrix for the rows `rows` of windows.
    #[inline(always)]
    fn gather(
        &self,
        padded: &[f32],
        depths: Range<usize>,
        rows: Range<usize>,
        columns: &mut [f32],
    ) {
        let out = self.conv.out_side;
        let blocks = out.next_multiple_of(BLOCK);
        let step = self.conv.stride * self.conv.stride * self.pitch;
        let mut at = 0;
        for mut from in self.places(rows.start).skip(depths.start).take(depths.len()) {
            for _ in rows.clone() {
                // Whole blocks run into the next row, which is written later; the last rows
                // have no room for that.
                if let Some(to) = columns.get_mut(at..at + blocks) {
                    let (to, _) = to.as_chunks_mut::<BLOCK>();
                    let (from, _) = padded[from..from + blocks].as_chunks::<BLOCK>();
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = *from;
                    }
                } else {
                    columns[at..at + out].copy_from_slice(&padded[from..from + out]);
                }
                at += out;
                from += step;
            }
        }
    }

    /// Adds each number of the matrix to the place it was read from; the inverse of
    /// [`Self::gather`]. `columns` goes on for a block after its end.
    #[inline(always)]
    fn scatter(&self, columns: &[f32], rows: Range<usize>, padded: &mut [f32]) {
        let out = self.conv.out_side;
        let whole = out / BLOCK * BLOCK;
        let step = self.conv.stride * self.conv.stride * self.pitch;
        let mut at = 0;
        for mut to in self.places(rows.start) {
            for _ in rows.clone() {
                let (sums, _) = padded[to..to + whole].as_chunks_mut::<BLOCK>();
                let (add, _) = columns[at..at + whole].as_chunks::<BLOCK>();
                for (sums, add) in sums.iter_mut().zip(add) {
                    for i in 0..BLOCK {
                        sums[i] += add[i];
                    }
                }
                if whole < out {
                    let sums = &mut padded[to + whole..to + whole + BLOCK];
                    let add = &columns[at + whole..at + whole + BLOCK];
                    for i in 0..BLOCK {
                        sums[i] += if i < out - whole { add[i] } else { 0.0 };
                    }
                }
                at += out;
                to += step;
            }
        }
    }
}

/// [`Windows::unpad`], for what this CPU can do.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn unpad(windows: &Windows, padded: &[f32], x: &mut [f32]) {
    windows.unpad(padded, x);
}

/// [`Windows::gather`], for what this CPU can do.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn gather(
    windows: &Windows,
    padded: &[f32],
    depths: Range<usize>,
    rows: Range<usize>,
    columns: &mut [f32],
) {
    windows.gather(padded, depths, rows, columns);
}

/// [`Windows::scatter`], for what this CPU can do.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub(super) fn scatter(windows: &Windows, columns: &[f32], rows: Range<usize>, padded: &mut [f32]) {
    windows.scatter(columns, rows, padded);
}

/// Numbers that a matrix of `len` numbers takes, with the block that follows it.
pub(super) fn with_slack(len: usize) -> usize {
    len + BLOCK
}
