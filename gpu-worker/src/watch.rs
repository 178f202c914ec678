//! Detects a device that hangs: a call to it that does not return.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The calls to a device that have not returned yet.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Mutex<Calls>>);

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

/// A running call, which ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    number: u64,
    watch: &'a Watch,
}

impl Watch {
    /// Records that a call begins.
    pub(crate) fn call(&self) -> Call<'_> {
        let number = self.with(|calls| {
            calls.next += 1;
            calls.since.insert(calls.next, Instant::now());
            calls.next
        });
        Call { number, watch: self }
    }

    /// Age of the oldest running call.
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.with(|calls| calls.since.values().next().map(Instant::elapsed))
    }

    fn with<T>(&self, of: impl FnOnce(&mut Calls) -> T) -> T {
        of(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.watch.with(|calls| calls.since.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_that_have_not_returned_count() {
        let watch = Watch::default();
        assert_eq!(watch.longest(), None);
        let (first, second) = (watch.call(), watch.clone());
        drop(second.call());
        assert!(watch.longest().is_some());
        drop(first);
        assert_eq!(watch.longest(), None);
    }
}
