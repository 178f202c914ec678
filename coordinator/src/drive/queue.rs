//! Work on the run directory beside the event loop, so that a slow disk does not stop the training:
//! one piece after the other, in the order in which the loop asked for it.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::blocking;
use crate::error::Error;
use crate::run::event::Event;

/// The result of a piece of work, for the event loop.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Event for the state machine.
    pub(super) event: Option<Event>,
    /// Anything out of the ordinary, for people.
    pub(super) notice: Option<String>,
}

type Job = Box<dyn FnOnce() -> Done + Send>;

/// The queue and its one worker.
#[derive(Debug)]
pub(super) struct Queue {
    jobs: mpsc::UnboundedSender<Job>,
    done: mpsc::UnboundedReceiver<Done>,
    worker: JoinHandle<()>,
}

impl Queue {
    /// An empty queue.
    pub(super) fn new() -> Self {
        // The state machine asks for one checkpoint at a time, so neither channel grows.
        let (jobs, mut todo) = mpsc::unbounded_channel::<Job>();
        let (tell, done) = mpsc::unbounded_channel();
        let worker = tokio::spawn(async move {
            while let Some(job) = todo.recv().await {
                if let Ok(done) = blocking(move || Ok(job())).await {
                    let _ = tell.send(done);
                }
            }
        });
        Self { jobs, done, worker }
    }

    /// Has a piece of work done; [`Queue::done`] has its result.
    pub(super) fn add(&self, job: impl FnOnce() -> Done + Send + 'static) {
        // The worker ends with this value.
        let _ = self.jobs.send(Box::new(job));
    }

    /// Has a piece of work done, after all that was added before, and waits for its result.
    pub(super) async fn wait_for<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        self.add(move || {
            let _ = tell.send(job());
            Done::default()
        });
        told.await.map_err(|_| Error::StoreClosed)?
    }

    /// The result of the next piece of work that is done.
    pub(super) async fn done(&mut self) -> Done {
        match self.done.recv().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// Waits until everything is done.
    pub(super) async fn end(self) {
        drop(self.jobs);
        let _ = self.worker.await;
    }
}
