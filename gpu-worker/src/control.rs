//! The network thread's control stream: joins the run, passes the coordinator's commands to the
//! engine thread, and sends the coordinator heartbeats and the engine's events.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use net::{Backoff, BoxFuture, Reaction, Role, reaction};
use proto::timing::clock_ns;
use proto::wire::coordinator_client::CoordinatorClient;
use proto::wire::worker_command::Command as WireCommand;
use proto::wire::worker_event::Event;
use proto::wire::{DeviceKind, Finish, Heartbeat, Join, Leaving, Pong, WorkerCommand, WorkerEvent};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use crate::checkpoint::store::Store;
use crate::config::{Config, Device};
use crate::engine::Command;
use crate::error::{Error, Result};
use crate::exchange::grpc::ExchangeService;
use crate::interrupt::Interrupt;
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
    pub(crate) interrupt: Interrupt,
}

impl ControlSession {
    /// Joins the run and passes commands on until it ends; joins again if the coordinator restarts.
    ///
    /// Once `shutdown` resolves, the worker says so, and stays until the coordinator lets it go.
    pub(crate) async fn work(&mut self, mut shutdown: BoxFuture<()>) -> Result<()> {
        let mut alone_since = Instant::now();
        let mut backoff = Backoff::default();
        let mut idle = Backoff::idle();
        loop {
            let joined = tokio::select! {
                joined = self.join() => joined,
                () = &mut shutdown => return Ok(()),
            };
            let why = match joined {
                Ok(joined) => {
                    info!(coordinator = self.config.coordinator, device = self.device, "joined");
                    self.config.health.ready("joined the run");
                    backoff = Backoff::default();
                    let joined_at = Instant::now();
                    let ended = self.serve(joined, &mut shutdown).await;
                    self.interrupt.end();
                    alone_since = Instant::now();
                    match ended {
                        Ended::Finished(finish) if finish.failed => {
                            return Err(Error::RunFailed(finish.reason));
                        }
                        Ended::Finished(finish) => {
                            info!(reason = finish.reason, "told to finish");
                            self.config.health.ready("the run has ended");
                            if !self.config.rejoins {
                                return Ok(());
                            }
                            // Another coordinator may go on with the run.
                            self.exchange.end();
                            if joined_at.elapsed() > Backoff::IDLE {
                                idle = Backoff::idle();
                            }
                            tokio::select! {
                                () = idle.pause() => continue,
                                () = &mut shutdown => return Ok(()),
                            }
                        }
                        Ended::Left => return Ok(()),
                        Ended::EngineStopped => return Err(engine_panicked(&self.config)),
                        Ended::LeftUnkept(why) => return Err(Error::LeftUnkept { why }),
                        Ended::Lost(status) => status,
                    }
                }
                Err(status) => status,
            };
            self.exchange.end();
            self.config.health.not_ready(format!("no coordinator: {}", why.message()));
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
            tokio::select! {
                () = backoff.pause() => {}
                () = &mut shutdown => return Ok(()),
            }
        }
    }

    async fn join(&mut self) -> std::result::Result<Joined, Status> {
        let Config { trust, coordinator, .. } = &self.config;
        // A coordinator that stands still is left after half of the time that it may be away.
        let silence = self.config.coordinator_deadline / 2;
        let channel = trust.dial_patiently(Role::Coordinator, coordinator, silence).await?;
        let (events, stream) = mpsc::channel(64);
        let join = Join {
            version: self.config.version.into(),
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
        let store = Store::new(channel.clone());
        let commands =
            CoordinatorClient::new(channel).work(ReceiverStream::new(stream)).await?.into_inner();
        // Another coordinator numbers the sessions of its loaders anew.
        self.loaders.set(Vec::new());
        Ok(Joined { events, commands, store })
    }

    async fn serve(&mut self, joined: Joined, shutdown: &mut BoxFuture<()>) -> Ended {
        let Joined { events, mut commands, store } = joined;
        let mut heartbeats = tokio::time::interval(HEARTBEAT);
        let mut incarnation = 0;
        let grace = self.config.grace;
        let mut leaves_at = None;
        let lost = |leaves_at: Option<_>, status: Status| match leaves_at {
            None => Ended::Lost(status),
            Some(_) => Ended::LeftUnkept(format!("the coordinator is gone ({})", status.message())),
        };
        loop {
            let event = tokio::select! {
                command = commands.message() => match command {
                    Ok(Some(WorkerCommand { command: Some(WireCommand::Finish(finish)) })) => {
                        return match leaves_at {
                            Some(_) if !finish.failed => Ended::Left,
                            _ => Ended::Finished(finish),
                        };
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
                        self.pass_on(command, &store);
                        continue;
                    }
                    Ok(None) => return lost(leaves_at, closed()),
                    Err(status) => return lost(leaves_at, status),
                },
                event = self.from_engine.recv() => match event {
                    Some(event) => event,
                    // All its events have been sent; `run` reports the cause.
                    None => return Ended::EngineStopped,
                },
                _ = heartbeats.tick() => {
                    WorkerEvent { event: Some(Event::Heartbeat(Heartbeat { incarnation })) }
                }
                () = &mut *shutdown, if leaves_at.is_none() => {
                    info!("asked to stop: waiting until the coordinator has a checkpoint");
                    leaves_at = Some(tokio::time::Instant::now() + grace);
                    WorkerEvent { event: Some(Event::Leaving(Leaving {})) }
                }
                () = passed(leaves_at) => {
                    let s = grace.as_secs_f64();
                    return Ended::LeftUnkept(format!("the coordinator had none within {s} s"));
                }
            };
            if events.send(event).await.is_err() {
                return lost(leaves_at, closed());
            }
        }
    }

    fn pass_on(&mut self, message: WorkerCommand, store: &Store) {
        let command = match message.command {
            Some(WireCommand::Begin(begin)) => {
                self.interrupt.begin(&begin);
                // Not left to the engine, which may get here after a newer list has arrived.
                self.loaders.set(begin.loaders.clone());
                let peer = if begin.peer.is_empty() {
                    self.exchange.end();
                    None
                } else {
                    Some(self.exchange.begin(&begin))
                };
                Command::Begin(Box::new(begin), peer, store.clone())
            }
            Some(WireCommand::Train(train)) => Command::Train(train),
            Some(WireCommand::Evaluate(evaluate)) => Command::Evaluate(evaluate),
            Some(WireCommand::Checkpoint(checkpoint)) => Command::Checkpoint(checkpoint),
            Some(WireCommand::Halt(halt)) => {
                self.interrupt.halt(&halt);
                if halt.at.is_some() {
                    return; // the engine answers the first one
                }
                Command::Halt(halt)
            }
            Some(WireCommand::Loaders(loaders)) => {
                self.loaders.set(loaders.loaders);
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

fn closed() -> Status {
    Status::unavailable("it closed the stream")
}

/// Resolves at a time; never, if there is none.
async fn passed(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// An open control stream.
struct Joined {
    events: mpsc::Sender<WorkerEvent>,
    commands: Streaming<WorkerCommand>,
    store: Store,
}

/// The end of a control stream.
enum Ended {
    EngineStopped,
    Finished(Finish),
    /// The worker was asked to leave, and its steps are kept.
    Left,
    /// The worker left without knowing of a checkpoint.
    LeftUnkept(String),
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
