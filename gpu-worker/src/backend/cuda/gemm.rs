//! Sizes that all matrix products share (gemm_tile.cu), and the split of their depth (split-K).

use super::Floats;
use crate::error::Result;
use crate::ops::{Accumulate, Epilogue};
use model::recipe::Activation;

/// Outputs of a block's tile.
pub const ROWS: usize = 64;
/// Outputs of a block's tile.
pub const COLUMNS: usize = 128;
/// Depth that a block holds at once.
pub const STRIP: usize = 8;
/// Threads of a block.
pub const THREADS: u32 = 128;

/// Multiprocessors of an A100, for which splits are chosen. A constant, since bits depend on it.
pub const MULTIPROCESSORS: usize = 108;
/// Blocks that a launch whose sums may be cut should have: as many as run at once, in one wave.
const BLOCKS: usize = 3 * MULTIPROCESSORS;
/// Fewest blocks that keep every multiprocessor busy.
const FEWEST: usize = 2 * MULTIPROCESSORS;

/// Split-K of a product: `count` splits of `strips` strips each, the last one shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Splits {
    /// Number of splits.
    pub count: usize,
    /// Strips of one split.
    pub strips: usize,
}

/// A matrix product as it is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Product {
    /// Rows of the outputs.
    pub rows: usize,
    /// Columns of the outputs.
    pub columns: usize,
    /// Products of a sum.
    pub depth: usize,
    /// Independent products, of groups of maps.
    pub groups: usize,
    /// Split of the depth.
    pub splits: Splits,
}

impl Product {
    /// Column tiles, row tiles, groups within splits.
    pub(super) fn grid(&self) -> [usize; 3] {
        let (rows, columns) = (self.rows.div_ceil(ROWS), self.columns.div_ceil(COLUMNS));
        [columns, rows, self.groups * self.splits.count]
    }

    /// Blocks of the launch.
    pub fn blocks(&self) -> usize {
        self.grid().into_iter().product()
    }

    /// Multiplications that are asked for, and those that whole tiles and strips make.
    pub fn multiplications(&self) -> (usize, usize) {
        let Self { rows, columns, depth, groups, .. } = *self;
        let whole = rows.next_multiple_of(ROWS) * columns.next_multiple_of(COLUMNS) * padded(depth);
        (groups * rows * columns * depth, groups * whole)
    }
}

impl Splits {
    /// For sums of `depth` products in a launch of `tiles` tiles before the cut.
    pub(super) fn new(depth: usize, tiles: usize) -> Self {
        // Fewer than eight strips are not worth the partial sums' way through memory.
        let strips = depth.div_ceil(STRIP).max(1);
        let tiles = tiles.max(1);
        let count = (BLOCKS / tiles).max(FEWEST.div_ceil(tiles)).clamp(1, strips.div_ceil(8));
        let strips_per_split = strips.div_ceil(count);
        Self { count: strips.div_ceil(strips_per_split), strips: strips_per_split }
    }

    /// The most numbers that all partial sums of `outputs` outputs take, however deep they are and
    /// however few of the outputs one launch makes: with more than one split, blocks are few.
    pub(super) fn most(outputs: usize) -> usize {
        outputs.max(BLOCKS.max(2 * FEWEST) * ROWS * COLUMNS)
    }
}

/// Partial sums `[splits, n]` of a tensor of n numbers, in working memory from number `at` on.
pub(super) struct Partial<'a> {
    pub(super) work: &'a Floats,
    pub(super) at: usize,
    pub(super) splits: Splits,
}

/// Epilogue as the kernels take it.
pub(super) struct KernelEpilogue<'a> {
    pub(super) accumulate: Accumulate,
    pub(super) bias: Option<&'a Floats>,
    pub(super) activation: usize,
}

impl KernelEpilogue<'_> {
    /// The sums as they are.
    pub(super) const NONE: Self =
        Self { accumulate: Accumulate::Overwrite, bias: None, activation: 0 };
}

/// Depth padded to whole strips.
pub(super) fn padded(depth: usize) -> usize {
    depth.next_multiple_of(STRIP)
}

/// The kernels' flag: 1 adds to the destination, 0 overwrites it.
pub(super) fn adds(accumulate: Accumulate) -> usize {
    usize::from(accumulate == Accumulate::Add)
}

/// Bias and the activation's number in epilogue.cu, after a look at the bias's length.
pub(super) fn kernel_epilogue<'a>(
    accumulate: Accumulate,
    epilogue: Option<&Epilogue<'a, Floats>>,
    len: usize,
) -> Result<KernelEpilogue<'a>> {
    let Some(Epilogue { bias, activation }) = epilogue else {
        return Ok(KernelEpilogue { accumulate, ..KernelEpilogue::NONE });
    };
    bias.exactly(len)?;
    let activation = match activation {
        None => 0,
        Some(Activation::Relu) => 1,
        Some(Activation::Tanh) => 2,
    };
    Ok(KernelEpilogue { accumulate, bias: Some(bias), activation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_cover_the_depth_and_none_is_empty() {
        for depth in [1, 7, 8, 9, 1152, 4608, 93_312, 387_200] {
            for tiles in [1, 3, 16, 27, 432, 5000] {
                let Splits { count, strips } = Splits::new(depth, tiles);
                assert!(count * strips >= depth.div_ceil(STRIP), "{depth} {tiles}");
                assert!((count - 1) * strips < depth.div_ceil(STRIP), "{depth} {tiles}");
                assert!(count == 1 || count * tiles <= BLOCKS.max(2 * FEWEST), "{depth} {tiles}");
            }
        }
    }
}
