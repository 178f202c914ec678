//! Limits on the number of connections that a service holds.
//!
//! A connection is *unestablished* until its first permitted call. From then on it is a *member's*,
//! or, if all that it ever did was to ask a question (`alexnet status`, or an operator's call), a
//! *visitor's*.
//!
//! The three kinds are limited separately, so that neither a flood of connections nor visitors that
//! stay can take the places of members, which are the processes of the run. If there are too many
//! unestablished connections, the oldest one of the address with the most of them is evicted, but
//! not before a minimum time, which is many times that of a handshake. If there are too many
//! visitors, the one that has been idle for longest is evicted.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Limit of unestablished connections. Together with the others it is well below 1,024, the number
/// of files that a process may have open on many machines.
const MAX_UNESTABLISHED: usize = 256;
/// Limit of visitors' connections.
const MAX_VISITORS: usize = 64;
/// Limit of members' connections; a process of a run has about ten.
const MAX_MEMBERS: usize = 256;
/// Limit of members' connections per address; behind a router, a whole run may share one.
const MAX_MEMBERS_PER_ADDRESS: usize = 128;
/// Time for which an unestablished connection is never evicted.
const MIN_TIME: Duration = Duration::from_millis(500);

/// The reason given to an evicted connection.
pub(super) const EVICTED: &str = "too many connect at once, and it had made no call";
/// The reason given to an evicted visitor.
pub(super) const VISITED: &str = "too many connections have only asked for the status, and it had \
                                  been idle for longest";

/// The connections of a service, counted against the limits.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// Unestablished connections, the oldest first.
    unestablished: BTreeMap<u64, Guest>,
    visitors: BTreeMap<u64, Guest>,
    members: BTreeMap<u64, IpAddr>,
}

/// A connection that may be evicted.
#[derive(Debug)]
struct Guest {
    address: IpAddr,
    /// Time of its last call, or else of its beginning.
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

/// Kind of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unestablished,
    Visitor,
    Member,
}

/// Resolves once an unestablished connection or a visitor's is evicted.
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
        table.unestablished.insert(number, Guest { address, since, _evict: evict });
        (Slot { number, connections: self.clone() }, eviction)
    }
}

impl Table {
    /// Makes a connection a visitor's, in the place of the most idle one if there are too many.
    fn visit(&mut self, number: u64, guest: Guest) {
        if self.visitors.len() >= MAX_VISITORS {
            let most_idle = self.visitors.iter().min_by_key(|(_, guest)| guest.since);
            if let Some((&number, _)) = most_idle {
                self.visitors.remove(&number);
            }
        }
        self.visitors.insert(number, guest);
    }
}

impl Slot {
    /// The kind of the connection.
    pub(super) fn kind(&self) -> Kind {
        let table = self.connections.lock();
        if table.members.contains_key(&self.number) {
            Kind::Member
        } else if table.visitors.contains_key(&self.number) {
            Kind::Visitor
        } else {
            Kind::Unestablished
        }
    }

    /// Records a permitted call: of a member of the run, or of a visitor.
    ///
    /// # Errors
    /// A sentence if there are too many members, or if the connection has just been evicted.
    pub(super) fn call(&self, by_member: bool) -> Result<(), String> {
        let mut table = self.connections.lock();
        let table = &mut *table;
        let number = self.number;
        if table.members.contains_key(&number) {
            return Ok(());
        }
        let guest = table.unestablished.remove(&number).or_else(|| table.visitors.remove(&number));
        let guest = guest.map(|guest| Guest { since: Instant::now(), ..guest });
        let guest = guest.ok_or(EVICTED)?;
        let address = guest.address;
        let of_address = table.members.values().filter(|a| **a == address).count();
        let all = table.members.len();
        let is_full = of_address >= MAX_MEMBERS_PER_ADDRESS || all >= MAX_MEMBERS;
        if by_member && !is_full {
            table.members.insert(number, address);
            return Ok(());
        }
        table.visit(number, guest);
        match by_member {
            false => Ok(()),
            true => Err(format!(
                "{of_address} connections from {address} of {all} in all are open here, the most \
                 are {MAX_MEMBERS_PER_ADDRESS} of {MAX_MEMBERS}: close some, or find the process \
                 that leaves them open"
            )),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.connections.lock();
        table.unestablished.remove(&self.number);
        table.visitors.remove(&self.number);
        table.members.remove(&self.number);
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

    fn is_evicted(eviction: &mut Eviction) -> bool {
        eviction.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn unestablished_connections_of_the_busiest_address_are_evicted_and_members_never() {
        let connections = Connections::default();
        let (member, _eviction) = connections.add(HERE);
        member.call(true).unwrap();
        let (early, mut first) = connections.add(THERE);
        let mut crowd: Vec<_> = (1..MAX_UNESTABLISHED).map(|_| connections.add(HERE)).collect();
        assert!(!connections.has_room(), "each has its minimum time");
        age(&connections);
        assert!(connections.has_room());
        assert!(is_evicted(&mut crowd[0].1) && !is_evicted(&mut crowd[1].1));
        assert!(!is_evicted(&mut first), "the only one");
        assert!(crowd[0].0.call(true).is_err(), "too late");
        assert!(early.call(true).is_ok());
        assert_eq!((member.kind(), early.kind()), (Kind::Member, Kind::Member));
        crowd.clear();
        assert_eq!(connections.lock().unestablished.len(), 0);
    }

    #[test]
    fn one_address_has_half_of_the_members_connections_at_most() {
        let connections = Connections::default();
        let mut members = Vec::new();
        for address in [HERE, THERE, IpAddr::from([10, 0, 0, 1])] {
            for _ in 0..=MAX_MEMBERS_PER_ADDRESS {
                let (slot, _) = connections.add(address);
                if slot.call(true).is_ok() {
                    members.push(slot);
                }
            }
        }
        assert_eq!(members.len(), MAX_MEMBERS);
        let said = connections.add(HERE).0.call(true).unwrap_err();
        assert!(said.contains("128 connections from 127.0.0.1 of 256 in all"), "{said}");
        drop(members);
        assert!(connections.add(HERE).0.call(true).is_ok());
    }

    #[test]
    fn visitors_take_each_others_places_and_never_those_of_members() {
        let connections = Connections::default();
        let mut visitors: Vec<_> = (0..MAX_VISITORS).map(|_| connections.add(HERE)).collect();
        for (slot, _) in &visitors {
            slot.call(false).unwrap();
        }
        // The first one asks again, so that the second one is the most idle.
        visitors[0].0.call(false).unwrap();
        let more: Vec<_> = (0..500).map(|_| connections.add(HERE)).collect();
        more[0].0.call(false).unwrap();
        assert!(is_evicted(&mut visitors[1].1) && !is_evicted(&mut visitors[0].1));
        assert!(visitors[1].0.call(false).is_err(), "too late");
        for (slot, _) in &more[1..] {
            slot.call(false).unwrap();
        }
        assert_eq!(connections.lock().visitors.len(), MAX_VISITORS);
        let member = connections.add(HERE).0;
        assert!(member.call(true).is_ok(), "a member finds its place");
        // A connection that asked first and then works is a member's from then on.
        let (last, _) = more.last().unwrap();
        last.call(true).unwrap();
        assert_eq!(last.kind(), Kind::Member);
    }
}
