//! The network thread: the coordinator's orders, the other half's tensors, heartbeats.
//!
//! Nothing here computes, so a heartbeat never waits for the device; the engine has a thread of
//! its own and is reached through channels.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use net::{Backoff, server};
use net::{Reaction, reaction};
use net::{Role, advertised};
use proto::VERSION;
use proto::timing::clock_ns;
use proto::wire::coordinator_client::CoordinatorClient;
use proto::wire::worker_command::Command as Kind;
use proto::wire::worker_event::Event;
use proto::wire::{DeviceKind, Finish, Heartbeat, Join, Pong, WorkerCommand, WorkerEvent};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::backend::cuda::{Cuda, Options};
use crate::config::{Config, Device};
use crate::error::{Error, Result};
use crate::exchange::grpc::Inbound;
use crate::orders::{Command, Network, engine};
use crate::receive::Loaders;
use crate::watch::Watch;

pub(crate) mod store;

/// The coordinator hears from every worker this often.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often a device's calls are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long a leaving worker lets its engine finish what it computes.
const ENGINE_ENDS: Duration = Duration::from_secs(20);

/// Works on whatever the coordinator orders until the run ends or `shutdown` resolves.
///
/// `listener` is where the other half connects.
///
/// # Errors
/// [`Error`] if the run failed, the coordinator stays away, or the device can't be used.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let own = listener
        .local_addr()
        .map_err(|why| Error::System { doing: "reading the listener's address", why })?;
    let exchange = advertised(own, config.advertise.as_deref()).map_err(Error::Address)?;
    let inbound = Inbound::new(config.trust.clone(), format!("this worker ({exchange})"));
    let loaders = Arc::new(Loaders::new(config.trust.clone()));
    let (to_engine, orders) = channel();
    let (events, from_engine) = mpsc::unbounded_channel();
    let network = Network {
        handle: Handle::current(),
        events,
        loaders: loaders.clone(),
        coordinator: config.coordinator.clone(),
        trust: config.trust.clone(),
        peer_deadline: config.peer_deadline,
        data_deadline: config.data_deadline,
    };
    let (opened, device) = oneshot::channel();
    let (ended, engine_ended) = oneshot::channel();
    let settings = config.clone();
    std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let _ = ended.send(on_device(&settings, opened, &orders, &network));
        })
        .map_err(|why| Error::System { doing: "starting the engine's thread", why })?;
    tokio::pin!(shutdown);
    let (device, watch) = tokio::select! {
        device = device => device.unwrap_or_else(|_| Err(thread_gone(&config))),
        () = &mut shutdown => return Ok(()),
    }?;
    let deadline = config.device_deadline;
    let hangs = async {
        let waited = hung(&watch, deadline).await;
        Error::DeviceFault {
            device: device.clone(),
            doing: "call".into(),
            why: format!(
                "it has not come back for {:.0} s: the device hangs; the kernel's log (dmesg, lines with Xid) may say why, nvidia-smi --gpu-reset or a restart may help",
                waited.as_secs_f64()
            ),
        }
    };
    let served = tokio::spawn(
        server().add_service(inbound.service()).serve_with_incoming(config.trust.accept(listener)),
    );
    let device = device.clone();
    let mut desk = Desk { config, exchange, device, inbound, loaders, to_engine, from_engine };
    let result = tokio::select! {
        result = desk.work() => result,
        () = &mut shutdown => Ok(()),
        // Its engine can't be reached any more: the process ends without it.
        fault = hangs => return Err(fault),
    };
    desk.inbound.end();
    drop(desk); // its end of the orders: the engine finishes what it does and ends
    served.abort();
    // An engine that waits for a loader or the store would wait out its deadline: the process ends
    // without it.
    match tokio::time::timeout(ENGINE_ENDS, engine_ended).await {
        Ok(Ok(Some(fault))) => Err(fault),
        _ => result,
    }
}

/// Resolves once a call has been going on for longer than `deadline`.
async fn hung(watch: &Watch, deadline: Duration) -> Duration {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        if let Some(waited) = watch.longest().filter(|waited| *waited > deadline) {
            return waited;
        }
    }
}

/// A panic: the process must not live on as a worker that only beats its heart.
fn thread_gone(config: &Config) -> Error {
    Error::Device {
        device: config.device.to_string(),
        why: "its thread ended unexpectedly; the log above says where".into(),
    }
}

/// Opens the device, says what it is or why not, and works on it until the orders end or the
/// device can't be used any more.
fn on_device(
    config: &Config,
    opened: oneshot::Sender<Result<(String, Watch)>>,
    orders: &Receiver<Command>,
    network: &Network,
) -> Option<Error> {
    fn work<B: Backend>(
        dev: Result<B>,
        opened: oneshot::Sender<Result<(String, Watch)>>,
        orders: &Receiver<Command>,
        network: &Network,
    ) -> Option<Error> {
        match dev {
            Ok(dev) => {
                let _ = opened.send(Ok((dev.name(), dev.watch())));
                engine(dev, orders, network)
            }
            Err(error) => {
                let _ = opened.send(Err(error));
                None
            }
        }
    }
    match &config.device {
        Device::Cpu { threads } => work(Ok(Cpu::new(*threads)), opened, orders, network),
        Device::Cuda(gpu) => {
            let options = Options {
                gpu: gpu.clone(),
                search: config.search.clone(),
                cache: config.kernel_cache.clone(),
                kernels: None,
            };
            work(Cuda::new(&options), opened, orders, network)
        }
    }
}

