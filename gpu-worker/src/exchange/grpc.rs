//! The other half over gRPC: one client stream per direction for as long as an incarnation lasts.
//!
//! A tensor is announced by a frame without a chunk, so that the receiver knows when the other half
//! begins to send; then come chunks of 1 MiB with a header each. The receiver keeps views of its
//! receive buffers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use net::{Reaction, Refusals, Role, Trust, first_message, reaction, require_role};
use proto::MESSAGE_LIMIT;
use proto::chunk::chunks;
use proto::wire::exchange_client::ExchangeClient;
use proto::wire::exchange_server::{Exchange as Service, ExchangeServer};
use proto::wire::{self, Frame, Header, Sent};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::frame::{self, TensorReader};
use super::{BatchId, Peer, ReceivedTensor, TensorKey, Transfer};
use crate::backend::Download;
use crate::dial::dial;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;

/// Most bytes that may wait for the engine; one step has 31 MB.
const MAX_QUEUED: u64 = 512 << 20;
/// Longest wait for the error of a stream that has ended.
const REASON: Duration = Duration::from_secs(1);
/// Longest time that a stream of a later incarnation waits for this worker to begin it, too.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);

/// The present incarnation, as its received tensors need it.
#[derive(Clone)]
struct Incarnation {
    run_id: String,
    number: u64,
    /// The secret that only the other half's worker knows.
    token: Bytes,
    /// The other half is connected.
    connected: Arc<AtomicBool>,
    inbox: Sender<Result<ReceivedTensor>>,
    queued_bytes: Arc<AtomicU64>,
}

/// The exchange's service, and the stream to the other half's.
#[derive(Clone)]
pub(crate) struct ExchangeService {
    trust: Trust,
    /// This worker, for errors: `this worker (10.0.0.2:4002)`.
    own: String,
    interrupt: Interrupt,
    peer_deadline: Duration,
    present: Arc<watch::Sender<Option<Incarnation>>>,
    sender: Arc<Mutex<Option<tokio::task::AbortHandle>>>,
    refusals: Arc<Refusals>,
}

/// The engine's end of a connection.
pub(crate) struct GrpcPeer {
    out: mpsc::UnboundedSender<(TensorKey, Download)>,
    inbox: Receiver<Result<ReceivedTensor>>,
    queued_bytes: Arc<AtomicU64>,
    sent: SentTensors,
    incarnation: u64,
    interrupt: Interrupt,
}

/// The tensors sent since the engine last asked.
type SentTensors = Arc<Mutex<Vec<Transfer>>>;

impl ExchangeService {
    pub(crate) fn new(
        trust: Trust,
        own: String,
        interrupt: Interrupt,
        peer_deadline: Duration,
    ) -> Self {
        let present = Arc::new(watch::Sender::new(None));
        let (sender, refusals) = (Arc::default(), Arc::default());
        Self { trust, own, interrupt, peer_deadline, present, sender, refusals }
    }

