//! Convolution: windows as a matrix, strip by strip so that it stays in the cache, times weights.

use rayon::prelude::*;

use super::bias::finish_maps;
use super::frequency::Finish;
use super::gemm::{Matrix, product, transpose};
use super::windows::{Windows, gather, scatter, unpad, with_slack};
use super::{Cpu, Floats, Scratch};
use crate::backend::Run;
use crate::error::Result;
use crate::ops::{
    Accumulate, Conv, ConvBackwardInputs, ConvBackwardWeights, ConvForward, InputRange,
};

/// Numbers of a strip's matrix. Smaller ones would stay in the second-level cache, but leave the
/// product with strips that don't fill its vectors (13 × 13 maps must go in one).
const STRIP: usize = 320 * 1024;

/// The sizes that all three passes share.
#[derive(Debug)]
struct Sizes {
    windows: Windows,
    groups: usize,
    /// Output maps and input maps of a group.
    maps: usize,
    inputs: usize,
    /// Numbers of a map.
    in_pixels: usize,
    out_pixels: usize,
    out_side: usize,
    /// Numbers of a unit's weights, and where the range's start.
    row: usize,
    at: usize,
}

impl Sizes {
    fn new(conv: &Conv, range: &InputRange) -> Result<Self> {
        conv.check(range)?;
        let kernel = conv.kernel * conv.kernel;
        let inputs = range.0.len() / conv.groups;
        Ok(Self {
            windows: Windows::new(conv, inputs),
            groups: conv.groups,
            maps: conv.maps / conv.groups,
            inputs,
            in_pixels: conv.side * conv.side,
            out_pixels: conv.out_side * conv.out_side,
            out_side: conv.out_side,
            row: conv.inputs / conv.groups * kernel,
            at: range.0.start * kernel,
        })
    }

    /// Numbers of an image's range of the inputs.
    fn x(&self) -> usize {
        self.groups * self.inputs * self.in_pixels
    }

    /// Numbers of an image's outputs.
    fn y(&self) -> usize {
        self.groups * self.maps * self.out_pixels
    }

    fn w(&self) -> usize {
        self.groups * self.maps * self.row
    }

    /// The strips of rows of windows, each with its first column.
    fn strips(&self, strip: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        let out = self.out_side;
        (0..out).step_by(strip).map(move |from| from..(from + strip).min(out))
    }
}

impl Run<ConvForward<'_, Floats>> for Cpu {
    fn run(&mut self, op: ConvForward<'_, Floats>) -> Result<()> {
        let ConvForward { conv, images, x, range, w, accumulate, epilogue, y } = op;
        let sizes = Sizes::new(conv, range)?;
        x.images(&images, sizes.x())?;
        w.exactly(sizes.w())?;
        let bias =
            epilogue.as_ref().map(|epilogue| epilogue.bias.exactly(conv.maps)).transpose()?;
        let activation = epilogue.as_ref().and_then(|epilogue| epilogue.activation);
        let y = y.images_mut(&images, sizes.y())?;
        let finish = Finish { accumulate, bias, activation };
        if let Some(sizes) = self.in_frequency(conv, range) {
            return self.forward_in_frequency(&sizes, &images, x, w, finish, y);
        }
        let (x, w) = (x.images(&images, sizes.x())?, w.exactly(sizes.w())?);
        if let Some(sizes) = self.direct(conv, range) {
            self.forward_direct(&sizes, x, w, finish, y);
            return Ok(());
        }
        let share = self.share(images.len());
        let Cpu { pool, scratch, .. } = self;
        pool.install(|| {
            let work = y.par_chunks_mut(share * sizes.y()).zip(x.par_chunks(share * sizes.x()));
            work.zip(scratch).for_each(|((y, x), scratch)| {
                for (y, x) in y.chunks_exact_mut(sizes.y()).zip(x.chunks_exact(sizes.x())) {
                    forward_image(&sizes, x, w, accumulate, y, scratch);
                    if let Some(bias) = bias {
                        finish_maps(bias, activation, y);
                    }
                }
            });
        });
        Ok(())
    }
}

