//! The other half in the same process: `eval`, `predict` and fast tests run with the same bits.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::{Arrival, Key, Peer};
use crate::backend::Download;
use crate::error::{Error, Result};

/// One end of a pair of halves inside one process.
#[derive(Debug)]
pub struct MemoryPeer {
    to: Sender<Arrival>,
    from: Receiver<Arrival>,
}

/// Two ends, each the other's peer.
pub fn pair() -> (MemoryPeer, MemoryPeer) {
    let (to_b, from_a) = channel();
    let (to_a, from_b) = channel();
    (MemoryPeer { to: to_b, from: from_b }, MemoryPeer { to: to_a, from: from_a })
}

impl Peer for MemoryPeer {
    fn send(&mut self, key: Key, payload: Download) -> Result<()> {
        let encoded = payload.wait()?;
        let now = Instant::now();
        let arrival = Arrival {
            key: key.into(),
            parts: vec![encoded.bytes],
            wire: encoded.encoding,
            exponent: encoded.exponent,
            began: now,
            ended: now,
        };
        self.to.send(arrival).map_err(|_| lost())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Arrival>> {
        match self.from.recv_timeout(wait) {
            Ok(arrival) => Ok(Some(arrival)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(lost()),
        }
    }
}

fn lost() -> Error {
    Error::PeerLost { why: "its thread ended".into() }
}
