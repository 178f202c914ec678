//! The network thread's control stream: joins the run, passes the coordinator's commands to the
//! engine thread, and sends the coordinator heartbeats and the engine's events.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use net::{Backoff, Reaction, Role, reaction};
use proto::VERSION;
use proto::timing::clock_ns;
use proto::wire::coordinator_client::CoordinatorClient;
use proto::wire::worker_command::Command as WireCommand;
use proto::wire::worker_event::Event;
use proto::wire::{DeviceKind, Finish, Heartbeat, Join, Pong, WorkerCommand, WorkerEvent};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use crate::config::{Config, Device};
use crate::engine::Command;
use crate::error::{Error, Result};
use crate::exchange::grpc::ExchangeService;
use crate::receive::Loaders;

/// Time between two heartbeats to the coordinator.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The worker's side of the control stream.
pub(crate) struct ControlSession {
    pub(crate) config: Config,
    pub(crate) address: String,
    pub(crate) device: String,
    pub(crate) exchange: ExchangeService,
    pub(crate) loaders: Arc<Loaders>,
    pub(crate) to_engine: Sender<Command>,
    pub(crate) from_engine: mpsc::UnboundedReceiver<WorkerEvent>,
}

impl ControlSession {
    /// Joins the run and passes commands on until it ends; joins again if the coordinator restarts.
    pub(crate) async fn work(&mut self) -> Result<()> {
        let mut alone_since = Instant::now();
        let mut backoff = Backoff::default();
        loop {
            let why = match self.join().await {
                Ok(joined) => {
                    info!(coordinator = self.config.coordinator, device = self.device, "joined");
                    backoff = Backoff::default();
                    let ended = self.serve(joined).await;
                    alone_since = Instant::now();
                    match ended {
                        Ended::Finished(finish) if finish.failed => {
                            return Err(Error::RunFailed(finish.reason));
                        }
                        Ended::Finished(finish) => {
                            info!(reason = finish.reason, "the run is finished");
                            return Ok(());
                        }
                        Ended::EngineStopped => return Err(engine_panicked(&self.config)),
                        Ended::Lost(status) => status,
                    }
                }
                Err(status) => status,
            };
            self.exchange.end();
            let address = self.config.coordinator.clone();
            if reaction(&why) == Reaction::Stop {
                return Err(Error::Refused { address, why: why.message().into() });
            }
            if alone_since.elapsed() > self.config.coordinator_deadline {
                let why = format!(
                    "unreachable for {} s: this worker ({}) {}",
                    self.config.coordinator_deadline.as_secs(),
                    self.address,
                    why.message()
                );
                return Err(Error::Coordinator { address, why });
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
            exchange: self.address.clone(),
            device_kind: match self.config.device {
                Device::Cpu { .. } => DeviceKind::Cpu.into(),
                Device::Cuda(_) => DeviceKind::Cuda.into(),
            },
        };
        let first = WorkerEvent { event: Some(Event::Join(join)) };
        events.send(first).await.map_err(|_| Status::internal("own stream closed"))?;
        // Events from before this session belong to an incarnation that has ended.
        while self.from_engine.try_recv().is_ok() {}
        let commands =
            CoordinatorClient::new(channel).work(ReceiverStream::new(stream)).await?.into_inner();
        Ok(Joined { events, commands })
    }

    async fn serve(&mut self, joined: Joined) -> Ended {
        let Joined { events, mut commands } = joined;
        let mut heartbeats = tokio::time::interval(HEARTBEAT);
        let mut incarnation = 0;
        loop {
            let event = tokio::select! {
                command = commands.message() => match command {
                    Ok(Some(WorkerCommand { command: Some(WireCommand::Finish(finish)) })) => {
                        return Ended::Finished(finish);
                    }
                    // Answered here, where nothing computes: a delay would falsify the clock.
                    Ok(Some(WorkerCommand { command: Some(WireCommand::Ping(ping)) })) => {
                        let (stamp_ns, at_ns) = (ping.stamp_ns, clock_ns(Instant::now()));
                        WorkerEvent { event: Some(Event::Pong(Pong { stamp_ns, at_ns })) }
                    }
                    Ok(Some(command)) => {
                        if let Some(WireCommand::Begin(begin)) = &command.command {
                            incarnation = begin.incarnation;
                        }
                        self.pass_on(command);
                        continue;
                    }
                    Ok(None) => return Ended::Lost(Status::unavailable("it closed the stream")),
                    Err(status) => return Ended::Lost(status),
                },
                event = self.from_engine.recv() => match event {
                    Some(event) => event,
                    // All its events have been sent; `run` reports the cause.
                    None => return Ended::EngineStopped,
                },
                _ = heartbeats.tick() => {
                    WorkerEvent { event: Some(Event::Heartbeat(Heartbeat { incarnation })) }
                }
            };
            if events.send(event).await.is_err() {
                return Ended::Lost(Status::unavailable("it closed the stream"));
            }
        }
    }

    fn pass_on(&mut self, message: WorkerCommand) {
        let command = match message.command {
            Some(WireCommand::Begin(begin)) => {
                // Not left to the engine, which may get here after a newer list has arrived.
                self.loaders.set(begin.loaders.clone());
                let peer = if begin.peer.is_empty() {
                    self.exchange.end();
                    None
                } else {
                    Some(self.exchange.begin(&begin))
                };
                Command::Begin(Box::new(begin), peer)
            }
            Some(WireCommand::Train(train)) => Command::Train(train),
            Some(WireCommand::Evaluate(evaluate)) => Command::Evaluate(evaluate),
            Some(WireCommand::Checkpoint(checkpoint)) => Command::Checkpoint(checkpoint),
            Some(WireCommand::Loaders(loaders)) => {
                self.loaders.set(loaders.addresses);
                return;
            }
            Some(WireCommand::Finish(_) | WireCommand::Ping(_)) | None => {
                warn!("an empty command from the coordinator");
                return;
            }
        };
        // If the engine has ended, `run` is about to report it.
        let _ = self.to_engine.send(command);
    }
}

/// An open control stream.
struct Joined {
    events: mpsc::Sender<WorkerEvent>,
    commands: Streaming<WorkerCommand>,
}

/// The end of a control stream.
enum Ended {
    EngineStopped,
    Finished(Finish),
    Lost(Status),
}

/// The error for an engine thread that panicked: the process must end, or it would send heartbeats
/// without training.
pub(crate) fn engine_panicked(config: &Config) -> Error {
    Error::Device {
        device: config.device.to_string(),
        why: "its thread ended unexpectedly; the log above says where".into(),
    }
}
