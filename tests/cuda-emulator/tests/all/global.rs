//! Global memory: bounds, alignment, life and first writes, judged access by access.

use crate::device::{Device, child, kernel};
use cuda_emulator::Settings;
use cudarc::driver::sys::CUresult::{
    CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL, CUDA_ERROR_MISALIGNED_ADDRESS as MISALIGNED,
};
use cudarc::driver::{CudaContext, result};

/// `a0[i] = a1[i]`
const COPY: &str = "
    add.u64 %rd1, %a1, %o;
    ld.global.u32 %r1, [%rd1];
    add.u64 %rd2, %a0, %o;
    st.global.u32 [%rd2], %r1;";

/// The same with a byte offset into the source.
const COPY_FROM: &str = "
    add.u64 %rd1, %a1, %o;
    add.u64 %rd1, %rd1, %a2;
    ld.global.u32 %r1, [%rd1];
    add.u64 %rd2, %a0, %o;
    st.global.u32 [%rd2], %r1;";

const WORDS: [u32; 64] = [7; 64];

#[test]
fn one_element_behind_the_end_is_not_read() {
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(kernel(2, COPY));
        let args = [device.blank(65 * 4), device.upload(&WORDS)];
        assert_eq!(device.launch("k", 1, 65, &args), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("k: block [0, 0, 0] thread [64, 0, 0]: reads 4 bytes outside"), "{said}");
    assert!(said.contains("0 bytes behind the end of an allocation of 256 bytes"), "{said}");
    assert!(said.contains(": ld.global.u32 %r1, [%rd1];"), "{said}");

    let device = Device::of_ptx(kernel(2, COPY));
    let args = [device.blank(64 * 4), device.upload(&WORDS)];
    device.launch("k", 1, 64, &args).unwrap();
    assert_eq!(device.download::<u32>(args[0], 64).unwrap(), WORDS);
}

/// The line of the report is that of the text given to the driver, and the block is named, too.
#[test]
fn one_element_behind_the_end_is_not_written() {
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(kernel(2, COPY));
        let args = [device.blank(63 * 4), device.upload(&WORDS)];
        assert_eq!(device.launch("k", 2, 32, &args), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(
        said.contains("k: block [1, 0, 0] thread [31, 0, 0]: writes 4 bytes outside"),
        "{said}"
    );
    let text = kernel(2, COPY);
    let line = text.lines().position(|line| line.contains("st.global")).unwrap() + 1;
    assert!(said.contains(&format!("PTX line {line}: st.global.u32 [%rd2], %r1;")), "{said}");
}

#[test]
fn a_thread_of_a_three_dimensional_block_is_named_by_its_three_numbers() {
    let Some(said) = child(Settings::default(), || {
        let body = "
            mov.u32 %r1, %tid.z;
            setp.ne.u32 %p0, %r1, 1;
            @%p0 ret;
            mov.u32 %r2, %tid.y;
            setp.ne.u32 %p0, %r2, 2;
            @%p0 ret;
            ld.global.u32 %r3, [%a0];";
        let device = Device::of_ptx(kernel(1, body));
        let shape = cudarc::driver::LaunchConfig {
            grid_dim: (1, 1, 1),
            block_dim: (5, 3, 2),
            shared_mem_bytes: 0,
        };
        assert_eq!(device.launch_with("k", shape, &[0]), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("block [0, 0, 0] thread [0, 2, 1]"), "{said}");
}

#[test]
fn a_null_pointer_is_no_memory() {
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(kernel(2, COPY));
        let args = [device.blank(128), 0];
        assert_eq!(device.launch("k", 1, 32, &args), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("thread [0, 0, 0]: reads 4 bytes outside of any allocation"), "{said}");
}

#[test]
fn a_misaligned_access_is_an_error_of_its_own() {
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(kernel(3, COPY_FROM));
        let args = [device.blank(128), device.upload(&WORDS), 2];
        assert_eq!(device.launch("k", 1, 32, &args), Err(MISALIGNED));
    }) else {
        return;
    };
    assert!(said.contains("accesses 4 bytes, misaligned"), "{said}");

    let device = Device::of_ptx(kernel(3, COPY_FROM));
    let args = [device.blank(128), device.upload(&WORDS), 4];
    assert_eq!(device.launch("k", 1, 32, &args), Ok(()));
}

#[test]
fn four_words_at_once_must_lie_at_a_multiple_of_sixteen_bytes() {
    let body = "
        add.u64 %rd1, %a0, %a1;
        ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%rd1];";
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(kernel(2, body));
        let from = device.upload(&WORDS);
        assert_eq!(device.launch("k", 1, 1, &[from, 8]), Err(MISALIGNED));
    }) else {
        return;
    };
    assert!(said.contains("accesses 16 bytes, misaligned"), "{said}");

    let device = Device::of_ptx(kernel(2, body));
    assert_eq!(device.launch("k", 1, 1, &[device.upload(&WORDS), 16]), Ok(()));
}

