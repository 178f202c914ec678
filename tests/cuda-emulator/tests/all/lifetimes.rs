//! Memory and streams: what one takes, frees or copies by itself another uses only behind an event.

use crate::device::{Outcome, child, shape};
use crate::streams::{Bench, MISSING, NEW, OLD, record, wait};
use cuda_emulator::Settings;
use cudarc::driver::result;
use cudarc::driver::sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL;

#[test]
fn memory_is_not_freed_on_one_stream_while_another_uses_it() {
    fn turn(waits: bool) -> Outcome<Vec<u32>> {
        let bench = Bench::new();
        let (a, b, done) = (bench.stream(), bench.stream(), bench.event());
        bench.read(&a)?;
        record(done, a.cu_stream());
        if waits {
            wait(b.cu_stream(), done);
        }
        // SAFETY: nothing uses it from here on, unless the missing wait is to be found.
        unsafe { result::free_async(bench.from, b.cu_stream()) }.unwrap();
        bench.end()
    }
    let Some(said) = child(&Settings { seed: 1, ..Settings::default() }, || {
        assert_eq!(turn(false), Err(ILLEGAL));
    }) else {
        return;
    };
    let found = said.contains(MISSING) || said.contains("a freed allocation of 256 bytes");
    assert!(found, "{said}");
    assert_eq!(turn(true), Ok(OLD.to_vec()));
}

/// Memory taken in a stream is there for another only behind an event.
#[test]
fn memory_is_not_used_by_a_stream_that_does_not_know_of_it() {
    fn turn(waits: bool) -> Outcome<()> {
        let bench = Bench::new();
        let (a, b, there) = (bench.stream(), bench.stream(), bench.event());
        // SAFETY: it is written before it is read.
        let new = unsafe { result::malloc_async(a.cu_stream(), 256) }.unwrap();
        record(there, a.cu_stream());
        if waits {
            wait(b.cu_stream(), there);
        }
        bench.device.enqueue(&b, "k", shape(1, 64), &[new, bench.from])?;
        bench.end().map(drop)
    }
    let Some(said) = child(Settings::default(), || assert_eq!(turn(false), Err(ILLEGAL))) else {
        return;
    };
    assert!(said.contains(MISSING) && said.contains("allocation on stream"), "{said}");
    assert_eq!(turn(true), Ok(()));
}

/// A copy to pinned memory returns before it is done; another stream must not use it then.
#[test]
fn pinned_memory_is_judged_like_that_of_a_device() {
    fn turn(waits: bool) -> Outcome<Vec<u32>> {
        let bench = Bench::new();
        let (a, b, done) = (bench.stream(), bench.stream(), bench.event());
        // SAFETY: the memory lives as long as the process, and numbers may have any bits.
        let pinned = unsafe {
            let at = result::malloc_host(256, 0).unwrap();
            std::slice::from_raw_parts_mut(at.cast::<u32>(), 64)
        };
        // SAFETY: the host does not touch it before `end`.
        unsafe { result::memcpy_dtoh_async(pinned, bench.from, a.cu_stream()) }.unwrap();
        record(done, a.cu_stream());
        if waits {
            wait(b.cu_stream(), done);
        }
        // SAFETY: as above.
        unsafe { result::memcpy_htod_async(bench.to, pinned, b.cu_stream()) }.unwrap();
        bench.end()
    }
    let Some(said) = child(Settings::default(), || assert_eq!(turn(false), Err(ILLEGAL))) else {
        return;
    };
    assert!(said.contains("touch the same pinned host memory"), "{said}");
    assert_eq!(turn(true), Ok(OLD.to_vec()));
}

/// The waits that cudarc inserts for slices shared by streams satisfy the emulator.
#[test]
fn the_waits_cudarc_inserts_are_seen() {
    let bench = Bench::new();
    let (a, b) = (bench.stream(), bench.stream());
    let from = a.clone_htod(&NEW).unwrap();
    let to = b.clone_dtod(&from).unwrap();
    assert_eq!(b.clone_dtoh(&to).unwrap(), NEW);
}
