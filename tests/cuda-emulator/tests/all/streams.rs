//! Streams: work that touches the same memory must be ordered by events, the default stream or the
//! host.

use crate::device::{Device, Outcome, child, kernel, shape};
use cuda_emulator::Settings;
use cudarc::driver::CudaStream;
use cudarc::driver::result::{self, event};
use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use cudarc::driver::sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL;
use cudarc::driver::sys::{CUevent, CUstream};
use std::sync::Arc;

/// `a0[i] = a1[i]`
const COPY: &str = "
    add.u64 %rd1, %a1, %o;
    ld.global.u32 %r1, [%rd1];
    add.u64 %rd2, %a0, %o;
    st.global.u32 [%rd2], %r1;";

pub(crate) const OLD: [u32; 64] = [1; 64];
pub(crate) const NEW: [u32; 64] = [2; 64];
pub(crate) const MISSING: &str = "nothing orders them: an event or a synchronization is missing";

/// A device on which `from` holds old numbers, which all streams know.
pub(crate) struct Bench {
    pub(crate) device: Device,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let device = Device::of_ptx(kernel(2, COPY));
        let (from, to) = (device.upload(&OLD), device.upload(&OLD));
        device.context.synchronize().unwrap();
        Self { device, from, to }
    }

    /// Puts new numbers into `from`.
    pub(crate) fn fill(&self, stream: CUstream) {
        // SAFETY: the driver takes the numbers before it returns.
        unsafe { result::memcpy_htod_async(self.from, &NEW, stream) }.unwrap();
    }

    /// Copies `from` to `to` by a kernel.
    pub(crate) fn read(&self, stream: &Arc<CudaStream>) -> Outcome<()> {
        self.device.enqueue(stream, "k", shape(1, 64), &[self.to, self.from])
    }

    /// The contents of `to` when all work is done.
    pub(crate) fn end(&self) -> Outcome<Vec<u32>> {
        self.device.context.synchronize().map_err(|error| error.0)?;
        self.device.download(self.to, 64)
    }

    pub(crate) fn stream(&self) -> Arc<CudaStream> {
        self.device.context.new_stream().unwrap()
    }

    pub(crate) fn event(&self) -> CUevent {
        event::create(CU_EVENT_DEFAULT).unwrap()
    }
}

pub(crate) fn record(event: CUevent, stream: CUstream) {
    // SAFETY: both live as long as their device.
    unsafe { event::record(event, stream) }.unwrap();
}

pub(crate) fn wait(stream: CUstream, event: CUevent) {
    let none = cudarc::driver::sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
    // SAFETY: both live as long as their device.
    unsafe { result::stream::wait_event(stream, event, none) }.unwrap();
}

/// A copy on one stream, a kernel on another that reads what arrives, perhaps an event between.
fn pipeline(waits: bool) -> Outcome<Vec<u32>> {
    let bench = Bench::new();
    let (copy, compute, arrived) = (bench.stream(), bench.stream(), bench.event());
    bench.fill(copy.cu_stream());
    record(arrived, copy.cu_stream());
    if waits {
        wait(compute.cu_stream(), arrived);
    }
    bench.read(&compute)?;
    bench.end()
}

#[test]
fn a_kernel_that_does_not_wait_for_its_copy_is_found_in_any_order() {
    for seed in 0..6 {
        let Some(said) = child(&Settings { seed, ..Settings::default() }, || {
            assert_eq!(pipeline(false), Err(ILLEGAL));
        }) else {
            return;
        };
        assert!(said.contains(MISSING) && said.contains("k (launch 1) on stream"), "{said}");
        assert!(said.contains("copy to the device on stream"), "{said}");
    }
    assert_eq!(pipeline(true), Ok(NEW.to_vec()));
}

