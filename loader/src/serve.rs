//! The gRPC service, and the loader's membership in a run. Only this file and the ones below it see
//! wire types.

mod convert; // messages ⇄ requests and minibatches
mod register; // registers with the coordinator, until the run is finished
mod trace; // times at which minibatches of timed steps were made and sent

use std::sync::Arc;
use std::time::Duration;

use net::{BoxFuture, Role, require_role};
use proto::chunk::{chunks, floats_to_bytes};
use proto::wire::batch_chunk::Content;
use proto::wire::loader_server::{Loader, LoaderServer};
use proto::wire::{self, Making};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Response, Status};
use tracing::{Instrument, debug, debug_span, info};

use crate::batch::{Recent, Request, TimedMinibatch};
use crate::{Config, Error, Source};
pub use convert::request;
use trace::Trace;

/// Time for minibatches on their way to arrive once the loader must stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);
/// Upper bound for all minibatches being made or sent at once, so that small requests can't exhaust
/// memory.
const MAX_MIB: u32 = 1024;
/// Time within which a client must take the next chunk of its minibatch.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two signs of life to a client that waits for its minibatch.
const SIGN_EVERY: Duration = Duration::from_millis(250);
/// Chunks queued between a minibatch and the network.
const QUEUED_CHUNKS: usize = 2;
/// Receive window of HTTP/2, small because requests are small.
const WINDOW: u32 = 64 << 10;
/// Largest request accepted, in bytes; ours have 200.
const MAX_REQUEST_BYTES: usize = 16 << 10;

/// Loads `config.data` and serves it on `listener` until `shutdown`, or until the coordinator says
/// that the run is finished.
///
/// # Errors
/// As [`Source::open`]; [`Error::Setting`] if the address to advertise is unknown,
/// [`Error::Refused`] if the coordinator refuses this loader, [`Error::Network`] if the listener
/// fails.
pub fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<Result<(), Error>> {
    Box::pin(run_until(config, listener, Box::pin(shutdown)))
}

async fn run_until(
    config: Config,
    listener: TcpListener,
    shutdown: BoxFuture<()>,
) -> Result<(), Error> {
    let spec = config.data.clone();
    // Opening reads and checks indices, which must not block the network's thread.
    let source = tokio::task::spawn_blocking(move || Source::open(&spec))
        .await
        .map_err(|e| Error::Setting { setting: "data", why: e.to_string() })??;
    let recent = Recent::new(Arc::new(source), config.threads)?;
    let address = match listener.local_addr() {
        Ok(address) => address,
        Err(e) => return Err(Error::Network { address: "listener".into(), why: e.to_string() }),
    };
    let data = recent.source().describe();
    info!(%address, data = data.name, n_images = data.n_train, "loader serves");

    let (trace, mut spans) = trace::trace();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let memory = Arc::new(Semaphore::new(MAX_MIB as usize));
    let server = net::server()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(
            LoaderServer::new(Service { recent, trace, memory })
                .max_decoding_message_size(MAX_REQUEST_BYTES),
        )
        .serve_with_incoming_shutdown(config.trust.accept(listener), async {
            let _ = stopped.await;
        });
    let mut server = tokio::spawn(server);
    let finished = register::until_finished(&config, address, &mut spans);
    let ended = tokio::select! {
        () = shutdown => Ok(()),
        finished = finished => finished,
        ended = &mut server => return serving(address, ended),
    };
    let _ = stop.send(());
    match tokio::time::timeout(SHUTDOWN_TIMEOUT, &mut server).await {
        Ok(end) => serving(address, end)?,
        Err(_) => server.abort(),
    }
    ended
}

type Served = Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>;

fn serving(address: std::net::SocketAddr, ended: Served) -> Result<(), Error> {
    let why = match ended {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(e)) => e.to_string(),
        Err(e) => e.to_string(),
    };
    Err(Error::Network { address: address.to_string(), why })
}

#[derive(Clone)]
struct Service {
    recent: Recent,
    trace: Trace,
    /// Memory for minibatches: one permit per MiB.
    memory: Arc<Semaphore>,
}

type Chunk = Result<wire::BatchChunk, Status>;

impl Service {
    /// Waits until there is memory for the minibatch of a request.
    async fn reserve(&self, request: &Request) -> Result<OwnedSemaphorePermit, Status> {
        let pixels = request.n_images.saturating_mul(request.crop).saturating_mul(request.crop);
        let mib = (pixels.saturating_mul(3) >> 20).min(MAX_MIB as usize - 1) as u32 + 1;
        let permit = self.memory.clone().acquire_many_owned(mib).await;
        permit.map_err(|_| Status::unavailable("this loader ends"))
    }

