//! Pauses between attempts, and dialing again until a deadline.

use std::time::{Duration, Instant};

use tonic::transport::Channel;

use crate::dial::DialError;
use crate::role::Role;
use crate::trust::Trust;

/// A sequence of pauses between attempts: 0.05 s, doubling up to 2 s.
#[derive(Debug, Clone)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Duration::from_millis(50))
    }
}

impl Backoff {
    /// Waits for the next pause.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(2));
    }
}

impl Trust {
    /// Dials `host:port`, where a `role` is expected, until a connection is made or `limit` has
    /// passed.
    ///
    /// The connection is lost once the server has been silent for `silence`.
    ///
    /// After each failed attempt that is followed by another one, `failed` gets the error and the
    /// time since the first attempt.
    ///
    /// # Errors
    /// The last one, once another attempt can't help or comes too late.
    pub async fn dial_within(
        &self,
        limit: Duration,
        role: Role,
        address: &str,
        silence: Duration,
        mut failed: impl FnMut(&DialError, Duration),
    ) -> Result<Channel, DialError> {
        let (started, mut backoff) = (Instant::now(), Backoff::default());
        loop {
            match self.dial_patiently(role, address, silence).await {
                Err(error) if !error.permanent && started.elapsed() < limit => {
                    failed(&error, started.elapsed());
                }
                dialed => return dialed,
            }
            backoff.pause().await;
        }
    }
}
