//! One half of the network on one device: takes a minibatch, runs it forward and back, trades
//! activations with the other half, updates its weights, writes its shard.

pub mod backend;
mod error;

pub use error::{Error, Result};
