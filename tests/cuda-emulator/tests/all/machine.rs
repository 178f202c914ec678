//! The machine a test asks for: devices, their memory, faults to order, and settings that are none.

use crate::device::{Device, child, kernel};
use cuda_emulator::Settings;
use cudarc::driver::sys::CUresult::{
    self, CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_INVALID_DEVICE, CUDA_ERROR_INVALID_VALUE,
    CUDA_ERROR_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, CUDA_ERROR_NO_DEVICE,
    CUDA_ERROR_OUT_OF_MEMORY,
};
use cudarc::driver::{CudaContext, LaunchConfig, result, sys};

const MIB: usize = 1 << 20;

#[test]
fn there_are_as_many_devices_as_asked_for() {
    child(&Settings { devices: 3, arch: 89, driver: 12040, ..Settings::default() }, || {
        assert_eq!(CudaContext::device_count().unwrap(), 3);
        let last = CudaContext::new(2).unwrap();
        assert_eq!(last.name().unwrap(), "Emulated GPU 2 (sm_89)");
        assert_eq!(last.compute_capability().unwrap(), (8, 9));
        assert_ne!(last.uuid().unwrap().bytes, CudaContext::new(1).unwrap().uuid().unwrap().bytes);
        assert_eq!(CudaContext::new(3).unwrap_err().0, CUDA_ERROR_INVALID_DEVICE);
        let mut version = 0;
        // SAFETY: the version is written where it is read.
        unsafe { cudarc::driver::sys::cuDriverGetVersion(&mut version) }.result().unwrap();
        assert_eq!(version, 12040);
    });
}

#[test]
fn every_device_reaches_the_others_memory_and_none_its_own() {
    child(&Settings { devices: 2, ..Settings::default() }, || {
        result::init().unwrap();
        let reaches = |from, to| {
            let mut reaches = 7;
            // SAFETY: the answer is written where it is read.
            let asked = unsafe { sys::cuDeviceCanAccessPeer(&mut reaches, from, to) };
            asked.result().map(|()| reaches)
        };
        assert_eq!((reaches(0, 1), reaches(1, 0), reaches(1, 1)), (Ok(1), Ok(1), Ok(0)));
        assert_eq!(reaches(0, 2).unwrap_err().0, CUDA_ERROR_INVALID_DEVICE);
        assert_eq!(reaches(2, 0).unwrap_err().0, CUDA_ERROR_INVALID_DEVICE);
    });
}

#[test]
fn a_machine_without_devices_says_so() {
    child(&Settings { devices: 0, ..Settings::default() }, || {
        assert_eq!(result::init().unwrap_err().0, CUDA_ERROR_NO_DEVICE);
        assert_eq!(CudaContext::new(0).unwrap_err().0, CUDA_ERROR_NO_DEVICE);
    });
}

/// Free and total memory of the device whose context is current.
fn free_of(context: &CudaContext) -> (usize, usize) {
    context.bind_to_thread().unwrap();
    result::mem_get_info().unwrap()
}

/// Small enough to run out of, with a part taken by others.
const SMALL: &str = "devices=2,memory=1048576,used=262144";

#[test]
fn memory_is_counted_for_each_device() {
    child(SMALL, || {
        let (a, b) = (CudaContext::new(0).unwrap(), CudaContext::new(1).unwrap());
        assert_eq!(free_of(&b), (MIB * 3 / 4, MIB));
        assert_eq!(free_of(&a), (MIB * 3 / 4, MIB));
        // SAFETY: nothing but its size is looked at.
        let taken = unsafe { result::malloc_sync(MIB / 2) }.unwrap();
        assert_eq!(free_of(&b), (MIB * 3 / 4, MIB));
        assert_eq!(free_of(&a), (MIB / 4, MIB));
        // SAFETY: allocated above, and not used again.
        unsafe { result::free_sync(taken) }.unwrap();
        assert_eq!(free_of(&a), (MIB * 3 / 4, MIB));
    });
}

#[test]
fn running_out_of_memory_breaks_nothing() {
    child(SMALL, || {
        let device = Device::on(CudaContext::new(0).unwrap(), kernel(1, "st.global.u32 [%a0], 7;"));
        let to = device.blank(MIB / 2);
        for _ in 0..2 {
            // SAFETY: nothing is given.
            let refused = unsafe { result::malloc_sync(MIB / 4 + 1) };
            assert_eq!(refused.unwrap_err().0, CUDA_ERROR_OUT_OF_MEMORY);
        }
        let refused = device.stream.alloc_zeros::<u8>(MIB / 4 + 1).map(drop);
        assert_eq!(refused.unwrap_err().0, CUDA_ERROR_OUT_OF_MEMORY);
        device.launch("k", 1, 1, &[to]).unwrap();
        assert_eq!(device.download::<u32>(to, 1), Ok(vec![7]));
        device.blank(MIB / 4);
        assert_eq!(free_of(&device.context).0, 0);
    });
}

