//! The CPU: the reference for every kernel, and the default where there is no GPU.
//!
//! Everything has run when a method returns. Work is cut into fixed shares, one a thread, and no
//! sum ever crosses two shares: the bits are the same every run, and the same however a minibatch
//! is sliced (weight and bias gradients excepted: their sums follow the slices). This file is the
//! list of operations; each has its own file. Their loops are compiled for several sets of vector
//! instructions (`multiversion`) and chosen when they run; none of them fuses multiply and add, so
//! the sets agree on every bit.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes as Piece;
use model::recipe::{Activation, Encoding};
use rayon::prelude::*;

use super::{
    Backend, Conv, Download, Dropout, Finish, Full, Images, Lrn, Part, Pool, Sgd, Softmax, Sum,
};
use crate::error::Result;

mod buffer; // memory, and every check of a length
mod product; // the one unsafe call: matrix products
mod windows; // images ⇄ the matrices that convolution multiplies
mod conv;
mod full;
mod sum;
mod relu;
mod lrn;
mod pool;
mod dropout;
mod softmax;
mod input;
mod sgd;
mod transfer;

pub use buffer::{Bytes, Floats};
pub use product::kernel as product_kernel;

/// The CPU as a device.
#[derive(Debug)]
pub struct Cpu {
    name: String,
    pool: rayon::ThreadPool,
    /// One a thread, grown on first use and kept.
    scratch: Vec<Scratch>,
}

/// Working memory of one thread.
#[derive(Debug, Default)]
struct Scratch {
    padded: Grown,
    columns: Grown,
    weights: Grown,
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
            scratch: std::iter::repeat_with(Scratch::default).take(threads).collect(),
        }
    }

    fn threads(&self) -> usize {
        self.scratch.len()
    }

    /// How many of `n` items a thread gets.
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

impl Backend for Cpu {
    type Floats = Floats;
    type Bytes = Bytes;
    type Mark = Instant;

    fn name(&self) -> String {
        self.name.clone()
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
        wire: Encoding,
        exponent: i32,
        to: &mut Floats,
        at: usize,
    ) -> Result<()> {
        transfer::upload(from, wire, exponent, to, at)
    }

    fn upload_bytes(&mut self, from: &[Piece], to: &mut Bytes) -> Result<()> {
        transfer::upload_bytes(from, to)
    }

