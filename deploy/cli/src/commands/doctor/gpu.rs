//! The driver, its GPUs, their copy rates, and access to each other's memory.

use std::path::Path;
use std::time::{Duration, Instant};

use gpu_worker::backend::cuda::measure::{self, Measured};
use gpu_worker::backend::cuda::{self, Found, Version, compile, device};

use super::check::{Check, size};
use super::needs;

/// Copies of no further GPU are measured after so long.
const ENOUGH: Duration = Duration::from_secs(2);
/// Bytes per second below which a card has fewer PCIe lanes than it could: half of what 16 lanes
/// of PCIe 3.0 carry.
const SLOW: f64 = 6e9;
/// The oldest CUDA whose driver loads the kernels.
const OLDEST_DRIVER: Version = Version { major: 12, minor: 0 };

/// Driver, cards and links of this machine.
#[derive(Debug, Clone)]
pub(super) struct Gpus {
    /// Number of NVIDIA cards on the PCI bus, with or without a driver.
    on_bus: usize,
    driver: Option<Driver>,
    /// Cards that the driver lists, or the reason why it lists none.
    pub cards: Result<Vec<Card>, String>,
    /// Ordered pairs of GPUs of which the first reaches the other's memory; and all ordered pairs.
    peers: Option<(usize, usize)>,
}

/// Versions of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Driver {
    /// The newest CUDA that it supports.
    pub cuda: Version,
    /// Version of the driver; unknown in some containers.
    own: Option<String>,
}

/// A GPU.
#[derive(Debug, Clone)]
pub(super) struct Card {
    /// The card, as the driver describes it.
    pub found: Found,
    /// Measurement, or the reason why it failed. None if the card is too old or no time was left.
    measured: Option<Result<Measured, String>>,
}

impl Gpus {
    /// Asks the driver, and measures copies for some tenths of a second.
    pub(super) fn probe() -> Self {
        let started = Instant::now();
        let driver = cuda::driver_version().map(|cuda| {
            let text = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
            Driver { cuda, own: own_version(&text) }
        });
        let found = device::list("auto").map_err(|error| reason(&error));
        let measured = |found: &Found| {
            let measure = found.capability >= compile::OLDEST && started.elapsed() < ENOUGH;
            measure.then(|| measure::gpu(found).map_err(|error| reason(&error)))
        };
        Self {
            on_bus: on_bus(Path::new("/sys/bus/pci/devices")),
            driver,
            peers: found.as_ref().ok().and_then(|found| peers(found)),
            cards: found.map(|found| {
                let card = |found: Found| Card { measured: measured(&found), found };
                found.into_iter().map(card).collect()
            }),
        }
    }

    /// The driver's CUDA version.
    pub(super) fn driver(&self) -> Option<Version> {
        self.driver.as_ref().map(|driver| driver.cuda)
    }

    /// Judges them.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = vec![self.judge_driver()];
        match &self.cards {
            // Without a driver, its own line is enough.
            Err(_) if self.driver.is_none() => {}
            Err(why) => {
                let (what, remedy) = split(why);
                checks.push(Check::ok("gpu.device", what).look(remedy));
            }
            Ok(cards) => {
                let halves = if cards.len() == 1 { 2 } else { 1 };
                for card in cards {
                    checks.push(card.judge(halves));
                    checks.extend(card.is_new_enough().then(|| card.judge_copies()));
                }
            }
        }
        checks.extend(self.peers.map(judge_peers));
        checks
    }

    fn judge_driver(&self) -> Check {
        let Some(driver) = &self.driver else { return self.judge_no_driver() };
        let own = driver.own.as_ref().map_or(String::new(), |own| format!(", version {own}"));
        let text = format!("CUDA {}{own}", driver.cuda);
        let check = Check::ok("gpu.driver", text);
        if driver.cuda >= OLDEST_DRIVER {
            return check;
        }
        check.look(format!(
            "The kernels need a driver of CUDA {OLDEST_DRIVER} or later (version 525 or later): \
             install a newer driver, or train on the CPU with --devices cpu,cpu."
        ))
    }

    fn judge_no_driver(&self) -> Check {
        if self.on_bus == 0 {
            return Check::ok("gpu.driver", "no NVIDIA driver and no NVIDIA card found").look(
                "Training uses the CPU, which is slow for the full network. If the machine has a \
                 card, install NVIDIA's driver, and start a container with --gpus all.",
            );
        }
        let cards = crate::print::count(self.on_bus as u64, "NVIDIA card", "NVIDIA cards");
        Check::ok("gpu.driver", format!("no libcuda.so, though the machine has {cards}")).look(
            "Training uses the CPU until NVIDIA's driver is installed. Start a container with \
             --gpus all; its host needs the driver and NVIDIA's container toolkit.",
        )
    }
}

