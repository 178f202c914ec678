//! Images ⇄ the matrices that convolution multiplies: a row for each (map, y, x) of the kernel, a
//! column for each place of the window.
//!
//! An image is first laid out with its zeros around it and its columns sorted by their remainder
//! modulo the stride. Then what a row of windows reads at one place of the kernel is contiguous,
//! whatever the stride, and no loop has an edge.

use std::ops::Range;

use crate::backend::Conv;

/// Numbers that are copied and added at once. Rows are padded to whole blocks.
pub(super) const BLOCK: usize = 16;

/// How one convolution reads `maps` maps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    conv: Conv,
    maps: usize,
    /// Rows of a padded map.
    rows: usize,
    /// Numbers of one remainder in a padded row.
    pitch: usize,
}

impl Windows {
    pub(super) fn new(conv: &Conv, maps: usize) -> Self {
        let blocks = conv.out_side.next_multiple_of(BLOCK);
        Self {
            conv: *conv,
            maps,
            rows: (conv.out_side - 1) * conv.stride + conv.kernel,
            pitch: (conv.kernel - 1) / conv.stride + blocks,
        }
    }

    /// Rows of the matrix.
    pub(super) fn depth(&self) -> usize {
        self.maps * self.conv.kernel * self.conv.kernel
    }

    /// Numbers of an image in its padded layout.
    pub(super) fn padded_len(&self) -> usize {
        self.maps * self.rows * self.conv.stride * self.pitch
    }

    /// Rows of windows that a matrix of at most `len` numbers holds, all strips alike.
    pub(super) fn strip(&self, len: usize) -> usize {
        let most = (len / (self.depth() * self.conv.out_side)).max(1);
        let out = self.conv.out_side;
        out.div_ceil(out.div_ceil(most))
    }

    /// Lays out one image, with `around` outside it.
    #[inline(always)]
    pub(super) fn pad(&self, x: &[f32], around: f32, padded: &mut [f32]) {
        let Conv { side, stride, pad, .. } = self.conv;
        padded.fill(around);
        for (x, padded) in self.pairs(x, padded) {
            for (r, row) in padded.chunks_exact_mut(stride * self.pitch).enumerate().skip(pad) {
                let Some(x) = x.chunks_exact(side).nth(r - pad) else { break };
                for (remainder, to) in row.chunks_exact_mut(self.pitch).enumerate() {
                    let (skip, first) = self.first(remainder);
                    let from = x.get(first..).unwrap_or_default();
                    if stride == 1 {
                        let n = from.len().min(to.len() - skip);
                        to[skip..skip + n].copy_from_slice(&from[..n]);
                    } else {
                        for (to, from) in to[skip..].iter_mut().zip(from.iter().step_by(stride)) {
                            *to = *from;
                        }
                    }
                }
            }
        }
    }

    /// Reads one image back out of its padded layout; what no window reads is 0.
    #[inline(always)]
    pub(super) fn unpad(&self, padded: &[f32], x: &mut [f32]) {
        let Conv { side, stride, pad, .. } = self.conv;
        x.fill(0.0);
        let (image, map) = (side * side, self.rows * stride * self.pitch);
        for (padded, x) in padded.chunks_exact(map).zip(x.chunks_exact_mut(image)) {
            let rows = padded.chunks_exact(stride * self.pitch).skip(pad);
            for (row, x) in rows.zip(x.chunks_exact_mut(side)) {
                for (remainder, from) in row.chunks_exact(self.pitch).enumerate() {
                    let (skip, first) = self.first(remainder);
                    let to = x.get_mut(first..).unwrap_or_default();
                    if stride == 1 {
                        let n = to.len().min(from.len() - skip);
                        to[..n].copy_from_slice(&from[skip..skip + n]);
                    } else {
                        for (to, from) in to.iter_mut().step_by(stride).zip(&from[skip..]) {
                            *to = *from;
                        }
                    }
                }
            }
        }
    }

    fn pairs<'a>(
        &self,
        x: &'a [f32],
        padded: &'a mut [f32],
    ) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> {
        let map = self.rows * self.conv.stride * self.pitch;
        x.chunks_exact(self.conv.side * self.conv.side).zip(padded.chunks_exact_mut(map))
    }

    /// Of the padded columns with `remainder`: how many are zeros on the left, and which column
    /// of the image comes then.
    fn first(&self, remainder: usize) -> (usize, usize) {
        let Conv { stride, pad, .. } = self.conv;
        let skip = pad.saturating_sub(remainder).div_ceil(stride);
        (skip, skip * stride + remainder - pad)
    }

    /// Where row `row` of windows starts to read for row `depth` of the matrix.
    #[inline(always)]
    pub(super) fn place(&self, depth: usize, row: usize) -> usize {
        let Conv { kernel, stride, .. } = self.conv;
        let (map, y, x) = (depth / (kernel * kernel), depth / kernel % kernel, depth % kernel);
        let row = map * self.rows + row * stride + y;
        (row * stride + x % stride) * self.pitch + x / stride
    }

    /// Writes the rows `depths` of the matrix for the rows `rows` of windows.
    #[inline(always)]
    pub(super) fn columns(
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
        for depth in depths {
            let mut from = self.place(depth, rows.start);
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
    /// [`Self::columns`]. `columns` goes on for a block after its end.
    #[inline(always)]
    pub(super) fn add_columns(&self, columns: &[f32], rows: Range<usize>, padded: &mut [f32]) {
        let out = self.conv.out_side;
        let whole = out / BLOCK * BLOCK;
        let step = self.conv.stride * self.conv.stride * self.pitch;
        let mut at = 0;
        for depth in 0..self.depth() {
            let mut to = self.place(depth, rows.start);
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

/// Numbers that a matrix of `len` numbers takes, with the block that follows it.
pub(super) fn with_slack(len: usize) -> usize {
    len + BLOCK
}
