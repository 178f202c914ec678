//! Measurements for `alexnet doctor`, beyond a worker's needs: free memory, the speed of
//! page-locked copies, and which GPUs reach each other's memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cudarc::driver::sys::{self, CUevent_flags};
use cudarc::driver::{
    CudaContext, CudaEvent, CudaSlice, CudaStream, DevicePtr, DriverError, result,
};

use super::device::{self, Found};
use super::fault;
use super::pinned::Pinned;
use crate::error::Result;

/// Bytes of one copy: little beside a running training, much beside the cost of a call.
const BYTES: usize = 8 << 20;
/// Copies queued at once, so that the cost of a call lies under the copy before it.
const COPIES: usize = 8;
/// Most bursts each way; the fastest counts, since other programs may copy, too.
const BURSTS: usize = 5;
/// No new burst begins after so long.
const ENOUGH: Duration = Duration::from_millis(100);

/// Memory and copies of one GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Bytes of memory that nothing uses.
    pub free: usize,
    /// Bytes of memory in all.
    pub total: usize,
    /// Page-locked host memory to the GPU, in bytes per second.
    pub up: f64,
    /// The GPU to page-locked host memory, in bytes per second.
    pub down: f64,
}

/// Whether `from` can read and write the memory of `to` without a detour through the host.
///
/// # Errors
/// The driver's.
pub fn reaches(from: &Found, to: &Found) -> Result<bool> {
    let ask = || {
        let device =
            |found: &Found| result::device::get(i32::try_from(found.ordinal).unwrap_or(-1));
        let (from, to) = (device(from)?, device(to)?);
        let mut reaches = 0;
        // SAFETY: a place for one int, and two handles that the driver just gave.
        unsafe { sys::cuDeviceCanAccessPeer(&raw mut reaches, from, to) }.result()?;
        Ok(reaches != 0)
    };
    ask().map_err(fault(&from.uuid, "peer access"))
}

/// Measures one GPU. For some tenths of a second this takes 8 MiB on both sides, besides what the
/// driver's own context takes.
///
/// # Errors
/// As opening the device has; [`crate::Error::Device`] where there is no room.
pub fn gpu(found: &Found) -> Result<Measured> {
    let label = format!("cuda:{}", found.ordinal);
    let context = device::open(found, &label)?;
    let (free, total) = context.mem_get_info().map_err(fault(&label, "memory"))?;
    let measured = Copies::new(&context).and_then(|mut copies| {
        let up = fastest(|| copies.up())?;
        let down = fastest(|| copies.down())?;
        Ok(Measured { free, total, up, down })
    });
    measured.map_err(fault(&label, "page-locked copies"))
}

/// Bytes per second of the fastest burst.
fn fastest(
    mut burst: impl FnMut() -> std::result::Result<f32, DriverError>,
) -> std::result::Result<f64, DriverError> {
    burst()?; // the first one wakes the bus
    let (started, mut best) = (Instant::now(), f32::MAX);
    for _ in 0..BURSTS {
        best = best.min(burst()?);
        if started.elapsed() > ENOUGH {
            break;
        }
    }
    Ok((BYTES * COPIES) as f64 / f64::from(best.max(f32::MIN_POSITIVE)) * 1e3)
}

/// Memory on both sides, a stream, and marks around a burst.
struct Copies {
    host: Pinned,
    _device: CudaSlice<u8>,
    address: u64,
    stream: Arc<CudaStream>,
    begin: CudaEvent,
    end: CudaEvent,
    context: Arc<CudaContext>,
}

impl Copies {
    fn new(context: &Arc<CudaContext>) -> std::result::Result<Self, DriverError> {
        let stream = context.new_stream()?;
        let event = || context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        let device = stream.alloc_zeros::<u8>(BYTES)?;
        let (address, _) = device.device_ptr(&stream);
        let (host, begin, end) = (Pinned::new(context, BYTES)?, event()?, event()?);
        stream.synchronize()?;
        Ok(Self { host, address, _device: device, stream, begin, end, context: context.clone() })
    }

    /// Milliseconds of a burst to the GPU.
    fn up(&mut self) -> std::result::Result<f32, DriverError> {
        self.timed(|copies| {
            let (host, stream) = (copies.host.bytes(), copies.stream.cu_stream());
            // SAFETY: both sides hold BYTES, and live until `timed` has waited for the copies.
            unsafe { result::memcpy_htod_async(copies.address, host, stream) }
        })
    }

    /// Milliseconds of a burst from the GPU.
    fn down(&mut self) -> std::result::Result<f32, DriverError> {
        self.timed(|copies| {
            let (host, stream) = (copies.host.bytes_mut(), copies.stream.cu_stream());
            // SAFETY: as in `up`; nothing reads the host's side.
            unsafe { result::memcpy_dtoh_async(host, copies.address, stream) }
        })
    }

    fn timed(
        &mut self,
        copy: impl Fn(&mut Self) -> std::result::Result<(), DriverError>,
    ) -> std::result::Result<f32, DriverError> {
        self.context.bind_to_thread()?;
        self.begin.record(&self.stream)?;
        let queued = (0..COPIES).try_for_each(|_| copy(self));
        self.end.record(&self.stream)?;
        // Whatever was queued ends before an error returns: the memory may go then.
        self.stream.synchronize()?;
        queued?;
        self.begin.elapsed_ms(&self.end)
    }
}
