//! The workers and loaders of a run: who is connected, who sits on which seat, who fell silent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use model::halves::Partition;
use proto::command::KnownLoader;
use proto::status::{DeviceKind, LoaderStatus, Standing, WorkerStatus};
use proto::step::StepFigures;

use super::event::{LoaderId, WorkerId};
use super::faults::Faults;
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
    /// The worker was asked to leave.
    leaving: bool,
}

/// A connected loader.
#[derive(Debug, Clone)]
pub(crate) struct Loader {
    id: LoaderId,
    /// Address of the loader, and the experience of workers with it.
    status: LoaderStatus,
    /// True once the log has said that the loader is slow.
    noted: bool,
}

/// The place of one partition in a run, and its part in whatever the run is doing.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) partition: Partition,
    /// The device that computed the partition last.
    pub(crate) device: Option<String>,
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
    fn new(partition: Partition, device: Option<String>) -> Self {
        Self {
            partition,
            device,
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
    pub(super) workers: Vec<Worker>,
    pub(super) faults: Faults,
    loaders: Vec<Loader>,
}

impl Members {
    /// Empty seats: one for a whole network, two for halves.
    ///
    /// `devices`: those that computed the partitions last.
    pub(crate) fn new(columns: usize, devices: &[(Partition, String)]) -> Self {
        let last = |of| devices.iter().find(|(partition, _)| *partition == of);
        let seat = |of| Seat::new(of, last(of).map(|(_, device)| device.clone()));
        let seats = Partition::of(columns).iter().copied().map(seat).collect();
        Self { seats, workers: Vec::new(), faults: Faults::default(), loaders: Vec::new() }
    }

    pub(crate) fn join(
        &mut self,
        id: WorkerId,
        device: String,
        kind: DeviceKind,
        address: String,
        now: Instant,
    ) {
        self.workers.push(Worker { id, device, kind, address, heard: now, leaving: false });
    }

    /// Removes a worker; returns the seat that is empty now, if the worker had one.
    pub(crate) fn leave(&mut self, id: WorkerId) -> Option<usize> {
        self.workers.retain(|w| w.id != id);
        let seat = self.seat_of(id)?;
        self.seats[seat].worker = None;
        Some(seat)
    }

    /// Notes that a worker was asked to leave.
    pub(crate) fn leaves(&mut self, id: WorkerId) {
        self.workers.iter_mut().filter(|w| w.id == id).for_each(|w| w.leaving = true);
    }

    /// Workers that were asked to leave.
    pub(crate) fn leaving(&self) -> Vec<WorkerId> {
        self.workers.iter().filter(|w| w.leaving).map(|w| w.id).collect()
    }

    /// Returns true if a seated worker was asked to leave.
    pub(crate) fn somebody_leaves(&self) -> bool {
        self.workers.iter().any(|w| w.leaving && self.seat_of(w.id).is_some())
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

    /// Notes the devices of the seated workers.
    pub(crate) fn remember_devices(&mut self) {
        for seat in &mut self.seats {
            let worker = self.workers.iter().find(|w| Some(w.id) == seat.worker);
            seat.device = worker.map(|w| w.device.clone());
        }
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

    /// Adds a loader, which takes the place of an earlier session at the same address.
    pub(crate) fn loader_joined(&mut self, id: LoaderId, address: String) {
        self.loaders.retain(|loader| loader.status.address != address);
        let status = LoaderStatus { address, standing: Standing::Good, why: String::new() };
        self.loaders.push(Loader { id, status, noted: false });
    }

    /// Removes a loader; returns whether the run had it.
    pub(crate) fn loader_left(&mut self, id: LoaderId) -> bool {
        let before = self.loaders.len();
        self.loaders.retain(|loader| loader.id != id);
        self.loaders.len() < before
    }

    /// Takes a worker's experience with a loader; a loader that was refused stays so.
    ///
    /// Returns the loader's status if it has changed, and whether people should get a notice.
    pub(crate) fn judge(
        &mut self,
        id: LoaderId,
        standing: Standing,
        why: &str,
    ) -> Option<(LoaderStatus, bool)> {
        let loader = self.loaders.iter_mut().find(|loader| loader.id == id)?;
        if [standing, Standing::Refused].contains(&loader.status.standing) {
            return None;
        }
        loader.status.standing = standing;
        loader.status.why = why.to_string();
        // A loader that is slow again and again needs no more than one notice.
        let is_news = standing == Standing::Refused || !std::mem::replace(&mut loader.noted, true);
        Some((loader.status.clone(), is_news))
    }

    /// Returns true if any loader is connected.
    pub(crate) fn has_loaders(&self) -> bool {
        !self.loaders.is_empty()
    }

    /// The loaders, as workers get them.
    pub(crate) fn known_loaders(&self) -> Vec<KnownLoader> {
        let known = self.loaders.iter().map(|loader| {
            let LoaderStatus { address, standing, why } = loader.status.clone();
            KnownLoader { address, session: loader.id.0, standing: standing.into(), why }
        });
        known.collect()
    }

    /// The loaders, for people.
    pub(crate) fn loaders(&self) -> Vec<LoaderStatus> {
        self.loaders.iter().map(|loader| loader.status.clone()).collect()
    }
}