#[test]
fn freed_memory_is_gone_and_the_report_says_it_was_freed() {
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(kernel(2, COPY));
        let args = [device.blank(256), device.upload(&WORDS)];
        assert_eq!(device.launch("k", 1, 64, &args), Ok(()));
        // SAFETY: nothing uses it but the kernel that is to be caught.
        unsafe { result::free_sync(args[1]) }.unwrap();
        assert_eq!(device.launch("k", 1, 64, &args), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("byte 0 of a freed allocation of 256 bytes"), "{said}");
}

#[test]
fn memory_never_written_is_not_read_by_kernels() {
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(kernel(2, COPY));
        let (to, from) = (device.blank(256), device.blank(256));
        // SAFETY: 128 of the 256 bytes are filled.
        unsafe { result::memset_d8_sync(from, 0, 128) }.unwrap();
        // A memset does not wait, whatever it is called.
        device.context.synchronize().unwrap();
        assert_eq!(device.launch("k", 1, 32, &[to, from]), Ok(()), "the half that is filled");
        assert_eq!(device.launch("k", 1, 33, &[to, from]), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(
        said.contains("reads byte 128 of 256 of an allocation, which was never written"),
        "{said}"
    );
    assert!(said.contains("thread [32, 0, 0]"), "{said}");
}

/// A copy carries along what was never written; the host reads it as a signaling NaN.
#[test]
fn memory_never_written_reaches_the_host_as_poison() {
    let device = Device::of_ptx(kernel(2, COPY));
    let (whole, half) = (device.blank(16), device.blank(16));
    // SAFETY: both have 16 bytes.
    unsafe {
        result::memset_d8_sync(half, 1, 8).unwrap();
        result::memcpy_dtod_sync(whole, half, 16).unwrap();
    }
    const POISON: u32 = 0x7FA0_DEAD;
    let words = device.download::<u32>(whole, 4).unwrap();
    assert_eq!(words, [0x0101_0101, 0x0101_0101, POISON, POISON]);
    assert!(f32::from_bits(POISON).is_nan());
}

/// An error stays in its context, as on hardware; other devices go on.
#[test]
fn an_error_sticks_to_its_device_and_to_no_other() {
    let Some(_) = child(Settings::default(), || {
        let broken = Device::on(CudaContext::new(0).unwrap(), kernel(2, COPY));
        let whole = Device::on(CudaContext::new(1).unwrap(), kernel(2, COPY));
        let kept = broken.upload(&WORDS);
        assert_eq!(broken.launch("k", 1, 1, &[kept, 0]), Err(ILLEGAL));

        assert_eq!(broken.launch("k", 1, 1, &[kept, kept]), Err(ILLEGAL));
        assert_eq!(broken.download::<u32>(kept, 1), Err(ILLEGAL));
        assert_eq!(broken.context.synchronize().unwrap_err().0, ILLEGAL);
        // SAFETY: nothing is done with it.
        assert_eq!(unsafe { result::malloc_sync(4) }.unwrap_err().0, ILLEGAL);

        let args = [whole.blank(256), whole.upload(&WORDS)];
        assert_eq!(whole.launch("k", 1, 64, &args), Ok(()));
        assert_eq!(whole.download::<u32>(args[0], 64).unwrap(), WORDS);
    }) else {
        return;
    };
}

/// Another device's memory is not within reach.
#[test]
fn a_pointer_of_another_device_is_no_memory() {
    let Some(said) = child(Settings::default(), || {
        let here = Device::on(CudaContext::new(0).unwrap(), kernel(2, COPY));
        let there = Device::on(CudaContext::new(1).unwrap(), kernel(2, COPY));
        let foreign = there.upload(&WORDS);
        let to = here.blank(256);
        assert_eq!(here.launch("k", 1, 64, &[to, foreign]), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("memory of Device(1)"), "{said}");
}