impl Card {
    /// The line of the device; `halves` of the network may have to share it.
    fn judge(&self, halves: u64) -> Check {
        let Found { name, capability, memory, .. } = &self.found;
        let measured = self.measured.as_ref().and_then(|measured| measured.as_ref().ok());
        let room = match measured {
            Some(measured) => {
                format!("{} of {} free", size(measured.free as u64), size(*memory as u64))
            }
            None => size(*memory as u64),
        };
        let kind = format!("compute capability {}.{}", capability / 10, capability % 10);
        let mut check = self.line("gpu.device", format!("{name}, {kind}, {room}"));
        check = check.number("capability", f64::from(*capability));
        check = check.number("memory_bytes", *memory as f64);
        if let Some(measured) = measured {
            check = check.number("free_bytes", measured.free as f64);
        }
        if !self.is_new_enough() {
            return check.look(
                "The kernels need compute capability 7.5 (Turing, 2018) or later: use another \
                 card, or train on the CPU with --devices cpu,cpu.",
            );
        }
        let needed = halves * needs::HALF_ON_GPU;
        if measured.is_some_and(|measured| (measured.free as u64) < needed) {
            return check.look(format!(
                "{} of the full network at batch 128 {} {}: end other programs on the card \
                 (nvidia-smi lists them), or use a smaller batch (--set batch=32).",
                if halves == 1 { "A half" } else { "Both halves" },
                if halves == 1 { "needs" } else { "need" },
                size(needed)
            ));
        }
        check
    }

    /// Whether the kernels can be compiled for it.
    pub(super) fn is_new_enough(&self) -> bool {
        self.found.capability >= compile::OLDEST
    }

    fn judge_copies(&self) -> Check {
        let (up, down) = match &self.measured {
            None => {
                return self.line("gpu.copies", "not measured: the other GPUs used up the time");
            }
            Some(Err(why)) => {
                let (what, remedy) = split(why);
                return self.line("gpu.copies", what).look(remedy);
            }
            Some(Ok(measured)) => (measured.up, measured.down),
        };
        let (up_gb, down_gb) = (up / 1e9, down / 1e9);
        let text = format!("{up_gb:.1} GB/s to it, {down_gb:.1} GB/s from it, page-locked");
        let check = self.line("gpu.copies", text).number("up_bytes_per_s", up);
        let check = check.number("down_bytes_per_s", down);
        if up.min(down) >= SLOW {
            return check;
        }
        check.look(
            "Tensors between the halves take this path. Run this command again on an idle \
             machine; then check whether the card has all of its PCIe lanes (nvidia-smi -q, \
             Link Width), and move it to another slot.",
        )
    }

    fn line(&self, key: &'static str, text: impl Into<String>) -> Check {
        Check::ok(key, text).about(format!("cuda:{}", self.found.ordinal))
    }
}

fn judge_peers((reached, pairs): (usize, usize)) -> Check {
    let who = match reached {
        0 => "no GPU reaches the others' memory".to_owned(),
        n if n == pairs => "each GPU reaches the others' memory".to_owned(),
        n => format!("{n} of {pairs} ordered pairs reach each other's memory"),
    };
    Check::ok("gpu.peers", format!("{who}; training does not need it"))
        .number("reached", reached as f64)
        .number("pairs", pairs as f64)
}

/// Counts ordered pairs; None for fewer than two GPUs, or if the driver does not answer.
fn peers(found: &[Found]) -> Option<(usize, usize)> {
    let (mut reached, mut pairs) = (0, 0);
    for from in found {
        for to in found.iter().filter(|to| to.ordinal != from.ordinal) {
            reached += usize::from(measure::reaches(from, to).ok()?);
            pairs += 1;
        }
    }
    (pairs > 0).then_some((reached, pairs))
}

/// The error without the device's name in front.
fn reason(error: &gpu_worker::Error) -> String {
    match error {
        gpu_worker::Error::NoGpu { why, .. }
        | gpu_worker::Error::Device { why, .. }
        | gpu_worker::Error::DeviceUnusable { why, .. } => why.clone(),
        other => other.to_string(),
    }
}

/// Splits an error of this program into the problem and the remedy.
pub(super) fn split(why: &str) -> (String, String) {
    match why.split_once("; ") {
        Some((what, remedy)) => {
            let mut letters = remedy.chars();
            let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
            (what.to_owned(), format!("{first}{}.", letters.as_str()))
        }
        None => {
            (why.to_owned(), "See nvidia-smi, or train on the CPU with --devices cpu,cpu.".into())
        }
    }
}

/// NVIDIA's display and 3D controllers under `/sys/bus/pci/devices`.
fn on_bus(devices: &Path) -> usize {
    let Ok(devices) = std::fs::read_dir(devices) else { return 0 };
    let is_card = |device: &std::fs::DirEntry| {
        let read = |file| std::fs::read_to_string(device.path().join(file)).unwrap_or_default();
        read("vendor").trim() == "0x10de" && read("class").starts_with("0x03")
    };
    devices.flatten().filter(is_card).count()
}

/// The first word of `/proc/driver/nvidia/version` that is a version: `570.86.15`.
fn own_version(text: &str) -> Option<String> {
    let is_version =
        |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    text.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
mod tests;
