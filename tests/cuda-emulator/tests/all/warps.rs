//! Lanes of a warp: what they tell each other, and for whom they wait.

use crate::device::{Device, Outcome, child, kernel};
use cuda_emulator::Settings;
use cudarc::driver::sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS as ILLEGAL;

/// Runs `body`, which leaves its result in `%r1`, with `block` threads; gives what each had there.
pub(crate) fn run(body: &str, block: u32) -> Outcome<Vec<u32>> {
    let text = kernel(1, &format!("{body}\nadd.u64 %rd1, %a0, %o;\nst.global.u32 [%rd1], %r1;"));
    let device = Device::of_ptx(text);
    let to = device.blank(block as usize * 4);
    device.launch("k", 1, block, &[to])?;
    device.download(to, block as usize)
}

/// A body whose result is in `%r1` for the lanes of one warp.
pub(crate) fn warp(body: &str) -> Vec<u32> {
    run(body, 32).unwrap()
}

pub(crate) fn each(value: impl Fn(u32) -> u32) -> Vec<u32> {
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
    let Some(said) = child(Settings::default(), || {
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
    let Some(said) = child(Settings::default(), || {
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