fn forward_image(
    sizes: &Sizes,
    x: &[f32],
    w: &[f32],
    accumulate: Accumulate,
    y: &mut [f32],
    scratch: &mut Scratch,
) {
    let windows = &sizes.windows;
    let depth = windows.depth();
    let strip = windows.strip(STRIP);
    let padded = scratch.padded.take(windows.padded_len());
    let columns = scratch.columns.take(depth * strip * sizes.out_side);
    let groups = x.chunks_exact(sizes.inputs * sizes.in_pixels);
    let groups = groups.zip(y.chunks_exact_mut(sizes.maps * sizes.out_pixels));
    for ((x, y), w) in groups.zip(w.chunks_exact(sizes.maps * sizes.row)) {
        windows.pad(x, 0.0, padded);
        for rows in sizes.strips(strip) {
            let (at, n) = (rows.start * sizes.out_side, rows.len() * sizes.out_side);
            let columns = &mut columns[..depth * n];
            gather(windows, padded, 0..depth, rows, columns);
            product(
                [sizes.maps, n, depth],
                accumulate,
                Matrix::rows(&w[sizes.at..], sizes.row),
                Matrix::rows(columns, n),
                &mut y[at..],
                sizes.out_pixels,
            );
        }
    }
}

impl Run<ConvBackwardInputs<'_, Floats>> for Cpu {
    fn run(&mut self, op: ConvBackwardInputs<'_, Floats>) -> Result<()> {
        let ConvBackwardInputs { conv, images, dy, w, range, dx } = op;
        let sizes = Sizes::new(conv, range)?;
        dy.images(&images, sizes.y())?;
        w.exactly(sizes.w())?;
        let dx = dx.images_mut(&images, sizes.x())?;
        if let Some(sizes) = self.in_frequency(conv, range) {
            return self.backward_inputs_in_frequency(&sizes, &images, dy, w, dx);
        }
        let (dy, w) = (dy.images(&images, sizes.y())?, w.exactly(sizes.w())?);
        let share = self.share(images.len());
        let Cpu { pool, scratch, .. } = self;
        pool.install(|| {
            let work = dx.par_chunks_mut(share * sizes.x()).zip(dy.par_chunks(share * sizes.y()));
            work.zip(scratch).for_each(|((dx, dy), scratch)| {
                let Scratch { padded, columns, weights, .. } = scratch;
                let weights = weights.take(sizes.groups * sizes.windows.depth() * sizes.maps);
                transpose_weights(&sizes, w, weights);
                let strip = sizes.windows.strip(STRIP);
                let columns =
                    columns.take(with_slack(sizes.windows.depth() * strip * sizes.out_side));
                let padded = padded.take(sizes.windows.padded_len());
                for (dx, dy) in dx.chunks_exact_mut(sizes.x()).zip(dy.chunks_exact(sizes.y())) {
                    backward_inputs_image(&sizes, dy, weights, strip, columns, padded, dx);
                }
            });
        });
        Ok(())
    }
}

/// `[maps, depth]` → `[depth, maps]`, group by group: the product reads along the maps.
fn transpose_weights(sizes: &Sizes, w: &[f32], weights: &mut [f32]) {
    let depth = sizes.windows.depth();
    let groups = w.chunks_exact(sizes.maps * sizes.row);
    for (w, weights) in groups.zip(weights.chunks_exact_mut(depth * sizes.maps)) {
        transpose(
            Accumulate::Overwrite,
            [sizes.maps, depth],
            &w[sizes.at..],
            sizes.row,
            weights,
            sizes.maps,
        );
    }
}

