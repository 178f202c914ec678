//! Blocks of one launch: races on global memory, and atomic accesses, which are none.

use crate::device::{Device, Outcome, child, kernel};
use cuda_emulator::Settings;
use cudarc::driver::sys::CUresult::{
    CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL, CUDA_ERROR_MISALIGNED_ADDRESS as MISALIGNED,
};

/// Thread 0 of each block writes `value` into word `%r30 * step`.
fn writing(step: u32) -> String {
    let body = format!(
        "mul.lo.u32 %r1, %r30, {step};
        mul.wide.u32 %rd1, %r1, 4;
        add.u64 %rd1, %rd1, %a0;
        setp.eq.u32 %p0, %t, 0;
        @%p0 st.global.u32 [%rd1], %r30;"
    );
    kernel(1, &body)
}

fn write(step: u32) -> Outcome<Vec<u32>> {
    let device = Device::of_ptx(writing(step));
    let to = device.blank(64);
    device.launch("k", 16, 32, &[to])?;
    device.download(to, 16)
}

#[test]
fn two_blocks_that_write_one_word_race() {
    for seed in 0..4 {
        let Some(said) = child(&Settings { seed, ..Settings::default() }, || {
            assert_eq!(write(0), Err(ILLEGAL));
        }) else {
            return;
        };
        assert!(said.contains("races at byte 0 of an allocation with block number"), "{said}");
    }
    assert_eq!(write(1), Ok((0..16).collect()));
}

#[test]
fn blocks_are_not_watched_where_nobody_wants_it() {
    child(&Settings { strict: false, ..Settings::default() }, || {
        let one = write(0).unwrap()[0];
        assert!(one < 16);
    });
}

/// Block `b` writes word `b` and reads word `b + shift`.
fn neighbors(shift: u32) -> Outcome<()> {
    let body = format!(
        "mul.wide.u32 %rd1, %r30, 4;
        add.u64 %rd1, %rd1, %a0;
        ld.global.u32 %r1, [%rd1+{}];
        st.global.u32 [%rd1], %r1;",
        shift * 4
    );
    let device = Device::of_ptx(kernel(1, &body));
    let to = device.upload(&[3u32; 32]);
    device.launch("k", 16, 1, &[to])
}

#[test]
fn a_block_that_reads_what_another_writes_races() {
    // Seeds choose whether blocks run upwards or downwards, and so which of both comes first.
    for seed in 0..4 {
        let Some(said) = child(&Settings { seed, ..Settings::default() }, || {
            assert_eq!(neighbors(1), Err(ILLEGAL));
        }) else {
            return;
        };
        assert!(said.contains("races at byte"), "{said}");
    }
    assert_eq!(neighbors(0), Ok(()), "each its own");
    assert_eq!(neighbors(16), Ok(()), "what nobody writes");
}

#[test]
fn launches_one_after_the_other_do_not_race() {
    let device = Device::of_ptx(writing(1));
    let to = device.blank(64);
    // More than there are stamps before they begin anew.
    for _ in 0..300 {
        device.launch("k", 16, 1, &[to]).unwrap();
    }
}

/// Atomic operations of 4 × 64 threads on the word at `a0`, with its value before and after.
const ATOMS: [(&str, u32, u32); 13] = [
    ("add.u32 %r1, [%a0], 3", 5, 5 + 3 * 256),
    ("add.s32 %r1, [%a0], -1", 5, -251i32 as u32),
    ("max.u32 %r1, [%a0], %r31", 7, 255),
    ("max.s32 %r1, [%a0], %r2", -500i32 as u32, -1i32 as u32),
    ("min.u32 %r1, [%a0], %r2", u32::MAX, -256i32 as u32),
    ("min.s32 %r1, [%a0], %r2", 7, -256i32 as u32),
    ("and.b32 %r1, [%a0], %r3", u32::MAX, !255),
    ("or.b32 %r1, [%a0], %r31", 256, 511),
    ("xor.b32 %r1, [%a0], %r31", 1, 1),
    ("exch.b32 %r1, [%a0], 9", 1, 9),
    ("cas.b32 %r1, [%a0], 4, 6", 4, 6),
    ("inc.u32 %r1, [%a0], 99", 0, 256 % 100),
    ("dec.u32 %r1, [%a0], 99", 0, 100 - 256 % 100),
];

/// `%r2` is minus the thread's place counted from 1, `%r3` all bits but the lowest of its place.
const OPERANDS: &str = "
    not.b32 %r2, %r31;
    not.b32 %r3, %r31;";

#[test]
fn atomic_accesses_of_all_threads_to_one_word_all_count() {
    for (atom, before, after) in ATOMS {
        for body in [
            format!("{OPERANDS}\natom.global.{atom};"),
            format!("{OPERANDS}\nred.global.{};", atom.replace(" %r1,", "")),
        ] {
            if body.contains("red.global.exch") || body.contains("red.global.cas") {
                continue; // there are none that give nothing back
            }
            let device = Device::of_ptx(kernel(1, &body));
            let at = device.upload(&[before]);
            device.launch("k", 4, 64, &[at]).unwrap();
            assert_eq!(device.download::<u32>(at, 1), Ok(vec![after]), "{body}");
        }
    }
}