    fn download(&mut self, from: &Floats, range: Range<usize>, wire: Encoding) -> Result<Download> {
        transfer::download(from, range, wire).map(Download::Ready)
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

    fn input(
        &mut self,
        images: Images,
        crop: usize,
        side: usize,
        pixels: &Bytes,
        places: &Floats,
        mean: &Floats,
        y: &mut Floats,
    ) -> Result<()> {
        input::forward(self, images, crop, side, pixels, places, mean, y)
    }

    fn conv_forward(
        &mut self,
        conv: &Conv,
        images: Images,
        x: &Floats,
        part: &Part,
        w: &Floats,
        sum: Sum,
        finish: Option<Finish<'_, Floats>>,
        y: &mut Floats,
    ) -> Result<()> {
        conv::forward(self, conv, images, x, part, w, sum, finish, y)
    }

    fn conv_backward_inputs(
        &mut self,
        conv: &Conv,
        images: Images,
        dy: &Floats,
        w: &Floats,
        part: &Part,
        dx: &mut Floats,
    ) -> Result<()> {
        conv::backward_inputs(self, conv, images, dy, w, part, dx)
    }

    fn conv_backward_weights(
        &mut self,
        conv: &Conv,
        images: Images,
        x: &Floats,
        part: &Part,
        dy: &Floats,
        sum: Sum,
        dw: &mut Floats,
    ) -> Result<()> {
        conv::backward_weights(self, conv, images, x, part, dy, sum, dw)
    }

    fn full_forward(
        &mut self,
        full: &Full,
        images: Images,
        x: &Floats,
        part: &Part,
        w: &Floats,
        sum: Sum,
        finish: Option<Finish<'_, Floats>>,
        y: &mut Floats,
    ) -> Result<()> {
        full::forward(self, full, images, x, part, w, sum, finish, y)
    }

    fn full_backward_inputs(
        &mut self,
        full: &Full,
        images: Images,
        dy: &Floats,
        w: &Floats,
        part: &Part,
        dx: &mut Floats,
    ) -> Result<()> {
        full::backward_inputs(self, full, images, dy, w, part, dx)
    }

    fn full_backward_weights(
        &mut self,
        full: &Full,
        images: Images,
        x: &Floats,
        part: &Part,
        dy: &Floats,
        sum: Sum,
        dw: &mut Floats,
    ) -> Result<()> {
        full::backward_weights(self, full, images, x, part, dy, sum, dw)
    }

    fn bias_backward(
        &mut self,
        maps: usize,
        pixels: usize,
        images: Images,
        dy: &Floats,
        sum: Sum,
        db: &mut Floats,
    ) -> Result<()> {
        sum::bias_backward(self, maps, pixels, images, dy, sum, db)
    }

    fn activation_forward(
        &mut self,
        activation: Activation,
        len: usize,
        images: Images,
        y: &mut Floats,
    ) -> Result<()> {
        relu::forward(self, activation, len, images, y)
    }

    fn activation_backward(
        &mut self,
        activation: Activation,
        len: usize,
        images: Images,
        y: &Floats,
        dy: &mut Floats,
    ) -> Result<()> {
        relu::backward(self, activation, len, images, y, dy)
    }

    fn lrn_forward(
        &mut self,
        lrn: &Lrn,
        images: Images,
        x: &Floats,
        scale: &mut Floats,
        y: &mut Floats,
    ) -> Result<()> {
        lrn::forward(self, lrn, images, x, scale, y)
    }

    fn lrn_backward(
        &mut self,
        lrn: &Lrn,
        images: Images,
        x: &Floats,
        scale: &Floats,
        y: &Floats,
        dy: &Floats,
        dx: &mut Floats,
    ) -> Result<()> {
        lrn::backward(self, lrn, images, x, scale, y, dy, dx)
    }

    fn pool_forward(
        &mut self,
        pool: &Pool,
        images: Images,
        x: &Floats,
        taken: &mut Bytes,
        y: &mut Floats,
    ) -> Result<()> {
        pool::forward(self, pool, images, x, taken, y)
    }

    fn pool_backward(
        &mut self,
        pool: &Pool,
        images: Images,
        taken: &Bytes,
        dy: &Floats,
        dx: &mut Floats,
    ) -> Result<()> {
        pool::backward(self, pool, images, taken, dy, dx)
    }

    fn dropout(&mut self, dropout: &Dropout, images: Images, y: &mut Floats) -> Result<()> {
        dropout::dropout(self, dropout, images, y)
    }

    fn scale(&mut self, factor: f32, len: usize, images: Images, y: &mut Floats) -> Result<()> {
        dropout::scale(self, factor, len, images, y)
    }

    fn add(&mut self, len: usize, images: Images, from: &Floats, to: &mut Floats) -> Result<()> {
        sum::add(self, len, images, from, to)
    }

    fn softmax(
        &mut self,
        softmax: &Softmax,
        images: Images,
        own: &Floats,
        peer: Option<&Floats>,
        labels: &Floats,
        probabilities: &mut Floats,
        loss: &mut Floats,
        dlogits: &mut Floats,
    ) -> Result<()> {
        softmax::softmax(self, softmax, images, own, peer, labels, probabilities, loss, dlogits)
    }

    fn sgd(&mut self, sgd: &Sgd, w: &mut Floats, v: &mut Floats, g: &Floats) -> Result<()> {
        sgd::sgd(self, sgd, w, v, g)
    }
}
