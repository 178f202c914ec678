//! Asynchronous copies to shared memory: theirs until their wait, and then still behind a barrier.

use crate::device::{Device, Outcome, child, kernel};
use cuda_emulator::Settings;
use cudarc::driver::sys::CUresult::{
    CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL, CUDA_ERROR_MISALIGNED_ADDRESS as MISALIGNED,
};

/// Copies two groups of 64 × 16 bytes and reads the `of` first from the thread opposite, after
/// `wait`.
fn copying(wait: &str, group: u32) -> String {
    kernel(
        2,
        &format!(
            ".shared .align 16 .b8 tile[2048];
            mov.u32 %r1, tile;
            shl.b32 %r2, %t, 4;
            add.u32 %r3, %r1, %r2;
            shl.b64 %rd1, %o, 2;
            add.u64 %rd2, %a1, %rd1;
            cp.async.cg.shared.global [%r3], [%rd2], 16;
            cp.async.commit_group;
            cp.async.ca.shared.global [%r3+1024], [%rd2+1024], 16;
            cp.async.commit_group;
            {wait}
            sub.u32 %r4, %r1, %r2;
            add.u32 %r4, %r4, {};
            ld.shared.v4.u32 {{%r5, %r6, %r7, %r8}}, [%r4];
            add.u64 %rd3, %a0, %rd1;
            st.global.v4.u32 [%rd3], {{%r5, %r6, %r7, %r8}};",
            63 * 16 + group * 1024
        ),
    )
}

fn run(text: String) -> Outcome<Vec<u32>> {
    let device = Device::of_ptx(text);
    let numbers: Vec<u32> = (0..512).collect();
    let args = [device.blank(1024), device.upload(&numbers)];
    device.launch("k", 1, 64, &args)?;
    device.download(args[0], 256)
}

fn opposite(group: u32) -> Vec<u32> {
    (0..64).rev().flat_map(|i| (0..4).map(move |j| group * 256 + i * 4 + j)).collect()
}

#[test]
fn what_is_copied_is_not_there_before_its_wait() {
    let Some(said) = child(Settings::default(), || {
        assert_eq!(run(copying("bar.sync 0;", 0)), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("reads before its wait what thread"), "{said}");
    assert_eq!(run(copying("cp.async.wait_group 0;\nbar.sync 0;", 0)), Ok(opposite(0)));
    assert_eq!(run(copying("cp.async.wait_all;\nbar.sync 0;", 1)), Ok(opposite(1)));
}

#[test]
fn a_wait_lets_the_newest_groups_go_on() {
    let Some(said) = child(Settings::default(), || {
        assert_eq!(run(copying("cp.async.wait_group 1;\nbar.sync 0;", 1)), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("reads before its wait what thread"), "{said}");
    assert_eq!(run(copying("cp.async.wait_group 1;\nbar.sync 0;", 0)), Ok(opposite(0)));
}

/// A wait is for one's own copies: others' need a barrier behind it.
#[test]
fn a_wait_without_a_barrier_is_not_enough_for_what_others_copied() {
    let Some(said) = child(Settings::default(), || {
        assert_eq!(run(copying("cp.async.wait_group 0;", 0)), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("shared memory that was never written"), "{said}");
}

#[test]
fn a_barrier_before_the_wait_orders_nothing_that_the_wait_brings() {
    let Some(said) = child(Settings::default(), || {
        assert_eq!(run(copying("bar.sync 0;\ncp.async.wait_group 0;", 0)), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("no barrier between") || said.contains("before its wait"), "{said}");
}

#[test]
fn a_copy_does_not_go_where_another_warp_still_reads() {
    let body = |between: &str| {
        format!(
            ".shared .align 16 .b8 tile[16];
            mov.u32 %r1, tile;
            setp.eq.u32 %p0, %t, 0;
            setp.eq.u32 %p1, %t, 32;
            @%p0 st.shared.u32 [%r1], 5;
            bar.sync 0;
            @%p1 ld.shared.u32 %r2, [%r1];
            {between}
            @%p0 cp.async.cg.shared.global [%r1], [%a0], 16;
            cp.async.wait_all;"
        )
    };
    // The seed decides which warp comes first, and so what is found; that it is found is certain.
    for seed in 0..4 {
        let Some(said) = child(&Settings { seed, ..Settings::default() }, || {
            let device = Device::of_ptx(kernel(1, &body("")));
            let args = [device.upload(&[1u32; 4])];
            assert_eq!(device.launch("k", 1, 64, &args), Err(ILLEGAL));
        }) else {
            return;
        };
        assert!(said.contains("no barrier between") || said.contains("before its wait"), "{said}");
    }
    let device = Device::of_ptx(kernel(1, &body("bar.sync 0;")));
    let args = [device.upload(&[1u32; 4])];
    assert_eq!(device.launch("k", 1, 64, &args), Ok(()));
}

/// `source` bytes of 16 are read, the rest is zero.
fn partly(source: u32) -> String {
    kernel(
        2,
        &format!(
            ".shared .align 16 .b8 tile[16];
            mov.u32 %r1, tile;
            mov.u32 %r2, {source};
            cp.async.cg.shared.global [%r1], [%a1], 16, %r2;
            cp.async.wait_all;
            ld.shared.v4.u32 {{%r5, %r6, %r7, %r8}}, [%r1];
            st.global.v4.u32 [%a0], {{%r5, %r6, %r7, %r8}};"
        ),
    )
}

#[test]
fn a_copy_of_a_part_fills_up_with_zeros_and_reads_no_further() {
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(partly(12));
        let args = [device.blank(16), device.upload(&[1u32, 2])];
        assert_eq!(device.launch("k", 1, 1, &args), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("behind the end of an allocation of 8 bytes"), "{said}");
    for (n, want) in [(0, [0; 4]), (8, [1, 2, 0, 0])] {
        let device = Device::of_ptx(partly(n));
        let args = [device.blank(16), device.upload(&[1u32, 2])];
        device.launch("k", 1, 1, &args).unwrap();
        assert_eq!(device.download::<u32>(args[0], 4).unwrap(), want);
    }
}

#[test]
fn a_copy_must_be_aligned_at_its_source() {
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(partly(16));
        let (to, from) = (device.blank(16), device.upload(&[1u32; 8]));
        assert_eq!(device.launch("k", 1, 1, &[to, from + 8]), Err(MISALIGNED));
    }) else {
        return;
    };
    assert!(said.contains("copies 16 bytes, misaligned"), "{said}");
    let device = Device::of_ptx(partly(16));
    let (to, from) = (device.blank(16), device.upload(&[1u32; 8]));
    assert_eq!(device.launch("k", 1, 1, &[to, from + 16]), Ok(()));
}

#[test]
fn a_copy_may_carry_a_hint_for_the_cache() {
    let text = copying("cp.async.wait_all;\nbar.sync 0;", 0);
    let hinted = text.replace("cp.async.cg.shared.global", "cp.async.cg.shared.global.L2::128B");
    assert_ne!(hinted, text);
    assert_eq!(run(hinted), Ok(opposite(0)));
}