#[test]
fn a_wait_left_out_by_the_driver_is_found() {
    let Some(said) = child(&Settings { drop_wait: 1, ..Settings::default() }, || {
        assert_eq!(pipeline(true), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("wait 1 is left out, as asked for"), "{said}");
    assert!(said.contains(MISSING), "{said}");
}

#[test]
fn leaving_out_a_wait_that_never_comes_changes_nothing() {
    let Some(said) = child(&Settings { drop_wait: 2, ..Settings::default() }, || {
        assert_eq!(pipeline(true), Ok(NEW.to_vec()));
    }) else {
        return;
    };
    assert!(!said.contains("left out"), "{said}");
}

/// An event stands for what was in its stream when it was recorded.
#[test]
fn an_event_recorded_before_the_copy_orders_nothing() {
    let Some(said) = child(Settings::default(), || {
        let bench = Bench::new();
        let (copy, compute, early) = (bench.stream(), bench.stream(), bench.event());
        record(early, copy.cu_stream());
        bench.fill(copy.cu_stream());
        wait(compute.cu_stream(), early);
        bench.read(&compute).unwrap();
        assert_eq!(bench.end(), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains(MISSING), "{said}");
}

/// The next batch must not arrive while the kernel still reads the one before.
#[test]
fn a_copy_over_what_a_kernel_reads_is_found() {
    fn turn(waits: bool) -> Outcome<Vec<u32>> {
        let bench = Bench::new();
        let (copy, compute, done) = (bench.stream(), bench.stream(), bench.event());
        bench.read(&compute)?;
        record(done, compute.cu_stream());
        if waits {
            wait(copy.cu_stream(), done);
        }
        bench.fill(copy.cu_stream());
        bench.end()
    }
    let Some(said) = child(Settings::default(), || assert_eq!(turn(false), Err(ILLEGAL))) else {
        return;
    };
    assert!(said.contains(MISSING), "{said}");
    assert_eq!(turn(true), Ok(OLD.to_vec()));
}

#[test]
fn order_is_handed_on_from_stream_to_stream() {
    let bench = Bench::new();
    let (a, b, c) = (bench.stream(), bench.stream(), bench.stream());
    let (first, second) = (bench.event(), bench.event());
    bench.fill(a.cu_stream());
    record(first, a.cu_stream());
    wait(b.cu_stream(), first);
    record(second, b.cu_stream());
    wait(c.cu_stream(), second);
    bench.read(&c).unwrap();
    assert_eq!(bench.end(), Ok(NEW.to_vec()));
}

#[test]
fn the_host_orders_streams_by_waiting() {
    let waits: [fn(&Bench, &Arc<CudaStream>); 4] = [
        |_, stream| stream.synchronize().unwrap(),
        |bench, _| bench.device.context.synchronize().unwrap(),
        |bench, stream| {
            let done = bench.event();
            record(done, stream.cu_stream());
            // SAFETY: just recorded.
            unsafe { event::synchronize(done) }.unwrap();
        },
        |bench, stream| {
            let done = bench.event();
            record(done, stream.cu_stream());
            // SAFETY: just recorded.
            while unsafe { event::query(done) }.is_err() {}
        },
    ];
    for how in waits {
        let bench = Bench::new();
        let (copy, compute) = (bench.stream(), bench.stream());
        bench.fill(copy.cu_stream());
        how(&bench, &copy);
        bench.read(&compute).unwrap();
        assert_eq!(bench.end(), Ok(NEW.to_vec()));
    }
}

const DEFAULT: CUstream = std::ptr::null_mut();

/// Streams made without `NON_BLOCKING` take turns with the default stream …
#[test]
fn a_blocking_stream_takes_turns_with_the_default_stream() {
    let bench = Bench::new();
    let blocking = result::stream::create(result::stream::StreamKind::Default).unwrap();
    bench.fill(blocking);
    bench.read(&bench.device.context.default_stream()).unwrap();
    bench.fill(blocking);
    assert_eq!(bench.end(), Ok(NEW.to_vec()));
}

/// … and cudarc's, made with it, do not.
#[test]
fn a_non_blocking_stream_does_not_wait_for_the_default_stream() {
    let Some(said) = child(Settings::default(), || {
        let bench = Bench::new();
        bench.fill(DEFAULT);
        bench.read(&bench.stream()).unwrap();
        assert_eq!(bench.end(), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains(MISSING), "{said}");
}

#[test]
fn two_blocking_streams_do_not_wait_for_each_other() {
    fn turn(between: bool) -> Outcome<Vec<u32>> {
        let bench = Bench::new();
        let make = || result::stream::create(result::stream::StreamKind::Default).unwrap();
        let (a, b) = (make(), make());
        bench.fill(a);
        if between {
            record(bench.event(), DEFAULT);
        }
        // SAFETY: the numbers are taken before the call returns.
        unsafe { result::memcpy_htod_async(bench.from, &OLD, b) }.unwrap();
        bench.read(&bench.device.context.default_stream())?;
        bench.end()
    }
    let Some(said) = child(Settings::default(), || assert_eq!(turn(false), Err(ILLEGAL))) else {
        return;
    };
    assert!(said.contains(MISSING), "{said}");
    assert_eq!(turn(true), Ok(OLD.to_vec()));
}

#[test]
fn streams_may_read_together_and_write_apart() {
    let bench = Bench::new();
    let (a, b) = (bench.stream(), bench.stream());
    let apart = bench.device.blank(512);
    bench.device.enqueue(&a, "k", shape(1, 64), &[apart, bench.from]).unwrap();
    bench.device.enqueue(&b, "k", shape(1, 64), &[apart + 256, bench.from]).unwrap();
    bench.device.context.synchronize().unwrap();
    assert_eq!(bench.device.download::<u32>(apart, 128), Ok(vec![1; 128]));
}
