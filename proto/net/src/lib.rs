//! Connections between the processes of a run, and what every process does at start and stop.
//!
//! With certificates both ends show one, and it names a role, not an address: the client expects a
//! role, and a service requires one for each call ([`require_role`]). Each run has its own
//! certificate authority, so a certificate of another run is refused. Without certificates
//! connections are plain.
//!
//! A connection counts as made once the server has sent its first bytes. HTTP/2 servers do so
//! unasked, and a TLS 1.3 client learns only then that its certificate was refused.

mod role; // coordinator, worker, loader, operator
mod certificates; // the folder of certificates, read and checked
mod trust; // certificates that a process shows and checks, or none
mod dial; // the client's end
mod listen; // the server's end: limits before the handshake
mod limits; // limits on the number of connections
mod stream; // a connection, plain or under TLS
mod refusals; // refused connections and calls in the log
mod explain; // failed handshakes, explained to people
mod permission; // the roles that may make a call
mod advertise; // the address that other processes are given
mod server; // settings of both ends; a stream's first message
mod reaction; // gRPC code → reaction of the caller
mod retry; // pauses between attempts, and dialing again until a deadline
pub mod http; // pages for machines: metrics, health
mod health; // whether this process is live and ready
mod logging; // log formats
mod shell; // paths in commands that people copy

pub use advertise::advertised;
pub use certificates::{AUTHORITY, UnusableCertificate, certificate_file, date, key_file};
pub use dial::DialError;
pub use health::{Health, LIVE, READY};
pub use listen::Incoming;
pub use logging::{FOR_MACHINES, FOR_PEOPLE, LogFormat, RUN, start_tracing};
pub use permission::require_role;
pub use reaction::{Reaction, reaction};
pub use refusals::Refusals;
pub use retry::Backoff;
pub use role::Role;
pub use server::{SILENCE, first_message, patient_server, server};
pub use shell::quoted;
pub use stream::{Remote, Stream};
pub use trust::Trust;

/// A future on the heap.
///
/// The processes' `run` functions take and return one: a server is then compiled once, in its own
/// crate, and not again in each crate that awaits it.
pub type BoxFuture<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;
