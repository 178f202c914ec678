//! The other half over gRPC: one client stream a direction for as long as an incarnation lasts.
//!
//! A tensor is announced by a frame without a chunk, so that the receiver knows from when on the
//! other half is sending; then come chunks of 1 MiB with a header each; the receiver keeps views of its receive buffers. Header
//! fields that aren't this incarnation's are refused before a byte of payload is looked at.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::recipe::Encoding;
use net::{DialError, first_message};
use net::{Reaction, reaction};
use net::{Role, Trust, require_role};
use proto::MESSAGE_LIMIT;
use proto::chunk::chunks;
use proto::wire::exchange_client::ExchangeClient;
use proto::wire::exchange_server::{Exchange as Service, ExchangeServer};
use proto::wire::{self, Frame, Header, Sent};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::inflow::Inflow;
use super::{Arrival, Direction, Key, Pass, Peer, Travel};
use crate::backend::Download;
use crate::error::{Error, Result};

/// Most bytes that may lie here before the engine takes them; a step's own are 31 MB.
const MOST_WAITING: u64 = 512 << 20;
/// How long a stream of a later incarnation waits for this worker's own order to begin it.
const GREETING: Duration = Duration::from_secs(10);
const DIALLING: Duration = Duration::from_secs(30);
const A_MOMENT: Duration = Duration::from_secs(2);

/// Where arrivals of the present incarnation go.
#[derive(Clone)]
struct Link {
    run_id: String,
    incarnation: u64,
    /// What the other half was told, and nobody else.
    token: Bytes,
    /// The other half is connected.
    taken: Arc<AtomicBool>,
    inbox: Sender<Result<Arrival>>,
    waiting: Arc<AtomicU64>,
}

/// The receiving end: a service that knows the present incarnation.
#[derive(Clone)]
pub(crate) struct Inbound {
    trust: Trust,
    /// This worker, for errors: `this worker (10.0.0.2:4002)`.
    own: String,
    link: Arc<watch::Sender<Option<Link>>>,
    outbound: Arc<Mutex<Option<tokio::task::AbortHandle>>>,
}

/// The engine's end of a connection.
pub(crate) struct GrpcPeer {
    out: mpsc::UnboundedSender<(Key, Download)>,
    inbox: Receiver<Result<Arrival>>,
    waiting: Arc<AtomicU64>,
    sent: Travels,
}

/// What has been sent since the engine last asked.
type Travels = Arc<Mutex<Vec<Travel>>>;

impl Inbound {
    pub(crate) fn new(trust: Trust, own: String) -> Self {
        let link = Arc::new(watch::Sender::new(None));
        Self { trust, own, link, outbound: Arc::default() }
    }

