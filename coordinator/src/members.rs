//! Who is here, who sits where, who went silent.

use std::time::{Duration, Instant};

use model::halves::{Half, Partition};

use crate::event::{LoaderId, WorkerId, part_name};

/// A connected worker.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) device: String,
    pub(crate) exchange: String,
    heard: Instant,
}

/// All workers and loaders, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Members {
    parts: Vec<Partition>,
    workers: Vec<Worker>,
    seats: Vec<Option<WorkerId>>,
    loaders: Vec<(LoaderId, String)>,
}

impl Members {
    /// Nobody yet; one seat for a whole network, two for halves.
    pub(crate) fn new(columns: usize) -> Self {
        let parts = match columns {
            1 => vec![Partition::Whole],
            _ => Half::BOTH.map(Partition::Half).to_vec(),
        };
        Self { seats: vec![None; parts.len()], parts, workers: Vec::new(), loaders: Vec::new() }
    }

    pub(crate) fn parts(&self) -> &[Partition] {
        &self.parts
    }

    pub(crate) fn join(&mut self, id: WorkerId, device: String, exchange: String, now: Instant) {
        self.workers.push(Worker { id, device, exchange, heard: now });
    }

    /// Forgets a worker; the seat it leaves empty, if it had one.
    pub(crate) fn leave(&mut self, id: WorkerId) -> Option<usize> {
        self.workers.retain(|w| w.id != id);
        let seat = self.seat_of(id)?;
        self.seats[seat] = None;
        Some(seat)
    }

    /// Gives empty seats to those who wait, first come, first seated; survivors keep theirs.
    pub(crate) fn fill_seats(&mut self) {
        for seat in 0..self.seats.len() {
            if self.seats[seat].is_none() {
                let next = self.workers.iter().find(|w| self.seat_of(w.id).is_none());
                self.seats[seat] = next.map(|w| w.id);
            }
        }
    }

    pub(crate) fn seat_of(&self, id: WorkerId) -> Option<usize> {
        self.seats.iter().position(|seat| *seat == Some(id))
    }

    pub(crate) fn is_taken(&self, seat: usize) -> bool {
        self.seats[seat].is_some()
    }

    /// The workers on the seats, in the order of the parts; `None` while one is missing.
    pub(crate) fn seated(&self) -> Option<Vec<&Worker>> {
        self.seats.iter().map(|seat| self.worker((*seat)?)).collect()
    }

    /// Every worker, seated or waiting.
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

    /// Those who have said nothing for longer than `limit`.
    pub(crate) fn silent(&self, now: Instant, limit: Duration) -> Vec<WorkerId> {
        let late = |w: &&Worker| now.saturating_duration_since(w.heard) > limit;
        self.workers.iter().filter(late).map(|w| w.id).collect()
    }

    /// `half A and half B`: the parts nobody works on.
    pub(crate) fn missing(&self) -> String {
        let empty = self.parts.iter().zip(&self.seats).filter(|(_, seat)| seat.is_none());
        empty.map(|(part, _)| part_name(*part)).collect::<Vec<_>>().join(" and ")
    }

    /// `half A on cuda, half B on cpu`, if the halves compute on different kinds of devices.
    pub(crate) fn mixed(&self) -> Option<String> {
        let seated: Vec<(String, &str)> = (self.parts.iter().zip(&self.seats))
            .filter_map(|(part, seat)| {
                let device = &self.worker((*seat)?)?.device;
                Some((part_name(*part), device.split([':', ' ']).next()?))
            })
            .collect();
        let (_, first) = seated.first()?;
        if seated.iter().all(|(_, kind)| kind == first) {
            return None;
        }
        let each = seated.iter().map(|(part, kind)| format!("{part} on {kind}"));
        Some(each.collect::<Vec<_>>().join(", "))
    }

    /// `half A: cpu at 127.0.0.1:4001`, one a worker; those who wait last.
    pub(crate) fn describe(&self) -> Vec<String> {
        let seated = self.parts.iter().zip(&self.seats).filter_map(|(part, seat)| {
            let w = self.worker((*seat)?)?;
            Some(format!("{}: {} at {}", part_name(*part), w.device, w.exchange))
        });
        let waiting = self
            .workers
            .iter()
            .filter(|w| self.seat_of(w.id).is_none())
            .map(|w| format!("standby: {} at {}", w.device, w.exchange));
        seated.chain(waiting).collect()
    }

    pub(crate) fn loader_joined(&mut self, id: LoaderId, address: String) {
        self.loaders.push((id, address));
    }

    /// Whether it was one of the run's.
    pub(crate) fn loader_left(&mut self, id: LoaderId) -> bool {
        let before = self.loaders.len();
        self.loaders.retain(|(loader, _)| *loader != id);
        self.loaders.len() < before
    }

    /// Where minibatches can be had, each address once.
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
