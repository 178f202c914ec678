//! Registers this loader with the coordinator and stays connected until the run is finished.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use net::Backoff;
use net::{Reaction, reaction};
use net::{Role, advertised};
use proto::timing::clock_ns;
use proto::wire::coordinator_client::CoordinatorClient;
use proto::wire::{LoaderEvent, Pong};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{info, warn};

use super::trace::Spans;
use crate::{Config, Error};

/// Answers and spans that are queued for a slow connection; further ones are dropped.
const QUEUED_EVENTS: usize = 64;

/// Returns once the coordinator says `finish`; without a coordinator, never.
///
/// A broken connection is dialed again without limit, since the coordinator may be restarting.
pub(super) async fn until_finished(
    config: &Config,
    own: SocketAddr,
    spans: &mut Spans,
) -> Result<(), Error> {
    let Some(coordinator) = &config.coordinator else {
        config.health.ready("serving");
        return std::future::pending().await;
    };
    let address = advertised(own, config.advertise.as_deref(), coordinator, Duration::MAX)
        .await
        .map_err(|why| Error::Setting { setting: "advertise", why })?;
    let (mut backoff, mut idle) = (Backoff::default(), Backoff::idle());
    loop {
        let began = Instant::now();
        let why = match session(config, coordinator, &address, spans).await {
            SessionEnd::Finished => {
                config.health.ready("the run has ended");
                if !config.rejoins {
                    return Ok(());
                }
                // Another coordinator may go on with the run.
                if began.elapsed() > Backoff::IDLE {
                    idle = Backoff::idle();
                }
                idle.pause().await;
                continue;
            }
            SessionEnd::Refused(why) => {
                return Err(Error::Refused { address: coordinator.clone(), why });
            }
            SessionEnd::Lost { why, had_joined } => {
                if had_joined {
                    backoff = Backoff::default();
                }
                why
            }
        };
        config.health.not_ready(format!("no coordinator: {why}"));
        warn!(coordinator, why, "no connection to the coordinator, dialing again");
        backoff.pause().await;
    }
}

/// The end of a session with the coordinator.
enum SessionEnd {
    Finished,
    Refused(String),
    Lost { why: String, had_joined: bool },
}

async fn session(
    config: &Config,
    coordinator: &str,
    address: &str,
    spans: &mut Spans,
) -> SessionEnd {
    let channel = match config.trust.dial(Role::Coordinator, coordinator).await {
        Ok(channel) => channel,
        Err(e) => {
            let why = e.by(&format!("this loader ({address})"));
            return match e.permanent {
                true => SessionEnd::Refused(why),
                false => SessionEnd::Lost { why, had_joined: false },
            };
        }
    };
    let version = config.version.into();
    let hello = LoaderEvent { address: address.into(), version, ..Default::default() };
    // `events` is held as long as the session lasts: closing it would mean that this loader leaves.
    let (events, stream) = mpsc::channel(QUEUED_EVENTS);
    let _ = events.try_send(hello);
    let mut commands =
        match CoordinatorClient::new(channel).serve(ReceiverStream::new(stream)).await {
            Ok(commands) => commands.into_inner(),
            Err(status) => return ended(&status, false),
        };
    info!(coordinator, address, "loader joined the run");
    config.health.ready("joined the run");
    loop {
        let command = tokio::select! {
            command = commands.message() => command,
            Some(span) = spans.recv() => {
                let _ = events.try_send(LoaderEvent { spans: vec![span], ..Default::default() });
                continue;
            }
        };
        match command {
            Ok(Some(command)) if command.finish => {
                info!(reason = command.reason, "run finished");
                return SessionEnd::Finished;
            }
            Ok(Some(command)) => {
                if let Some(ping) = command.ping {
                    let (stamp_ns, at_ns) = (ping.stamp_ns, clock_ns(Instant::now()));
                    let pong = Some(Pong { stamp_ns, at_ns });
                    let _ = events.try_send(LoaderEvent { pong, ..Default::default() });
                }
            }
            Ok(None) => {
                return SessionEnd::Lost {
                    why: "it closed the connection".into(),
                    had_joined: true,
                };
            }
            Err(status) => return ended(&status, true),
        }
    }
}

fn ended(status: &Status, had_joined: bool) -> SessionEnd {
    let why = format!("{:?}: {}", status.code(), status.message());
    match reaction(status) {
        Reaction::Stop => SessionEnd::Refused(why),
        Reaction::Retry | Reaction::Yield => SessionEnd::Lost { why, had_joined },
    }
}