/// The worker's side of the control stream.
struct Desk {
    config: Config,
    exchange: String,
    device: String,
    inbound: Inbound,
    loaders: Arc<Loaders>,
    to_engine: Sender<Command>,
    from_engine: mpsc::UnboundedReceiver<WorkerEvent>,
}

impl Desk {
    /// Joins, obeys, and joins again if the coordinator comes back after a fall.
    async fn work(&mut self) -> Result<()> {
        let mut alone_since = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            let why = match self.join().await {
                Ok(orders) => {
                    info!(coordinator = self.config.coordinator, device = self.device, "joined");
                    backoff = Backoff::default();
                    let ended = self.obey(orders).await;
                    alone_since = Instant::now();
                    match ended {
                        Ended::Finished(finish) if finish.failed => {
                            return Err(Error::RunFailed(finish.reason));
                        }
                        Ended::Finished(finish) => {
                            info!(reason = finish.reason, "the run is finished");
                            return Ok(());
                        }
                        Ended::EngineOver => return Err(thread_gone(&self.config)),
                        Ended::Lost(status) => status,
                    }
                }
                Err(status) => status,
            };
            self.inbound.end();
            let refused = reaction(&why) == Reaction::Stop;
            if refused || alone_since.elapsed() > self.config.coordinator_deadline {
                return Err(Error::Coordinator {
                    address: self.config.coordinator.clone(),
                    why: if refused {
                        why.message().into()
                    } else {
                        format!(
                            "not there for {} s: this worker ({}) {}",
                            self.config.coordinator_deadline.as_secs(),
                            self.exchange,
                            why.message()
                        )
                    },
                });
            }
            debug!(why = why.message(), "no coordinator, trying again");
            backoff.pause().await;
        }
    }

    async fn join(&mut self) -> std::result::Result<Joined, Status> {
        let Config { trust, coordinator, .. } = &self.config;
        let channel = trust.dial(Role::Coordinator, coordinator).await?;
        let (events, stream) = mpsc::channel(64);
        let join = Join {
            version: VERSION.into(),
            run_id: String::new(),
            device: self.device.clone(),
            exchange: self.exchange.clone(),
            device_kind: match self.config.device {
                Device::Cpu { .. } => DeviceKind::Cpu.into(),
                Device::Cuda(_) => DeviceKind::Cuda.into(),
            },
        };
        let first = WorkerEvent { event: Some(Event::Join(join)) };
        events.send(first).await.map_err(|_| Status::internal("own stream closed"))?;
        // Events of the time before belong to nobody any more.
        while self.from_engine.try_recv().is_ok() {}
        let orders =
            CoordinatorClient::new(channel).work(ReceiverStream::new(stream)).await?.into_inner();
        Ok(Joined { events, orders })
    }

    async fn obey(&mut self, joined: Joined) -> Ended {
        let Joined { events, mut orders } = joined;
        let mut pulse = tokio::time::interval(HEARTBEAT);
        let mut incarnation = 0;
        loop {
            let event = tokio::select! {
                order = orders.message() => match order {
                    Ok(Some(WorkerCommand { command: Some(Kind::Finish(finish)) })) => {
                        return Ended::Finished(finish);
                    }
                    // Here, where nothing computes: the answer is the better the sooner it comes.
                    Ok(Some(WorkerCommand { command: Some(Kind::Ping(ping)) })) => {
                        let (stamp_ns, at_ns) = (ping.stamp_ns, clock_ns(Instant::now()));
                        WorkerEvent { event: Some(Event::Pong(Pong { stamp_ns, at_ns })) }
                    }
                    Ok(Some(order)) => {
                        if let Some(Kind::Begin(begin)) = &order.command {
                            incarnation = begin.incarnation;
                        }
                        self.pass_on(order);
                        continue;
                    }
                    Ok(None) => return Ended::Lost(Status::unavailable("it closed the stream")),
                    Err(status) => return Ended::Lost(status),
                },
                event = self.from_engine.recv() => match event {
                    Some(event) => event,
                    // Its last words are sent; `run` knows the reason.
                    None => return Ended::EngineOver,
                },
                _ = pulse.tick() => {
                    WorkerEvent { event: Some(Event::Heartbeat(Heartbeat { incarnation })) }
                }
            };
            if events.send(event).await.is_err() {
                return Ended::Lost(Status::unavailable("it closed the stream"));
            }
        }
    }

    fn pass_on(&mut self, order: WorkerCommand) {
        let command = match order.command {
            Some(Kind::Begin(begin)) => {
                // Here and not in the engine, which may come to it after a newer list.
                self.loaders.set(begin.loaders.clone());
                let peer = if begin.peer.is_empty() {
                    self.inbound.end();
                    None
                } else {
                    Some(self.inbound.begin(&begin))
                };
                Command::Begin(Box::new(begin), peer)
            }
            Some(Kind::Train(train)) => Command::Train(train),
            Some(Kind::Evaluate(evaluate)) => Command::Evaluate(evaluate),
            Some(Kind::Checkpoint(checkpoint)) => Command::Checkpoint(checkpoint),
            Some(Kind::Loaders(loaders)) => {
                self.loaders.set(loaders.addresses);
                return;
            }
            Some(Kind::Finish(_) | Kind::Ping(_)) | None => {
                warn!("an order with nothing in it");
                return;
            }
        };
        // Should the engine have ended, `run` is about to say so.
        let _ = self.to_engine.send(command);
    }
}

/// An open control stream.
struct Joined {
    events: mpsc::Sender<WorkerEvent>,
    orders: Streaming<WorkerCommand>,
}

/// How a control stream ended.
enum Ended {
    EngineOver,
    Finished(Finish),
    Lost(Status),
}
