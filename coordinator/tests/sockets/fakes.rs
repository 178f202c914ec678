//! A loader and workers that follow the protocol over real sockets and compute almost nothing: the
//! "weights" of a half are one number that every step changes, repeated to the shard's length.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use model::halves::{Half, Partition};
use model::recipe::Recipe;
use net::{Role, Trust};
use proto::VERSION;
use proto::chunk::chunks;
use proto::wire::coordinator_client::CoordinatorClient;
use proto::wire::loader_server::{Loader, LoaderServer};
use proto::wire::store_client::StoreClient;
use proto::wire::worker_command::Command;
use proto::wire::worker_event::Event;
use proto::wire::{self, WorkerEvent};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// Misbehavior of a fake worker besides its work.
#[derive(Debug, Clone, Default)]
pub(crate) struct Habits {
    /// Drops its connection after this step.
    pub(crate) dies_at: Option<u64>,
    /// Says and does nothing any more after this step, connected all the same.
    pub(crate) freezes_at: Option<u64>,
    /// Before it saves the shard of this step, puts `/dev/full` where the coordinator will write.
    pub(crate) fills_disk_at: Option<(u64, PathBuf)>,
    /// Length of its shard.
    pub(crate) shard_bytes: usize,
    /// Says it runs this version.
    pub(crate) version: Option<&'static str>,
}

/// The end of a fake worker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    Finished { reason: String, failed: bool },
    Died,
    Refused(tonic::Code, String),
}

