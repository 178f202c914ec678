//! Counters: for a kernel small enough to count by hand, each number exactly.

use crate::device::{Device, child, kernel, shape};
use cuda_emulator::Settings;
use std::path::PathBuf;

/// The file for the counters of a test, without those of an earlier run.
fn file(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    // There may be none.
    let _ = std::fs::remove_file(&path);
    path
}

/// The number under `key`, anywhere in a line of JSON.
fn number(line: &str, key: &str) -> u64 {
    let key = format!("\"{key}\":");
    let (_, rest) = line.split_once(&key).unwrap_or_else(|| panic!("no {key} in {line}"));
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap()].parse().unwrap()
}

fn check(line: &str, wanted: &[(&str, u64)]) {
    for (key, value) in wanted {
        assert_eq!(number(line, key), *value, "{key} in {line}");
    }
}

/// Two blocks of 64 threads: four warps in all.
const COUNTED: &str = "
    .shared .align 4 .b8 tile[256];
    mov.u32 %r1, tile;
    shl.b32 %r2, %t, 2;
    add.u32 %r3, %r1, %r2;
    add.u64 %rd1, %a1, %o;
    ld.global.f32 %f1, [%rd1];
    st.shared.f32 [%r3], %f1;
    bar.sync 0;
    ld.shared.f32 %f2, [%r1];
    fma.rn.f32 %f3, %f1, %f2, %f1;
    fma.rn.f32 %f3, %f3, %f2, %f1;
    mul.f32 %f3, %f3, %f2;
    setp.ge.u32 %p0, %t, 48;
    @%p0 bra end;
    fma.rn.f32 %f3, %f3, %f2, %f1;
    end:
    add.u64 %rd2, %a0, %o;
    st.global.f32 [%rd2], %f3;";

#[test]
fn a_launch_is_counted_instruction_by_instruction() {
    let path = file("counted");
    let settings = Settings { counters: Some(path.clone()), ..Settings::default() };
    let Some(_) = child(&settings, || {
        let device = Device::of_ptx(kernel(2, COUNTED));
        let args = [device.blank(512), device.upload(&[1f32; 128])];
        for _ in 0..2 {
            device.launch("k", 2, 64, &args).unwrap();
        }
    }) else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "one line a launch");
    assert!(lines[0].starts_with("{\"kernel\":\"k\",\"launch\":1,\"device\":0,"), "{text}");
    assert!(lines[1].starts_with("{\"kernel\":\"k\",\"launch\":2,\"device\":0,"), "{text}");
    assert_eq!(
        lines[0].split_once("\"device\"").unwrap().1,
        lines[1].split_once("\"device\"").unwrap().1
    );
    assert!(lines[0].contains("\"grid\":[2, 1, 1],\"block\":[64, 1, 1],\"shared_bytes\":256"));
    check(
        lines[0],
        &[
            // Two by all four warps, one by all but the upper half of each second warp.
            ("ffma", 12),
            ("float", 4),
            // The frame's mad and mul.wide; shl, three adds, setp.
            ("int", 7 * 4),
            ("ld_global", 4),
            ("st_global", 4),
            ("ld_shared", 4),
            ("st_shared", 4),
            ("bar", 4),
            // In each block one warp branches in half, and the other not at all; all return.
            ("branch", 2 + 4),
            ("divergent_branches", 2),
            ("tensor", 0),
            // 32 words of four bytes side by side are four sectors of 32 bytes.
            ("global_load_requests", 4),
            ("global_load_sectors", 16),
            ("global_load_sectors_ideal", 16),
            ("global_load_sectors_span", 16),
            ("global_store_requests", 4),
            ("global_store_sectors", 16),
            // All lanes read one word: one wavefront.
            ("shared_load_requests", 4),
            ("shared_load_wavefronts", 4),
            ("shared_load_wavefronts_ideal", 4),
            ("shared_store_wavefronts", 4),
        ],
    );
    // The memory instructions one by one, with their text.
    let at = kernel(2, COUNTED).lines().position(|line| line.contains("ld.shared")).unwrap() + 1;
    let one = format!(
        "{{\"line\":{at},\"ptx\":\"ld.shared.f32 %f2, [%r1];\",\"requests\":4,\"actual\":4,\"ideal\":4,\"span\":4}}"
    );
    assert!(lines[0].contains(&one), "{one}\n{}", lines[0]);
}

#[test]
fn threads_that_run_an_instruction_are_counted_one_by_one() {
    let path = file("threads");
    let settings = Settings { counters: Some(path.clone()), ..Settings::default() };
    let Some(_) = child(&settings, || {
        let body = "setp.lt.u32 %p0, %t, 3;\n@%p0 add.u32 %r1, %r1, 1;";
        Device::of_ptx(kernel(0, body)).launch("k", 1, 40, &[]).unwrap();
    }) else {
        return;
    };
    let line = std::fs::read_to_string(path).unwrap();
    // The frame has five, then setp and ret, each by 40 threads; the add by three.
    check(&line, &[("thread_instructions", 7 * 40 + 3), ("int", 2 * 3 + 1), ("other", 3 * 2)]);
}

