//! Limits on the number of connections that a service holds. A connection is *unestablished* until
//! its first permitted call, and *established* from then on.
//!
//! Both kinds are limited separately, so that a flood of connections can't displace an established
//! one. If there are too many unestablished connections, the oldest one of the address with the
//! most of them is evicted, but not before a minimum time, which is many times that of a handshake.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Limit of unestablished connections. Together with the established ones it is well below 1,024,
/// the number of files that a process may have open on many machines.
const MAX_UNESTABLISHED: usize = 256;
/// Limit of established connections; a process of a run has about ten.
const MAX_ESTABLISHED: usize = 256;
/// Limit of established connections per address; behind a router, a whole run may share one.
const MAX_ESTABLISHED_PER_ADDRESS: usize = 128;
/// Time for which an unestablished connection is never evicted.
const MIN_TIME: Duration = Duration::from_millis(500);

/// The reason given to an evicted connection.
pub(super) const EVICTED: &str = "too many connect at once, and it had made no call";

/// The connections of a service, counted against the limits.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// Unestablished connections, the oldest first.
    unestablished: BTreeMap<u64, Unestablished>,
    established: BTreeMap<u64, IpAddr>,
}

#[derive(Debug)]
struct Unestablished {
    address: IpAddr,
    since: Instant,
    /// Dropped at eviction, which tells the connection to close.
    _evict: oneshot::Sender<()>,
}

/// A connection's slot in the table, free again once this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    number: u64,
    connections: Connections,
}

/// Resolves once an unestablished connection is evicted.
pub(super) type Eviction = oneshot::Receiver<()>;

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another connection may be accepted; evicts one to make room, if necessary.
    pub(super) fn has_room(&self) -> bool {
        let mut table = self.lock();
        if table.unestablished.len() < MAX_UNESTABLISHED {
            return true;
        }
        let mut of_address = HashMap::new();
        for connection in table.unestablished.values() {
            *of_address.entry(connection.address).or_insert(0) += 1;
        }
        let most = of_address.iter().max_by_key(|(_, n)| **n).map(|(address, _)| *address);
        let oldest = table.unestablished.iter().find(|(_, s)| Some(s.address) == most);
        match oldest.map(|(number, s)| (*number, s.since.elapsed() >= MIN_TIME)) {
            Some((number, true)) => table.unestablished.remove(&number).is_some(),
            _ => false,
        }
    }

    /// Adds an unestablished connection from `address`.
    pub(super) fn add(&self, address: IpAddr) -> (Slot, Eviction) {
        let mut table = self.lock();
        let (number, (evict, eviction)) = (table.next, oneshot::channel());
        table.next += 1;
        let since = Instant::now();
        table.unestablished.insert(number, Unestablished { address, since, _evict: evict });
        (Slot { number, connections: self.clone() }, eviction)
    }
}

impl Slot {
    /// Whether the connection is established.
    pub(super) fn is_established(&self) -> bool {
        self.connections.lock().established.contains_key(&self.number)
    }

    /// Makes the connection an established one, at its first permitted call.
    ///
    /// # Errors
    /// A sentence if there are too many, or if the connection has just been evicted.
    pub(super) fn establish(&self) -> Result<(), String> {
        let mut table = self.connections.lock();
        if table.established.contains_key(&self.number) {
            return Ok(());
        }
        let Some(address) = table.unestablished.get(&self.number).map(|s| s.address) else {
            return Err(EVICTED.into());
        };
        let of_address = table.established.values().filter(|a| **a == address).count();
        let all = table.established.len();
        if of_address >= MAX_ESTABLISHED_PER_ADDRESS || all >= MAX_ESTABLISHED {
            return Err(format!(
                "{of_address} connections from {address} of {all} in all are open here, the most \
                 are {MAX_ESTABLISHED_PER_ADDRESS} of {MAX_ESTABLISHED}: close some, or find the \
                 process that leaves them open"
            ));
        }
        table.unestablished.remove(&self.number);
        table.established.insert(self.number, address);
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.connections.lock();
        table.unestablished.remove(&self.number);
        table.established.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::BROADCAST);

    fn age(connections: &Connections) {
        for connection in connections.lock().unestablished.values_mut() {
            connection.since -= MIN_TIME;
        }
    }

    #[test]
    fn unestablished_connections_of_the_busiest_address_are_evicted_and_established_ones_never() {
        let connections = Connections::default();
        let (established, _eviction) = connections.add(HERE);
        established.establish().unwrap();
        let (early, mut first) = connections.add(THERE);
        let mut crowd: Vec<_> = (1..MAX_UNESTABLISHED).map(|_| connections.add(HERE)).collect();
        assert!(!connections.has_room(), "each has its minimum time");
        age(&connections);
        assert!(connections.has_room());
        assert!(crowd[0].1.try_recv() == Err(oneshot::error::TryRecvError::Closed));
        assert!(crowd[1].1.try_recv() == Err(oneshot::error::TryRecvError::Empty));
        assert!(first.try_recv() == Err(oneshot::error::TryRecvError::Empty), "the only one");
        assert!(crowd[0].0.establish().is_err(), "too late");
        assert!(
            early.establish().is_ok() && established.is_established() && early.is_established()
        );
        crowd.clear();
        assert_eq!(connections.lock().unestablished.len(), 0);
    }

    #[test]
    fn one_address_has_half_of_the_established_connections_at_most() {
        let connections = Connections::default();
        let mut established = Vec::new();
        for address in [HERE, THERE, IpAddr::from([10, 0, 0, 1])] {
            for _ in 0..=MAX_ESTABLISHED_PER_ADDRESS {
                let (slot, _) = connections.add(address);
                if slot.establish().is_ok() {
                    established.push(slot);
                }
            }
        }
        assert_eq!(established.len(), MAX_ESTABLISHED);
        let said = connections.add(HERE).0.establish().unwrap_err();
        assert!(said.contains("128 connections from 127.0.0.1 of 256 in all"), "{said}");
        drop(established);
        assert!(connections.add(HERE).0.establish().is_ok());
    }
}
