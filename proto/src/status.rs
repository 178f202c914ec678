//! The status of a run and its workers: types and sentences, declared once for the coordinator and
//! the command line.

use std::fmt;

use model::halves::Partition;

use crate::convert;
use crate::wire;
pub use crate::wire::{DeviceKind, Standing};

/// The present work of a run, or the members that it waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Phase {
    /// No loader has offered the run's pictures yet.
    #[default]
    WaitingForLoaders,
    /// Some partitions have no worker.
    WaitingForWorkers {
        /// Partitions without a worker.
        missing: Vec<Partition>,
    },
    /// Workers take up their partitions.
    Starting,
    /// Workers train.
    Training,
    /// Workers finish the step that they compute; then the run stops, or one of them leaves.
    Stopping,
    /// Workers evaluate the validation pictures.
    Evaluating,
    /// All partitions wait at a boundary until a checkpoint is on the disk.
    Checkpointing,
    /// The run is over.
    Ended,
}

impl Phase {
    /// All labels, in the order in which a run passes through them.
    pub const LABELS: [&'static str; 7] =
        ["waiting", "starting", "training", "stopping", "evaluating", "checkpointing", "ended"];

    /// One of [`Phase::LABELS`]: the name of the phase in Prometheus.
    pub fn label(&self) -> &'static str {
        match self {
            Phase::WaitingForLoaders | Phase::WaitingForWorkers { .. } => "waiting",
            Phase::Starting => "starting",
            Phase::Training => "training",
            Phase::Stopping => "stopping",
            Phase::Evaluating => "evaluating",
            Phase::Checkpointing => "checkpointing",
            Phase::Ended => "ended",
        }
    }

    /// Whether the run cannot continue until a loader or a worker joins.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Phase::WaitingForLoaders | Phase::WaitingForWorkers { .. })
    }

    /// The phase that a status names, if this version knows it.
    pub fn of(status: &wire::RunStatus) -> Option<Self> {
        Some(match status.phase() {
            wire::Phase::Unspecified => return None,
            wire::Phase::WaitingForLoaders => Phase::WaitingForLoaders,
            wire::Phase::WaitingForWorkers => Phase::WaitingForWorkers {
                missing: status
                    .missing
                    .iter()
                    .filter_map(|number| convert::partition(*number).ok())
                    .collect(),
            },
            wire::Phase::Starting => Phase::Starting,
            wire::Phase::Training => Phase::Training,
            wire::Phase::Stopping => Phase::Stopping,
            wire::Phase::Evaluating => Phase::Evaluating,
            wire::Phase::Checkpointing => Phase::Checkpointing,
            wire::Phase::Ended => Phase::Ended,
        })
    }

    /// Puts the phase into a status.
    pub fn put(&self, status: &mut wire::RunStatus) {
        status.set_phase(match self {
            Phase::WaitingForLoaders => wire::Phase::WaitingForLoaders,
            Phase::WaitingForWorkers { .. } => wire::Phase::WaitingForWorkers,
            Phase::Starting => wire::Phase::Starting,
            Phase::Training => wire::Phase::Training,
            Phase::Stopping => wire::Phase::Stopping,
            Phase::Evaluating => wire::Phase::Evaluating,
            Phase::Checkpointing => wire::Phase::Checkpointing,
            Phase::Ended => wire::Phase::Ended,
        });
        status.missing = match self {
            Phase::WaitingForWorkers { missing } => {
                missing.iter().map(|partition| wire::Partition::from(*partition).into()).collect()
            }
            _ => Vec::new(),
        };
    }
}

/// The phase in words: `waiting for half A and half B`, `training`.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::WaitingForLoaders => f.write_str("waiting for loaders"),
            Phase::WaitingForWorkers { missing } if missing.is_empty() => {
                f.write_str("waiting for the next start")
            }
            Phase::WaitingForWorkers { missing } => {
                write!(f, "waiting for {}", partitions(missing))
            }
            other => f.write_str(other.label()),
        }
    }
}

/// `half A and half B`: partitions as sentences need them.
pub fn partitions(partitions: &[Partition]) -> String {
    partitions.iter().map(Partition::to_string).collect::<Vec<_>>().join(" and ")
}

/// `cpu` or `cuda`.
impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::Unspecified => "an unknown device",
            DeviceKind::Cpu => "cpu",
            DeviceKind::Cuda => "cuda",
        })
    }
}

