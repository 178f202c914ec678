//! The last few minibatches, those being made, and the one that will be asked for next.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OnceCell, Semaphore, oneshot};

use super::{Minibatch, Request};
use crate::{Error, Source};

/// Bytes of pixels that are kept: four minibatches of the paper's size.
const KEPT_BYTES: usize = 80 << 20;
/// However large they are: the current one and the next.
const KEPT_AT_LEAST: usize = 2;
/// However small.
const KEPT_AT_MOST: usize = 8;

type Slot = Arc<OnceCell<Arc<Made>>>;

/// A minibatch, and when it was made.
#[derive(Debug)]
pub struct Made {
    /// What was asked for.
    pub minibatch: Minibatch,
    /// When its making began.
    pub began: Instant,
    /// When it was there.
    pub ended: Instant,
    told: AtomicBool,
}

impl Made {
    /// True the first time this is asked.
    pub fn first_told(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }
}

/// Makes minibatches on its own threads, each once.
#[derive(Debug, Clone)]
pub struct Recent(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Arc<Source>,
    threads: rayon::ThreadPool,
    /// Most recently asked for last.
    slots: Mutex<VecDeque<(Request, Slot)>>,
    /// One minibatch is made ahead at a time.
    ahead: Semaphore,
}

impl Recent {
    /// For a source, with so many threads (0 = one a core).
    ///
    /// # Errors
    /// [`Error::Setting`] if they can't be started.
    pub fn new(source: Arc<Source>, threads: usize) -> Result<Self, Error> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("decode {i}"))
            .build()
            .map_err(|e| Error::Setting { setting: "threads", why: e.to_string() })?;
        let (slots, ahead) = (Mutex::default(), Semaphore::new(1));
        Ok(Self(Arc::new(Inner { source, threads, slots, ahead })))
    }

    /// Where the pictures come from.
    pub fn source(&self) -> &Source {
        &self.0.source
    }

    /// The minibatch of a request: kept, being made, or made now; then the next one is begun.
    ///
    /// # Errors
    /// As [`Source::minibatch`].
    pub async fn get(&self, request: &Request) -> Result<Arc<Made>, Error> {
        let made = self.make(request).await?;
        self.begin(request.next());
        Ok(made)
    }

    /// Makes a minibatch ahead, unless another is being made so.
    fn begin(&self, request: Request) {
        let this = self.clone();
        tokio::spawn(async move {
            let Ok(_turn) = this.0.ahead.try_acquire() else { return };
            // The last validation batch has none after it; whoever asks for it is told.
            let _ = this.make(&request).await;
        });
    }

    async fn make(&self, request: &Request) -> Result<Arc<Made>, Error> {
        let slot = self.slot(request);
        let made = slot.get_or_try_init(|| self.compute(request)).await.cloned();
        self.forget();
        made
    }

    async fn compute(&self, request: &Request) -> Result<Arc<Made>, Error> {
        let (done, result) = oneshot::channel();
        let (inner, request) = (self.0.clone(), request.clone());
        self.0.threads.spawn(move || {
            let began = Instant::now();
            let made = inner.source.minibatch(&request).map(|minibatch| {
                Arc::new(Made { minibatch, began, ended: Instant::now(), told: false.into() })
            });
            // Nobody is there for it if the asker has gone.
            let _ = done.send(made);
        });
        result.await.expect("the thread sends before it ends, and panics abort nothing here")
    }

    /// The request's slot, new or known, now the most recent.
    fn slot(&self, request: &Request) -> Slot {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slots.iter().position(|(r, _)| r == request);
        let entry = known
            .and_then(|i| slots.remove(i))
            .unwrap_or_else(|| (request.clone(), Slot::default()));
        slots.push_back(entry.clone());
        entry.1
    }

    /// Lets the least recent go, beyond what is kept.
    fn forget(&self) {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = |slots: &VecDeque<(Request, Slot)>| -> usize {
            slots.iter().filter_map(|(_, slot)| slot.get()).map(|m| m.minibatch.pixels.len()).sum()
        };
        while slots.len() > KEPT_AT_MOST
            || (slots.len() > KEPT_AT_LEAST && bytes(&slots) > KEPT_BYTES)
        {
            slots.pop_front();
        }
    }
}
