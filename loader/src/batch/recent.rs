//! A cache of minibatches: the last few, those being made, and the one that comes next.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OnceCell, Semaphore, oneshot};

use super::{Minibatch, Request};
use crate::{Error, Source};

/// Bytes of pixels that are kept: four minibatches of the paper's size.
const MAX_KEPT_BYTES: usize = 80 << 20;
/// Minibatches that are kept however large they are: the current one and the next.
const MIN_KEPT: usize = 2;
/// Minibatches that are kept at most, however small they are.
const MAX_KEPT: usize = 8;

type Slot = Arc<OnceCell<Arc<TimedMinibatch>>>;

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
    ahead: Semaphore,
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
        let (slots, ahead) = (Mutex::default(), Semaphore::new(1));
        Ok(Self(Arc::new(Inner { source, threads, slots, ahead })))
    }

    /// The source of the pictures.
    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// Returns the minibatch of a request, made now or before, and begins to make the next one.
    ///
    /// # Errors
    /// As [`Source::minibatch`].
    pub async fn get(&self, request: &Request) -> Result<Arc<TimedMinibatch>, Error> {
        let made = self.make(request).await?;
        self.begin(request.next());
        Ok(made)
    }

    /// Makes a minibatch ahead, unless another is being made ahead.
    fn begin(&self, request: Request) {
        let this = self.clone();
        tokio::spawn(async move {
            let Ok(_turn) = this.0.ahead.try_acquire() else { return };
            // The last validation batch has no successor; an error goes to the request that asks
            // for it.
            let _ = this.make(&request).await;
        });
    }

    async fn make(&self, request: &Request) -> Result<Arc<TimedMinibatch>, Error> {
        let slot = self.slot(request);
        let made = slot.get_or_try_init(|| self.compute(request)).await.cloned();
        self.forget();
        made
    }

    async fn compute(&self, request: &Request) -> Result<Arc<TimedMinibatch>, Error> {
        let (done, result) = oneshot::channel();
        let (inner, request) = (self.0.clone(), request.clone());
        self.0.threads.spawn(move || {
            let began = Instant::now();
            let made = inner.source.minibatch(&request).map(|minibatch| {
                Arc::new(TimedMinibatch {
                    minibatch,
                    began,
                    ended: Instant::now(),
                    reported: false.into(),
                })
            });
            // The send fails if the request was dropped meanwhile.
            let _ = done.send(made);
        });
        result.await.expect("the thread sends before it ends, and panics abort nothing here")
    }

    /// The slot of a request, now the most recent; a new one if there was none.
    fn slot(&self, request: &Request) -> Slot {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slots.iter().position(|(r, _)| r == request);
        let entry = known
            .and_then(|i| slots.remove(i))
            .unwrap_or_else(|| (request.clone(), Slot::default()));
        slots.push_back(entry.clone());
        entry.1
    }

    /// Drops the least recent minibatches that exceed the limits.
    fn forget(&self) {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |slots: &VecDeque<(Request, Slot)>| -> usize {
            slots.iter().filter_map(|(_, slot)| slot.get()).map(|m| m.minibatch.pixels.len()).sum()
        };
        while slots.len() > MAX_KEPT || (slots.len() > MIN_KEPT && bytes(&slots) > MAX_KEPT_BYTES) {
            slots.pop_front();
        }
    }
}