#[test]
fn atomic_additions_of_other_types_all_count() {
    let run = |atom: &str, before: &[u8]| {
        let body = format!(
            "mov.u64 %rd1, 0x100000001;\nmov.f32 %f1, 0f3F000000;\nmov.f64 %d1, 0d3FD0000000000000;\n{atom};"
        );
        let device = Device::of_ptx(kernel(1, &body));
        let at = device.upload(before);
        device.launch("k", 4, 64, &[at]).unwrap();
        device.download::<u8>(at, before.len()).unwrap()
    };
    let sum = run("atom.global.add.u64 %rd2, [%a0], %rd1", &5u64.to_le_bytes());
    assert_eq!(sum, (5 + 256 * 0x1_0000_0001u64).to_le_bytes());
    // Halves and quarters add up without rounding, in whatever order.
    let sum = run("red.global.add.f32 [%a0], %f1", &1f32.to_le_bytes());
    assert_eq!(sum, 129f32.to_le_bytes());
    let sum = run("atom.global.add.f64 %d2, [%a0], %d1", &1f64.to_le_bytes());
    assert_eq!(sum, 65f64.to_le_bytes());
}

/// The old values given back are those of some order of all additions.
#[test]
fn an_atomic_addition_gives_each_thread_another_old_value() {
    let body = "
        atom.global.add.u32 %r1, [%a1], 1;
        add.u64 %rd1, %a0, %o;
        st.global.u32 [%rd1], %r1;";
    let device = Device::of_ptx(kernel(2, body));
    let args = [device.blank(1024), device.upload(&[0u32])];
    device.launch("k", 4, 64, &args).unwrap();
    let mut given = device.download::<u32>(args[0], 256).unwrap();
    given.sort_unstable();
    assert_eq!(given, (0..256).collect::<Vec<u32>>());
}

#[test]
fn atomic_accesses_to_shared_memory_all_count() {
    let body = "
        .shared .align 4 .b8 sum[4];
        mov.u32 %r1, sum;
        setp.eq.u32 %p0, %t, 0;
        @%p0 st.shared.u32 [%r1], 0;
        bar.sync 0;
        atom.shared.add.u32 %r2, [%r1], %t;
        bar.sync 0;
        @%p0 ld.shared.u32 %r3, [%r1];
        mul.wide.u32 %rd1, %r30, 4;
        add.u64 %rd1, %rd1, %a0;
        @%p0 st.global.u32 [%rd1], %r3;";
    let Some(said) = child(Settings::default(), || {
        let early = body.replacen("bar.sync 0;", "", 1);
        let device = Device::of_ptx(kernel(1, &early));
        assert_eq!(device.launch("k", 2, 128, &[device.blank(8)]), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("no barrier between") || said.contains("never written"), "{said}");
    let device = Device::of_ptx(kernel(1, body));
    let to = device.blank(8);
    device.launch("k", 2, 128, &[to]).unwrap();
    assert_eq!(device.download::<u32>(to, 2), Ok(vec![127 * 64; 2]));
}

#[test]
fn a_plain_access_races_with_atomic_ones_of_other_blocks() {
    let body = |blocks: u32| {
        format!(
            "setp.lt.u32 %p0, %r30, {blocks};
            @%p0 st.global.u32 [%a0], 1;
            @!%p0 red.global.add.u32 [%a0], 1;"
        )
    };
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(kernel(1, &body(1)));
        assert_eq!(device.launch("k", 4, 1, &[device.upload(&[0u32])]), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("races at byte 0 of an allocation with"), "{said}");
    let device = Device::of_ptx(kernel(1, &body(0)));
    assert_eq!(device.launch("k", 4, 1, &[device.upload(&[0u32])]), Ok(()));
}

/// With one block there is no other to race with: its barriers order what its threads do.
#[test]
fn a_block_alone_may_read_what_it_added_atomically() {
    let body = "
        red.global.add.u32 [%a1], 1;
        bar.sync 0;
        ld.global.u32 %r1, [%a1];
        setp.eq.u32 %p0, %t, 0;
        @%p0 st.global.u32 [%a0], %r1;";
    let device = Device::of_ptx(kernel(2, body));
    let args = [device.blank(4), device.upload(&[0u32])];
    device.launch("k", 1, 64, &args).unwrap();
    assert_eq!(device.download::<u32>(args[0], 1), Ok(vec![64]));
}

const ADD_AT: &str = "
    add.u64 %rd1, %a0, %a1;
    red.global.add.u32 [%rd1], 1;";

#[test]
fn an_atomic_access_to_memory_never_written_is_caught() {
    let Some(said) = child(Settings::default(), || {
        let device = Device::of_ptx(kernel(2, ADD_AT));
        assert_eq!(device.launch("k", 1, 1, &[device.blank(4), 0]), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("which was never written"), "{said}");
}

#[test]
fn an_atomic_access_must_be_aligned_and_inside() {
    let Some(said) = child("devices=2", || {
        let device = Device::of_ptx(kernel(2, ADD_AT));
        assert_eq!(device.launch("k", 1, 1, &[device.upload(&[0u32; 2]), 2]), Err(MISALIGNED));
        let device = Device::of_ptx(kernel(2, ADD_AT));
        assert_eq!(device.launch("k", 1, 1, &[device.upload(&[0u32; 2]), 8]), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("accesses 4 bytes, misaligned"), "{said}");
    assert!(said.contains("0 bytes behind the end of an allocation of 8 bytes"), "{said}");
    let device = Device::of_ptx(kernel(2, ADD_AT));
    assert_eq!(device.launch("k", 1, 1, &[device.upload(&[0u32; 2]), 4]), Ok(()));
}
