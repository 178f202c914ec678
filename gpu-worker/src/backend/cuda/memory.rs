//! Device memory, and every check of a length: an operation asks here before it launches.

use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, DriverError, ValidAsZeroBits, sys};

use super::{Cuda, fault};
use crate::error::{Error, Result};
use crate::ops::Images;

/// Most elements of one buffer. Kernels count elements in a 32-bit `int`, and a thread of the last
/// block, or of a loop over a whole grid, counts up to 2²⁰ beyond the end before it stops.
pub(super) const MOST_ELEMENTS: usize = (1 << 31) - (1 << 20);

/// A buffer of f32 on the device.
#[derive(Debug)]
pub struct Floats(Named<f32>);

/// A buffer of u8 on the device.
#[derive(Debug)]
pub struct Bytes(Named<u8>);

/// Device memory with the name that errors give it.
#[derive(Debug)]
struct Named<T> {
    tensor: &'static str,
    len: usize,
    memory: CudaSlice<T>,
    address: u64,
}

impl<T: DeviceRepr + ValidAsZeroBits> Named<T> {
    fn zeros(dev: &Cuda, tensor: &'static str, len: usize) -> Result<Self> {
        dev.countable(tensor, len)?;
        // No memory of length 0 is to be had.
        let memory = dev.compute.alloc_zeros::<T>(len.max(1));
        let memory = memory.map_err(|e| dev.full(tensor, len * size_of::<T>(), e))?;
        let (address, _) = memory.device_ptr(&dev.compute);
        Ok(Self { tensor, len, address, memory })
    }
}

impl<T> Named<T> {
    fn shape(&self, want: usize) -> Error {
        Error::Shape { tensor: self.tensor, got: self.len, want }
    }

    fn at_least(&self, want: usize) -> Result<()> {
        if want > self.len { Err(self.shape(want)) } else { Ok(()) }
    }

    fn address(&self, at: usize) -> u64 {
        debug_assert!(at <= self.len && self.len <= self.memory.len().max(1));
        self.address + (at * size_of::<T>()) as u64
    }
}

macro_rules! buffer {
    ($name:ident) => {
        impl $name {
            pub(super) fn zeros(dev: &Cuda, tensor: &'static str, len: usize) -> Result<Self> {
                Named::zeros(dev, tensor, len).map(Self)
            }

            /// First number of `images`, of `len` numbers each, if all of them are here.
            pub(super) fn images(&self, images: &Images, len: usize) -> Result<usize> {
                self.0.at_least(images.end.saturating_mul(len))?;
                Ok(images.start * len)
            }

            /// Stops unless there are `want` numbers or more.
            pub(super) fn at_least(&self, want: usize) -> Result<()> {
                self.0.at_least(want)
            }

            /// The device address of number `at`.
            pub(super) fn address(&self, at: usize) -> u64 {
                self.0.address(at)
            }
        }
    };
}

buffer!(Floats);
buffer!(Bytes);

impl Floats {
    /// Stops unless there are exactly `want` numbers.
    pub(super) fn exactly(&self, want: usize) -> Result<()> {
        if want == self.0.len { Ok(()) } else { Err(self.0.shape(want)) }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len
    }
}

impl Cuda {
    /// Refuses a buffer that is too long for the kernels' 32-bit counts, before memory is taken.
    fn countable(&self, tensor: &'static str, len: usize) -> Result<()> {
        if len <= MOST_ELEMENTS {
            return Ok(());
        }
        Err(Error::Device {
            device: self.label.clone(),
            why: format!(
                "{tensor} would hold {len} elements, and the kernels count up to {MOST_ELEMENTS}; \
                 use a smaller batch (--set batch=…) or more slices (--set slices=…)"
            ),
        })
    }

    /// Explains a failed allocation.
    pub(super) fn full(&self, tensor: &'static str, bytes: usize, error: DriverError) -> Error {
        if error.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return fault(&self.label, tensor)(error);
        }
        let (free, total) = self.context.mem_get_info().unwrap_or_default();
        let mb = |bytes: usize| bytes as f64 / 1e6;
        Error::DeviceFull {
            device: self.label.clone(),
            tensor,
            mb: mb(bytes),
            free_mb: mb(free),
            total_mb: mb(total),
        }
    }
}

/// Working memory of the products: one buffer, as large as the largest use so far. A network takes
/// it at its full size before step 0 ([`crate::backend::Backend::reserve`]).
#[derive(Debug, Default)]
pub(super) struct Scratch(Option<Floats>);

impl Cuda {
    /// Runs `work` with at least `len` numbers of working memory, whatever they hold.
    ///
    /// Users follow each other on the one compute stream, so the memory is kept and lent again.
    pub(super) fn with_scratch<T>(
        &mut self,
        len: usize,
        work: impl FnOnce(&Self, &mut Floats) -> Result<T>,
    ) -> Result<T> {
        let mut scratch = match self.scratch.0.take() {
            Some(floats) if floats.len() >= len => floats,
            smaller => {
                drop(smaller);
                Floats::zeros(self, "working memory", len)?
            }
        };
        let done = work(self, &mut scratch);
        self.scratch.0 = Some(scratch);
        done
    }
}
