//! Results derived from a buffer's numbers, kept until the numbers change. The weights are
//! rearranged into blocks once per direction and step, and every micro-batch reads them. The
//! transformed rows of the outputs' gradient are read by the gradients of the inputs and of the
//! weights.

use std::ops::Range;

use super::product::BLOCK;
use super::{Cpu, Direction, Floats, Frequency, Maps, tile};
use crate::backend::cpu::Grown;
use crate::error::Result;
use crate::ops::Images;

/// Results that were computed from a buffer's numbers.
#[derive(Debug, Default)]
pub(in super::super) struct Spectra {
    /// Weights in blocks, one entry per range of inputs.
    of_weights: Vec<OfWeights>,
    of_maps: OfMaps,
}

/// Weights in blocks, for one direction at a time: a step needs them forward, then backward, and
/// the update between two steps changes them.
#[derive(Debug)]
struct OfWeights {
    /// The convolution and its range of inputs.
    of: Frequency,
    /// The direction for which the values are valid.
    direction: Option<Direction>,
    values: Grown,
}

#[derive(Debug, Default)]
struct OfMaps {
    /// The numbers whose transformed rows are kept, with their maps and the tile's side.
    of: Option<(Range<usize>, Maps, usize)>,
    values: Grown,
}

impl Spectra {
    /// Discards the results that depend on the numbers in `changed`.
    pub(in super::super) fn forget(&mut self, changed: &Range<usize>) {
        self.of_weights.iter_mut().for_each(|one| one.direction = None);
        if let Some((of, ..)) = &self.of_maps.of
            && of.start < changed.end
            && changed.start < of.end
        {
            self.of_maps.of = None;
        }
    }

    /// The weights `w` `[groups, maps, row]` as `[groups, blocks, maps summed over, K, K, 16]`.
    pub(super) fn of_weights(
        &mut self,
        sizes: &Frequency,
        direction: Direction,
        w: &[f32],
    ) -> &[f32] {
        let taps = sizes.taps();
        let at = self.of_weights.iter().position(|one| one.of == *sizes).unwrap_or_else(|| {
            let (of, values) = (sizes.clone(), Grown::default());
            self.of_weights.push(OfWeights { of, direction: None, values });
            self.of_weights.len() - 1
        });
        let OfWeights { direction: valid, values, .. } = &mut self.of_weights[at];
        let [from, to] = sizes.ends(direction);
        let block = from.n * taps * BLOCK;
        let values = values.take(sizes.groups * to.blocks() * block);
        if *valid == Some(direction) {
            return values;
        }
        *valid = None;
        // In the backward direction, the maps of a block and those summed over are exchanged.
        let (lane, depth) = match direction {
            Direction::Forward => (sizes.row, taps),
            Direction::Backward => (taps, sizes.row),
        };
        let groups = w.chunks_exact(sizes.maps * sizes.row);
        for (w, values) in groups.zip(values.chunks_exact_mut(to.blocks() * block)) {
            for (b, values) in values.chunks_exact_mut(block).enumerate() {
                for (i, values) in values.chunks_exact_mut(taps * BLOCK).enumerate() {
                    let w = &w[sizes.at + b * BLOCK * lane + i * depth..];
                    tile::spread(BLOCK.min(to.n - b * BLOCK), w, lane, values);
                }
            }
        }
        *valid = Some(direction);
        values
    }

    /// Transformed rows of the maps of `images` in `x`, computed unless they are kept. `x` must be
    /// the buffer that these results belong to.
    pub(super) fn of_maps(
        &mut self,
        sizes: &Frequency,
        maps: Maps,
        x: &Floats,
        images: &Images,
        cpu: &mut Cpu,
    ) -> Result<&[f32]> {
        let image = sizes.image(maps);
        let this = Some((images.start * image..images.end * image, maps, sizes.points));
        let OfMaps { of, values } = &mut self.of_maps;
        let values = values.take(images.len() * sizes.image_of_rows(maps));
        if *of != this {
            *of = None;
            cpu.rows_of(sizes, maps, x, images, values)?;
            *of = this;
        }
        Ok(values)
    }
}
