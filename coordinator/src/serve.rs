//! The services: what comes in becomes events, what is to go out becomes messages.

mod clock; // how far another process's clock is from ours
mod links; // the streams to everyone who is connected
mod words; // wire ⇄ the words of the state machine

use clock::{ASK_EVERY, Clock};
pub(crate) use links::Links;
pub(crate) use words::status_to_wire;

use std::time::Duration;

use net::first_message;
use net::{Role, Trust, require_role};
use proto::wire::coordinator_server::Coordinator;
use proto::wire::loader_client::LoaderClient;
use proto::wire::{self, worker_event};
use proto::{DESCRIPTION_LIMIT, VERSION};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::error::Error;
use crate::event::{DataSet, Event, LoaderId, WorkerId};
use crate::status::RunStatus;
use crate::timing::Span;

/// Orders that may wait for one worker; it has a handful unless its connection hangs.
const ORDERS: usize = 256;
/// How long a loader that announced itself may take to answer.
const DESCRIPTION: Duration = Duration::from_secs(10);

pub(crate) type Orders = mpsc::Sender<Result<wire::WorkerCommand, Status>>;
pub(crate) type LoaderOrders = mpsc::Sender<Result<wire::LoaderCommand, Status>>;

/// What the services tell [`crate::drive`].
#[derive(Debug)]
pub(crate) enum Inbox {
    Worker {
        id: WorkerId,
        orders: Orders,
    },
    Loader {
        id: LoaderId,
        orders: LoaderOrders,
    },
    /// A loader's minibatches of timed steps.
    Spans {
        loader: String,
        spans: Vec<Span>,
    },
    Event(Event),
    Stop {
        reason: String,
        after: oneshot::Sender<u64>,
    },
}

