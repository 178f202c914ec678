//! One half of the network on one device: takes a minibatch, runs it forward and back, trades
//! activations with the other half, updates its weights, writes its shard.

pub mod step; // a whole step, top to bottom: start here
pub mod receive; // the minibatch, from the loader
mod mean; // what is subtracted from the pixels
pub mod network; // this partition's weights, activations, gradients
mod forward;
pub mod exchange; // with the other half, at the plan's exchange points
mod backward;
mod update;
mod divergence; // where a number first stopped being finite
pub mod timing; // where a step's time goes
pub mod checkpoint; // this half's shard
pub mod views; // the average over test views
pub mod pair; // both halves in one process: eval, predict, tests
pub mod ops; // the operations, as values
pub mod backend; // the devices that run them
mod dial; // connections that are tried again
mod watch; // notices an engine that hangs
mod interrupt; // what ends the engine's work early
mod worker; // the process: its two threads, started and stopped
mod control; // the network thread: the coordinator's control stream
mod engine; // the engine thread: carries out commands on the device
mod config;
mod error;

pub use config::{Config, Device};
pub use error::{Error, Result};
pub use update::Rates;
pub use watch::Watch;
pub use worker::run;
