//! Events: when they are ready, what time lies between them, and devices they order.

use crate::device::{Outcome, child};
use crate::streams::{Bench, MISSING, NEW, record, wait};
use cuda_emulator::Settings;
use cudarc::driver::DriverError;
use cudarc::driver::result::{self, event};
use cudarc::driver::sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
use cudarc::driver::sys::CUresult::{
    CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL, CUDA_ERROR_INVALID_HANDLE, CUDA_ERROR_NOT_READY,
};

fn code(outcome: Result<impl Sized, DriverError>) -> Outcome<()> {
    outcome.map(drop).map_err(|error| error.0)
}

#[test]
fn an_event_is_not_ready_before_what_it_stands_for_is_done() {
    let bench = Bench::new();
    let stream = bench.stream();
    let done = bench.event();
    // SAFETY: the event lives.
    let asked = || code(unsafe { event::query(done) });
    assert_eq!(asked(), Ok(()), "never recorded");
    for _ in 0..3 {
        bench.read(&stream).unwrap();
    }
    record(done, stream.cu_stream());
    let answers: Vec<_> = std::iter::repeat_with(asked).take(4).collect();
    assert_eq!(answers[0], Err(CUDA_ERROR_NOT_READY), "nothing runs before it is asked for");
    assert_eq!(answers[3], Ok(()));
    assert_eq!(asked(), Ok(()));
}

#[test]
fn time_between_events_is_that_of_the_work_between_them() {
    let bench = Bench::new();
    let stream = bench.stream();
    let (start, end) = (bench.event(), bench.event());
    record(start, stream.cu_stream());
    bench.read(&stream).unwrap();
    record(end, stream.cu_stream());
    // SAFETY: both events live.
    let between = |from, to| unsafe { event::elapsed(from, to) };
    assert_eq!(code(between(start, end)), Err(CUDA_ERROR_NOT_READY));
    stream.synchronize().unwrap();
    assert!(between(start, end).unwrap() > 0.0);
    let untimed = event::create(CU_EVENT_DISABLE_TIMING).unwrap();
    record(untimed, stream.cu_stream());
    stream.synchronize().unwrap();
    assert_eq!(code(between(start, untimed)), Err(CUDA_ERROR_INVALID_HANDLE));
}

#[test]
fn an_event_orders_streams_of_two_devices() {
    fn turn(waits: bool) -> Outcome<Vec<u32>> {
        let (near, far) = (Bench::new(), Bench::new());
        near.device.context.bind_to_thread().unwrap();
        let (a, arrived) = (near.stream(), near.event());
        near.fill(a.cu_stream());
        record(arrived, a.cu_stream());
        far.device.context.bind_to_thread().unwrap();
        let b = far.stream();
        if waits {
            wait(b.cu_stream(), arrived);
        }
        // SAFETY: both have 256 bytes.
        unsafe { result::memcpy_dtod_async(far.to, near.from, 256, b.cu_stream()) }.unwrap();
        // Whichever comes second meets the error, on its own device.
        let ended = far.end();
        near.end()?;
        ended
    }
    let Some(said) = child(Settings::default(), || assert_eq!(turn(false), Err(ILLEGAL))) else {
        return;
    };
    assert!(said.contains(MISSING), "{said}");
    assert_eq!(turn(true), Ok(NEW.to_vec()));
}
