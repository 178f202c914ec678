//! A loader that lies or is late: it joins a run as others do, and answers with what nobody asked
//! for, with lengths and checksums that agree.

use std::sync::Arc;
use std::time::Duration;

use loader::batch::Minibatch;
use loader::{DataSpec, Source};
use net::{Role as Certified, Trust};
use proto::chunk::{chunks, floats_to_bytes};
use proto::wire::batch_chunk::Content;
use proto::wire::coordinator_client::CoordinatorClient;
use proto::wire::loader_server::{Loader, LoaderServer};
use proto::wire::{self, BatchChunk};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::cluster::{Role, start};

/// A change that turns an honest minibatch into a lie.
pub type Lie = fn(&mut Minibatch);

/// A loader that does not do as loaders should.
#[derive(Debug, Clone)]
pub struct BadLoader {
    /// Certificate of the loader, and the authorities that it trusts.
    pub trust: Trust,
    /// Pictures, as for `--data`.
    pub data: String,
    /// Change that it makes to each minibatch.
    pub lie: Lie,
    /// Time that each minibatch takes it, without a sign of life.
    pub late: Duration,
}

/// Starts a loader that lies about the pictures `data`.
pub fn liar(coordinator: &str, data: &str, lie: Lie) -> Role<bool> {
    let data = data.to_string();
    BadLoader { trust: Trust::default(), data, lie, late: Duration::ZERO }.start(coordinator)
}

impl BadLoader {
    /// Starts this loader; in the end it tells whether the run took it.
    pub fn start(self, coordinator: &str) -> Role<bool> {
        let coordinator = coordinator.to_string();
        start(move |listener, stop| async move {
            let own = listener.local_addr().expect("an address").to_string();
            let spec: DataSpec = self.data.parse().expect("a data spec");
            let source = Arc::new(Source::open(&spec).expect("pictures"));
            let trust = self.trust.clone();
            let service = LoaderServer::new(Liar { source, lie: self.lie, late: self.late });
            let server = net::server().add_service(service);
            let server = tokio::spawn(server.serve_with_incoming(trust.accept(listener)));
            let taken = tokio::select! {
                () = stop => true,
                taken = take_part(&trust, &coordinator, own) => taken.is_some(),
            };
            server.abort();
            taken
        })
    }
}

/// Takes part in a run until it ends; None if the run refuses this loader, or can't be reached.
async fn take_part(trust: &Trust, coordinator: &str, address: String) -> Option<()> {
    let dialed = trust.dial(Certified::Coordinator, coordinator).await.ok()?;
    let (events, outgoing) = mpsc::channel(1);
    let version = alexnet::BUILD.into();
    let hello = wire::LoaderEvent { address, version, ..Default::default() };
    events.send(hello).await.ok()?;
    let mut client = CoordinatorClient::new(dialed);
    let mut commands = client.serve(ReceiverStream::new(outgoing)).await.ok()?.into_inner();
    while let Ok(Some(command)) = commands.message().await {
        if command.finish {
            break;
        }
    }
    Some(())
}

/// The pictures as they were asked for.
pub fn honest(_: &mut Minibatch) {}

/// Half of the pictures.
pub fn half(minibatch: &mut Minibatch) {
    let n = minibatch.n / 2;
    minibatch.n = n;
    minibatch.labels.truncate(n);
    minibatch.rows.truncate(n);
    minibatch.columns.truncate(n);
    minibatch.flips.truncate(n);
    minibatch.shifts.truncate(n);
    minibatch.images.truncate(n);
    minibatch.pixels.truncate(3 * n * minibatch.crop * minibatch.crop);
}

/// The pictures in another order.
pub fn reversed(minibatch: &mut Minibatch) {
    minibatch.images.reverse();
}

struct Liar {
    source: Arc<Source>,
    lie: Lie,
    late: Duration,
}

#[tonic::async_trait]
impl Loader for Liar {
    type BatchStream = tokio_stream::Iter<std::vec::IntoIter<Result<BatchChunk, Status>>>;

    async fn describe(
        &self,
        _: Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DataSet>, Status> {
        let data = self.source.describe();
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

    async fn batch(
        &self,
        request: Request<wire::BatchRequest>,
    ) -> Result<Response<Self::BatchStream>, Status> {
        let asked = request.into_inner();
        let request = loader::serve::request(&asked).expect("a request");
        let mut made = self.source.minibatch(&request).expect("a minibatch");
        (self.lie)(&mut made);
        tokio::time::sleep(self.late).await;
        let head = wire::BatchHead { data_set: asked.data_set, ..(&made).into() };
        let pixels = chunks(made.pixels).map(Content::Pixels);
        let contents: Vec<_> = std::iter::once(Content::Head(head)).chain(pixels).collect();
        let answer = contents.into_iter().map(|content| Ok(BatchChunk { content: Some(content) }));
        Ok(Response::new(tokio_stream::iter(answer.collect::<Vec<_>>())))
    }
}