/// Memory whose free is still in a queue becomes free before there is none left.
#[test]
fn memory_freed_in_a_stream_can_be_taken_again() {
    child(SMALL, || {
        let context = CudaContext::new(0).unwrap();
        let stream = context.new_stream().unwrap();
        for _ in 0..5 {
            drop(stream.alloc_zeros::<u8>(MIB / 2).unwrap());
        }
        context.synchronize().unwrap();
        assert_eq!(free_of(&context).0, MIB * 3 / 4);
    });
}

#[test]
fn a_setting_that_is_none_fails_the_first_call_and_is_named() {
    let Some(said) = child("devices=1,color=red", || {
        assert_eq!(result::init().unwrap_err().0, CUDA_ERROR_INVALID_VALUE);
    }) else {
        return;
    };
    assert!(said.contains("cuda-emulator: CUDA_EMULATOR: color: unknown key"), "{said}");
}

#[test]
fn the_launch_asked_for_meets_a_fault() {
    let Some(said) = child(&Settings { fault: 3, ..Settings::default() }, || {
        let device = Device::of_ptx(kernel(0, ""));
        let each: Vec<_> = (0..4).map(|_| device.launch("k", 1, 1, &[])).collect();
        let broken = Err(CUDA_ERROR_ILLEGAL_ADDRESS);
        assert_eq!(each, [Ok(()), Ok(()), broken, broken]);
        assert_eq!(
            Device::of_ptx(kernel(0, "")).launch("k", 1, 1, &[]),
            Ok(()),
            "the other device"
        );
    }) else {
        return;
    };
    assert_eq!(said.matches("k: an illegal address, as asked for").count(), 1, "{said}");
}

/// Of two processes that share the file only the first meets the fault.
#[test]
fn a_fault_with_a_file_comes_once() {
    const FILE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/a-fault-that-comes-once");
    let settings = Settings { fault: 1, fault_file: Some(FILE.into()), ..Settings::default() };
    for round in 0..2 {
        let Some(said) = child(&settings, || {
            let first = !std::fs::exists(FILE).unwrap();
            let ended = Device::of_ptx(kernel(0, "")).launch("k", 1, 1, &[]);
            assert_eq!(ended, if first { Err(CUDA_ERROR_ILLEGAL_ADDRESS) } else { Ok(()) });
            assert!(std::fs::exists(FILE).unwrap());
        }) else {
            return;
        };
        assert_eq!(said.contains("as asked for"), round == 0, "{said}");
    }
    std::fs::remove_file(FILE).unwrap();
}

#[test]
fn a_launch_larger_than_the_device_is_refused_and_breaks_nothing() {
    let text = kernel(0, "").replace(") {", ") .maxntid 128, 1, 1 {");
    let device = Device::of_ptx(text);
    let launch = |grid, block| {
        let shape = LaunchConfig { grid_dim: grid, block_dim: block, shared_mem_bytes: 0 };
        device.launch_with("k", shape, &[])
    };
    let refusals: [(_, _, CUresult); 5] = [
        ((0, 1, 1), (32, 1, 1), CUDA_ERROR_INVALID_VALUE),
        ((1, 65_536, 1), (32, 1, 1), CUDA_ERROR_INVALID_VALUE),
        ((1, 1, 1), (32, 33, 1), CUDA_ERROR_INVALID_VALUE),
        ((1, 1, 1), (1, 1, 65), CUDA_ERROR_INVALID_VALUE),
        ((1, 1, 1), (129, 1, 1), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES),
    ];
    for (grid, block, why) in refusals {
        assert_eq!(launch(grid, block), Err(why), "{grid:?} {block:?}");
    }
    assert_eq!(launch((1, 2, 3), (4, 4, 8)), Ok(()));
}

#[test]
fn a_trap_is_a_failed_launch() {
    let Some(said) = child(Settings::default(), || {
        let body = "setp.eq.u32 %p0, %t, 5;\n@%p0 trap;";
        assert_eq!(Device::of_ptx(kernel(0, body)).launch("k", 1, 5, &[]), Ok(()));
        assert_eq!(
            Device::of_ptx(kernel(0, body)).launch("k", 1, 6, &[]),
            Err(CUDA_ERROR_LAUNCH_FAILED)
        );
    }) else {
        return;
    };
    assert!(said.contains("thread [5, 0, 0]: traps"), "{said}");
}

#[test]
fn memory_is_copied_from_device_to_device() {
    let (a, b) = (Device::of_ptx(kernel(0, "")), Device::of_ptx(kernel(0, "")));
    let from = a.upload(&[1u32, 2, 3]);
    let to = b.blank(12);
    // SAFETY: both are twelve bytes long.
    unsafe { result::memcpy_dtod_async(to, from, 12, b.stream.cu_stream()) }.unwrap();
    b.stream.synchronize().unwrap();
    assert_eq!(b.download::<u32>(to, 3), Ok(vec![1, 2, 3]));
}

/// Kernels report their limits.
#[test]
fn kernels_tell_their_limits() {
    let device = Device::of_ptx(kernel(0, ".shared .b8 some[48];\n.local .b8 own[8];"));
    let function = device.function("k");
    assert_eq!(function.shared_size_bytes().unwrap(), 48);
    assert_eq!(function.local_size_bytes().unwrap(), 16);
    assert_eq!(function.max_threads_per_block().unwrap(), 1024);
}
