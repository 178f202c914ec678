//! The order of operations: vector clocks over streams, and records of accesses to memory.

use crate::memory::Touched;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// For each stream, the last of its operations known to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock(Vec<u64>);

impl Clock {
    pub(crate) fn get(&self, stream: usize) -> u64 {
        self.0.get(stream).copied().unwrap_or(0)
    }

    pub(crate) fn set(&mut self, stream: usize, number: u64) {
        if self.0.len() <= stream {
            self.0.resize(stream + 1, 0);
        }
        self.0[stream] = self.0[stream].max(number);
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for (stream, number) in other.0.iter().enumerate() {
            self.set(stream, *number);
        }
    }
}

/// An operation that touched an allocation.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) stream: usize,
    pub(crate) number: u64,
    pub(crate) name: Arc<str>,
    pub(crate) touched: Touched,
}

impl Record {
    /// Whether both touch a part that one of them writes.
    pub(crate) fn conflicts(&self, other: &Touched) -> bool {
        let meet = |a: &[AtomicU64], b: &[AtomicU64]| {
            a.iter().zip(b).any(|(a, b)| a.load(Relaxed) & b.load(Relaxed) != 0)
        };
        let Touched { reads, writes, .. } = &self.touched;
        meet(writes, &other.writes) || meet(writes, &other.reads) || meet(reads, &other.writes)
    }

    /// Whether `other` touches all that this one touched, in the same way.
    pub(crate) fn within(&self, other: &Touched) -> bool {
        let inside = |a: &[AtomicU64], b: &[AtomicU64]| {
            a.iter().zip(b).all(|(a, b)| a.load(Relaxed) & !b.load(Relaxed) == 0)
        };
        inside(&self.touched.reads, &other.reads) && inside(&self.touched.writes, &other.writes)
    }
}
