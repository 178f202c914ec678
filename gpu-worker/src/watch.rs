//! Detects an engine that hangs: a call to its device that does not return, or work without
//! progress.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The calls to a device that have not returned yet, and the engine's present work.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    calls: BTreeMap<u64, Instant>,
    /// The latest mark of the present work.
    marked: Option<Instant>,
}

/// A running call, which ends when this value is dropped.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    number: u64,
    watch: &'a Watch,
}

/// Work that must make progress, until this value is dropped.
#[derive(Debug)]
pub(crate) struct Working(Watch);

impl Watch {
    /// Records that a call begins.
    pub(crate) fn call(&self) -> Call<'_> {
        let number = self.with(|state| {
            state.next += 1;
            state.calls.insert(state.next, Instant::now());
            state.next
        });
        Call { number, watch: self }
    }

    /// Records that the engine begins to work.
    pub(crate) fn working(&self) -> Working {
        self.with(|state| state.marked = Some(Instant::now()));
        Working(self.clone())
    }

    /// Records progress of the engine's work, if it works.
    pub(crate) fn mark(&self) {
        self.with(|state| {
            if let Some(marked) = &mut state.marked {
                *marked = Instant::now();
            }
        });
    }

    /// Age of the oldest running call, or of the latest progress of the work, if that is older.
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.with(|state| {
            let oldest = state.calls.values().next().into_iter().chain(&state.marked).min()?;
            Some(oldest.elapsed())
        })
    }

    fn with<T>(&self, of: impl FnOnce(&mut State) -> T) -> T {
        of(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.watch.with(|state| state.calls.remove(&self.number));
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.with(|state| state.marked = None);
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

    #[test]
    fn work_counts_from_its_latest_mark_until_it_ends() {
        let watch = Watch::default();
        watch.mark();
        assert_eq!(watch.longest(), None, "nobody works");
        let working = watch.working();
        let began = watch.with(|state| state.marked);
        watch.mark();
        assert!(watch.with(|state| state.marked) > began);
        drop(working);
        assert_eq!(watch.longest(), None);
    }
}