fn backward_inputs_image(
    sizes: &Sizes,
    dy: &[f32],
    weights: &[f32],
    strip: usize,
    columns: &mut [f32],
    padded: &mut [f32],
    dx: &mut [f32],
) {
    let windows = &sizes.windows;
    let depth = windows.depth();
    let groups = dx.chunks_exact_mut(sizes.inputs * sizes.in_pixels);
    let groups = groups.zip(dy.chunks_exact(sizes.maps * sizes.out_pixels));
    for ((dx, dy), weights) in groups.zip(weights.chunks_exact(depth * sizes.maps)) {
        padded.fill(0.0);
        for rows in sizes.strips(strip) {
            let (at, n) = (rows.start * sizes.out_side, rows.len() * sizes.out_side);
            product(
                [depth, n, sizes.maps],
                Accumulate::Overwrite,
                Matrix::rows(weights, sizes.maps),
                Matrix::rows(&dy[at..], sizes.out_pixels),
                columns,
                n,
            );
            scatter(windows, columns, rows, padded);
        }
        unpad(windows, padded, dx);
    }
}

impl Run<ConvBackwardWeights<'_, Floats>> for Cpu {
    fn run(&mut self, op: ConvBackwardWeights<'_, Floats>) -> Result<()> {
        op.check()?;
        let ConvBackwardWeights { conv, images, x, range, dy, accumulate, dw } = op;
        let sizes = Sizes::new(conv, range)?;
        x.images(&images, sizes.x())?;
        dy.images(&images, sizes.y())?;
        let dw = dw.exactly_mut(sizes.w())?;
        if let Some(sizes) = self.in_frequency(conv, range) {
            return self.backward_weights_in_frequency(&sizes, &images, x, dy, accumulate, dw);
        }
        let x = x.images(&images, sizes.x())?;
        let dy = dy.images(&images, sizes.y())?;
        if let Some(sizes) = self.direct(conv, range) {
            self.backward_weights_direct(&sizes, x, dy, accumulate, dw);
            return Ok(());
        }
        if accumulate == Accumulate::Overwrite {
            for row in dw.chunks_exact_mut(sizes.row) {
                row[sizes.at..sizes.at + sizes.windows.depth()].fill(0.0);
            }
        }
        let windows = &sizes.windows;
        let strip = windows.strip(STRIP);
        let (depth_share, map_share) = (self.share(windows.depth()), self.share(sizes.maps));
        let Cpu { pool, scratch, .. } = self;
        let Some(Scratch { padded, columns, .. }) = scratch.first_mut() else { return Ok(()) };
        let padded = padded.take(windows.padded_len());
        let columns = columns.take(windows.depth() * strip * sizes.out_side);
        // Every thread writes its share of the matrix, then of the maps: no sum crosses threads.
        pool.install(|| {
            for (x, dy) in x.chunks_exact(sizes.x()).zip(dy.chunks_exact(sizes.y())) {
                let groups = x.chunks_exact(sizes.inputs * sizes.in_pixels);
                let groups = groups.zip(dy.chunks_exact(sizes.maps * sizes.out_pixels));
                for ((x, dy), dw) in groups.zip(dw.chunks_exact_mut(sizes.maps * sizes.row)) {
                    windows.pad(x, 0.0, padded);
                    for rows in sizes.strips(strip) {
                        let (at, n) = (rows.start * sizes.out_side, rows.len() * sizes.out_side);
                        let columns = &mut columns[..windows.depth() * n];
                        columns.par_chunks_mut(depth_share * n).enumerate().for_each(
                            |(i, columns)| {
                                let from = i * depth_share;
                                let depths = from..from + columns.len() / n;
                                gather(windows, padded, depths, rows.clone(), columns);
                            },
                        );
                        dw.par_chunks_mut(map_share * sizes.row).enumerate().for_each(|(i, dw)| {
                            product(
                                [dw.len() / sizes.row, windows.depth(), n],
                                Accumulate::Add,
                                Matrix::rows(
                                    &dy[i * map_share * sizes.out_pixels + at..],
                                    sizes.out_pixels,
                                ),
                                Matrix::rows(columns, n).t(),
                                &mut dw[sizes.at..],
                                sizes.row,
                            );
                        });
                    }
                }
            }
        });
        Ok(())
    }
}
