//! The choice of a worker for each seat. In this order it looks at faults of the workers' machines,
//! at the device that computed the partition before, at who holds the seat, and at the arrival.

use std::cmp::Reverse;
use std::time::Instant;

use proto::wire::Blame;

use super::Run;
use super::event::WorkerId;
use super::members::{Members, Seat, Worker};

impl Members {
    /// Gives every seat to the worker that fits it best, as far as there are workers.
    pub(crate) fn fill_seats(&mut self, now: Instant) {
        let all = self.assignments().into_iter();
        let best = all.min_by_key(|assignment| self.rank(assignment, now)).unwrap_or_default();
        for (seat, worker) in self.seats.iter_mut().zip(best) {
            seat.worker = worker.map(|worker| self.workers[worker].id);
        }
    }

    /// All ways to seat the workers, by their numbers, on one or two seats.
    fn assignments(&self) -> Vec<Vec<Option<usize>>> {
        let choices = || (0..self.workers.len()).map(Some).chain([None]);
        let mut all = vec![vec![]];
        for _ in &self.seats {
            all = all
                .iter()
                .flat_map(|seated| choices().map(move |c| (seated, c)))
                .filter(|(seated, choice)| choice.is_none() || !seated.contains(choice))
                .map(|(seated, choice)| [seated.clone(), vec![choice]].concat())
                .collect();
        }
        all
    }

    /// The lower, the better.
    fn rank(&self, assignment: &[Option<usize>], now: Instant) -> impl Ord + use<> {
        let count = |is: &dyn Fn(&Seat, &Worker) -> bool| {
            let seated = self.seats.iter().zip(assignment);
            seated
                .filter(|(seat, worker)| worker.is_some_and(|w| is(seat, &self.workers[w])))
                .count()
        };
        let seated = count(&|_, _| true);
        let at_fault = count(&|_, worker| self.faults.has(&worker.address, now));
        let on_another_device =
            count(&|seat, worker| seat.device.as_ref().is_some_and(|last| *last != worker.device));
        let changes = count(&|seat, worker| seat.worker != Some(worker.id));
        let arrival: Vec<_> = assignment.iter().map(|w| w.unwrap_or(usize::MAX)).collect();
        (Reverse(seated), at_fault, on_another_device, changes, arrival)
    }

    /// Returns true if there is a standby whose machine has not failed recently.
    fn has_substitute(&self, now: Instant) -> bool {
        let is_free = |w: &&Worker| self.seat_of(w.id).is_none();
        self.workers.iter().filter(is_free).any(|w| !self.faults.has(&w.address, now))
    }

    fn address(&self, id: Option<WorkerId>) -> Option<String> {
        self.workers.iter().find(|w| Some(w.id) == id).map(|w| w.address.clone())
    }
}

impl Run {
    /// Returns true if another worker may not have this failure, so that the run need not end.
    pub(super) fn can_replace(&self, blame: Blame, now: Instant) -> bool {
        blame == Blame::Worker && self.members.has_substitute(now)
    }

    /// Keeps the worker that a failure belongs to from the seats for a while, if there are others.
    pub(super) fn exclude(&mut self, seat: usize, blame: Blame, now: Instant) {
        let members = &mut self.members;
        let worker = |seat: Option<&Seat>| seat.and_then(|seat| seat.worker);
        let own = members.address(worker(members.seats.get(seat)));
        let peer = members.address(worker(members.seats.iter().rev().nth(seat)));
        let at_fault = match (blame, own, peer) {
            (Blame::Worker, Some(own), _) => own,
            (Blame::Peer, Some(own), Some(peer)) if own != peer => {
                members.faults.of_two(&own, &peer, now)
            }
            _ => return,
        };
        tracing::warn!(address = at_fault, "a worker is not seated for a while if another can be");
        members.faults.add(at_fault, now);
    }
}