/// Both services' state.
#[derive(Debug, Clone)]
pub(crate) struct Serve {
    pub(crate) run_id: String,
    /// Its own, for errors.
    pub(crate) address: String,
    pub(crate) trust: Trust,
    pub(crate) inbox: mpsc::Sender<Inbox>,
    pub(crate) status: watch::Receiver<RunStatus>,
    pub(crate) next_id: std::sync::Arc<std::sync::atomic::AtomicU64>,
    /// Set once the run is finished: who comes then is told so.
    pub(crate) finished: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Serve {
    fn id(&self) -> u64 {
        self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    async fn refuse<T>(
        &self,
        who: &str,
        refusal: Status,
        orders: &mpsc::Sender<Result<T, Status>>,
    ) {
        // Once the run has ended, all are sent away; that is no news.
        if !self.inbox.is_closed() {
            tracing::warn!(reason = refusal.message(), "a {who} is refused");
        }
        let _ = orders.send(Err(refusal)).await;
    }

    fn is_finished(&self) -> bool {
        self.finished.load(std::sync::atomic::Ordering::Relaxed)
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
        let (orders, stream) = mpsc::channel(ORDERS);
        let (serve, events) = (self.clone(), request.into_inner());
        // Answered at once: a client may wait for the answer before it says anything.
        tokio::spawn(async move {
            if let Err(refusal) = serve.worker(events, orders.clone()).await {
                serve.refuse("worker", refusal, &orders).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn serve(
        &self,
        request: Request<Streaming<wire::LoaderEvent>>,
    ) -> Result<Response<Self::ServeStream>, Status> {
        require_role(&request, "Serve", &[Role::Loader])?;
        let (orders, stream) = mpsc::channel(ORDERS);
        let (serve, events) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            if let Err(refusal) = serve.loader(events, orders.clone()).await {
                serve.refuse("loader", refusal, &orders).await;
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

impl Serve {
    /// One worker, from its first word to its last.
    async fn worker(
        &self,
        mut events: Streaming<wire::WorkerEvent>,
        orders: Orders,
    ) -> Result<(), Status> {
        let first = first_message(&mut events).await?.event;
        let Some(worker_event::Event::Join(join)) = first else {
            return Err(Error::Invalid("a worker's first event must be Join".into()).into());
        };
        same_version("worker", join.version)?;
        if !join.run_id.is_empty() && join.run_id != self.run_id {
            let ours = self.run_id.clone();
            return Err(Error::OtherRunId { theirs: join.run_id, ours }.into());
        }
        if self.is_finished() {
            let _ = orders.send(Ok(words::finished())).await;
            return Ok(());
        }
        let id = WorkerId(self.id());
        self.tell(Inbox::Worker { id, orders: orders.clone() }).await?;
        let (device, exchange) = (join.device, join.exchange);
        self.tell(Inbox::Event(Event::WorkerJoined { worker: id, device, exchange })).await?;
        let (mut clock, mut asking) = (Clock::default(), tokio::time::interval(ASK_EVERY));
        let ask = |clock: &Clock| {
            // One that takes no orders is noticed by its silence.
            let _ = orders.try_send(Ok(words::ping(clock.ask())));
        };
        let why = loop {
            let event = tokio::select! {
                event = events.message() => event,
                _ = asking.tick() => {
                    ask(&clock);
                    continue;
                }
            };
            match event {
                Ok(Some(wire::WorkerEvent { event: Some(worker_event::Event::Pong(pong)) })) => {
                    if clock.answered(&pong) {
                        ask(&clock);
                    }
                }
                Ok(Some(event)) => match words::said(event, &clock) {
                    Ok((incarnation, said)) => {
                        let event = Event::Worker { worker: id, incarnation, said };
                        self.tell(Inbox::Event(event)).await?;
                    }
                    Err(error) => {
                        let why = error.to_string();
                        let _ = orders.send(Err(error.into())).await;
                        break why;
                    }
                },
                Ok(None) => break "it left".to_string(),
                Err(status) => break format!("its connection ended: {}", status.message()),
            }
        };
        self.tell(Inbox::Event(Event::WorkerLeft { worker: id, why })).await
    }

    /// One loader, from its announcement to its end.
    async fn loader(
        &self,
        mut events: Streaming<wire::LoaderEvent>,
        orders: LoaderOrders,
    ) -> Result<(), Status> {
        let wire::LoaderEvent { address, version, .. } = first_message(&mut events).await?;
        same_version("loader", version)?;
        if self.is_finished() {
            let finish = wire::LoaderCommand {
                finish: true,
                reason: "finished".into(),
                ..Default::default()
            };
            let _ = orders.send(Ok(finish)).await;
            return Ok(());
        }
        tracing::debug!(address, "a loader is there");
        let (data, mean) = self.describe(&address).await?;
        let id = LoaderId(self.id());
        self.tell(Inbox::Loader { id, orders: orders.clone() }).await?;
        let (data, name) = (Box::new(data), address.clone());
        self.tell(Inbox::Event(Event::LoaderJoined { loader: id, address, data, mean })).await?;
        let (mut clock, mut asking) = (Clock::default(), tokio::time::interval(ASK_EVERY));
        let ask = |clock: &Clock| {
            let ping = Some(clock.ask());
            let _ = orders.try_send(Ok(wire::LoaderCommand { ping, ..Default::default() }));
        };
        loop {
            let event = tokio::select! {
                event = events.message() => event,
                _ = asking.tick() => {
                    ask(&clock);
                    continue;
                }
            };
            let Ok(Some(wire::LoaderEvent { pong, spans, .. })) = event else { break };
            if pong.is_some_and(|pong| clock.answered(&pong)) {
                ask(&clock);
            }
            if !spans.is_empty() {
                let (loader, spans) = (name.clone(), clock.ours(spans));
                self.tell(Inbox::Spans { loader, spans }).await?;
            }
        }
        self.tell(Inbox::Event(Event::LoaderLeft { loader: id })).await
    }

    /// Asks a loader what it serves; `mean` is `[3, side, side]` f32.
    async fn describe(&self, address: &str) -> Result<(DataSet, bytes::Bytes), Error> {
        let unreachable =
            |why: String| Error::LoaderUnreachable { address: address.to_string(), why };
        let ask = async {
            let channel =
                self.trust.dial(Role::Loader, address).await.map_err(|e| {
                    unreachable(e.by(&format!("the coordinator ({})", self.address)))
                })?;
            let mut client =
                LoaderClient::new(channel).max_decoding_message_size(DESCRIPTION_LIMIT);
            let answer = client.describe(wire::DescribeRequest {}).await;
            answer.map_err(|status| unreachable(status.message().to_string()))
        };
        let answer = tokio::time::timeout(DESCRIPTION, ask).await;
        let set = answer.map_err(|_| unreachable("no answer within 10 s".into()))??.into_inner();
        let side = set.side as usize;
        if proto::chunk::mean_image(&set.mean, side).is_none() {
            let got = set.mean.len();
            let why = format!("a mean image of {got} bytes for {side}×{side} pictures");
            return Err(unreachable(why));
        }
        let colors = <[f32; 9]>::try_from(set.colors.as_slice())
            .map_err(|_| unreachable(format!("{} colour numbers, not 9", set.colors.len())))?;
        let data = DataSet {
            name: set.name,
            digest: set.digest,
            side: set.side,
            classes: set.classes,
            n_train: set.n_train,
            n_val: set.n_val,
            colors,
        };
        Ok((data, set.mean))
    }
}

fn same_version(who: &'static str, theirs: String) -> Result<(), Error> {
    if theirs == VERSION {
        return Ok(());
    }
    Err(Error::Version { who, theirs, ours: VERSION })
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Version { .. }
            | Error::OtherRunId { .. }
            | Error::OtherRun { .. }
            | Error::DataSet(_)
            | Error::NotARun { .. }
            | Error::Locked { .. } => Self::failed_precondition(message),
            Error::LoaderUnreachable { .. } | Error::Busy { .. } | Error::Server(_) => {
                Self::unavailable(message)
            }
            Error::Older { .. } | Error::Failed { .. } => Self::aborted(message),
            Error::NoFile { .. } | Error::NoCheckpoint { .. } | Error::NoneWhole { .. } => {
                Self::not_found(message)
            }
            Error::Chunk { .. }
            | Error::Digest { .. }
            | Error::CutShort { .. }
            | Error::Damaged { .. } => Self::data_loss(message),
            Error::Io { .. } => Self::resource_exhausted(message),
            Error::Config(_) | Error::Invalid(_) | Error::NotExpected { .. } => {
                Self::invalid_argument(message)
            }
        }
    }
}
