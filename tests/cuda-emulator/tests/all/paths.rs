//! Threads on their ways: where the paths of lanes part and meet again, and what is a thread's own.

use crate::device::{Device, child, kernel};
use crate::warps::{each, run, warp};
use cuda_emulator::Settings;
use cudarc::driver::sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL;

/// Lanes leave the loop one after the other and go on together behind it.
#[test]
fn lanes_may_loop_differently_often_and_meet_again() {
    let body = |result: &str| {
        format!(
            "mov.u32 %r2, 0;
            mov.u32 %r3, 0;
            turn:
            setp.ge.u32 %p0, %r2, %t;
            @%p0 bra done;
            add.u32 %r2, %r2, 1;
            add.u32 %r3, %r3, %r2;
            bra.uni turn;
            done:
            {result}"
        )
    };
    assert_eq!(warp(&body("mov.u32 %r1, %r3;")), each(|lane| lane * (lane + 1) / 2));
    assert_eq!(warp(&body("activemask.b32 %r1;")), each(|_| u32::MAX));
}

#[test]
fn lanes_that_return_early_are_not_missed() {
    let body = "
        add.u64 %rd1, %a0, %o;
        and.b32 %r1, %t, 1;
        setp.eq.u32 %p0, %r1, 1;
        @%p0 st.global.u32 [%rd1], 7;
        @%p0 ret;
        bar.warp.sync 0xffffffff;
        activemask.b32 %r1;
        st.global.u32 [%rd1], %r1;";
    let device = Device::of_ptx(kernel(1, body));
    let to = device.blank(128);
    device.launch("k", 1, 32, &[to]).unwrap();
    let want = each(|lane| if lane % 2 == 1 { 7 } else { 0x5555_5555 });
    assert_eq!(device.download(to, 32), Ok(want));
}

#[test]
fn branches_within_branches_find_each_lanes_way() {
    let body = "
        setp.lt.u32 %p0, %t, 16;
        and.b32 %r2, %t, 3;
        setp.eq.u32 %p1, %r2, 0;
        setp.eq.u32 %p2, %r2, 1;
        @!%p0 bra high;
        @%p1 bra low0;
        @%p2 bra low1;
        mov.u32 %r1, 12;
        bra.uni lows;
        low1:
        mov.u32 %r1, 11;
        bra.uni lows;
        low0:
        mov.u32 %r1, 10;
        lows:
        activemask.b32 %r3;
        bra.uni end;
        high:
        mov.u32 %r1, 20;
        @%p1 mov.u32 %r1, 21;
        mov.u32 %r3, 0;
        end:
        mad.lo.u32 %r1, %r3, 1000, %r1;
        activemask.b32 %r4;
        setp.ne.u32 %p3, %r4, 0xffffffff;
        @%p3 mov.u32 %r1, 0;";
    let want = each(|lane| match (lane < 16, lane % 4) {
        (true, 0) => 0xFFFF * 1000 + 10,
        (true, 1) => 0xFFFF * 1000 + 11,
        (true, _) => 0xFFFF * 1000 + 12,
        (false, 0) => 21,
        (false, _) => 20,
    });
    assert_eq!(warp(body), want);
}

#[test]
fn a_table_of_targets_sends_each_lane_its_way() {
    let body = "
        rem.u32 %r2, %t, 3;
        ways: .branchtargets one, two, three;
        brx.idx %r2, ways;
        one:
        mov.u32 %r1, 100;
        bra.uni end;
        two:
        mov.u32 %r1, 200;
        bra.uni end;
        three:
        mov.u32 %r1, 300;
        end:";
    assert_eq!(warp(body), each(|lane| (lane % 3 + 1) * 100));
}

