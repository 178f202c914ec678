//! The streams to all connected workers and loaders.

use std::collections::HashMap;

use bytes::Bytes;
use proto::command::Command;
use proto::wire;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tonic::Status;

use super::{LoaderStream, WorkerStream, convert};
use crate::disk::run_dir::random_bytes;
use crate::error::Error;
use crate::run::event::{Event, LoaderId, WorkerId};

/// The streams to all connected workers and loaders.
#[derive(Debug)]
pub(crate) struct Streams {
    secret: Secret,
    workers: HashMap<WorkerId, WorkerStream>,
    loaders: HashMap<LoaderId, LoaderStream>,
}

/// Source of the tokens: an incarnation's workers get the same one, and nobody can guess it.
struct Secret([u8; 32]);

impl Secret {
    fn token(&self, incarnation: u64) -> Bytes {
        let hash = Sha256::new().chain_update(self.0).chain_update(incarnation.to_le_bytes());
        Bytes::copy_from_slice(&hash.finalize())
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Streams {
    /// No streams, and a new secret.
    ///
    /// # Errors
    /// [`Error::Io`] if the system has no random numbers.
    pub(crate) fn new() -> Result<Self, Error> {
        let secret = Secret(random_bytes()?);
        Ok(Self { secret, workers: HashMap::new(), loaders: HashMap::new() })
    }

    /// Closes all streams.
    pub(crate) fn close(&mut self) {
        self.workers.clear();
        self.loaders.clear();
    }

    pub(crate) fn worker(&mut self, id: WorkerId, commands: WorkerStream) {
        self.workers.insert(id, commands);
    }

    pub(crate) fn loader(&mut self, id: LoaderId, commands: LoaderStream) {
        self.loaders.insert(id, commands);
    }

    /// Removes the stream of a worker or loader that left.
    pub(crate) fn forget(&mut self, event: &Event) {
        match event {
            Event::WorkerLeft { worker, .. } => drop(self.workers.remove(worker)),
            Event::LoaderLeft { loader } => drop(self.loaders.remove(loader)),
            _ => {}
        }
    }

    /// Sends a command; returns an event if the worker accepts no more commands.
    pub(crate) fn send(&mut self, worker: WorkerId, mut command: Command) -> Option<Event> {
        let commands = self.workers.get(&worker)?;
        if let Command::Begin(begin) = &mut command {
            begin.token = self.secret.token(begin.incarnation);
        }
        let why = match commands.try_send(Ok(convert::command(command))) {
            Ok(()) => return None,
            Err(mpsc::error::TrySendError::Full(_)) => "it accepts no commands any more",
            Err(mpsc::error::TrySendError::Closed(_)) => "its connection ended",
        };
        self.workers.remove(&worker);
        Some(Event::WorkerLeft { worker, why: why.to_string() })
    }

    pub(crate) fn disconnect(&mut self, worker: WorkerId, reason: &str) {
        if let Some(commands) = self.workers.remove(&worker) {
            let _ = commands.try_send(Err(Status::deadline_exceeded(reason)));
        }
    }

    pub(crate) fn refuse_loader(&mut self, loader: LoaderId, reason: String) {
        if let Some(commands) = self.loaders.remove(&loader) {
            tracing::warn!(reason, "a loader is refused");
            let _ = commands.try_send(Err(Error::DataSet(reason).into()));
        }
    }

    pub(crate) fn finish_loaders(&mut self, reason: &str) {
        for commands in self.loaders.values() {
            let reason = reason.to_string();
            let _ = commands.try_send(Ok(wire::LoaderCommand { finish: true, reason, ping: None }));
        }
    }

    /// Waits until all receivers have closed their streams, as they do after `Finish`.
    pub(crate) async fn closed(&self) {
        for commands in self.workers.values() {
            commands.closed().await;
        }
        for commands in self.loaders.values() {
            commands.closed().await;
        }
    }
}