    /// The service for this worker's listener.
    pub(crate) fn service(&self) -> ExchangeServer<Self> {
        ExchangeServer::new(self.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Ends the present incarnation, if any; an engine that waits for its tensors gets an error.
    pub(crate) fn end(&self) {
        if let Some(old) = self.present.send_replace(None) {
            // The stream's task may hold the inbox open for a while.
            let _ = old.inbox.send(Err(Error::PeerLost { why: "this incarnation is over".into() }));
        }
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = sender.take() {
            task.abort();
        }
    }

    /// Begins an incarnation: dials the other half and accepts its stream.
    pub(crate) fn begin(&self, begin: &wire::Begin) -> GrpcPeer {
        self.end();
        let wire::Begin { run_id, incarnation, peer, token, .. } = begin.clone();
        let (inbox, from_network) = channel();
        let (out, from_engine) = mpsc::unbounded_channel();
        let queued_bytes = Arc::new(AtomicU64::new(0));
        self.present.send_replace(Some(Incarnation {
            run_id: run_id.clone(),
            number: incarnation,
            token: token.clone(),
            connected: Arc::default(),
            inbox: inbox.clone(),
            queued_bytes: queued_bytes.clone(),
        }));
        let (trust, own) = (self.trust.clone(), self.own.clone());
        let sent = SentTensors::default();
        let record = sent.clone();
        let hello = frame::hello(run_id, incarnation, token);
        // Of two limits, the shorter: the coordinator replaces a half that is silent for longer.
        let silence = Duration::from_millis(begin.heartbeat_timeout_ms).min(self.peer_deadline);
        let task = tokio::spawn(async move {
            let ended = match dial(&trust, Role::Worker, &peer, &own, silence).await {
                Ok(channel) => send_all(channel, hello, from_engine, &record).await,
                Err(error) => Err(Error::PeerUnreachable { why: error.by(&own) }),
            };
            if let Err(error) = ended {
                let _ = inbox.send(Err(error));
            }
        });
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        *sender = Some(task.abort_handle());
        let interrupt = self.interrupt.clone();
        GrpcPeer { out, inbox: from_network, queued_bytes, sent, incarnation, interrupt }
    }

    /// Checks a hello against the present incarnation, and marks that as connected.
    ///
    /// Waits a while for a later incarnation to begin here, too.
    async fn accept(&self, hello: &Header) -> std::result::Result<Incarnation, Status> {
        let mut present = self.present.subscribe();
        let has_begun = |present: &Option<Incarnation>| {
            present.as_ref().is_some_and(|present| present.number >= hello.incarnation)
        };
        let found = tokio::time::timeout(BEGINS_WITHIN, present.wait_for(has_begun)).await;
        let found = match found {
            Ok(Ok(present)) => present.clone(),
            _ => return Err(Status::unavailable("this worker has no such incarnation yet")),
        };
        let present = found.ok_or_else(|| Status::unavailable("no incarnation"))?;
        if present.run_id != hello.run_id {
            return Err(Status::failed_precondition(format!(
                "this worker is in run {}, the hello says {}",
                present.run_id, hello.run_id
            )));
        }
        if present.number != hello.incarnation {
            return Err(Status::aborted(format!(
                "incarnation {} is over, this is {}",
                hello.incarnation, present.number
            )));
        }
        // Only the worker that holds this incarnation's token may send, and only on one stream.
        if present.token != hello.token {
            return Err(Status::permission_denied(
                "the hello doesn't show the token that the coordinator gave this run's other \
                 half: only a worker that the coordinator has seated may send here",
            ));
        }
        if present.connected.swap(true, Ordering::Relaxed) {
            return Err(Status::failed_precondition(format!(
                "the other half is connected already: incarnation {} takes no second stream",
                present.number
            )));
        }
        Ok(present)
    }

    /// Logs a refusal on this side, too: the other end may be gone before it gets the answer.
    fn refused(&self, status: Status) -> Status {
        if let Some(unsaid) = self.refusals.permit() {
            tracing::warn!(why = status.message(), unsaid, "an exchange is refused");
        }
        status
    }
}

#[tonic::async_trait]
impl Service for ExchangeService {
    async fn send(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> std::result::Result<Response<Sent>, Status> {
        require_role(&request, "Exchange", &[Role::Worker])?;
        let mut stream = request.into_inner();
        let refused = |status| self.refused(status);
        let first = first_message(&mut stream).await.map_err(refused)?;
        let hello = first
            .header
            .filter(|h| h.kind() == wire::FrameKind::Hello)
            .ok_or_else(|| refused(Status::invalid_argument("the first frame must be a hello")))?;
        let present = self.accept(&hello).await.map_err(refused)?;
        let frames = receive_all(&present, &mut stream, refused).await;
        let ended = match &frames {
            Ok(_) => Error::PeerLost { why: "it closed its stream".into() },
            Err(status) => broken(status),
        };
        let _ = present.inbox.send(Err(ended));
        Ok(Response::new(Sent { frames: frames? }))
    }
}

/// The error for the end of a stream: a lost peer, or one that breaks the rules.
fn broken(status: &Status) -> Error {
    let why = status.message().to_string();
    match reaction(status) {
        Reaction::Stop => Error::PeerRefused { why },
        Reaction::Retry | Reaction::Yield => Error::PeerLost { why },
    }
}

/// Passes all tensors of a stream to the engine; returns the number of frames.
async fn receive_all(
    present: &Incarnation,
    stream: &mut Streaming<Frame>,
    refused: impl Fn(Status) -> Status,
) -> std::result::Result<u64, Status> {
    let mut frames = 0;
    let mut reader = TensorReader::new(present.run_id.clone(), present.number);
    while let Some(frame) = stream.message().await? {
        frames += 1;
        let Some(tensor) = reader.take(frame).map_err(&refused)? else { continue };
        let bytes = tensor.parts.iter().map(|part| part.len() as u64).sum::<u64>();
        if present.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_QUEUED {
            return Err(refused(Status::resource_exhausted("far more tensors than a step has")));
        }
        if present.inbox.send(Ok(tensor)).is_err() {
            return Err(Status::aborted("this incarnation is over"));
        }
    }
    Ok(frames)
}

/// Sends a hello and then the engine's tensors, until the engine drops its end.
async fn send_all(
    channel: Channel,
    hello: Header,
    mut from_engine: mpsc::UnboundedReceiver<(TensorKey, Download)>,
    sent: &SentTensors,
) -> Result<()> {
    // A short queue: the HTTP/2 windows are the buffer.
    let (frames, stream) = mpsc::channel(4);
    let feed = async move {
        let (run_id, incarnation) = (hello.run_id.clone(), hello.incarnation);
        let empty = chunks(Bytes::new()).next();
        if frames.send(Frame { header: Some(hello), chunk: empty }).await.is_err() {
            return Ok(());
        }
        while let Some((key, payload)) = from_engine.recv().await {
            let encoded = match payload {
                Download::Ready(encoded) => encoded,
                pending => tokio::task::spawn_blocking(|| pending.wait())
                    .await
                    .map_err(|e| Error::PeerLost { why: e.to_string() })??,
            };
            let header =
                frame::header(&run_id, incarnation, &key, encoded.encoding, encoded.exponent);
            let (bytes, began) = (encoded.bytes.len() as u64, Instant::now());
            let announced = std::iter::once(None);
            for chunk in announced.chain(chunks(encoded.bytes).map(Some)) {
                let frame = Frame { header: Some(header.clone()), chunk };
                if frames.send(frame).await.is_err() {
                    return Ok(());
                }
            }
            // Evaluations are not timed, so nobody would ever take their transfers.
            if let BatchId::Train(_) = key.batch {
                let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                sent.push(Transfer { key, bytes, began, ended: Instant::now() });
            }
        }
        Ok::<(), Error>(())
    };
    let mut client = ExchangeClient::new(channel);
    let call = client.send(ReceiverStream::new(stream));
    tokio::pin!(feed, call);
    let answered = tokio::select! {
        fed = &mut feed => {
            fed?;
            call.await
        }
        answered = &mut call => answered,
    };
    answered.map(|_| ()).map_err(|status| broken(&status))
}

impl GrpcPeer {
    /// The error with which the stream to the other half ended, which arrives among its tensors.
    fn why_lost(&self) -> Error {
        loop {
            match self.inbox.recv_timeout(REASON) {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error,
                Err(_) => return Error::PeerLost { why: "the connection ended".into() },
            }
        }
    }
}

impl Peer for GrpcPeer {
    fn send(&mut self, key: TensorKey, payload: Download) -> Result<()> {
        self.out.send((key, payload)).map_err(|_| self.why_lost())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<ReceivedTensor>> {
        if self.interrupt.stops_exchange(self.incarnation) {
            return Err(Error::Interrupted);
        }
        let tensor = match self.inbox.recv_timeout(wait) {
            Ok(tensor) => tensor?,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::PeerLost { why: "this incarnation is over".into() });
            }
        };
        let bytes: usize = tensor.parts.iter().map(Bytes::len).sum();
        self.queued_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        Ok(Some(tensor))
    }

    fn sent(&mut self) -> Vec<Transfer> {
        std::mem::take(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