/// A connected worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Partition that the worker computes; `None`: a standby.
    pub partition: Option<Partition>,
    /// Device, as the worker describes it to people.
    pub device: String,
    /// Address at which the other half reaches the worker.
    pub address: String,
}

/// `half A: cpu at 127.0.0.1:4001`, or `standby: cpu at 127.0.0.1:4001`.
impl fmt::Display for WorkerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.partition {
            Some(partition) => write!(f, "{partition}")?,
            None => f.write_str("standby")?,
        }
        write!(f, ": {} at {}", self.device, self.address)
    }
}

impl From<wire::WorkerStatus> for WorkerStatus {
    fn from(status: wire::WorkerStatus) -> Self {
        let partition = convert::partition(status.partition).ok();
        Self { partition, device: status.device, address: status.address }
    }
}

impl From<WorkerStatus> for wire::WorkerStatus {
    fn from(status: WorkerStatus) -> Self {
        let partition = status.partition.map_or(wire::Partition::Unspecified, Into::into).into();
        Self { partition, device: status.device, address: status.address }
    }
}

/// A connected loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderStatus {
    /// Address at which workers reach the loader.
    pub address: String,
    /// Experience of the workers with the loader.
    pub standing: Standing,
    /// Reason for a standing that is not good.
    pub why: String,
}

/// `127.0.0.1:4001`, or `127.0.0.1:4001, slow: …`.
impl fmt::Display for LoaderStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, standing, why } = self;
        match standing {
            Standing::Slow => write!(f, "{address}, slow: {why}"),
            Standing::Refused => write!(f, "{address}, refused: {why}"),
            Standing::Good | Standing::Unspecified => f.write_str(address),
        }
    }
}

impl From<wire::LoaderStatus> for LoaderStatus {
    fn from(status: wire::LoaderStatus) -> Self {
        Self { standing: status.standing(), address: status.address, why: status.why }
    }
}

impl From<LoaderStatus> for wire::LoaderStatus {
    fn from(status: LoaderStatus) -> Self {
        let LoaderStatus { address, standing, why } = status;
        Self { address, standing: standing.into(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::halves::Half;

    fn all() -> Vec<Phase> {
        let missing = Half::BOTH.map(Partition::Half).to_vec();
        vec![
            Phase::WaitingForLoaders,
            Phase::WaitingForWorkers { missing },
            Phase::Starting,
            Phase::Training,
            Phase::Stopping,
            Phase::Evaluating,
            Phase::Checkpointing,
            Phase::Ended,
        ]
    }

    #[test]
    fn every_phase_comes_back_from_a_status_and_has_a_label() {
        assert_eq!(Phase::of(&wire::RunStatus::default()), None);
        for phase in all() {
            let mut status = wire::RunStatus::default();
            phase.put(&mut status);
            assert_eq!(Phase::of(&status), Some(phase.clone()));
            assert!(Phase::LABELS.contains(&phase.label()), "{phase}");
        }
        assert_eq!(all()[1].to_string(), "waiting for half A and half B");
    }

    #[test]
    fn a_worker_comes_back_from_its_message_and_is_named_in_a_sentence() {
        for (partition, sentence) in [
            (Some(Partition::Half(Half::B)), "half B: cpu at h:1"),
            (Some(Partition::Whole), "the network: cpu at h:1"),
            (None, "standby: cpu at h:1"),
        ] {
            let worker = WorkerStatus { partition, device: "cpu".into(), address: "h:1".into() };
            assert_eq!(worker.to_string(), sentence);
            assert_eq!(WorkerStatus::from(wire::WorkerStatus::from(worker.clone())), worker);
        }
    }

    #[test]
    fn a_loader_comes_back_from_its_message_and_says_why_it_is_not_good() {
        for (standing, why, sentence) in [
            (Standing::Good, "", "h:1"),
            (Standing::Slow, "why", "h:1, slow: why"),
            (Standing::Refused, "why", "h:1, refused: why"),
        ] {
            let loader = LoaderStatus { address: "h:1".into(), standing, why: why.into() };
            assert_eq!(loader.to_string(), sentence);
            assert_eq!(LoaderStatus::from(wire::LoaderStatus::from(loader.clone())), loader);
        }
    }
}
