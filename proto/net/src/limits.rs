//! How many connections a service holds: strangers until their first call, guests from then on.
//!
//! Both have places of their own, so that those who only knock never take a guest's. Strangers who
//! are too many leave in the order in which they came, the address that has most of them first;
//! each has had a moment, which is many times what a handshake takes.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Connections without a call so far. With the guests well below 1,024, which is the number of
/// files that a process may have open on many machines.
const STRANGERS: usize = 256;
/// Connections that have called; a run has some ten at each of its processes.
const GUESTS: usize = 256;
/// Of one address: behind a router, a whole run may have only one.
const GUESTS_OF_ONE: usize = 128;
/// How long a stranger stays at least when all places are taken.
const A_MOMENT: Duration = Duration::from_millis(500);

/// Why a stranger had to go.
pub(super) const DISPLACED: &str = "too many connect at once, and it had made no call";

/// All places of a service.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// The oldest first.
    strangers: BTreeMap<u64, Stranger>,
    guests: BTreeMap<u64, IpAddr>,
}

#[derive(Debug)]
struct Stranger {
    address: IpAddr,
    since: Instant,
    /// Dropped with it: the connection sees that it has to go.
    _stays: oneshot::Sender<()>,
}

/// A connection's place, free again once this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    places: Places,
}

/// Resolves once a stranger has to go.
pub(super) type Displaced = oneshot::Receiver<()>;

impl Places {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a stranger may come in; for that, another may have to go.
    pub(super) fn has_room(&self) -> bool {
        let mut table = self.lock();
        if table.strangers.len() < STRANGERS {
            return true;
        }
        let mut of_one = HashMap::new();
        for stranger in table.strangers.values() {
            *of_one.entry(stranger.address).or_insert(0) += 1;
        }
        let most = of_one.iter().max_by_key(|(_, n)| **n).map(|(address, _)| *address);
        let oldest = table.strangers.iter().find(|(_, s)| Some(s.address) == most);
        match oldest.map(|(number, s)| (*number, s.since.elapsed() >= A_MOMENT)) {
            Some((number, true)) => table.strangers.remove(&number).is_some(),
            _ => false,
        }
    }

    /// A place for who comes from there.
    pub(super) fn take(&self, address: IpAddr) -> (Place, Displaced) {
        let mut table = self.lock();
        let (number, (stays, displaced)) = (table.next, oneshot::channel());
        table.next += 1;
        let since = Instant::now();
        table.strangers.insert(number, Stranger { address, since, _stays: stays });
        (Place { number, places: self.clone() }, displaced)
    }
}

impl Place {
    /// Whether it has called.
    pub(super) fn is_guest(&self) -> bool {
        self.places.lock().guests.contains_key(&self.number)
    }

    /// Makes a guest of it, at its first call.
    ///
    /// # Errors
    /// A sentence if there are too many, or if it has just been displaced.
    pub(super) fn call(&self) -> Result<(), String> {
        let mut table = self.places.lock();
        if table.guests.contains_key(&self.number) {
            return Ok(());
        }
        let Some(address) = table.strangers.get(&self.number).map(|s| s.address) else {
            return Err(DISPLACED.into());
        };
        let of_one = table.guests.values().filter(|a| **a == address).count();
        let all = table.guests.len();
        if of_one >= GUESTS_OF_ONE || all >= GUESTS {
            return Err(format!(
                "{of_one} connections from {address} of {all} in all are in use here, the most \
                 are {GUESTS_OF_ONE} of {GUESTS}: close some, or look for who leaves them open"
            ));
        }
        table.strangers.remove(&self.number);
        table.guests.insert(self.number, address);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.places.lock();
        table.strangers.remove(&self.number);
        table.guests.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::BROADCAST);

    fn age(places: &Places) {
        for stranger in places.lock().strangers.values_mut() {
            stranger.since -= A_MOMENT;
        }
    }

    #[test]
    fn strangers_displace_strangers_of_the_busiest_address_and_never_guests() {
        let places = Places::default();
        let (guest, _stays) = places.take(HERE);
        guest.call().unwrap();
        let (early, mut first) = places.take(THERE);
        let mut crowd: Vec<_> = (1..STRANGERS).map(|_| places.take(HERE)).collect();
        assert!(!places.has_room(), "each has a moment");
        age(&places);
        assert!(places.has_room());
        assert!(crowd[0].1.try_recv() == Err(oneshot::error::TryRecvError::Closed));
        assert!(crowd[1].1.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        assert!(first.try_recv() == Err(oneshot::error::TryRecvError::Empty), "the only one");
        assert!(crowd[0].0.call().is_err(), "too late");
        assert!(early.call().is_ok() && guest.is_guest() && early.is_guest());
        crowd.clear();
        assert_eq!(places.lock().strangers.len(), 0);
    }

    #[test]
    fn one_address_has_half_of_the_guests_at_most() {
        let places = Places::default();
        let mut guests = Vec::new();
        for address in [HERE, THERE, IpAddr::from([10, 0, 0, 1])] {
            for _ in 0..=GUESTS_OF_ONE {
                let (place, _) = places.take(address);
                if place.call().is_ok() {
                    guests.push(place);
                }
            }
        }
        assert_eq!(guests.len(), GUESTS);
        let said = places.take(HERE).0.call().unwrap_err();
        assert!(said.contains("128 connections from 127.0.0.1 of 256 in all"), "{said}");
        drop(guests);
        assert!(places.take(HERE).0.call().is_ok());
    }
}
