//! Connections between the processes of a run, and what every process does at start and stop.
//!
//! With certificates both ends show one, and it names a role, not an address: the client asks for
//! the role that it wants, and a service says which roles it takes ([`only`]). Each run has its own
//! certificate authority, so a certificate of another run is worth nothing. Without certificates
//! connections are plain.
//!
//! A connection counts as made once the server has sent its first bytes. HTTP/2 servers do so
//! unasked, and a TLS 1.3 client learns only then that its certificate was refused.

mod role; // coordinator, worker, loader, operator
mod certificates; // the folder of certificates, read and checked
mod trust; // certificates or none: what a process shows and checks
mod dial; // the client's end
mod listen; // the server's end: limits before the handshake
mod limits; // how many connections there may be
mod stream; // a connection, plain or under TLS
mod refusals; // refused connections in the log
mod explain; // what a failed handshake means
mod permission; // which roles a service takes
mod advertise; // the address that others are given
mod server; // settings of both ends; a stream's first message
mod reaction; // gRPC code → what the caller then does
mod retry; // pauses between tries
mod logging; // log formats
mod signals; // SIGTERM and Ctrl-C

pub use advertise::advertised;
pub use certificates::{AUTHORITY, Refused, certificate_file, date, key_file};
pub use dial::DialError;
pub use listen::Incoming;
pub use logging::{FOR_MACHINES, FOR_PEOPLE, LogFormat, RUN, start_tracing};
pub use permission::only;
pub use reaction::{Reaction, reaction};
pub use retry::Backoff;
pub use role::Role;
pub use server::{introduction, server};
pub use signals::asked_to_stop;
pub use stream::{Peer, Stream};
pub use trust::Trust;

/// A future on the heap.
///
/// The processes' `run` functions take and return one: a server is then compiled once, in its own
/// crate, and not again in each crate that awaits it.
pub type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;
