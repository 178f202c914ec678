//! Permission to make a call, by the caller's role.

use tonic::{Request, Status};

use crate::role::Role;
use crate::stream::Remote;

/// Refuses a call unless the caller has one of `roles`; without TLS there are no roles, and every
/// call is permitted. A permitted call makes its connection an established one.
///
/// Every service method calls this first; `what` names the method.
///
/// # Errors
/// `PERMISSION_DENIED`, with both roles; `RESOURCE_EXHAUSTED` if there are too many connections.
pub fn require_role<T>(request: &Request<T>, what: &str, roles: &[Role]) -> Result<(), Status> {
    let Some(remote) = request.extensions().get::<Remote>() else { return Ok(()) };
    let Some(role) = remote.role.filter(|role| !roles.contains(role)) else {
        let established = remote.slot.as_ref().map_or(Ok(()), |slot| slot.establish());
        return established.map_err(|why| {
            tracing::warn!(from = %remote.address, what, "a call is refused: {why}");
            Status::resource_exhausted(why)
        });
    };
    let wanted: Vec<_> = roles.iter().map(|role| role.name()).collect();
    let wanted = wanted.join("'s or a ");
    tracing::warn!(from = %remote.address, %role, what, "refused: it takes a {wanted}'s certificate");
    Err(Status::permission_denied(format!(
        "{what} takes a {wanted}'s certificate, this one is a {role}'s: start each process as the \
         role it is"
    )))
}
