//! Lanes of a warp: what they tell each other, where their paths part and where they meet again.

use crate::device::{Device, Outcome, child, kernel};
use cuda_emulator::Settings;
use cudarc::driver::sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL;

/// Runs `body`, which leaves its result in `%r1`, with `block` threads; gives what each had there.
fn run(body: &str, block: u32) -> Outcome<Vec<u32>> {
    let text = kernel(1, &format!("{body}\nadd.u64 %rd1, %a0, %o;\nst.global.u32 [%rd1], %r1;"));
    let device = Device::of_ptx(text);
    let to = device.blank(block as usize * 4);
    device.launch("k", 1, block, &[to])?;
    device.download(to, block as usize)
}

/// A body whose result is in `%r1` for the lanes of one warp.
fn warp(body: &str) -> Vec<u32> {
    run(body, 32).unwrap()
}

fn each(value: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..32).map(value).collect()
}

#[test]
fn shuffles_give_the_value_of_the_lane_they_name() {
    // The last operand but one is the segment's mask and the bound: 0x1800 for segments of eight.
    let shuffle =
        |form: &str| warp(&format!("mul.lo.u32 %r2, %t, 10;\nshfl.sync.{form}, 0xffffffff;"));
    assert_eq!(shuffle("bfly.b32 %r1, %r2, 5, 31"), each(|lane| (lane ^ 5) * 10));
    assert_eq!(shuffle("idx.b32 %r1, %r2, 7, 31"), each(|_| 70));
    assert_eq!(shuffle("idx.b32 %r1, %r2, %t, 31"), each(|lane| lane * 10));
    assert_eq!(shuffle("idx.b32 %r1, %r2, 3, 0x181f"), each(|lane| (lane / 8 * 8 + 3) * 10));
    assert_eq!(
        shuffle("up.b32 %r1, %r2, 3, 0"),
        each(|lane| if lane < 3 { lane } else { lane - 3 } * 10)
    );
    assert_eq!(
        shuffle("down.b32 %r1, %r2, 3, 31"),
        each(|lane| if lane > 28 { lane } else { lane + 3 } * 10)
    );
    assert_eq!(
        shuffle("down.b32 %r1, %r2, 3, 0x181f"),
        each(|lane| if lane % 8 > 4 { lane } else { lane + 3 } * 10)
    );
}

#[test]
fn a_shuffle_says_whether_its_lane_was_within_bounds() {
    let said = warp(
        "shfl.sync.up.b32 %r2|%p1, %t, 3, 0, 0xffffffff;
        selp.u32 %r1, 1, 0, %p1;",
    );
    assert_eq!(said, each(|lane| u32::from(lane >= 3)));
}

/// The tree of every reduction: all lanes have the sum in the end.
#[test]
fn a_butterfly_sums_a_warp() {
    let steps: String = [16, 8, 4, 2, 1]
        .map(|by| {
            format!("shfl.sync.bfly.b32 %r2, %r1, {by}, 31, 0xffffffff;\nadd.u32 %r1, %r1, %r2;\n")
        })
        .concat();
    assert_eq!(warp(&format!("mov.u32 %r1, %t;\n{steps}")), each(|_| 31 * 16));
}

/// On hardware the value of a lane that takes no part is undefined: here it is poison.
#[test]
fn a_lane_that_takes_no_part_gives_poison() {
    let body = |mask: &str, from: u32| {
        format!(
            "mov.u32 %r1, 0;
            setp.ge.u32 %p0, %t, 16;
            @%p0 bra end;
            shfl.sync.idx.b32 %r1, %t, {from}, 31, {mask};
            end:"
        )
    };
    let half = |value| each(|lane| if lane < 16 { value } else { 0 });
    assert_eq!(warp(&body("0xffff", 20)), half(0x7FA0_DEAD));
    assert_eq!(warp(&body("0xffff", 10)), half(10));
}

