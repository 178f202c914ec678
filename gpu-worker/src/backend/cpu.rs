//! The CPU: the reference for every kernel, and the default where there is no GPU.
//!
//! Every method returns when its work is done. Work is divided into fixed shares, one per thread,
//! and each sum is computed within one share, so every run gives the same bits. Micro-batches
//! change only the bits of weight gradients, which are summed micro-batch by micro-batch. This file
//! is the list of operations; each has its own file. Their loops are compiled for several sets of
//! vector instructions (`multiversion`, `pulp`); the set is chosen at run time. Loops of
//! `multiversion` never fuse multiply and add, loops of `pulp` always do, so all sets give the same
//! bits.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes as Piece;
use model::recipe::Encoding;
use pulp::Arch;
use rayon::prelude::*;

use super::{Backend, Buffers, Download};
use crate::error::Result;
use crate::watch::Watch;

mod buffer; // memory, and every check of a length
mod gemm; // the one unsafe call: matrix products
mod windows; // images ⇄ the matrices that convolution multiplies
mod unroll; // unrolled loops
mod direct; // convolution without copies
mod frequency; // convolution with fewer multiplications
mod conv;
mod fc;
mod bias;
mod activation;
mod lrn;
mod pool;
mod lrn_pool; // the two above as one
mod dropout;
mod scale;
mod add;
mod softmax;
mod input;
mod sgd;
mod transfer;

use frequency::Roots;

pub use buffer::{Bytes, Floats};
pub use gemm::kernel as product_kernel;

/// Method by which a CPU computes convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Convolution {
    /// For each convolution, the method that its sizes promise to be fastest.
    #[default]
    Fastest,
    /// A matrix product of the weights with a copy of all windows.
    Product,
    /// Sums without a copy of the windows; gradients of inputs as with `Product`.
    Direct,
    /// In the frequency domain where the stride is 1 and maps fit a tile, otherwise as with
    /// `Product`.
    Frequency,
}

/// The CPU as a device.
#[derive(Debug)]
pub struct Cpu {
    name: String,
    pool: rayon::ThreadPool,
    convolution: Convolution,
    /// Vector instructions for convolutions that are not computed as products.
    arch: Arch,
    /// One per thread, grown on first use and kept.
    scratch: Vec<Scratch>,
    /// Transformed rows of a convolution's input, and columns of its result.
    rows: [Grown; 2],
    roots: Roots,
    watch: Watch,
}

/// Working memory of one thread.
#[derive(Debug, Default)]
struct Scratch {
    padded: Grown,
    columns: Grown,
    weights: Grown,
    // For convolutions without products:
    pixels: Grown,
    maps: Grown,
    products: Grown,
    sums: Grown,
}

/// Memory that only grows.
#[derive(Debug, Default)]
struct Grown(Vec<f32>);

impl Grown {
    /// The first `len` numbers, whatever they hold.
    fn take(&mut self, len: usize) -> &mut [f32] {
        if self.0.len() < len {
            self.0.resize(len, 0.0);
        }
        &mut self.0[..len]
    }
}

impl Cpu {
    /// The CPU with `threads` threads of its own; 0 counts as 1.
    ///
    /// # Panics
    /// If the system refuses to start a thread.
    pub fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("cpu-{i}"))
            .build()
            .expect("a process that cannot start a thread cannot work");
        let plural = if threads == 1 { "" } else { "s" };
        Self {
            name: format!("cpu ({}, {threads} thread{plural})", cpu_model()),
            pool,
            convolution: Convolution::default(),
            arch: Arch::new(),
            scratch: std::iter::repeat_with(Scratch::default).take(threads).collect(),
            rows: Default::default(),
            roots: Roots::new(),
            watch: Watch::default(),
        }
    }

    /// This CPU, but computing all convolutions by one method where possible: for tests and
    /// benchmarks.
    #[must_use]
    pub fn convolving(self, convolution: Convolution) -> Self {
        Self { convolution, ..self }
    }

    /// This CPU, but with the next narrower vectors for convolutions, if there are any: for tests.
    #[must_use]
    pub fn with_narrower_vectors(self) -> Option<Self> {
        let arch = match self.arch {
            Arch::Scalar => return None,
            #[cfg(target_arch = "x86_64")]
            Arch::V4(_) => pulp::x86::V3::try_new().map(Arch::V3)?,
            _ => Arch::Scalar,
        };
        Some(Self { arch, ..self })
    }

    /// True if the CPU has fused multiply-add for vectors. Without it, every multiply-add would be
    /// a function call.
    fn fuses(&self) -> bool {
        !matches!(self.arch, Arch::Scalar)
    }

    fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// Number of items out of `n` that one thread gets.
    fn share(&self, n: usize) -> usize {
        n.div_ceil(self.threads()).max(1)
    }

    /// Changes `y`, `n` items of equal length, share by share; `work` gets the share and the
    /// number of its first item.
    fn each(&self, n: usize, y: &mut [f32], work: impl Fn(&mut [f32], usize) + Send + Sync) {
        let share = self.share(n);
        let len = y.len() / n.max(1);
        self.pool.install(|| {
            y.par_chunks_mut((share * len).max(1))
                .enumerate()
                .for_each(|(i, y)| work(y, i * share));
        });
    }
}

/// The processor's name as the system gives it.
fn cpu_model() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

impl Buffers for Cpu {
    type Floats = Floats;
    type Bytes = Bytes;
}

impl Backend for Cpu {
    type Mark = Instant;

    // The gradients of weights and of inputs read the same transformed rows of the outputs'
    // gradient.
    const WEIGHTS_FOLLOW_INPUTS: bool = true;
    const STORES_NORMALIZED: bool = false;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn watch(&self) -> &Watch {
        &self.watch
    }

    fn floats(&mut self, tensor: &'static str, len: usize) -> Result<Floats> {
        Floats::zeros(tensor, len)
    }

    fn bytes(&mut self, tensor: &'static str, len: usize) -> Result<Bytes> {
        Bytes::zeros(tensor, len)
    }

    fn upload(
        &mut self,
        from: &[Piece],
        encoding: Encoding,
        exponent: i32,
        to: &mut Floats,
        at: usize,
    ) -> Result<()> {
        transfer::upload(from, encoding, exponent, to, at)
    }

    fn upload_bytes(&mut self, from: &[Piece], to: &mut Bytes) -> Result<()> {
        transfer::upload_bytes(from, to)
    }

    fn download(
        &mut self,
        from: &Floats,
        range: Range<usize>,
        encoding: Encoding,
    ) -> Result<Download> {
        transfer::download(from, range, encoding).map(Download::Ready)
    }

    fn mark(&mut self) -> Result<Instant> {
        Ok(Instant::now())
    }

    fn ms_between(&mut self, from: &Instant, to: &Instant) -> Result<f64> {
        Ok(to.saturating_duration_since(*from).as_secs_f64() * 1e3)
    }

    fn passed(&mut self, _: &Instant) -> Result<bool> {
        Ok(true)
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