/// Bytes between the words of neighboring lanes, and the sectors one request then takes.
const STRIDES: [(u64, u64); 5] = [(0, 1), (4, 4), (8, 8), (32, 32), (128, 32)];

#[test]
fn strided_loads_take_more_sectors_than_they_need() {
    let path = file("strides");
    let settings = Settings { counters: Some(path.clone()), ..Settings::default() };
    let Some(_) = child(&settings, || {
        let body = "
            cvt.u32.u64 %r1, %a1;
            mul.wide.u32 %rd1, %t, %r1;
            add.u64 %rd1, %rd1, %a0;
            ld.global.u32 %r2, [%rd1];";
        let device = Device::of_ptx(kernel(2, body));
        let from = device.upload(&[0u32; 1024]);
        for (stride, _) in STRIDES {
            device.launch("k", 1, 32, &[from, stride]).unwrap();
        }
        // One word off a sector's beginning costs one more.
        device.launch("k", 1, 32, &[from + 4, 4]).unwrap();
    }) else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    for ((stride, sectors), line) in STRIDES.iter().zip(&mut lines) {
        let ideal = if *stride == 0 { 1 } else { 4 };
        check(line, &[("global_load_sectors", *sectors), ("global_load_sectors_ideal", ideal)]);
    }
    let shifted = lines.next().unwrap();
    check(shifted, &[("global_load_sectors", 5), ("global_load_sectors_ideal", 4)]);
    check(shifted, &[("global_load_sectors_span", 5)]);
}

/// Words between neighboring lanes in shared memory; wavefronts of 32 banks; words a lane.
const CONFLICTS: [(u32, u64); 6] = [(0, 1), (1, 1), (2, 2), (4, 4), (32, 32), (33, 1)];

#[test]
fn lanes_that_want_different_words_of_one_bank_take_turns() {
    let path = file("conflicts");
    let settings = Settings { counters: Some(path.clone()), ..Settings::default() };
    let Some(_) = child(&settings, || {
        for (stride, _) in CONFLICTS {
            // Each lane writes what it then reads, but for the one word all share.
            let body = format!(
                ".shared .align 4 .b8 tile[4608];
                mov.u32 %r1, tile;
                mul.lo.u32 %r2, %t, {};
                add.u32 %r2, %r2, %r1;
                setp.eq.u32 %p0, %t, 0;
                setp.ne.u32 %p1, %t, {};
                or.pred %p0, %p0, %p1;
                @%p0 st.shared.u32 [%r2], %t;
                bar.sync 0;
                ld.shared.u32 %r3, [%r2];",
                stride * 4,
                if stride == 0 { "%t" } else { "99" },
            );
            Device::of_ptx(kernel(0, &body)).launch("k", 1, 32, &[]).unwrap();
        }
    }) else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    for ((stride, wavefronts), line) in CONFLICTS.iter().zip(text.lines()) {
        check(
            line,
            &[("shared_load_wavefronts", *wavefronts), ("shared_load_wavefronts_ideal", 1)],
        );
        let stored = if *stride == 0 { 1 } else { *wavefronts };
        check(line, &[("shared_store_wavefronts", stored)]);
    }
}

/// Four words a lane take four turns of eight lanes, without any conflict.
#[test]
fn wide_accesses_take_turns_by_parts_of_the_warp() {
    let path = file("wide");
    let settings = Settings { counters: Some(path.clone()), ..Settings::default() };
    let Some(_) = child(&settings, || {
        let body = "
            .shared .align 16 .b8 tile[512];
            mov.u32 %r1, tile;
            shl.b32 %r2, %t, 4;
            add.u32 %r1, %r1, %r2;
            st.shared.v4.u32 [%r1], {%t, %t, %t, %t};
            ld.shared.v2.u32 {%r3, %r4}, [%r1];";
        Device::of_ptx(kernel(0, body)).launch("k", 1, 32, &[]).unwrap();
    }) else {
        return;
    };
    let line = std::fs::read_to_string(path).unwrap();
    check(&line, &[("shared_store_wavefronts", 4), ("shared_store_wavefronts_ideal", 4)]);
    // Two of four words each: sixteen lanes a turn meet in every second pair of banks.
    check(&line, &[("shared_load_wavefronts", 4), ("shared_load_wavefronts_ideal", 2)]);
}

#[test]
fn waits_for_events_are_counted_up_to_each_launch() {
    let path = file("waits");
    let settings = Settings { counters: Some(path.clone()), ..Settings::default() };
    let Some(_) = child(&settings, || {
        let device = Device::of_ptx(kernel(0, ""));
        device.launch("k", 1, 1, &[]).unwrap();
        let other = device.context.new_stream().unwrap();
        device.stream.join(&other).unwrap();
        device.enqueue(&device.stream, "k", shape(1, 1), &[]).unwrap();
        device.stream.synchronize().unwrap();
    }) else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let waits: Vec<u64> = text.lines().map(|line| number(line, "waits")).collect();
    assert_eq!(waits[1], waits[0] + 1, "{text}");
}
