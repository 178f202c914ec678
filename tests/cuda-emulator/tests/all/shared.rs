//! Shared memory: first writes, races between barriers, barriers themselves, and bounds.

use crate::device::{Device, Outcome, child, kernel};
use cuda_emulator::Settings;
use cudarc::driver::sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL;

/// Each thread puts its number into shared memory and takes that of the thread `63 - t`.
fn mirror(between: &str) -> String {
    kernel(
        1,
        &format!(
            ".shared .align 4 .b8 tile[256];
            mov.u32 %r1, tile;
            shl.b32 %r2, %t, 2;
            add.u32 %r3, %r1, %r2;
            st.shared.u32 [%r3], %t;
            {between}
            sub.u32 %r4, %r1, %r2;
            ld.shared.u32 %r5, [%r4+252];
            add.u64 %rd1, %a0, %o;
            st.global.u32 [%rd1], %r5;"
        ),
    )
}

fn run(text: String, block: u32) -> Outcome<Vec<u32>> {
    let device = Device::of_ptx(text);
    let to = device.blank(block as usize * 4);
    device.launch("k", 1, block, &[to])?;
    device.download(to, block as usize)
}

#[test]
fn a_barrier_between_writing_and_reading_is_missed() {
    // Whichever warp the seed lets go first: the fault is found.
    for seed in 0..4 {
        let Some(said) = child(&Settings { seed, ..Settings::default() }, || {
            assert_eq!(run(mirror(""), 64), Err(ILLEGAL));
        }) else {
            return;
        };
        assert!(said.contains("shared memory that was never written"), "{said}");
        assert!(said.contains("ld.shared.u32 %r5, [%r4+252];"), "{said}");
    }
    let mirrored: Vec<u32> = (0..64).rev().collect();
    assert_eq!(run(mirror("bar.sync 0;"), 64), Ok(mirrored));
}

/// Here the cells were written before, so that only the race itself is left to find.
#[test]
fn two_warps_that_write_and_read_a_cell_race_without_a_barrier() {
    let first = ".shared .align 4 .b8 cell[4];
        mov.u32 %r1, cell;
        setp.eq.u32 %p0, %t, 0;
        @%p0 st.shared.u32 [%r1], 1;
        bar.sync 0;
        setp.eq.u32 %p1, %t, 32;
        @%p1 st.shared.u32 [%r1], 2;";
    let last = "@%p0 ld.shared.u32 %r2, [%r1];";
    let racing = |between: &str| kernel(0, &format!("{first}\n{between}\n{last}"));
    for seed in 0..4 {
        let Some(said) = child(&Settings { seed, ..Settings::default() }, || {
            assert_eq!(Device::of_ptx(racing("")).launch("k", 1, 64, &[]), Err(ILLEGAL));
        }) else {
            return;
        };
        let found =
            ["reads what thread 32 writes, no barrier", "writes what thread 0 reads, no barrier"];
        assert!(found.iter().any(|found| said.contains(found)), "{said}");
    }
    assert_eq!(Device::of_ptx(racing("bar.sync 0;")).launch("k", 1, 64, &[]), Ok(()));
}

#[test]
fn two_threads_that_write_one_cell_race() {
    let body = |thread: u32| {
        format!(
            ".shared .align 4 .b8 cell[4];
            mov.u32 %r1, cell;
            setp.ge.u32 %p0, %t, {thread};
            @%p0 st.shared.u32 [%r1], %t;"
        )
    };
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(kernel(0, &body(62)));
        assert_eq!(device.launch("k", 1, 64, &[]), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("thread [63, 0, 0]: writes what thread 62 writes, no barrier"), "{said}");
    assert_eq!(Device::of_ptx(kernel(0, &body(63))).launch("k", 1, 64, &[]), Ok(()));
}