/// Lanes that have returned are not waited for: these stand at another shuffle.
#[test]
fn a_shuffle_whose_mask_names_lanes_elsewhere_waits_in_vain() {
    let body = |mask: &str, other: &str| {
        format!(
            "setp.ge.u32 %p0, %t, 16;
            @%p0 bra other;
            shfl.sync.idx.b32 %r1, %t, 3, 31, {mask};
            bra.uni end;
            other:
            shfl.sync.idx.b32 %r1, %t, 20, 31, {other};
            end:"
        )
    };
    let Some(said) = child(&Settings::default(), || {
        assert_eq!(run(&body("0xffffffff", "0xffffffff"), 32), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(
        said.contains("lanes 0000ffff wait for others of their warp that never come"),
        "{said}"
    );
    assert_eq!(warp(&body("0xffff", "0xffff0000")), each(|lane| if lane < 16 { 3 } else { 20 }));
}

#[test]
fn a_barrier_of_a_warp_waits_for_the_lanes_it_names() {
    let body = |mask: &str, other: &str| {
        format!(
            "mov.u32 %r1, 0;
            setp.ge.u32 %p0, %t, 8;
            @%p0 bra other;
            bar.warp.sync {mask};
            mov.u32 %r1, 1;
            bra.uni end;
            other:
            bar.warp.sync {other};
            end:"
        )
    };
    let Some(said) = child(&Settings::default(), || {
        assert_eq!(run(&body("0x1ff", "0xffffff80"), 32), Err(ILLEGAL));
    }) else {
        return;
    };
    assert!(said.contains("wait for others of their warp that never come"), "{said}");
    assert_eq!(warp(&body("0xff", "0xffffff00")), each(|lane| u32::from(lane < 8)));
}

#[test]
fn votes_count_the_lanes_that_agree() {
    let vote = |votes: &str| {
        warp(&format!(
            "and.b32 %r2, %t, 1;\nsetp.eq.u32 %p0, %r2, 1;\nsetp.lt.u32 %p1, %t, 99;\n{votes}"
        ))
    };
    let ballot = "vote.sync.ballot.b32 %r1,";
    assert_eq!(vote(&format!("{ballot} %p0, 0xffffffff;")), each(|_| 0xAAAA_AAAA));
    assert_eq!(vote(&format!("{ballot} !%p0, 0xffffffff;")), each(|_| 0x5555_5555));
    let said = |kind: &str, of: &str| {
        vote(&format!("vote.sync.{kind}.pred %p2, {of}, 0xffffffff;\nselp.u32 %r1, 1, 0, %p2;"))[31]
    };
    assert_eq!([said("all", "%p0"), said("all", "%p1")], [0, 1]);
    assert_eq!([said("any", "%p0"), said("any", "!%p1")], [1, 0]);
    assert_eq!([said("uni", "%p0"), said("uni", "%p1"), said("uni", "!%p1")], [0, 1, 1]);
}

#[test]
fn lanes_reduce_what_they_hold() {
    let reduce = |form: &str| {
        warp(&format!("sub.u32 %r2, %t, 5;\nredux.sync.{form} %r1, %r2, 0xffffffff;"))[9]
    };
    assert_eq!(reduce("add.s32"), (0..32).map(|lane| lane - 5).sum::<i32>() as u32);
    assert_eq!(reduce("min.s32"), -5i32 as u32);
    assert_eq!(reduce("max.s32"), 26);
    assert_eq!(reduce("min.u32"), 0);
    assert_eq!(reduce("max.u32"), u32::MAX);
    assert_eq!(reduce("and.b32"), 0);
    assert_eq!(reduce("or.b32"), u32::MAX);
    assert_eq!(reduce("xor.b32"), (0..32u32).fold(0, |all, lane| all ^ lane.wrapping_sub(5)));
}

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

/// What a thread keeps in local memory is its own, and nothing is left there by others.
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
    let Some(said) = child(&Settings::default(), || {
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
