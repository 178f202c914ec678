//! Each verdict about GPUs, from made-up ones.

use super::super::check::Verdict;
use super::*;

const GB: usize = 1_000_000_000;

fn card(ordinal: usize) -> Card {
    let name = "A card".to_owned();
    let found = Found { ordinal, name, uuid: "GPU-0".into(), capability: 90, memory: 80 * GB };
    Card { found, measured: Some(Ok(measured())) }
}

fn measured() -> Measured {
    Measured { free: 79 * GB, total: 80 * GB, up: 5e10, down: 5e10 }
}

fn good() -> Gpus {
    Gpus {
        on_bus: 2,
        driver: Some(Driver { cuda: Version { major: 12, minor: 9 }, own: Some("575.51".into()) }),
        cards: Ok(vec![card(0), card(1)]),
        peers: Some((2, 2)),
    }
}

fn verdicts(gpus: &Gpus) -> Vec<(&'static str, Verdict)> {
    gpus.checks().iter().map(|check| (check.key, check.verdict)).collect()
}

fn looked_at(gpus: &Gpus) -> Vec<Check> {
    gpus.checks().into_iter().filter(|check| check.verdict != Verdict::Ok).collect()
}

#[test]
fn two_gpus_with_a_new_driver_are_in_order() {
    let keys = ["gpu.driver", "gpu.device", "gpu.copies", "gpu.device", "gpu.copies", "gpu.peers"];
    assert_eq!(verdicts(&good()), keys.map(|key| (key, Verdict::Ok)));
    let checks = good().checks();
    assert_eq!(checks[0].measured, "CUDA 12.9, version 575.51");
    assert_eq!(checks[1].name(), "device cuda:0");
}

#[test]
fn a_missing_driver_is_looked_at_and_the_remedy_knows_whether_there_is_a_card() {
    let none = Gpus { driver: None, cards: Err("none".into()), peers: None, ..good() };
    for (on_bus, words) in [(0, "uses the CPU"), (1, "until NVIDIA's driver is installed")] {
        let looked_at = looked_at(&Gpus { on_bus, ..none.clone() });
        assert_eq!(looked_at.len(), 1, "{looked_at:?}");
        assert_eq!(looked_at[0].verdict, Verdict::Look);
        assert!(looked_at[0].remedy.as_ref().is_some_and(|said| said.contains(words)));
    }
}

#[test]
fn a_driver_older_than_the_kernels_need_is_looked_at() {
    let driver = Some(Driver { cuda: Version { major: 11, minor: 8 }, own: None });
    let looked_at = looked_at(&Gpus { driver, ..good() });
    assert_eq!((looked_at.len(), looked_at[0].key), (1, "gpu.driver"));
}

#[test]
fn a_driver_without_gpus_is_looked_at_with_what_the_driver_said() {
    let cards = Err("the driver shows no GPU; see nvidia-smi -L".into());
    let looked_at = looked_at(&Gpus { cards, peers: None, ..good() });
    assert_eq!(looked_at[0].measured, "the driver shows no GPU");
    assert_eq!(looked_at[0].remedy.as_deref(), Some("See nvidia-smi -L."));
}

#[test]
fn a_card_that_is_too_old_is_looked_at() {
    let mut gpus = good();
    gpus.cards.as_mut().expect("cards")[1].found.capability = 70;
    let looked_at = looked_at(&gpus);
    assert_eq!(looked_at.len(), 1, "{looked_at:?}");
    assert_eq!(looked_at[0].subject.as_deref(), Some("cuda:1"));
    assert_eq!(verdicts(&gpus).len(), 5, "its copies are not of interest");
    assert!(looked_at[0].remedy.as_ref().is_some_and(|said| said.contains("7.5")));
}

#[test]
fn a_card_needs_room_for_one_half_or_for_both_where_it_is_alone() {
    let with_free = |free, n: usize| {
        let measured = Some(Ok(Measured { free, ..measured() }));
        let cards = (0..n).map(|i| Card { measured: measured.clone(), ..card(i) }).collect();
        looked_at(&Gpus { cards: Ok(cards), ..good() }).len()
    };
    let half = needs::HALF_ON_GPU as usize;
    assert_eq!([with_free(half, 2), with_free(half - 1, 2)], [0, 2]);
    assert_eq!([with_free(2 * half, 1), with_free(2 * half - 1, 1)], [0, 1]);
}

#[test]
fn slow_copies_are_looked_at_in_either_direction() {
    let slow = SLOW - 1.0;
    for measured in [Measured { up: slow, ..measured() }, Measured { down: slow, ..measured() }] {
        let cards = Ok(vec![Card { measured: Some(Ok(measured)), ..card(0) }]);
        let looked_at = looked_at(&Gpus { cards, ..good() });
        assert_eq!((looked_at.len(), looked_at[0].key), (1, "gpu.copies"));
    }
}

#[test]
fn a_card_that_cannot_be_opened_is_looked_at_and_one_without_time_is_not() {
    let refused = Some(Err("another process has it exclusively; see nvidia-smi -c".to_owned()));
    let cards = Ok(vec![Card { measured: refused, ..card(0) }, Card { measured: None, ..card(1) }]);
    let gpus = Gpus { cards, ..good() };
    let looked_at = looked_at(&gpus);
    assert_eq!(looked_at.len(), 1, "{looked_at:?}");
    assert_eq!(looked_at[0].measured, "another process has it exclusively");
    assert!(gpus.checks()[4].measured.starts_with("not measured"));
}

#[test]
fn peers_are_counted_and_never_needed() {
    for (reached, words) in [(0, "no GPU"), (2, "each GPU"), (1, "1 of 2")] {
        let check = judge_peers((reached, 2));
        assert_eq!(check.verdict, Verdict::Ok);
        assert!(check.measured.starts_with(words), "{check:?}");
    }
}

#[test]
fn the_driver_s_own_version_is_read_in_both_of_its_forms() {
    let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12\n";
    let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release\n";
    assert_eq!(own_version(closed).as_deref(), Some("535.183.01"));
    assert_eq!(own_version(open).as_deref(), Some("570.86.15"));
    assert_eq!(own_version(""), None);
}

#[test]
fn cards_are_counted_on_the_bus() {
    let bus = tempfile::tempdir().expect("a folder");
    let devices = [
        ("gpu", "0x10de", "0x030200"),
        ("sound", "0x10de", "0x040300"),
        ("disk", "0x8086", "0x01"),
    ];
    for (name, vendor, class) in devices {
        let device = bus.path().join(name);
        std::fs::create_dir(&device).expect("a folder");
        std::fs::write(device.join("vendor"), format!("{vendor}\n")).expect("a file");
        std::fs::write(device.join("class"), format!("{class}\n")).expect("a file");
    }
    assert_eq!(on_bus(bus.path()), 1);
    assert_eq!(on_bus(&bus.path().join("nowhere")), 0);
}
