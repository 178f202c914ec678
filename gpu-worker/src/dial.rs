//! A connection that is tried again for a while: to the other half.

use std::time::Duration;

use net::{DialError, Role, Trust};
use tonic::transport::Channel;

/// Longest time for which a server that does not answer is dialed again.
const LIMIT: Duration = Duration::from_secs(30);
/// After this time without an answer the log says so: it may need an operator.
const SILENT_FOR: Duration = Duration::from_secs(2);

/// Dials until the server answers or refuses, or the time is up.
///
/// `own` names this worker in the log. The connection is lost once the server has been silent for
/// `silence`.
pub(crate) async fn dial(
    trust: &Trust,
    role: Role,
    address: &str,
    own: &str,
    silence: Duration,
) -> Result<Channel, DialError> {
    let mut warned = false;
    let warn_once = |error: &DialError, since: Duration| {
        if !warned && since > SILENT_FOR {
            tracing::warn!("{}; trying again", error.by(own));
            warned = true;
        }
    };
    trust.dial_within(LIMIT, role, address, silence, warn_once).await
}