/// Within a warp `bar.warp.sync` is enough, and without it lanes race like warps do.
#[test]
fn lanes_of_a_warp_need_a_barrier_of_their_warp() {
    let Some(said) = child(Settings::default(), || {
        let text = mirror("").replace("+252", "+124");
        assert_eq!(run(text, 32), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("reads what thread 31 writes, no barrier between"), "{said}");
    let text = mirror("bar.warp.sync 0xffffffff;").replace("+252", "+124");
    assert_eq!(run(text, 32), Ok((0..32).rev().collect()));
}

#[test]
fn a_barrier_of_a_warp_does_not_hold_for_two() {
    let Some(said) = child(Settings::default(), || {
        assert_eq!(run(mirror("bar.warp.sync 0xffffffff;"), 64), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("never written") || said.contains("no barrier"), "{said}");
}

/// Sums tiles of 64 numbers that pass through two buffers; `end` closes each turn.
fn buffered(middle: &str, end: &str, n_buffers: u32) -> String {
    kernel(
        3,
        &format!(
            ".shared .align 4 .b8 tiles[512];
            mov.u32 %r1, tiles;
            shl.b32 %r2, %t, 2;
            mov.u32 %r3, 0;
            mov.u32 %r4, 0;
            cvt.u32.u64 %r5, %a2;
            add.u64 %rd1, %a1, %o;
            turn:
            rem.u32 %r6, %r4, {n_buffers};
            shl.b32 %r6, %r6, 8;
            add.u32 %r6, %r6, %r1;
            ld.global.u32 %r7, [%rd1];
            add.u32 %r8, %r6, %r2;
            st.shared.u32 [%r8], %r7;
            {middle}
            sub.u32 %r9, %r6, %r2;
            ld.shared.u32 %r10, [%r9+252];
            add.u32 %r3, %r3, %r10;
            {end}
            add.u64 %rd1, %rd1, 256;
            add.u32 %r4, %r4, 1;
            setp.lt.u32 %p0, %r4, %r5;
            @%p0 bra turn;
            add.u64 %rd2, %a0, %o;
            st.global.u32 [%rd2], %r3;"
        ),
    )
}

fn run_buffered(text: String) -> Outcome<Vec<u32>> {
    let device = Device::of_ptx(text);
    let numbers: Vec<u32> = (0..64 * 5).collect();
    let args = [device.blank(256), device.upload(&numbers), 5];
    device.launch("k", 1, 64, &args)?;
    device.download(args[0], 64)
}

/// With two buffers one barrier a turn is enough; with one buffer it takes two.
#[test]
fn a_buffer_is_not_filled_again_while_another_warp_reads_it() {
    let Some(said) = child(Settings::default(), || {
        assert_eq!(run_buffered(buffered("bar.sync 0;", "", 1)), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("no barrier between"), "{said}");
    let sums: Vec<u32> = (0..64).map(|i| (0..5).map(|turn| turn * 64 + 63 - i).sum()).collect();
    assert_eq!(run_buffered(buffered("bar.sync 0;", "", 2)), Ok(sums.clone()));
    assert_eq!(run_buffered(buffered("bar.sync 0;", "bar.sync 0;", 1)), Ok(sums));
}

#[test]
fn two_buffers_without_their_barrier_are_found() {
    let Some(said) = child(Settings::default(), || {
        assert_eq!(run_buffered(buffered("", "", 2)), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("shared memory that was never written"), "{said}");
}

#[test]
fn warps_at_different_barriers_are_caught() {
    let body = "
        setp.lt.u32 %p0, %t, 32;
        @%p0 bra low;
        bar.sync 0;
        bra.uni end;
        low:
        bar.sync 0;
        end:";
    let Some(said) = child(Settings::default(), || {
        assert_eq!(Device::of_ptx(kernel(0, body)).launch("k", 1, 64, &[]), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("waits at a barrier while others wait at the one of line"), "{said}");
    assert_eq!(
        Device::of_ptx(kernel(0, body)).launch("k", 1, 32, &[]),
        Ok(()),
        "one warp, one place"
    );
}

#[test]
fn lanes_of_a_warp_at_different_barriers_are_caught() {
    let body = |split: u32| {
        format!(
            "setp.lt.u32 %p0, %t, {split};
            @%p0 bra low;
            bar.sync 0;
            bra.uni end;
            low:
            bar.sync 0;
            end:"
        )
    };
    let Some(said) = child(Settings::default(), || {
        assert_eq!(Device::of_ptx(kernel(0, &body(16))).launch("k", 1, 32, &[]), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("wait for others of their warp that never come"), "{said}");
    assert_eq!(Device::of_ptx(kernel(0, &body(32))).launch("k", 1, 32, &[]), Ok(()));
}

/// Threads that have returned are not waited for, as on hardware since Volta.
#[test]
fn a_barrier_does_not_wait_for_threads_that_returned() {
    let text = mirror("setp.lt.u32 %p0, %t, 0;\n@%p0 ret;\nbar.sync 0;");
    assert_eq!(run(text, 64), Ok((0..64).rev().collect()));
    let body = "setp.ge.u32 %p0, %t, 40;\n@%p0 ret;\nbar.sync 0;\nst.global.u32 [%a0], %r31;";
    let body = body.replace("st.global", "setp.eq.u32 %p1, %t, 39;\n@%p1 st.global");
    let device = Device::of_ptx(kernel(1, &body));
    let to = device.blank(4);
    device.launch("k", 1, 64, &[to]).unwrap();
    assert_eq!(device.download::<u32>(to, 1), Ok(vec![39]));
}

/// As compilers write it for architectures that have clusters.
#[test]
fn shared_memory_of_the_block_has_a_second_name() {
    let text = mirror("bar.sync 0;").replace(".shared.u32", ".shared::cta.u32");
    assert!(text.contains("ld.shared::cta.u32"));
    assert_eq!(run(text, 64), Ok((0..64).rev().collect()));
}