    /// Sends the minibatch of a request, until all is sent or the client stops taking it.
    async fn answer(
        self,
        asked: wire::BatchRequest,
        request: Request,
        to_network: mpsc::Sender<Chunk>,
    ) {
        let (made, _permit) = match self.made(&asked, &request, &to_network).await {
            Some(Ok(made)) => made,
            Some(Err(status)) => return drop(to_network.send(Err(status)).await),
            None => return,
        };
        let minibatch = &made.minibatch;
        debug!(bytes = minibatch.pixels.len(), "sending minibatch");
        let head = Content::Head(wire::BatchHead {
            data_set: asked.data_set,
            made_us: made.took().as_micros() as u64,
            ..minibatch.into()
        });
        let pixels = chunks(minibatch.pixels.clone()).map(Content::Pixels);
        let contents = std::iter::once(head).chain(pixels);
        let chunks = tokio_stream::iter(contents).map(chunk);
        if !asked.traced {
            return forward(chunks, to_network).await;
        }
        let step = request.step.saturating_add(1); // the number of the step once it is done
        self.trace.made(&made, step);
        let chunks = self.trace.clone().sending(chunks, step, minibatch.pixels.len());
        forward(chunks, to_network).await;
    }

    /// The minibatch of a request and the permit for its memory; `None` once the client has gone.
    ///
    /// While the client waits, it learns how many pictures this loader has read.
    async fn made(
        &self,
        asked: &wire::BatchRequest,
        request: &Request,
        to_network: &mpsc::Sender<Chunk>,
    ) -> Option<Result<(Arc<TimedMinibatch>, Arc<OwnedSemaphorePermit>), Status>> {
        let making = async {
            let permit = Arc::new(self.reserve(request).await?);
            let made = self.recent.get(request, asked.next_step, permit.clone()).await;
            Ok((made.map_err(|e| status(&e))?, permit))
        };
        tokio::pin!(making);
        let mut signs = tokio::time::interval_at(Instant::now() + SIGN_EVERY, SIGN_EVERY);
        loop {
            tokio::select! {
                made = &mut making => return Some(made),
                () = to_network.closed() => return None,
                _ = signs.tick() => {
                    let n_read = self.recent.n_read();
                    // A client that does not read needs no sign.
                    let _ = to_network.try_send(chunk(Content::Making(Making { n_read })));
                }
            }
        }
    }
}

fn chunk(content: Content) -> Chunk {
    Ok(wire::BatchChunk { content: Some(content) })
}

/// Forwards chunks to the network until all are sent or the client stops taking them.
async fn forward(mut chunks: impl Stream<Item = Chunk> + Unpin, to_network: mpsc::Sender<Chunk>) {
    while let Some(chunk) = chunks.next().await {
        if !matches!(timeout(SEND_TIMEOUT, to_network.send(chunk)).await, Ok(Ok(()))) {
            return;
        }
    }
}

#[tonic::async_trait]
impl Loader for Service {
    async fn describe(
        &self,
        request: tonic::Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DataSet>, Status> {
        require_role(&request, "Describe", &[Role::Worker, Role::Coordinator])?;
        let data = self.recent.source().describe();
        Ok(Response::new(wire::DataSet {
            name: data.name.clone(),
            digest: data.digest.clone(),
            side: data.side as u32,
            classes: data.classes.clone(),
            n_train: data.n_train,
            n_val: data.n_val,
            mean: floats_to_bytes(&data.mean),
            colors: data.colors.concat(),
        }))
    }

    type BatchStream = ReceiverStream<Chunk>;

    async fn batch(
        &self,
        request: tonic::Request<wire::BatchRequest>,
    ) -> Result<Response<Self::BatchStream>, Status> {
        require_role(&request, "Batch", &[Role::Worker, Role::Coordinator])?;
        let asked = request.into_inner();
        let data = self.recent.source().describe();
        if asked.data_set != data.digest {
            let (got, name) = (data.digest.clone(), data.name.clone());
            return Err(status(&Error::OtherDataSet { want: asked.data_set, got, name }));
        }
        let request = convert::request(&asked).map_err(|e| status(&e))?;
        request.check(data).map_err(|e| status(&e))?;
        let span = debug_span!("batch", step = request.step, n_images = request.n_images);
        let (to_network, stream) = mpsc::channel(QUEUED_CHUNKS);
        tokio::spawn(self.clone().answer(asked, request, to_network).instrument(span));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// The gRPC status for an error; see `net::Reaction` for what the caller then does.
fn status(error: &Error) -> Status {
    let code = match error {
        Error::Damaged { .. } => Code::DataLoss,
        Error::Io { .. } | Error::Network { .. } => Code::Unavailable,
        Error::Crop { .. } | Error::OtherDataSet { .. } => Code::FailedPrecondition,
        Error::NoDataSet { .. }
        | Error::Format { .. }
        | Error::Layout { .. }
        | Error::Doubtful { .. }
        | Error::Destination { .. }
        | Error::OtherVersion { .. }
        | Error::Stopped { .. }
        | Error::Refused { .. } => Code::FailedPrecondition,
        Error::Picture { .. } => Code::NotFound,
        Error::Request { .. } | Error::Setting { .. } => Code::InvalidArgument,
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests;
