//! One kernel launch: arguments in the order of the .cu file, then the grid.

use std::ffi::c_void;
use std::marker::PhantomData;

use cudarc::driver::{CudaFunction, CudaStream, result};

use super::memory::{Bytes, Floats};
use super::{Cuda, fault};
use crate::error::{Error, Result};
use crate::watch::Watch;

/// Threads of a block where each thread owns one element.
pub(super) const THREADS: u32 = 256;

/// A launch that is being put together. The borrows last until it is queued; after that the one
/// compute stream keeps order.
pub(super) struct Call<'a> {
    stream: &'a CudaStream,
    function: &'a CudaFunction,
    device: &'a str,
    watch: &'a Watch,
    name: &'static str,
    /// One argument each, in its first bytes.
    arguments: Vec<u64>,
    too_large: Option<usize>,
    borrows: PhantomData<&'a mut f32>,
}

impl Cuda {
    /// Begins a launch of a kernel on the compute stream.
    pub(super) fn call(&self, name: &'static str) -> Call<'_> {
        Call {
            stream: &self.compute,
            function: self.programs.function(name),
            device: &self.label,
            watch: &self.watch,
            name,
            arguments: Vec::with_capacity(16),
            too_large: None,
            borrows: PhantomData,
        }
    }
}

impl<'a> Call<'a> {
    /// A pointer that the kernel writes through, `at` numbers into the buffer.
    pub(super) fn write(mut self, to: &'a mut Floats, at: usize) -> Self {
        self.arguments.push(to.address(at));
        self
    }

    /// A pointer that the kernel only reads, `at` numbers into the buffer.
    pub(super) fn read(mut self, from: &'a Floats, at: usize) -> Self {
        self.arguments.push(from.address(at));
        self
    }

    /// As [`Self::read`]; null if there is none.
    pub(super) fn optional_read(mut self, from: Option<&'a Floats>, at: usize) -> Self {
        self.arguments.push(from.map_or(0, |from| from.address(at)));
        self
    }

    /// As [`Self::write`], bytes.
    pub(super) fn write_bytes(mut self, to: &'a mut Bytes, at: usize) -> Self {
        self.arguments.push(to.address(at));
        self
    }

    /// As [`Self::read`], bytes.
    pub(super) fn read_bytes(mut self, from: &'a Bytes, at: usize) -> Self {
        self.arguments.push(from.address(at));
        self
    }

    /// A C `int`; what does not fit one is an error at the launch.
    pub(super) fn int(mut self, value: usize) -> Self {
        if i32::try_from(value).is_err() {
            self.too_large = Some(value);
        }
        self.arguments.push(value as u64);
        self
    }

    /// A C `long long`.
    pub(super) fn long(mut self, value: u64) -> Self {
        self.arguments.push(value);
        self
    }

    /// A C `float`.
    pub(super) fn float(mut self, value: f32) -> Self {
        self.arguments.push(u64::from(value.to_bits()));
        self
    }

    /// Queues the kernel with one thread for each of `n` elements.
    ///
    /// # Safety
    /// As [`Self::launch`].
    pub(super) unsafe fn one_thread_each(self, n: usize) -> Result<()> {
        let blocks = n.div_ceil(THREADS as usize);
        // SAFETY: passed on to the caller.
        unsafe { self.launch([blocks, 1, 1], THREADS) }
    }

    /// Queues the kernel; an empty grid is nothing to do.
    ///
    /// # Safety
    /// The arguments are those of the kernel in number, order and type, and with this grid it
    /// stays inside the buffers they point into and writes only through those given as `write`.
    pub(super) unsafe fn launch(mut self, grid: [usize; 3], threads: u32) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        check_grid(grid, threads)?;
        if let Some(got) = self.too_large {
            return Err(Error::Shape { tensor: "size in a launch", got, want: i32::MAX as usize });
        }
        let mut pointers: Vec<*mut c_void> =
            self.arguments.iter_mut().map(|argument| std::ptr::from_mut(argument).cast()).collect();
        let [x, y, z] = grid.map(|blocks| blocks as u32);
        let _call = self.watch.call(); // a full queue waits for the device
        let bound = self.stream.context().bind_to_thread();
        // SAFETY: the caller answers for the arguments; each pointer leads to eight bytes that
        // hold one, little-endian, and the driver copies them before it returns.
        let launched = bound.and_then(|()| unsafe {
            result::launch_kernel(
                self.function.cu_function(),
                (x, y, z),
                (threads, 1, 1),
                0,
                self.stream.cu_stream(),
                &mut pointers,
            )
        });
        launched.map_err(fault(self.device, self.name))
    }
}

/// Refuses a grid beyond the driver's limits (2³¹ − 1 blocks along x, 65,535 along y and z), and
/// one of more threads than a 32-bit `int` counts: kernels number their threads in one.
fn check_grid(grid: [usize; 3], threads: u32) -> Result<()> {
    let limits = [i32::MAX as usize, 65_535, 65_535];
    if let Some((&got, want)) = grid.iter().zip(limits).find(|(blocks, limit)| *blocks > limit) {
        return Err(Error::Shape { tensor: "blocks of a launch", got, want });
    }
    // Three factors within their limits fit 64 bits.
    let got = grid.iter().product::<usize>().saturating_mul(threads as usize);
    let want = i32::MAX as usize;
    if got > want {
        return Err(Error::Shape { tensor: "threads of a launch", got, want });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_that_kernels_cannot_number_is_refused() {
        for fits in [[1, 1, 1], [1 << 22, 1, 1], [1, 65_535, 1], [8_388_607, 1, 1]] {
            assert!(check_grid(fits, THREADS).is_ok(), "{fits:?}");
        }
        let beyond = [[8_388_608, 1, 1], [1, 65_536, 1], [1, 1, 65_536], [1 << 31, 1, 1]];
        for beyond in beyond.into_iter().chain([[4096, 4096, 1], [1 << 30, 65_535, 65_535]]) {
            assert!(check_grid(beyond, THREADS).is_err(), "{beyond:?}");
        }
    }
}
