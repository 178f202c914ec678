//! Says to the coordinator where this loader is, and stays on the line until told to finish.

use std::net::SocketAddr;

use proto::process::{Backoff, VERSION};
use proto::status::{Reaction, reaction};
use proto::trust::{Role, advertised};
use proto::wire::LoaderEvent;
use proto::wire::coordinator_client::CoordinatorClient;
use tokio_stream::StreamExt;
use tonic::Status;
use tracing::{info, warn};

use crate::{Config, Error};

/// Returns once the coordinator says `finish`; without a coordinator, never. A line that breaks is
/// dialled again for ever: the coordinator may be restarting.
pub(super) async fn until_finished(config: &Config, own: SocketAddr) -> Result<(), Error> {
    let Some(coordinator) = &config.coordinator else { return std::future::pending().await };
    let address = advertised(own, config.advertise.as_deref())
        .map_err(|why| Error::Setting { setting: "advertise", why })?;
    let mut backoff = Backoff::default();
    loop {
        let why = match stay(config, coordinator, &address).await {
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
        warn!(coordinator, why, "no coordinator, dialling again");
        backoff.pause().await;
    }
}

enum Stayed {
    Finished,
    Refused(String),
    Lost { why: String, was_in: bool },
}

async fn stay(config: &Config, coordinator: &str, address: &str) -> Stayed {
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
    let event = LoaderEvent { address: address.into(), version: VERSION.into() };
    // One event, and then the stream stays open: its end would mean that this loader leaves.
    let events = tokio_stream::once(event).chain(tokio_stream::pending());
    let mut orders = match CoordinatorClient::new(channel).serve(events).await {
        Ok(orders) => orders.into_inner(),
        Err(status) => return left(&status, false),
    };
    info!(coordinator, address, "loader joined the run");
    loop {
        match orders.message().await {
            Ok(Some(order)) if order.finish => {
                info!(reason = order.reason, "run finished");
                return Stayed::Finished;
            }
            Ok(Some(_)) => {}
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
