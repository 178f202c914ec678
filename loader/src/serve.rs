//! The service, and its place in a run; the only file here that sees wire types.

mod register; // says where this loader is, until told to finish
mod trace; // when minibatches of timed steps were made and sent

use std::sync::Arc;
use std::time::Duration;

use net::{BoxFuture, Role, only};
use proto::chunk::{chunks, floats_to_bytes};
use proto::wire;
use proto::wire::batch_chunk::Content;
use proto::wire::loader_server::{Loader, LoaderServer};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Response, Status};
use tracing::{Instrument, debug, debug_span, info};

use crate::batch::{Minibatch, Recent, Request};
use crate::{Config, Error, Source, Split};
use trace::Trace;

/// How long batches on their way may take once the loader is told to stop.
const LEAVE: Duration = Duration::from_secs(3);
/// Most of all minibatches being made or sent at once: a small request must not fill the machine.
const MIB_AT_ONCE: u32 = 1024;
/// How long an asker may leave one part of its minibatch lying.
const STALLED: Duration = Duration::from_secs(10);
/// Parts between a minibatch and the network.
const IN_FLIGHT: usize = 2;
/// Requests are small: what comes in needs no room.
const WINDOW: u32 = 64 << 10;
/// Largest request taken; ours have 200 bytes.
const REQUEST_LIMIT: usize = 16 << 10;

/// Loads `config.data` and serves it on `listener` until `shutdown`, or until the coordinator says
/// that the run is finished.
///
/// # Errors
/// As [`Source::open`]; [`Error::Setting`] if it can't say where it is, [`Error::Refused`] if the
/// coordinator doesn't want it, [`Error::Network`] if the listener fails.
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
    // Opening reads and checks indices: not on the network's thread.
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
    let turns = Arc::new(Semaphore::new(MIB_AT_ONCE as usize));
    let server = net::server()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(
            LoaderServer::new(Service { recent, trace, turns })
                .max_decoding_message_size(REQUEST_LIMIT),
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
    match tokio::time::timeout(LEAVE, &mut server).await {
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

struct Service {
    recent: Recent,
    trace: Trace,
    /// A turn a MiB.
    turns: Arc<Semaphore>,
}

impl Service {
    /// Waits until a minibatch of this size may be made.
    async fn turn(&self, request: &Request) -> Result<OwnedSemaphorePermit, Status> {
        let pixels = request.n_images.saturating_mul(request.crop).saturating_mul(request.crop);
        let mib = (pixels.saturating_mul(3) >> 20).min(MIB_AT_ONCE as usize - 1) as u32 + 1;
        let turn = self.turns.clone().acquire_many_owned(mib).await;
        turn.map_err(|_| Status::unavailable("this loader ends"))
    }
}

/// Hands parts on until there are no more, or nobody takes them.
fn pass_on(
    mut parts: impl Stream<Item = Result<wire::BatchChunk, Status>> + Unpin + Send + 'static,
    turn: OwnedSemaphorePermit,
) -> Parts {
    let (to_network, stream) = mpsc::channel(IN_FLIGHT);
    tokio::spawn(async move {
        let _turn = turn;
        while let Some(part) = parts.next().await {
            if !matches!(timeout(STALLED, to_network.send(part)).await, Ok(Ok(()))) {
                return;
            }
        }
    });
    ReceiverStream::new(stream)
}

type Parts = ReceiverStream<Result<wire::BatchChunk, Status>>;

#[tonic::async_trait]
impl Loader for Service {
    async fn describe(
        &self,
        request: tonic::Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DataSet>, Status> {
        only(&request, "Describe", &[Role::Worker, Role::Coordinator])?;
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

    type BatchStream = Parts;

    async fn batch(
        &self,
        request: tonic::Request<wire::BatchRequest>,
    ) -> Result<Response<Self::BatchStream>, Status> {
        only(&request, "Batch", &[Role::Worker, Role::Coordinator])?;
        let asked = request.into_inner();
        let data = self.recent.source().describe();
        if asked.data_set != data.digest {
            let (got, name) = (data.digest.clone(), data.name.clone());
            return Err(status(&Error::OtherDataSet { want: asked.data_set, got, name }));
        }
        let request = checked(&asked).map_err(|e| status(&e))?;
        let span = debug_span!("batch", step = request.step, n_images = request.n_images);
        let turn = self.turn(&request).await?;
        let made = self.recent.get(&request).instrument(span).await.map_err(|e| status(&e))?;
        let minibatch = &made.minibatch;
        debug!(bytes = minibatch.pixels.len(), "minibatch leaves");
        let head = Content::Head(head(minibatch));
        let pixels = chunks(minibatch.pixels.clone()).map(Content::Pixels);
        let parts = std::iter::once(head).chain(pixels);
        let parts = tokio_stream::iter(parts)
            .map(|content| Ok(wire::BatchChunk { content: Some(content) }));
        if !asked.traced {
            return Ok(Response::new(pass_on(parts, turn)));
        }
        let step = request.step.saturating_add(1); // once it is done
        self.trace.made(&made, step);
        let parts = self.trace.clone().sending(parts, step, minibatch.pixels.len());
        Ok(Response::new(pass_on(parts, turn)))
    }
}

/// A request from outside, as far as it can be checked without the data.
///
/// # Errors
/// [`Error::Request`] for a split that isn't one.
pub fn checked(asked: &wire::BatchRequest) -> Result<Request, Error> {
    let split = match wire::Split::try_from(asked.split) {
        Ok(wire::Split::Train) => Split::Train,
        Ok(wire::Split::Val) => Split::Val,
        _ => {
            let why = format!("{}, expected train (1) or val (2)", asked.split);
            return Err(Error::Request { field: "split", why });
        }
    };
    Ok(Request {
        split,
        step: asked.step,
        n_images: asked.n_images as usize,
        seed: asked.seed,
        crop: asked.crop as usize,
        crop_offsets: asked.crop_offsets as usize,
        flip: asked.flip,
        color_noise: asked.color_noise,
        view: asked.view,
    })
}

fn head(minibatch: &Minibatch) -> wire::BatchHead {
    wire::BatchHead {
        n_images: minibatch.n as u32,
        crop: minibatch.crop as u32,
        label: minibatch.labels.clone(),
        row: minibatch.rows.clone(),
        column: minibatch.columns.clone(),
        flip: minibatch.flips.clone(),
        shift: minibatch.shifts.concat(),
        image: minibatch.images.clone(),
        digest: minibatch.digest,
    }
}

/// What a caller is told; see `net::Reaction` for what it then does.
fn status(error: &Error) -> Status {
    let code = match error {
        Error::Damaged { .. } => Code::DataLoss,
        Error::Io { .. } | Error::Network { .. } => Code::Unavailable,
        Error::Crop { .. } | Error::OtherDataSet { .. } => Code::FailedPrecondition,
        Error::NoDataSet { .. }
        | Error::Format { .. }
        | Error::Layout { .. }
        | Error::Destination { .. }
        | Error::Refused { .. } => Code::FailedPrecondition,
        Error::Picture { .. } => Code::NotFound,
        Error::Request { .. } | Error::Setting { .. } => Code::InvalidArgument,
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests;