    /// The service to serve.
    pub(crate) fn service(&self) -> ExchangeServer<Self> {
        ExchangeServer::new(self.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Ends the present incarnation, if any: whoever waits for its tensors is woken.
    pub(crate) fn end(&self) {
        if let Some(old) = self.link.send_replace(None) {
            // The stream's own task may hold the link for a while yet.
            let _ = old.inbox.send(Err(Error::PeerLost { why: "this incarnation is over".into() }));
        }
        let mut outbound = self.outbound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = outbound.take() {
            task.abort();
        }
    }

    /// Begins an incarnation: dials the other half, accepts its stream.
    pub(crate) fn begin(&self, begin: &wire::Begin) -> GrpcPeer {
        self.end();
        let wire::Begin { run_id, incarnation, peer, token, .. } = begin.clone();
        let (inbox, from_network) = channel();
        let (out, from_engine) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicU64::new(0));
        let link = Link {
            run_id: run_id.clone(),
            incarnation,
            token: token.clone(),
            taken: Arc::default(),
            inbox: inbox.clone(),
            waiting: waiting.clone(),
        };
        self.link.send_replace(Some(link));
        let (trust, own) = (self.trust.clone(), self.own.clone());
        let sent = Travels::default();
        let record = sent.clone();
        let hello = greeting(run_id, incarnation, token);
        let task = tokio::spawn(async move {
            let ended = match reach(&trust, &own, &peer).await {
                Ok(channel) => send_all(channel, hello, from_engine, &record).await,
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                let _ = inbox.send(Err(error));
            }
        });
        let mut outbound = self.outbound.lock().unwrap_or_else(PoisonError::into_inner);
        *outbound = Some(task.abort_handle());
        GrpcPeer { out, inbox: from_network, waiting, sent }
    }

    /// The link a greeting belongs to, waiting a while for a later incarnation to begin here too.
    async fn meet(&self, greeting: &Header) -> std::result::Result<Link, Status> {
        let mut link = self.link.subscribe();
        let meets = |link: &Option<Link>| {
            link.as_ref().is_some_and(|l| l.incarnation >= greeting.incarnation)
        };
        let found = tokio::time::timeout(GREETING, link.wait_for(meets)).await;
        let found = match found {
            Ok(Ok(link)) => link.clone(),
            _ => return Err(Status::unavailable("this worker has no such incarnation yet")),
        };
        let link = found.ok_or_else(|| Status::unavailable("no incarnation"))?;
        if link.run_id != greeting.run_id {
            return Err(Status::failed_precondition(format!(
                "this worker is in run {}, the greeting says {}",
                link.run_id, greeting.run_id
            )));
        }
        if link.incarnation != greeting.incarnation {
            return Err(Status::aborted(format!(
                "incarnation {} is over, this is {}",
                greeting.incarnation, link.incarnation
            )));
        }
        // The run goes on whoever says what: only its own other half is heard, and that one once.
        if link.token != greeting.token {
            return Err(Status::permission_denied(
                "the greeting doesn't show what the coordinator told this run's other half: only \
                 a worker that it has seated may send here",
            ));
        }
        if link.taken.swap(true, Ordering::Relaxed) {
            return Err(Status::failed_precondition(format!(
                "the other half is connected already: incarnation {} takes no second stream",
                link.incarnation
            )));
        }
        Ok(link)
    }
}

#[tonic::async_trait]
impl Service for Inbound {
    async fn send(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> std::result::Result<Response<Sent>, Status> {
        require_role(&request, "Exchange", &[Role::Worker])?;
        let mut stream = request.into_inner();
        let first = first_message(&mut stream).await.map_err(refused)?;
        let greeting =
            first.header.filter(|h| h.kind() == wire::FrameKind::Hello).ok_or_else(|| {
                refused(Status::invalid_argument("the first frame must be a greeting"))
            })?;
        let link = self.meet(&greeting).await.map_err(refused)?;
        let taken = take_all(&link, &mut stream).await;
        let ended = match &taken {
            Ok(_) => Error::PeerLost { why: "it closed its stream".into() },
            Err(status) => broken(status),
        };
        let _ = link.inbox.send(Err(ended));
        Ok(Response::new(Sent { frames: taken? }))
    }
}

/// Says it here, too: the other end may be gone before it hears of it.
fn refused(status: Status) -> Status {
    tracing::warn!(why = status.message(), "an exchange is refused");
    status
}

/// What the end of a stream means for the step: a lost peer, or one that breaks the rules.
fn broken(status: &Status) -> Error {
    let why = status.message().to_string();
    match reaction(status) {
        Reaction::Stop => Error::PeerRefused { why },
        Reaction::Retry | Reaction::Yield => Error::PeerLost { why },
    }
}

async fn take_all(link: &Link, stream: &mut Streaming<Frame>) -> std::result::Result<u64, Status> {
    let mut frames = 0;
    let mut inflow = Inflow::new(link.run_id.clone(), link.incarnation);
    while let Some(frame) = stream.message().await? {
        frames += 1;
        let Some(arrival) = inflow.take(frame).map_err(refused)? else { continue };
        let bytes = arrival.parts.iter().map(|part| part.len() as u64).sum::<u64>();
        if link.waiting.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_WAITING {
            return Err(refused(Status::resource_exhausted("far more tensors than a step has")));
        }
        if link.inbox.send(Ok(arrival)).is_err() {
            return Err(Status::aborted("this incarnation is over"));
        }
    }
    Ok(frames)
}

/// Dials the other half until it is there.
async fn reach(trust: &Trust, own: &str, peer: &str) -> Result<Channel> {
    let mut told = false;
    // Halves begin within moments of each other; what lasts longer someone may have to mend.
    let warn_once = |error: &DialError, since: Duration| {
        if !told && since > A_MOMENT {
            tracing::warn!("{}; trying again", error.by(own));
            told = true;
        }
    };
    let dialed = trust.dial_within(DIALLING, Role::Worker, peer, warn_once).await;
    dialed.map_err(|error| Error::PeerLost { why: error.by(own) })
}

/// Greets, and sends what the engine hands over until it drops its end.
async fn send_all(
    channel: Channel,
    hello: Header,
    mut from_engine: mpsc::UnboundedReceiver<(Key, Download)>,
    sent: &Travels,
) -> Result<()> {
    // Few frames in flight: the windows, not this queue, are the buffer.
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
            let header = header(&run_id, incarnation, key, encoded.wire, encoded.exponent);
            let (bytes, began) = (encoded.bytes.len() as u64, Instant::now());
            let announced = std::iter::once(None);
            for chunk in announced.chain(chunks(encoded.bytes).map(Some)) {
                let frame = Frame { header: Some(header.clone()), chunk };
                if frames.send(frame).await.is_err() {
                    return Ok(());
                }
            }
            // Evaluations are not timed: nobody would ever ask for theirs.
            if let Pass::Train(_) = key.pass {
                let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                sent.push(Travel { key, bytes, began, ended: Instant::now() });
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

fn greeting(run_id: String, incarnation: u64, token: Bytes) -> Header {
    let kind = wire::FrameKind::Hello.into();
    Header { run_id, incarnation, token, kind, ..Header::default() }
}

fn header(run_id: &str, incarnation: u64, key: Key, encoding: Encoding, exponent: i32) -> Header {
    let (kind, step, view) = match key.pass {
        Pass::Train(step) => (wire::FrameKind::Train, step, 0),
        Pass::Eval { batch, view } => (wire::FrameKind::Eval, batch, view),
    };
    Header {
        run_id: run_id.into(),
        incarnation,
        step,
        kind: kind.into(),
        view,
        at: key.at.into(),
        direction: match key.direction {
            Direction::Forward => wire::Direction::Forward,
            Direction::Backward => wire::Direction::Backward,
        }
        .into(),
        slice: key.slice as u32,
        encoding: match encoding {
            Encoding::F32 => wire::Encoding::F32,
            Encoding::F16 => wire::Encoding::F16,
        }
        .into(),
        exponent,
        minibatch: key.minibatch,
        token: Bytes::new(),
    }
}

impl Peer for GrpcPeer {
    fn send(&mut self, key: Key, payload: Download) -> Result<()> {
        self.out
            .send((key, payload))
            .map_err(|_| Error::PeerLost { why: "the connection ended".into() })
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Arrival>> {
        let arrival = match self.inbox.recv_timeout(wait) {
            Ok(arrival) => arrival?,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::PeerLost { why: "this incarnation is over".into() });
            }
        };
        let bytes: usize = arrival.parts.iter().map(Bytes::len).sum();
        self.waiting.fetch_sub(bytes as u64, Ordering::Relaxed);
        Ok(Some(arrival))
    }

    fn sent(&mut self) -> Vec<Travel> {
        std::mem::take(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
