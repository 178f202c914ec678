//! Says to the coordinator where this loader is, and stays on the line until told to finish.

use std::net::SocketAddr;
use std::time::Instant;

use net::Backoff;
use net::{Reaction, reaction};
use net::{Role, advertised};
use proto::VERSION;
use proto::timing::clock_ns;
use proto::wire::coordinator_client::CoordinatorClient;
use proto::wire::{LoaderEvent, Pong};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{info, warn};

use super::trace::Spans;
use crate::{Config, Error};

/// Answers and spans that may wait for a slow line; more are lost.
const EVENTS: usize = 64;

/// Returns once the coordinator says `finish`; without a coordinator, never. A line that breaks is
/// dialed again for ever: the coordinator may be restarting.
pub(super) async fn until_finished(
    config: &Config,
    own: SocketAddr,
    spans: &mut Spans,
) -> Result<(), Error> {
    let Some(coordinator) = &config.coordinator else { return std::future::pending().await };
    let address = advertised(own, config.advertise.as_deref())
        .map_err(|why| Error::Setting { setting: "advertise", why })?;
    let mut backoff = Backoff::default();
    loop {
        let why = match stay(config, coordinator, &address, spans).await {
            Stayed::Finished => return Ok(()),
            Stayed::Refused(why) => {
                return Err(Error::Refused { address: coordinator.clone(), why });
            }
            Stayed::Lost { why, was_in } => {
                if was_in {
                    backoff = Backoff::default();
                }
                why
            }
        };
        warn!(coordinator, why, "no coordinator, dialing again");
        backoff.pause().await;
    }
}

enum Stayed {
    Finished,
    Refused(String),
    Lost { why: String, was_in: bool },
}

async fn stay(config: &Config, coordinator: &str, address: &str, spans: &mut Spans) -> Stayed {
    let channel = match config.trust.dial(Role::Coordinator, coordinator).await {
        Ok(channel) => channel,
        Err(e) => {
            let why = e.by(&format!("this loader ({address})"));
            return match e.refused {
                true => Stayed::Refused(why),
                false => Stayed::Lost { why, was_in: false },
            };
        }
    };
    let hello =
        LoaderEvent { address: address.into(), version: VERSION.into(), ..Default::default() };
    // Held as long as this runs: its end would mean that this loader leaves.
    let (events, stream) = mpsc::channel(EVENTS);
    let _ = events.try_send(hello);
    let mut orders = match CoordinatorClient::new(channel).serve(ReceiverStream::new(stream)).await
    {
        Ok(orders) => orders.into_inner(),
        Err(status) => return left(&status, false),
    };
    info!(coordinator, address, "loader joined the run");
    loop {
        let order = tokio::select! {
            order = orders.message() => order,
            Some(span) = spans.recv() => {
                let _ = events.try_send(LoaderEvent { spans: vec![span], ..Default::default() });
                continue;
            }
        };
        match order {
            Ok(Some(order)) if order.finish => {
                info!(reason = order.reason, "run finished");
                return Stayed::Finished;
            }
            Ok(Some(order)) => {
                if let Some(ping) = order.ping {
                    let (stamp_ns, at_ns) = (ping.stamp_ns, clock_ns(Instant::now()));
                    let pong = Some(Pong { stamp_ns, at_ns });
                    let _ = events.try_send(LoaderEvent { pong, ..Default::default() });
                }
            }
            Ok(None) => return Stayed::Lost { why: "it closed the line".into(), was_in: true },
            Err(status) => return left(&status, true),
        }
    }
}

fn left(status: &Status, was_in: bool) -> Stayed {
    let why = format!("{:?}: {}", status.code(), status.message());
    match reaction(status) {
        Reaction::Stop => Stayed::Refused(why),
        Reaction::Retry | Reaction::Yield => Stayed::Lost { why, was_in },
    }
}
