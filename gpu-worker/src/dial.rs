//! Connections that are tried again for a while: to the other half and to the coordinator's store.

use std::time::{Duration, Instant};

use net::{Backoff, DialError, Role, Trust};
use tonic::transport::Channel;

/// Longest time for which a server that doesn't answer is dialed again.
const PATIENCE: Duration = Duration::from_secs(30);
/// After this time without an answer the log says so: it may need an operator.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// Dials until the server answers or refuses, or the time is up.
///
/// `own` names this worker in the log.
pub(crate) async fn dial(
    trust: &Trust,
    role: Role,
    address: &str,
    own: &str,
) -> Result<Channel, DialError> {
    let (started, mut backoff) = (Instant::now(), Backoff::default());
    let mut warned = false;
    loop {
        let error = match trust.dial(role, address).await {
            Ok(channel) => return Ok(channel),
            Err(error) => error,
        };
        if error.refused || started.elapsed() > PATIENCE {
            return Err(error);
        }
        if !warned && started.elapsed() > SILENT_FOR {
            tracing::warn!("{}; trying again", error.by(own));
            warned = true;
        }
        backoff.pause().await;
    }
}
