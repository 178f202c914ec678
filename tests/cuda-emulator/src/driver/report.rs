//! Reports: faults on standard error, counters into a file.

use super::queue::Launching;
use crate::memory::Memory;
use crate::program::Family;
use crate::run::Fault;
use crate::run::count::{Count, Counts};
use std::fmt::Write;
use std::io::Write as _;
use std::path::Path;

/// Upper bound of memory instructions listed per launch.
const LISTED: usize = 40;

/// One line on standard error.
pub(crate) fn say(what: &str) {
    // Nobody reading standard error is no reason to fail.
    let _ = writeln!(std::io::stderr(), "cuda-emulator: {what}");
}

/// Names kernel, block, thread and instruction of a fault.
pub(crate) fn fault(launching: &Launching, fault: &Fault, memory: &Memory) {
    let program = &launching.function.program;
    let line = launching
        .function
        .text
        .lines()
        .nth(fault.line.saturating_sub(1) as usize)
        .unwrap_or("")
        .trim();
    let mut said = format!("{}: block {:?}", program.name, fault.block);
    if let Some(thread) = fault.thread {
        let [nx, ny, _] = launching.block;
        let _ =
            write!(said, " thread [{}, {}, {}]", thread % nx, thread / nx % ny, thread / (nx * ny));
    }
    let _ = write!(said, ": {}", fault.what);
    if let Some(address) = fault.address.filter(|address| *address >> 32 != 0) {
        let _ = write!(said, " at {address:#x}, {}", memory.describe(address));
    }
    say(&format!("{said}; PTX line {}: {line}", fault.line));
}

/// Appends what a launch did as one line of JSON.
pub(crate) fn counters(
    path: &Path,
    launching: &Launching,
    counts: &Counts,
    waits: u64,
    device: usize,
) {
    let text = json(launching, counts, waits, device);
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    if let Err(why) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
        say(&format!("counters: {}: {why}", path.display()));
    }
}

fn json(launching: &Launching, counts: &Counts, waits: u64, device: usize) -> String {
    let program = &launching.function.program;
    let (grid, block) = (launching.grid, launching.block);
    let mut text = format!(
        "{{\"kernel\":\"{}\",\"launch\":{},\"device\":{device},\"waits\":{waits},\"grid\":{grid:?},\"block\":{block:?},\
         \"shared_bytes\":{}",
        program.name,
        launching.number,
        program.static_shared + launching.dynamic_shared
    );
    let all = || program.code.iter().zip(&counts.by_instruction);
    for (family, name) in FAMILIES {
        let sum: u64 =
            all().filter(|(i, _)| i.family == family).map(|(_, count)| count.warps).sum();
        let _ = write!(text, ",\"{name}\":{sum}");
    }
    let lanes: u64 = all().map(|(_, count)| count.lanes).sum();
    let diverged: u64 = all().map(|(_, count)| count.diverged).sum();
    let _ = write!(text, ",\"thread_instructions\":{lanes},\"divergent_branches\":{diverged}");
    for (family, name, actual) in TRAFFIC {
        let of = |pick: fn(&Count) -> u64| -> u64 {
            all().filter(|(i, _)| i.family == family).map(|(_, count)| pick(count)).sum()
        };
        let _ = write!(
            text,
            ",\"{name}_requests\":{},\"{name}_{actual}\":{},\"{name}_{actual}_ideal\":{},\"{name}_{actual}_span\":{}",
            of(|c| c.traffic.requests),
            of(|c| c.traffic.actual),
            of(|c| c.traffic.ideal),
            of(|c| c.traffic.span)
        );
    }
    let mut worst: Vec<_> = all().filter(|(_, count)| count.traffic.requests > 0).collect();
    worst.sort_by_key(|(_, count)| std::cmp::Reverse(count.traffic.actual));
    let ptx: Vec<&str> = launching.function.text.lines().collect();
    let line = |(instruction, count): &(&crate::program::Instruction, &Count)| {
        let t = count.traffic;
        let text = ptx.get(instruction.line as usize - 1).map_or("", |line| line.trim());
        let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\t', " ");
        format!(
            "{{\"line\":{},\"ptx\":\"{text}\",\"requests\":{},\"actual\":{},\"ideal\":{},\"span\":{}}}",
            instruction.line, t.requests, t.actual, t.ideal, t.span
        )
    };
    let lines: Vec<String> = worst.iter().take(LISTED).map(line).collect();
    let _ = writeln!(text, ",\"lines\":[{}]}}", lines.join(","));
    text
}

const FAMILIES: [(Family, &str); 11] = [
    (Family::Ffma, "ffma"),
    (Family::Float, "float"),
    (Family::Integer, "int"),
    (Family::LoadGlobal, "ld_global"),
    (Family::StoreGlobal, "st_global"),
    (Family::LoadShared, "ld_shared"),
    (Family::StoreShared, "st_shared"),
    (Family::Barrier, "bar"),
    (Family::Branch, "branch"),
    (Family::Tensor, "tensor"),
    (Family::Other, "other"),
];

const TRAFFIC: [(Family, &str, &str); 4] = [
    (Family::LoadGlobal, "global_load", "sectors"),
    (Family::StoreGlobal, "global_store", "sectors"),
    (Family::LoadShared, "shared_load", "wavefronts"),
    (Family::StoreShared, "shared_store", "wavefronts"),
];
