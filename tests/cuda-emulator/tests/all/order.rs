//! The seed: it alone chooses an order, and a correct kernel does not notice which.

use crate::device::{Device, child, kernel};
use cuda_emulator::Settings;
use std::collections::BTreeSet;

/// Each warp takes the next number: the order in which warps and blocks ran.
const TICKETS: &str = "
    and.b32 %r1, %t, 31;
    setp.ne.u32 %p0, %r1, 0;
    @%p0 ret;
    atom.global.add.u32 %r2, [%a1], 1;
    shr.u32 %r3, %r31, 5;
    mul.wide.u32 %rd1, %r3, 4;
    add.u64 %rd1, %rd1, %a0;
    st.global.u32 [%rd1], %r2;";

/// The order of 32 warps in four blocks under a seed, as the child says it.
fn order(said: &str) -> &str {
    said.lines().find(|line| line.starts_with("order ")).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_order_and_another_one_another() {
    let mut orders = Vec::new();
    for seed in [0, 1, 2, 3, 0, 1, 2, 3] {
        let Some(said) = child(&Settings { seed, ..Settings::default() }, || {
            let device = Device::of_ptx(kernel(2, TICKETS));
            let args = [device.blank(128), device.upload(&[0u32])];
            device.launch("k", 4, 256, &args).unwrap();
            eprintln!("order {:?}", device.download::<u32>(args[0], 32).unwrap());
        }) else {
            return;
        };
        orders.push(order(&said).to_owned());
    }
    assert_eq!(orders[..4], orders[4..]);
    let different: BTreeSet<&String> = orders.iter().collect();
    assert_eq!(different.len(), 4, "{orders:?}");
}

/// A sum through shared memory, block by block, in an order that barriers fix.
const SUM: &str = "
    .shared .align 4 .b8 tile[1024];
    mov.u32 %r1, tile;
    shl.b32 %r2, %t, 2;
    add.u32 %r2, %r2, %r1;
    add.u64 %rd1, %a1, %o;
    ld.global.f32 %f1, [%rd1];
    st.shared.f32 [%r2], %f1;
    mov.u32 %r3, 128;
    turn:
    bar.sync 0;
    setp.ge.u32 %p0, %t, %r3;
    @%p0 bra skip;
    shl.b32 %r4, %r3, 2;
    add.u32 %r4, %r4, %r2;
    ld.shared.f32 %f1, [%r2];
    ld.shared.f32 %f2, [%r4];
    add.f32 %f1, %f1, %f2;
    st.shared.f32 [%r2], %f1;
    skip:
    shr.u32 %r3, %r3, 1;
    setp.ne.u32 %p1, %r3, 0;
    @%p1 bra turn;
    setp.ne.u32 %p2, %t, 0;
    @%p2 ret;
    mul.wide.u32 %rd2, %r30, 4;
    add.u64 %rd2, %rd2, %a0;
    st.global.f32 [%rd2], %f1;";

/// Whatever the seed and however many threads run the blocks.
#[test]
fn a_correct_kernel_gives_the_same_bits_in_every_order() {
    let mut sums = BTreeSet::new();
    for (seed, threads) in [(0, 1), (1, 1), (2, 2), (3, 4), (77, 0)] {
        let Some(said) = child(&Settings { seed, threads, ..Settings::default() }, || {
            let device = Device::of_ptx(kernel(2, SUM));
            let numbers: Vec<f32> = (0..16 * 256).map(|i| (i % 1009) as f32 * 0.1 + 0.01).collect();
            let args = [device.blank(64), device.upload(&numbers)];
            device.launch("k", 16, 256, &args).unwrap();
            eprintln!("order {:x?}", device.download::<u32>(args[0], 16).unwrap());
        }) else {
            return;
        };
        sums.insert(order(&said).to_owned());
    }
    assert_eq!(sums.len(), 1, "{sums:?}");
}
