//! Permission to make a call, by the caller's role.

use tonic::{Request, Status};

use crate::role::Role;
use crate::stream::Remote;

/// Refuses a call unless the caller has one of `roles`; without TLS there are no roles, and every
/// call is permitted.
///
/// A permitted call makes its connection a member's, unless it is one that an operator may make:
/// then the connection is a visitor's.
///
/// Every service method calls this first; `what` names the method.
///
/// # Errors
/// `PERMISSION_DENIED`, with both roles; `RESOURCE_EXHAUSTED` if there are too many connections.
pub fn require_role<T>(request: &Request<T>, what: &str, roles: &[Role]) -> Result<(), Status> {
    let Some(remote) = request.extensions().get::<Remote>() else { return Ok(()) };
    let Some(role) = remote.role.filter(|role| !roles.contains(role)) else {
        let by_member = match remote.role {
            Some(role) => role != Role::Operator,
            None => !roles.contains(&Role::Operator),
        };
        let counted = remote.slot.as_ref().map_or(Ok(()), |slot| slot.call(by_member));
        return counted.map_err(|why| {
            remote.refusals.log(remote.address, &format!("{what}: {why}"));
            Status::resource_exhausted(why)
        });
    };
    let wanted: Vec<_> = roles.iter().map(|role| role.name()).collect();
    let wanted = wanted.join("'s or a ");
    let why = format!("{what} takes a {wanted}'s certificate, this one is a {role}'s");
    remote.refusals.log(remote.address, &why);
    Err(Status::permission_denied(format!("{why}: start each process as the role it is")))
}
