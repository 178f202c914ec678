//! The size of shared memory: exactly the bytes that were declared and granted.

use crate::device::{Device, Outcome, child, kernel};
use cuda_emulator::Settings;
use cudarc::driver::LaunchConfig;
use cudarc::driver::sys::CUresult::{
    CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL, CUDA_ERROR_INVALID_VALUE as INVALID,
    CUDA_ERROR_MISALIGNED_ADDRESS as MISALIGNED,
};

/// Writes word `t` of shared memory whose size the launch decides.
const DYNAMIC: &str = "
    mov.u32 %r1, granted;
    shl.b32 %r2, %t, 2;
    add.u32 %r1, %r1, %r2;
    st.shared.u32 [%r1], %t;
    ld.shared.u32 %r3, [%r1];
    add.u64 %rd1, %a0, %o;
    st.global.u32 [%rd1], %r3;";

fn dynamic(words: u32, block: u32) -> Outcome<Vec<u32>> {
    let text = kernel(1, DYNAMIC)
        .replace(".visible", ".extern .shared .align 16 .b8 granted[];\n.visible");
    let device = Device::of_ptx(text);
    let to = device.blank(block as usize * 4);
    let shape =
        LaunchConfig { grid_dim: (1, 1, 1), block_dim: (block, 1, 1), shared_mem_bytes: words * 4 };
    device.launch_with("k", shape, &[to])?;
    device.download(to, block as usize)
}

/// Not even within what hardware would round the size up to.
#[test]
fn dynamic_shared_memory_ends_where_it_was_granted() {
    let Some(said) = child(Settings::default(), || {
        assert_eq!(dynamic(5, 6), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(
        said.contains("thread [5, 0, 0]: accesses 4 bytes at 20 of 20 bytes of shared"),
        "{said}"
    );
    assert_eq!(dynamic(6, 6), Ok((0..6).collect()));
}

#[test]
fn a_launch_asking_for_more_dynamic_shared_memory_than_allowed_is_refused() {
    assert_eq!(dynamic(12 * 1024 + 1, 1), Err(INVALID));
    assert_eq!(dynamic(12 * 1024, 1), Ok(vec![0]));
}

/// Writes at an offset into twenty bytes.
fn into_twenty(offset: u32) -> String {
    let body = format!(
        ".shared .align 4 .b8 cell[20];
        mov.u32 %r1, cell;
        st.shared.u32 [%r1+{offset}], %t;"
    );
    kernel(0, &body)
}

#[test]
fn static_shared_memory_ends_with_what_was_declared() {
    let Some(said) = child(Settings::default(), || {
        assert_eq!(Device::of_ptx(into_twenty(20)).launch("k", 1, 1, &[]), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("accesses 4 bytes at 20 of 20 bytes of shared memory"), "{said}");
    assert_eq!(Device::of_ptx(into_twenty(16)).launch("k", 1, 1, &[]), Ok(()));
}

#[test]
fn a_word_of_shared_memory_lies_at_a_multiple_of_four() {
    let Some(said) = child(Settings::default(), || {
        assert_eq!(Device::of_ptx(into_twenty(14)).launch("k", 1, 1, &[]), Err(MISALIGNED));
    }) else {
        return;
    };
    assert!(said.contains("accesses 4 bytes of shared memory, misaligned"), "{said}");
    assert_eq!(Device::of_ptx(into_twenty(12)).launch("k", 1, 1, &[]), Ok(()));
}
