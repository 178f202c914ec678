//! A cache of minibatches: the last few, those being made, and the one that comes next.
//!
//! The cache makes a minibatch to its end even if the client that asked for it gives up. A client
//! that asks again then waits for less, or not at all.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::{Minibatch, Request};
use crate::{Error, Source};

/// Bytes of pixels that are kept: four minibatches of the paper's size.
const MAX_KEPT_BYTES: usize = 80 << 20;
/// Minibatches that are kept however large they are: the current one and the next.
const MIN_KEPT: usize = 2;
/// Minibatches that are kept at most, however small they are.
const MAX_KEPT: usize = 8;

type Made = Result<Arc<TimedMinibatch>, Error>;
/// The receiver of a minibatch, which holds it once it is made.
type Slot = watch::Receiver<Option<Made>>;

/// A minibatch with the times at which its making began and ended.
#[derive(Debug)]
pub struct TimedMinibatch {
    /// The minibatch itself.
    pub minibatch: Minibatch,
    /// Time at which making it began.
    pub began: Instant,
    /// Time at which it was complete.
    pub ended: Instant,
    reported: AtomicBool,
}

impl TimedMinibatch {
    /// Time that making it took.
    pub fn took(&self) -> Duration {
        self.ended - self.began
    }

    /// True at the first call, false at all later ones: for a report that is made once.
    pub fn first_report(&self) -> bool {
        !self.reported.swap(true, Ordering::Relaxed)
    }
}

/// A cache of minibatches, each made once, on threads of the cache.
#[derive(Debug, Clone)]
pub struct Recent(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Arc<Source>,
    threads: rayon::ThreadPool,
    /// Requests and their minibatches, the most recently asked for last.
    slots: Mutex<VecDeque<(Request, Slot)>>,
    /// Permits one minibatch at a time to be made ahead.
    ahead: Arc<Semaphore>,
    /// Number of pictures read so far.
    n_read: AtomicU64,
}

impl Recent {
    /// An empty cache for a source, with that many threads (0 = one per core).
    ///
    /// # Errors
    /// [`Error::Setting`] if the threads can't be started.
    pub fn new(source: Arc<Source>, threads: usize) -> Result<Self, Error> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("decode {i}"))
            .build()
            .map_err(|e| Error::Setting { setting: "threads", why: e.to_string() })?;
        Ok(Self(Arc::new(Inner {
            source,
            threads,
            slots: Mutex::default(),
            ahead: Arc::new(Semaphore::new(1)),
            n_read: AtomicU64::new(0),
        })))
    }

    /// The source of the pictures.
    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// Number of pictures read so far; it rises as long as the disk answers.
    pub fn n_read(&self) -> u64 {
        self.0.n_read.load(Ordering::Relaxed)
    }

    /// Returns the minibatch of a request, made now or before, and then begins to make the one of
    /// step `next`.
    ///
    /// `held` is dropped once the minibatch is made, or at once if another request began it.
    ///
    /// # Errors
    /// As [`Source::minibatch`].
    pub async fn get(
        &self,
        request: &Request,
        next: Option<u64>,
        held: impl Send + 'static,
    ) -> Result<Arc<TimedMinibatch>, Error> {
        let mut slot = self.slot(request, held);
        let made = slot.wait_for(Option::is_some).await;
        let made = made.ok().and_then(|made| made.clone());
        let made = made.expect("the thread sends before it ends, and a panic ends the process")?;
        // The last validation batch has no successor; an error goes to the request that asks for
        // it.
        if let Some(step) = next
            && let Ok(turn) = self.0.ahead.clone().try_acquire_owned()
        {
            drop(self.slot(&request.at(step), turn));
        }
        Ok(made)
    }

    /// The slot of a request, now the most recent; the making begins if there was none.
    fn slot(&self, request: &Request, held: impl Send + 'static) -> Slot {
        let mut slots = self.0.lock();
        if let Some(known) = slots.iter().position(|(r, _)| r == request)
            && let Some(entry) = slots.remove(known)
        {
            slots.push_back(entry.clone());
            return entry.1;
        }
        let (done, slot) = watch::channel(None);
        slots.push_back((request.clone(), slot.clone()));
        drop(slots);
        let (inner, request) = (self.0.clone(), request.clone());
        self.0.threads.spawn(move || {
            let began = Instant::now();
            let minibatch = inner.source.minibatch_counted(&request, &inner.n_read);
            let made = minibatch.map(|minibatch| {
                let reported = AtomicBool::new(false);
                Arc::new(TimedMinibatch { minibatch, began, ended: Instant::now(), reported })
            });
            if made.is_err() {
                // The next request tries again: another read may succeed.
                inner.lock().retain(|(r, _)| *r != request);
            }
            done.send_replace(Some(made));
            inner.forget();
            drop(held);
        });
        slot
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Request, Slot)>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the least recent minibatches that exceed the limits, but none that is being made.
    fn forget(&self) {
        let mut slots = self.lock();
        let size = |slot: &Slot| match &*slot.borrow() {
            Some(Ok(made)) => Some(made.minibatch.pixels.len()),
            Some(Err(_)) => Some(0),
            None => None,
        };
        let sizes: Vec<_> = slots.iter().map(|(_, slot)| size(slot)).collect();
        let mut kept = sizes.iter().flatten().count();
        let mut bytes: usize = sizes.iter().flatten().sum();
        let mut sizes = sizes.into_iter();
        slots.retain(|_| {
            let Some(Some(size)) = sizes.next() else { return true };
            let stays = kept <= MIN_KEPT || (kept <= MAX_KEPT && bytes <= MAX_KEPT_BYTES);
            if !stays {
                (kept, bytes) = (kept - 1, bytes - size);
            }
            stays
        });
    }
}