pub(crate) fn worker(address: &str, exchange: &str, habits: Habits) -> JoinHandle<End> {
    let (address, exchange) = (address.to_string(), exchange.to_string());
    tokio::spawn(async move {
        let channel = Trust::default().dial(Role::Coordinator, &address).await.unwrap();
        let (events, outgoing) = mpsc::channel(64);
        let join = wire::Join {
            version: habits.version.unwrap_or(VERSION).into(),
            run_id: String::new(),
            device: "fake".into(),
            exchange,
            device_kind: wire::DeviceKind::Cpu.into(),
        };
        send(&events, Event::Join(join)).await;
        let mut client = CoordinatorClient::new(channel.clone());
        let orders = client.work(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        let store = StoreClient::new(channel);
        let state = State {
            habits,
            events,
            store,
            incarnation: 0,
            done: 0,
            until: 0,
            value: 0,
            halts: false,
        };
        state.work(orders).await
    })
}

async fn send(events: &mpsc::Sender<WorkerEvent>, event: Event) {
    let _ = events.send(WorkerEvent { event: Some(event) }).await;
}

struct State {
    habits: Habits,
    events: mpsc::Sender<WorkerEvent>,
    store: StoreClient<Channel>,
    incarnation: u64,
    done: u64,
    until: u64,
    value: u64,
    /// True if the answer to a halt is due.
    halts: bool,
}

impl State {
    async fn work(mut self, mut orders: Streaming<wire::WorkerCommand>) -> End {
        let mut heartbeat = tokio::time::interval(Duration::from_millis(50));
        loop {
            tokio::select! {
                biased;
                order = orders.message() => match order {
                    Ok(Some(order)) => if let Some(end) = self.obey(order.command.unwrap()).await {
                        return end;
                    },
                    Ok(None) => return End::Died,
                    Err(status) => return End::Refused(status.code(), status.message().into()),
                },
                _ = heartbeat.tick() => {
                    let incarnation = self.incarnation;
                    send(&self.events, Event::Heartbeat(wire::Heartbeat { incarnation })).await;
                }
                () = tokio::task::yield_now(), if self.halts && self.done == self.until => {
                    self.halts = false;
                    let (incarnation, step) = (self.incarnation, self.done);
                    send(&self.events, Event::Halted(wire::Halted { incarnation, step })).await;
                }
                () = tokio::task::yield_now(), if self.done < self.until => {
                    self.step().await;
                    if self.habits.dies_at == Some(self.done) {
                        return End::Died;
                    }
                    if self.habits.freezes_at == Some(self.done) {
                        // Until the coordinator closes the stream.
                        while let Ok(Some(_)) = orders.message().await {}
                        return End::Died;
                    }
                }
            }
        }
    }

    async fn step(&mut self) {
        self.done += 1;
        self.value = self.value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(self.done);
        let done = wire::StepDone {
            incarnation: self.incarnation,
            step: self.done,
            loss: (self.value % 1000) as f64 / 1000.0,
            top1_error: 0.75,
            top5_error: 0.25,
            step_ms: 1.0,
            compute_ms: 0.5,
            exchange_wait_ms: 0.25,
            peer_late_ms: 0.125,
            data_wait_ms: 0.0625,
            transfer_ms: 0.5,
            exchange_bytes: 1000,
            ..wire::StepDone::default()
        };
        send(&self.events, Event::StepDone(done)).await;
    }

    async fn obey(&mut self, order: Command) -> Option<End> {
        match order {
            Command::Begin(begin) => self.begin(begin).await,
            Command::Train(train) => self.until = train.until,
            Command::Evaluate(wire::Evaluate { incarnation, step, .. }) => {
                assert_eq!(self.done, step);
                let top1_error = 1.0 / (1.0 + step as f64);
                let done = wire::Evaluated {
                    incarnation,
                    step,
                    n_images: 50,
                    top1_error,
                    ..Default::default()
                };
                send(&self.events, Event::Evaluated(done)).await;
            }
            Command::Checkpoint(order) => {
                assert_eq!(self.done, order.step);
                let saved = self.save(order).await;
                send(&self.events, Event::Saved(saved)).await;
            }
            // It does what was granted, as the other one does: they exchange nothing.
            Command::Halt(halt) => self.halts |= halt.at.is_none(),
            Command::Loaders(_) => {}
            Command::Ping(ping) => {
                let (stamp_ns, at_ns) = (ping.stamp_ns, ping.stamp_ns);
                send(&self.events, Event::Pong(wire::Pong { stamp_ns, at_ns })).await;
            }
            Command::Finish(wire::Finish { reason, failed }) => {
                return Some(End::Finished { reason, failed });
            }
        }
        None
    }

    async fn begin(&mut self, begin: wire::Begin) {
        proto::convert::recipe(&begin.recipe).unwrap();
        let Ok(Partition::Half(half)) = proto::convert::partition(begin.partition) else {
            panic!("no half")
        };
        (self.incarnation, self.done, self.until) = (begin.incarnation, begin.step, begin.step);
        self.value = begin.seed + u64::from(half == Half::B);
        if !begin.shard.is_empty() {
            let bytes = get(&mut self.store, &begin.shard, &begin.shard_sha256).await;
            assert_eq!(bytes.1, self.habits.shard_bytes as u64);
            self.value = u64::from_le_bytes(bytes.0);
        }
        let (incarnation, step) = (begin.incarnation, begin.step);
        send(&self.events, Event::Ready(wire::Ready { incarnation, step, ..Default::default() }))
            .await;
    }

    async fn save(&mut self, order: wire::Checkpoint) -> wire::Saved {
        let (incarnation, step) = (order.incarnation, order.step);
        if let Some((at, run_dir)) = &self.habits.fills_disk_at
            && *at == step
        {
            let part = run_dir.join(format!("{}.{incarnation}.part", order.shard));
            std::fs::create_dir_all(part.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink("/dev/full", part).unwrap();
        }
        let bytes = self.habits.shard_bytes;
        match put(&mut self.store, &order.shard, incarnation, self.value, bytes).await {
            Ok(stored) => {
                let error = String::new();
                wire::Saved { incarnation, step, sha256: stored.sha256, bytes: stored.bytes, error }
            }
            Err(status) => {
                // A full disk, or a return to an earlier checkpoint that overtook this one.
                let known = [tonic::Code::ResourceExhausted, tonic::Code::Aborted];
                assert!(known.contains(&status.code()), "{status}");
                let error = status.message().to_string();
                wire::Saved { incarnation, step, error, ..Default::default() }
            }
        }
    }
}

/// The value, over and over; what a shard of `bytes` bytes holds.
fn pattern(value: u64, bytes: usize) -> Bytes {
    value.to_le_bytes().repeat(bytes.min(1 << 20) / 8).into()
}

/// Streams a shard, never holding more of it than a megabyte.
pub(crate) async fn put(
    store: &mut StoreClient<Channel>,
    name: &str,
    incarnation: u64,
    value: u64,
    bytes: usize,
) -> Result<wire::Stored, Status> {
    let piece = pattern(value, bytes);
    let n = bytes / piece.len();
    let mut hash = Sha256::new();
    (0..n).for_each(|_| hash.update(&piece));
    let sha256: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    let name = name.to_string();
    let parts = (0..n).map(move |i| {
        let mut chunk = chunks(piece.clone()).next().unwrap();
        (chunk.offset, chunk.total) = ((i * piece.len()) as u64, bytes as u64);
        let (name, sha256) = if i == 0 { (&*name, &*sha256) } else { ("", "") };
        let (name, sha256) = (name.into(), sha256.into());
        wire::FileChunk { name, sha256, incarnation, chunk: Some(chunk) }
    });
    Ok(store.put(tokio_stream::iter(parts)).await?.into_inner())
}

/// The first eight bytes of a shard and its length, after its checksum was compared.
async fn get(store: &mut StoreClient<Channel>, name: &str, want: &str) -> ([u8; 8], u64) {
    let request = wire::FileRequest { name: name.into() };
    let mut parts = store.get(request).await.unwrap().into_inner();
    let (mut hash, mut bytes, mut first) = (Sha256::new(), 0, None);
    while let Some(part) = parts.message().await.unwrap() {
        let chunk = part.chunk.unwrap();
        if first.is_none() {
            assert_eq!((part.name.as_str(), part.sha256.as_str()), (name, want));
            first = chunk.payload[..8].try_into().ok();
        }
        assert_eq!(chunk.offset, bytes);
        bytes += chunk.payload.len() as u64;
        hash.update(&chunk.payload);
    }
    let got: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(got, want);
    (first.unwrap(), bytes)
}

struct FakeLoader {
    digest: String,
}

#[tonic::async_trait]
impl Loader for FakeLoader {
    type BatchStream = ReceiverStream<Result<wire::BatchChunk, Status>>;

    async fn describe(
        &self,
        _: Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DataSet>, Status> {
        let side = 256;
        Ok(Response::new(wire::DataSet {
            name: "shapes".into(),
            digest: self.digest.clone(),
            side,
            classes: (0..10).map(|i| format!("class {i}")).collect(),
            n_train: 100,
            n_val: 50,
            mean: vec![0; 12 * (side * side) as usize].into(),
            colors: vec![0.5; 9],
        }))
    }

    async fn batch(
        &self,
        _: Request<wire::BatchRequest>,
    ) -> Result<Response<Self::BatchStream>, Status> {
        Err(Status::unimplemented("fake workers need no pictures"))
    }
}

/// Serves and announces itself; resolves to the reason for which it was told to finish.
pub(crate) async fn loader(address: &str, digest: &str) -> JoinHandle<Result<String, Status>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().to_string();
    let service = LoaderServer::new(FakeLoader { digest: digest.to_string() });
    let server =
        net::server().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let channel = Trust::default().dial(Role::Coordinator, address).await.unwrap();
    tokio::spawn(async move {
        let (events, outgoing) = mpsc::channel(1);
        let version = VERSION.into();
        let hello = wire::LoaderEvent { address: own, version, ..Default::default() };
        events.send(hello).await.unwrap();
        let mut client = CoordinatorClient::new(channel);
        let mut orders = client.serve(ReceiverStream::new(outgoing)).await?.into_inner();
        let mut order = orders.message().await;
        while let Ok(Some(wire::LoaderCommand { ping: Some(_), .. })) = order {
            order = orders.message().await;
        }
        server.abort();
        Ok(order?.map_or(String::new(), |order| order.reason))
    })
}

/// Ten steps an epoch.
pub(crate) fn recipe() -> Recipe {
    Recipe { batch: 10, ..Recipe::default() }
}