#[test]
fn lanes_know_their_places() {
    let of = |name: &str, thread: usize| run(&format!("mov.u32 %r1, {name};"), 70).unwrap()[thread];
    assert_eq!([of("%laneid", 37), of("%warpid", 37), of("%nwarpid", 37)], [5, 1, 3]);
    assert_eq!([of("%lanemask_eq", 37), of("%lanemask_lt", 37)], [0x20, 0x1F]);
    assert_eq!([of("%lanemask_le", 37), of("%lanemask_gt", 37)], [0x3F, !0x3F]);
    assert_eq!([of("%lanemask_ge", 37), of("%ntid.x", 69), of("%nctaid.z", 0)], [!0x1F, 70, 1]);
    assert_eq!(of("WARP_SZ", 0), 32);
}

/// The last warp has six threads: it does not wait for 26 that do not exist.
#[test]
fn a_warp_may_be_smaller_than_thirty_two() {
    let body = "bar.warp.sync 0xffffffff;\nvote.sync.ballot.b32 %r1, 1, 0xffffffff;\nbar.sync 0;";
    let seen = run(body, 38).unwrap();
    assert_eq!([seen[0], seen[31], seen[32], seen[37]], [u32::MAX, u32::MAX, 0x3F, 0x3F]);
}

/// Neither a store by one lane nor a predicate of one lane reaches another.
#[test]
fn a_guard_holds_for_single_lanes() {
    let body = "
        mov.u32 %r1, 1;
        setp.gt.u32 %p0, %t, 3;
        @%p0 mov.u32 %r1, 2;
        setp.lt.u32 %p1, %t, 8;
        @%p1 setp.lt.u32 %p0, %t, 100;
        @!%p0 mov.u32 %r1, 3;
        @%p0 add.u32 %r1, %r1, 10;";
    assert_eq!(warp(body), each(|lane| if lane > 3 { 12 } else { 11 }));
}

/// Local memory is private to each thread, and holds nothing that others left.
#[test]
fn local_memory_is_each_threads_own_and_starts_as_poison() {
    let body = "
        .local .align 4 .b8 own[8];
        mov.u64 %rd2, own;
        st.local.u32 [%rd2], %t;
        bar.sync 0;
        setp.lt.u32 %p0, %t, 33;
        @%p0 ld.local.u32 %r1, [%rd2];
        @!%p0 ld.local.u32 %r1, [own+4];";
    let want: Vec<u32> = (0..64).map(|t| if t < 33 { t } else { 0x7FA0_DEAD }).collect();
    assert_eq!(run(body, 64), Ok(want));
}

#[test]
fn local_memory_has_an_end() {
    let body = |offset: u32| {
        format!(".local .align 4 .b8 own[16];\nmov.u32 %r1, 1;\nst.local.u32 [own+{offset}], %r1;")
    };
    let Some(said) = child(Settings::default(), || {
        assert_eq!(run(&body(16), 32), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("accesses 4 bytes at 16 of 16 bytes of its own"), "{said}");
    assert_eq!(run(&body(12), 32), Ok(vec![1; 32]));
}

/// Generic addresses find each space: the two lanes' pointers differ in it.
#[test]
fn generic_addresses_lead_to_their_space() {
    let body = "
        .shared .align 4 .b8 tile[4];
        .local .align 4 .b8 own[4];
        mov.u64 %rd2, tile;
        cvta.shared.u64 %rd2, %rd2;
        mov.u64 %rd3, own;
        cvta.local.u64 %rd3, %rd3;
        setp.eq.u32 %p0, %t, 0;
        selp.b64 %rd4, %rd2, %rd3, %p0;
        setp.eq.u32 %p1, %t, 1;
        selp.b64 %rd4, %a0, %rd4, %p1;
        add.u32 %r2, %t, 50;
        st.u32 [%rd4], %r2;
        ld.u32 %r1, [%rd4];
        cvta.to.shared.u64 %rd5, %rd2;
        cvt.u32.u64 %r3, %rd5;
        @%p0 ld.shared.u32 %r1, [%r3];";
    assert_eq!(warp(body), each(|lane| lane + 50));
}
