//! What an operator chooses for a worker; what the paper fixes comes with the coordinator's order.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use net::Trust;

use crate::backend::cuda::{Gpu, Search};
use crate::error::Error;

/// A worker's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// `host:port` of the coordinator.
    pub coordinator: String,
    /// The device this worker is pinned to.
    pub device: Device,
    /// Where NVRTC may be.
    pub search: Search,
    /// Where compiled kernels are kept; None: nowhere.
    pub kernel_cache: Option<PathBuf>,
    /// `host:port` at which the other half reaches this worker; None: the listener's own address.
    pub advertise: Option<String>,
    /// Whom it talks to.
    pub trust: Trust,
    /// Longest wait for the other half's next tensor.
    pub peer_deadline: Duration,
    /// Longest wait for a minibatch.
    pub data_deadline: Duration,
    /// Longest time that a call to a GPU may take: then it hangs.
    pub device_deadline: Duration,
    /// Longest time without a coordinator before the worker gives up.
    pub coordinator_deadline: Duration,
}

impl Config {
    /// Default of [`Self::peer_deadline`].
    pub const PEER_DEADLINE: Duration = Duration::from_secs(60);
    /// Default of [`Self::data_deadline`].
    pub const DATA_DEADLINE: Duration = Duration::from_secs(60);
    /// Default of [`Self::device_deadline`].
    pub const DEVICE_DEADLINE: Duration = Duration::from_secs(120);
    /// Default of [`Self::coordinator_deadline`].
    pub const COORDINATOR_DEADLINE: Duration = Duration::from_secs(60);

    /// The usual deadlines.
    pub fn new(coordinator: impl Into<String>, device: Device) -> Self {
        Self {
            coordinator: coordinator.into(),
            device,
            search: Search::default(),
            kernel_cache: None,
            advertise: None,
            trust: Trust::default(),
            peer_deadline: Self::PEER_DEADLINE,
            data_deadline: Self::DATA_DEADLINE,
            device_deadline: Self::DEVICE_DEADLINE,
            coordinator_deadline: Self::COORDINATOR_DEADLINE,
        }
    }
}

/// Where a worker computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// On this many threads of the CPU.
    Cpu {
        /// Threads; results are bitwise repeatable for the same number.
        threads: usize,
    },
    /// On one GPU.
    Cuda(Gpu),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu { threads } => write!(f, "cpu:{threads}"),
            Self::Cuda(gpu) => write!(f, "{gpu}"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    /// `cpu` (one thread), `cpu:N` (N threads), `cuda:N` or `cuda:GPU-…`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |why: &str| Error::Device { device: text.into(), why: why.into() };
        match text.split_once(':') {
            None if text == "cpu" => Ok(Self::Cpu { threads: 1 }),
            Some(("cpu", n)) => match n.parse() {
                Ok(threads @ 1..=256) => Ok(Self::Cpu { threads }),
                _ => Err(refused("cpu:N needs a thread count from 1 to 256")),
            },
            Some(("cuda", gpu)) => gpu.parse().map(Self::Cuda).map_err(|why: String| refused(&why)),
            _ => Err(refused(
                "not a device; use cpu, cpu:N for N threads, or cuda:N for the GPU with number N",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reads_as_it_is_written() {
        for text in ["cpu:3", "cuda:1", "cuda:GPU-8f6d0000-1111-2222-3333-444455556666"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        for text in ["gpu", "cuda", "cuda:", "cuda:x", "cpu:0", "cpu:-1", "tpu:0"] {
            let said = text.parse::<Device>().unwrap_err().to_string();
            assert!(said.starts_with(&format!("device {text}: ")), "{said}");
        }
    }
}
