//! Which roles a service takes calls from.

use tonic::{Request, Status};

use crate::role::Role;
use crate::stream::Peer;

/// Every call's first question: refuses one of a role that has no business here (without TLS there
/// are no roles); a connection that has called keeps its place.
///
/// # Errors
/// `PERMISSION_DENIED`, with both roles; `RESOURCE_EXHAUSTED` if there are too many connections.
pub fn only<T>(request: &Request<T>, what: &str, roles: &[Role]) -> Result<(), Status> {
    let Some(peer) = request.extensions().get::<Peer>() else { return Ok(()) };
    let Some(role) = peer.role.filter(|role| !roles.contains(role)) else {
        let kept = peer.place.as_ref().map_or(Ok(()), |place| place.call());
        return kept.map_err(|why| {
            tracing::warn!(from = %peer.address, what, "a call is refused: {why}");
            Status::resource_exhausted(why)
        });
    };
    let wanted: Vec<_> = roles.iter().map(|role| role.name()).collect();
    let wanted = wanted.join("'s or a ");
    tracing::warn!(from = %peer.address, %role, what, "refused: it takes a {wanted}'s certificate");
    Err(Status::permission_denied(format!(
        "{what} takes a {wanted}'s certificate, this one is a {role}'s: start each process as the \
         role it is"
    )))
}
