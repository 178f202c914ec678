//! What an operator chooses for a worker; what the paper fixes comes with the coordinator's order.

use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;

/// A worker's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// `host:port` of the coordinator.
    pub coordinator: String,
    /// The device this worker is pinned to.
    pub device: Device,
    /// `host:port` at which the other half reaches this worker; None: the listener's own address.
    pub advertise: Option<String>,
    /// Longest wait for the other half's next tensor.
    pub peer_deadline: Duration,
    /// Longest wait for a minibatch.
    pub data_deadline: Duration,
    /// Longest time without a coordinator before the worker gives up.
    pub coordinator_deadline: Duration,
}

impl Config {
    /// The usual deadlines.
    pub fn new(coordinator: impl Into<String>, device: Device) -> Self {
        Self {
            coordinator: coordinator.into(),
            device,
            advertise: None,
            peer_deadline: Duration::from_secs(60),
            data_deadline: Duration::from_secs(60),
            coordinator_deadline: Duration::from_secs(60),
        }
    }
}

/// Where a worker computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// On this many threads of the CPU.
    Cpu {
        /// Threads; results are bitwise repeatable for the same number.
        threads: usize,
    },
}

impl FromStr for Device {
    type Err = Error;

    /// `cpu` (one thread) or `cpu:N` (N threads).
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |why: &str| Error::Device { device: text.into(), why: why.into() };
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu { threads: 1 }),
            Some(("cpu", n)) => match n.parse() {
                Ok(threads @ 1..=256) => Ok(Self::Cpu { threads }),
                _ => Err(refused("after cpu: stands a number of threads from 1 to 256")),
            },
            Some(("cuda", _)) => Err(refused(
                "this version computes on the CPU only; use cpu, or cpu:N for N threads",
            )),
            _ => Err(refused("not a device; use cpu, or cpu:N for N threads")),
        }
    }
}
