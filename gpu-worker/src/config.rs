//! The settings of a worker that an operator chooses; the recipe comes with the command to begin.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use net::{Health, Trust};

use crate::backend::cuda::{Gpu, Search};
use crate::error::Error;

/// Settings of a worker.
#[derive(Debug, Clone)]
pub struct Config {
    /// `host:port` of the coordinator.
    pub coordinator: String,
    /// The device this worker is pinned to.
    pub device: Device,
    /// The places to look for NVRTC.
    pub search: Search,
    /// Folder for compiled kernels; None keeps none.
    pub kernel_cache: Option<PathBuf>,
    /// `host:port` at which the other half reaches this worker; None: found as
    /// [`net::advertised`] says.
    pub advertise: Option<String>,
    /// The certificates that this worker shows and accepts.
    pub trust: Trust,
    /// Name of this build of the program, which must be the coordinator's.
    pub version: &'static str,
    /// Longest wait for the other half's next tensor.
    pub peer_deadline: Duration,
    /// Longest wait for a minibatch.
    pub data_deadline: Duration,
    /// Time without progress after which the device counts as hung.
    pub device_deadline: Duration,
    /// Longest time without a coordinator before the worker gives up.
    pub coordinator_deadline: Duration,
    /// Longest stay after the request to stop, until the coordinator has a checkpoint.
    pub grace: Duration,
    /// True if the worker joins again after the end of the run, once a coordinator answers.
    pub rejoins: bool,
    /// Told whether this worker has joined the run.
    pub health: Health,
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
    /// Default of [`Self::grace`]: less than the 30 s that Kubernetes and Slurm give.
    pub const GRACE: Duration = Duration::from_secs(25);

    /// The usual deadlines.
    pub fn new(coordinator: impl Into<String>, device: Device) -> Self {
        Self {
            coordinator: coordinator.into(),
            device,
            search: Search::default(),
            kernel_cache: None,
            advertise: None,
            trust: Trust::default(),
            version: proto::VERSION,
            peer_deadline: Self::PEER_DEADLINE,
            data_deadline: Self::DATA_DEADLINE,
            device_deadline: Self::DEVICE_DEADLINE,
            coordinator_deadline: Self::COORDINATOR_DEADLINE,
            grace: Self::GRACE,
            rejoins: false,
            health: Health::default(),
        }
    }
}

/// The device on which a worker computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// On this many threads of the CPU.
    Cpu {
        /// Number of threads; results are bitwise repeatable for the same number.
        threads: usize,
    },
    /// On one GPU.
    Cuda(Gpu),
}

impl Device {
    /// Most threads of a CPU.
    pub const MOST_THREADS: usize = 256;
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
                Ok(threads @ 1..=Self::MOST_THREADS) => Ok(Self::Cpu { threads }),
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
