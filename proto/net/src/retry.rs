//! Pauses between attempts, and dialing again until a deadline.

use std::time::{Duration, Instant};

use tonic::transport::Channel;

use crate::dial::DialError;
use crate::role::Role;
use crate::trust::Trust;

/// A sequence of pauses between attempts, each twice as long as the one before, up to a longest.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

/// From 0.05 s to 2 s.
impl Default for Backoff {
    fn default() -> Self {
        Self { next: Duration::from_millis(50), longest: Duration::from_secs(2) }
    }
}

impl Backoff {
    /// Longest pause of [`Self::idle`]. A process that was busy for longer begins with short ones.
    pub const IDLE: Duration = Duration::from_secs(30);

    /// From 1 s to 30 s, for a process that has nothing to do.
    pub fn idle() -> Self {
        Self { next: Duration::from_secs(1), longest: Self::IDLE }
    }

    /// Waits for the next pause.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
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
