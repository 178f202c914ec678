//! Page-locked host memory: what a copy that runs beside the computation needs.

use std::sync::Arc;

use cudarc::driver::{CudaContext, DriverError, result};

/// A block of page-locked memory.
#[derive(Debug)]
pub(super) struct Pinned {
    start: *mut u8,
    len: usize,
    context: Arc<CudaContext>,
}

// SAFETY: the block is owned like a Vec's; `start` is not shared with anything else.
unsafe impl Send for Pinned {}
// SAFETY: a shared reference only gives out shared slices.
unsafe impl Sync for Pinned {}

impl Pinned {
    pub(super) fn new(context: &Arc<CudaContext>, len: usize) -> Result<Self, DriverError> {
        context.bind_to_thread()?;
        // Not write-combined: gRPC reads it.
        // SAFETY: no flags; the driver gives `len` bytes or an error.
        let start = unsafe { result::malloc_host(len, 0) }?.cast::<u8>();
        // SAFETY: the driver just gave these bytes; they must be set before a slice shows them.
        unsafe { start.write_bytes(0, len) };
        Ok(Self { start, len, context: context.clone() })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` on are this block's, all set. A copy down may still
        // write them: transfer.rs reads only after its event.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and this is the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: `start` came from malloc_host and is freed only here; the driver waits for
        // copies that use it. An error means that the context is gone, and the memory with it.
        let _ =
            self.context.bind_to_thread().map(|()| unsafe { result::free_host(self.start.cast()) });
    }
}
