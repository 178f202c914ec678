//! Minibatches that are requested before they are needed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::wire::BatchRequest;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::check::Pictures;
use super::{Loaders, Minibatch, Wait};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;

/// Minibatches that are requested before they are needed.
#[derive(Debug)]
pub(crate) struct Feed {
    network: Handle,
    loaders: Arc<Loaders>,
    pictures: Arc<Pictures>,
    deadline: Duration,
    /// Incarnation that the minibatches are for, and its end.
    present: (u64, Interrupt),
    ahead: VecDeque<Requested>,
}

#[derive(Debug)]
struct Requested {
    request: BatchRequest,
    wait: Arc<Wait>,
    task: JoinHandle<Result<Minibatch>>,
}

impl Feed {
    pub(crate) fn new(
        network: Handle,
        loaders: Arc<Loaders>,
        pictures: Arc<Pictures>,
        deadline: Duration,
        present: (u64, Interrupt),
    ) -> Self {
        Self { network, loaders, pictures, deadline, present, ahead: VecDeque::new() }
    }

    /// Requests a minibatch that will be taken later.
    pub(crate) fn request(&mut self, request: BatchRequest) {
        if self.ahead.iter().any(|asked| asked.request == request) {
            return;
        }
        let wait = Arc::new(Wait::new(self.deadline));
        let (loaders, pictures) = (self.loaders.clone(), self.pictures.clone());
        let (asked, waits) = (request.clone(), wait.clone());
        let task = self.network.spawn(async move { loaders.batch(asked, pictures, &waits).await });
        self.ahead.push_back(Requested { request, wait, task });
    }

    /// Takes a minibatch; also returns the time that this blocked.
    ///
    /// Requests that come later stay, those of the other split too: training continues with them
    /// after an evaluation.
    ///
    /// # Errors
    /// The loaders', and [`Error::Interrupted`] if no further step is wanted.
    pub(crate) fn take(&mut self, request: &BatchRequest) -> Result<(Minibatch, Duration)> {
        let started = Instant::now();
        self.request(request.clone());
        let is_later = |asked: &BatchRequest| {
            // Another epoch's color noise is for nothing.
            let BatchRequest { step, traced, view, .. } = *asked;
            let alike = BatchRequest { step, traced, view, ..request.clone() };
            asked.split != request.split || (asked.step > request.step && *asked == alike)
        };
        let mut taken = None;
        for requested in std::mem::take(&mut self.ahead) {
            if requested.request == *request {
                taken = Some(requested);
            } else if is_later(&requested.request) {
                self.ahead.push_back(requested);
            } else {
                requested.task.abort();
            }
        }
        let Requested { wait, task, .. } = taken.expect("the request was put on the list above");
        wait.begins();
        let given_up = task.abort_handle();
        let (incarnation, interrupt) = &self.present;
        let minibatch = self.network.block_on(async {
            tokio::select! {
                biased;
                made = task => made.unwrap_or_else(|e| {
                    Err(Error::BadData { loader: "receive".into(), why: e.to_string() })
                }),
                () = interrupt.stopped(*incarnation) => {
                    given_up.abort();
                    Err(Error::Interrupted)
                }
            }
        })?;
        Ok((minibatch, started.elapsed()))
    }
}

impl Drop for Feed {
    /// Cancels the requests of an incarnation that has ended.
    fn drop(&mut self) {
        for requested in &self.ahead {
            requested.task.abort();
        }
    }
}
