//! The gRPC services: messages that come in become events, commands become messages that go out.

mod work; // a worker's session
mod loaders; // a loader's session
mod clock; // the distance of another process's clock from ours
mod streams; // the streams to all connected processes
mod convert; // wire ⇄ the vocabulary of the state machine

pub(crate) use convert::status_to_wire;
pub(crate) use streams::Streams;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use net::{Refusals, Role, Trust, require_role};
use proto::step::Span;
use proto::wire;
use proto::wire::coordinator_server::Coordinator;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::error::Error;
use crate::run::event::{Event, LoaderId, WorkerId};
use crate::run::status::RunStatus;

/// Most commands that wait for one receiver. A few are usual; more mean that its connection hangs.
const WAITING_COMMANDS: usize = 256;

pub(crate) type WorkerStream = mpsc::Sender<Result<wire::WorkerCommand, Status>>;
pub(crate) type LoaderStream = mpsc::Sender<Result<wire::LoaderCommand, Status>>;

/// Input of [`crate::drive`] from the services.
#[derive(Debug)]
pub(crate) enum Inbox {
    /// A worker's stream, for commands.
    Worker { id: WorkerId, commands: WorkerStream },
    /// A loader's stream, for commands.
    Loader { id: LoaderId, commands: LoaderStream },
    /// Spans of a loader's minibatches of timed steps.
    Spans { loader: String, spans: Vec<Span> },
    /// An event for the state machine.
    Event(Event),
    /// A request to stop; `after` takes the step after which the run will have stopped.
    Stop { reason: String, after: oneshot::Sender<u64> },
}

/// State of the services, shared by all calls.
#[derive(Debug, Clone)]
pub(crate) struct Serve {
    pub(crate) run_id: String,
    /// Name of this build of the program.
    pub(crate) version: &'static str,
    /// The coordinator's own address, for errors.
    pub(crate) address: String,
    pub(crate) trust: Trust,
    pub(crate) inbox: mpsc::Sender<Inbox>,
    pub(crate) status: watch::Receiver<RunStatus>,
    pub(crate) next_id: Arc<AtomicU64>,
    /// Set once the run is finished; late workers and loaders are then told to finish, too.
    pub(crate) finished: Arc<AtomicBool>,
    pub(crate) refusals: Arc<Refusals>,
}

impl Serve {
    fn id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    async fn refuse<T>(
        &self,
        role: &str,
        refusal: Status,
        commands: &mpsc::Sender<Result<T, Status>>,
    ) {
        // Once the run has ended, everyone is sent away, which needs no warning.
        if !self.inbox.is_closed()
            && let Some(unsaid) = self.refusals.permit()
        {
            tracing::warn!(reason = refusal.message(), unsaid, "a {role} is refused");
        }
        let _ = commands.send(Err(refusal)).await;
    }

    fn same_version(&self, role: &'static str, theirs: String) -> Result<(), Error> {
        if theirs == self.version {
            return Ok(());
        }
        Err(Error::Version { role, theirs, ours: self.version })
    }

    fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    async fn tell(&self, what: Inbox) -> Result<(), Status> {
        self.inbox.send(what).await.map_err(|_| Status::unavailable("the run has ended"))
    }
}

#[tonic::async_trait]
impl Coordinator for Serve {
    type WorkStream = ReceiverStream<Result<wire::WorkerCommand, Status>>;
    type ServeStream = ReceiverStream<Result<wire::LoaderCommand, Status>>;

    async fn work(
        &self,
        request: Request<Streaming<wire::WorkerEvent>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        require_role(&request, "Work", &[Role::Worker])?;
        let (commands, stream) = mpsc::channel(WAITING_COMMANDS);
        let (serve, events) = (self.clone(), request.into_inner());
        // Answered at once: a client may wait for the answer before it sends anything.
        tokio::spawn(async move {
            if let Err(refusal) = serve.worker(events, commands.clone()).await {
                serve.refuse("worker", refusal, &commands).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn serve(
        &self,
        request: Request<Streaming<wire::LoaderEvent>>,
    ) -> Result<Response<Self::ServeStream>, Status> {
        require_role(&request, "Serve", &[Role::Loader])?;
        let (commands, stream) = mpsc::channel(WAITING_COMMANDS);
        let (serve, events) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            if let Err(refusal) = serve.loader(events, commands.clone()).await {
                serve.refuse("loader", refusal, &commands).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::RunStatus>, Status> {
        require_role(&request, "Status", &Role::ALL)?;
        Ok(Response::new(status_to_wire(&self.status.borrow())))
    }

    async fn stop(
        &self,
        request: Request<wire::StopRequest>,
    ) -> Result<Response<wire::Stopping>, Status> {
        require_role(&request, "Stop", &[Role::Operator, Role::Coordinator])?;
        let (after, answer) = oneshot::channel();
        let reason = match request.into_inner().reason {
            empty if empty.is_empty() => "asked to stop".to_string(),
            reason => reason,
        };
        self.tell(Inbox::Stop { reason, after }).await?;
        let after_step = answer.await.map_err(|_| Status::unavailable("the run has ended"))?;
        Ok(Response::new(wire::Stopping { after_step }))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Version { .. }
            | Error::OtherRunId { .. }
            | Error::OtherRun { .. }
            | Error::DataSet(_)
            | Error::NotBegun(_)
            | Error::NotARun { .. }
            | Error::Newer { .. }
            | Error::Lost { .. }
            | Error::Taken { .. }
            | Error::Locked { .. } => Self::failed_precondition(message),
            Error::LoaderUnreachable { .. }
            | Error::Busy { .. }
            | Error::Vanishing { .. }
            | Error::StoreClosed
            | Error::ServerEnded
            | Error::Server(_) => Self::unavailable(message),
            Error::Older { .. } | Error::Failed { .. } => Self::aborted(message),
            Error::NoFile { .. } | Error::NoCheckpoint { .. } | Error::NoneWhole { .. } => {
                Self::not_found(message)
            }
            Error::Chunk { .. }
            | Error::Digest { .. }
            | Error::CutShort { .. }
            | Error::Damaged { .. } => Self::data_loss(message),
            Error::Io { .. } => Self::resource_exhausted(message),
            Error::Config(_) | Error::Message(_) | Error::NotExpected { .. } => {
                Self::invalid_argument(message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::{Reaction, reaction};

    /// The code of a refusal decides what its receiver does: see `net::reaction`.
    #[test]
    fn a_store_that_closes_is_tried_again_and_a_meaningless_message_is_not() {
        let react = |error: Error| reaction(&Status::from(error));
        assert_eq!(react(Error::StoreClosed), Reaction::Retry);
        assert_eq!(react(Error::ServerEnded), Reaction::Retry);
        assert_eq!(react(Error::Busy { name: "half-a".into() }), Reaction::Retry);
        assert_eq!(react(Error::Older { got: 1, now: 2 }), Reaction::Yield);
        assert_eq!(react(Error::Message("a worker joins only once")), Reaction::Stop);
        let other = Error::OtherRunId { theirs: "a".into(), ours: "b".into() };
        assert_eq!(react(other), Reaction::Stop);
    }
}
