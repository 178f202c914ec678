//! Fuzzes every decoder of bytes from outside with nearly valid inputs: a decoder must accept or
//! refuse in bounded time and memory, and must never panic. README.md beside this file has the
//! settings and a log of a long run.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed; its helpers too")]

mod engine; // tries inputs; notices panics, memory and time
mod memory; // an allocator that counts
mod mutate; // valid bytes → nearly valid bytes
mod wire; // messages: convert, chunks, frames, minibatches
mod pictures; // picture files
mod data; // prepared data sets, and what they are made from
mod run_dir; // recipe.toml, run.json, manifests, timing.jsonl, shards
mod settings; // recipes, --set, data, devices, certificates

use std::time::Duration;

use engine::{Options, Outcome, Target, fuzz};
use mutate::Shape;

/// Default time for all targets together, in seconds.
const SECONDS: u64 = 16;

#[expect(clippy::disallowed_methods, reason = "a test's settings come by its environment")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn targets() -> Vec<Target> {
    [wire::targets(), pictures::targets(), data::targets(), run_dir::targets(), settings::targets()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "a table for people: what was tried")]
fn no_decoder_panics_on_any_input() {
    let seconds = setting("FUZZ_SECONDS").map_or(SECONDS, |text| text.parse().unwrap());
    let (only, seed) = (setting("FUZZ_TARGET"), setting("FUZZ_SEED"));
    let mut targets = targets();
    targets.retain(|target| only.as_ref().is_none_or(|only| target.name == only));
    assert!(!targets.is_empty(), "FUZZ_TARGET: no target is called {only:?}");
    let options = Options {
        seed: seed.map(|text| text.parse().unwrap()),
        time: Duration::from_secs(seconds) / targets.len() as u32,
        folder: cuda_emulator::scratch().join("fuzz"),
    };
    let outcomes: Vec<Outcome> = targets.iter_mut().map(|t| fuzz(t, &options)).collect();
    println!("target               inputs   rejected   accepted  crashes  most MB  slowest ms");
    for o in &outcomes {
        println!(
            "{:<17} {:>9} {:>10} {:>10} {:>8} {:>8.1} {:>11.1}",
            o.name,
            o.inputs,
            o.inputs - o.accepted - o.crashes.len() as u64,
            o.accepted,
            o.crashes.len(),
            o.most_bytes as f64 / 1e6,
            o.slowest.as_secs_f64() * 1e3
        );
    }
    let crashes: Vec<String> = outcomes.into_iter().flat_map(|o| o.crashes).collect();
    assert!(crashes.is_empty(), "{}", crashes.join("\n"));
}

/// A broken decoder: takes bytes, and the length that they claim.
type Broken = fn(&[u8], usize) -> bool;

/// The fuzzer catches decoders that trust a length, in each of three ways.
#[test]
fn a_decoder_that_trusts_a_length_is_caught() {
    let length = |bytes: &[u8]| bytes.first_chunk().map_or(0, |b| u32::from_le_bytes(*b) as usize);
    let broken: [(&'static str, &str, Broken); 3] = [
        ("reads beyond", "range end index", |bytes, n| bytes[4..][..n].len() == n),
        ("takes memory", "bytes of memory", |bytes, n| {
            std::hint::black_box(Vec::<u8>::with_capacity(n)).capacity() > bytes.len()
        }),
        ("accepts a wrong length", "left over", |bytes, n| {
            assert!(n >= bytes.len().saturating_sub(4), "left over");
            true
        }),
    ];
    for (name, said, decode) in broken {
        let seed = [&8_u32.to_le_bytes()[..], &[7; 8]].concat();
        let decode = move |bytes: &[u8]| bytes.len() > 8 && decode(bytes, length(bytes));
        let mut target = Target::new(name, 1 << 20, Shape::Binary, vec![seed], decode);
        let folder = tempfile::tempdir().unwrap();
        let options =
            Options { seed: None, time: Duration::from_secs(5), folder: folder.path().into() };
        let outcome = fuzz(&mut target, &options);
        assert!(outcome.crashes.iter().any(|c| c.contains(said)), "{name}: {outcome:?}");
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            outcome.crashes.len(),
            "{name}: each such input is kept"
        );
    }
}
