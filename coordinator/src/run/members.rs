//! The workers and loaders of a run: who is connected, who sits on which seat, who fell silent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use model::halves::{Half, Partition};
use proto::status::{DeviceKind, WorkerStatus};
use proto::step::StepFigures;

use super::event::{LoaderId, WorkerId};
use super::status::Work;
use crate::disk::checkpoint::ShardEntry;

/// A connected worker.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    /// Device, as the worker describes it to people.
    pub(crate) device: String,
    pub(crate) kind: DeviceKind,
    /// Address at which the other half reaches the worker.
    pub(crate) address: String,
    heard: Instant,
}

/// The place of one partition in a run, and its part in whatever the run is doing.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) partition: Partition,
    /// Worker that computes the partition.
    pub(crate) worker: Option<WorkerId>,
    /// Steps done.
    pub(crate) done: u64,
    /// Figures of steps that another partition has not done yet.
    pub(crate) reports: VecDeque<StepFigures>,
    /// Everything done since this program started.
    pub(crate) work: Work,
    /// Whether the worker has answered the `Begin` or `Evaluate` that was sent last.
    pub(crate) answered: bool,
    /// Answer to the `Checkpoint` that was sent last: the shard is stored, or why not.
    pub(crate) saved: Option<Result<ShardEntry, String>>,
    /// This partition's report of a failure that both halves find by themselves.
    pub(crate) failure: Option<String>,
}

impl Seat {
    fn new(partition: Partition) -> Self {
        Self {
            partition,
            worker: None,
            done: 0,
            reports: VecDeque::new(),
            work: Work::default(),
            answered: false,
            saved: None,
            failure: None,
        }
    }

    /// File name of this partition's shard.
    pub(crate) fn shard_file(&self) -> String {
        format!("{}.safetensors", self.partition.file_stem())
    }
}

/// All seats, workers and loaders; the latter in the order in which they joined.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) seats: Vec<Seat>,
    workers: Vec<Worker>,
    loaders: Vec<(LoaderId, String)>,
}

impl Members {
    /// Empty seats: one for a whole network, two for halves.
    pub(crate) fn new(columns: usize) -> Self {
        let partitions = match columns {
            1 => vec![Partition::Whole],
            _ => Half::BOTH.map(Partition::Half).to_vec(),
        };
        let seats = partitions.into_iter().map(Seat::new).collect();
        Self { seats, workers: Vec::new(), loaders: Vec::new() }
    }

    pub(crate) fn join(
        &mut self,
        id: WorkerId,
        device: String,
        kind: DeviceKind,
        address: String,
        now: Instant,
    ) {
        self.workers.push(Worker { id, device, kind, address, heard: now });
    }

    /// Removes a worker; returns the seat that is empty now, if the worker had one.
    pub(crate) fn leave(&mut self, id: WorkerId) -> Option<usize> {
        self.workers.retain(|w| w.id != id);
        let seat = self.seat_of(id)?;
        self.seats[seat].worker = None;
        Some(seat)
    }

    /// Gives empty seats to standbys in the order in which they joined; nobody changes seats.
    pub(crate) fn fill_seats(&mut self) {
        for seat in 0..self.seats.len() {
            if self.seats[seat].worker.is_none() {
                let next = self.workers.iter().find(|w| self.seat_of(w.id).is_none());
                self.seats[seat].worker = next.map(|w| w.id);
            }
        }
    }

    pub(crate) fn seat_of(&self, id: WorkerId) -> Option<usize> {
        self.seats.iter().position(|seat| seat.worker == Some(id))
    }

    /// The seated workers, in the order of the seats; `None` while one is missing.
    pub(crate) fn seated(&self) -> Option<Vec<&Worker>> {
        self.seats.iter().map(|seat| self.worker(seat.worker?)).collect()
    }

    /// Every worker, seated or standby.
    pub(crate) fn everyone(&self) -> Vec<WorkerId> {
        self.workers.iter().map(|w| w.id).collect()
    }

    fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.iter().find(|w| w.id == id)
    }

    pub(crate) fn heard(&mut self, id: WorkerId, now: Instant) {
        if let Some(worker) = self.workers.iter_mut().find(|w| w.id == id) {
            worker.heard = now;
        }
    }

    /// Workers that have sent nothing for longer than `limit`.
    pub(crate) fn silent(&self, now: Instant, limit: Duration) -> Vec<WorkerId> {
        let late = |w: &&Worker| now.saturating_duration_since(w.heard) > limit;
        self.workers.iter().filter(late).map(|w| w.id).collect()
    }

    /// Partitions without a worker.
    pub(crate) fn missing(&self) -> Vec<Partition> {
        let empty = self.seats.iter().filter(|seat| seat.worker.is_none());
        empty.map(|seat| seat.partition).collect()
    }

    /// `half A on cuda, half B on cpu`, if the halves compute on different kinds of devices.
    pub(crate) fn mixed_devices(&self) -> Option<String> {
        let seats = self.seats.iter();
        let seated: Vec<(Partition, DeviceKind)> = seats
            .filter_map(|seat| Some((seat.partition, self.worker(seat.worker?)?.kind)))
            .collect();
        let (_, first) = seated.first()?;
        if seated.iter().all(|(_, kind)| kind == first) {
            return None;
        }
        let each = seated.iter().map(|(partition, kind)| format!("{partition} on {kind}"));
        Some(each.collect::<Vec<_>>().join(", "))
    }

    /// All workers, the seated ones first.
    pub(crate) fn describe(&self) -> Vec<WorkerStatus> {
        let status = |worker: &Worker, partition| WorkerStatus {
            partition,
            device: worker.device.clone(),
            address: worker.address.clone(),
        };
        let seats = self.seats.iter();
        let seated =
            seats.filter_map(|seat| Some(status(self.worker(seat.worker?)?, Some(seat.partition))));
        let standbys = self.workers.iter().filter(|w| self.seat_of(w.id).is_none());
        seated.chain(standbys.map(|worker| status(worker, None))).collect()
    }

    pub(crate) fn loader_joined(&mut self, id: LoaderId, address: String) {
        self.loaders.push((id, address));
    }

    /// Removes a loader; returns whether the run had it.
    pub(crate) fn loader_left(&mut self, id: LoaderId) -> bool {
        let before = self.loaders.len();
        self.loaders.retain(|(loader, _)| *loader != id);
        self.loaders.len() < before
    }

    /// Addresses of the loaders, each once.
    pub(crate) fn loaders(&self) -> Vec<String> {
        let mut addresses: Vec<String> = Vec::new();
        for (_, address) in &self.loaders {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }
}
