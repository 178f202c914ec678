//! The streams to everyone who is connected.

use std::collections::HashMap;

use bytes::Bytes;
use proto::wire;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tonic::Status;

use super::words::order_to_wire;
use super::{LoaderOrders, Orders};
use crate::error::Error;
use crate::event::{Event, LoaderId, Order, WorkerId};
use crate::run_dir::random_bytes;

/// The streams to everyone who is connected.
#[derive(Debug)]
pub(crate) struct Links {
    secret: Secret,
    workers: HashMap<WorkerId, Orders>,
    loaders: HashMap<LoaderId, LoaderOrders>,
}

/// What an incarnation's token is made of: both halves get the same, and nobody can guess it.
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

impl Links {
    /// Nobody's so far.
    ///
    /// # Errors
    /// [`Error::Io`] if the system has no random numbers.
    pub(crate) fn new() -> Result<Self, Error> {
        let secret = Secret(random_bytes()?);
        Ok(Self { secret, workers: HashMap::new(), loaders: HashMap::new() })
    }

    /// Closes all of them.
    pub(crate) fn close(&mut self) {
        self.workers.clear();
        self.loaders.clear();
    }

    pub(crate) fn worker(&mut self, id: WorkerId, orders: Orders) {
        self.workers.insert(id, orders);
    }

    pub(crate) fn loader(&mut self, id: LoaderId, orders: LoaderOrders) {
        self.loaders.insert(id, orders);
    }

    /// Forgets whoever left.
    pub(crate) fn forget(&mut self, event: &Event) {
        match event {
            Event::WorkerLeft { worker, .. } => drop(self.workers.remove(worker)),
            Event::LoaderLeft { loader } => drop(self.loaders.remove(loader)),
            _ => {}
        }
    }

    /// Sends an order; what is said of a worker that takes none any more.
    pub(crate) fn order(
        &mut self,
        worker: WorkerId,
        incarnation: u64,
        order: Order,
    ) -> Option<Event> {
        let orders = self.workers.get(&worker)?;
        let mut order = order_to_wire(incarnation, order);
        if let Some(wire::worker_command::Command::Begin(begin)) = &mut order.command {
            begin.token = self.secret.token(incarnation);
        }
        let why = match orders.try_send(Ok(order)) {
            Ok(()) => return None,
            Err(mpsc::error::TrySendError::Full(_)) => "it takes no orders any more",
            Err(mpsc::error::TrySendError::Closed(_)) => "its connection ended",
        };
        self.workers.remove(&worker);
        Some(Event::WorkerLeft { worker, why: why.to_string() })
    }

    pub(crate) fn disconnect(&mut self, worker: WorkerId, reason: &str) {
        if let Some(orders) = self.workers.remove(&worker) {
            let _ = orders.try_send(Err(Status::deadline_exceeded(reason)));
        }
    }

    pub(crate) fn refuse_loader(&mut self, loader: LoaderId, reason: String) {
        if let Some(orders) = self.loaders.remove(&loader) {
            tracing::warn!(reason, "a loader is refused");
            let _ = orders.try_send(Err(Error::DataSet(reason).into()));
        }
    }

    pub(crate) fn finish_loaders(&mut self, reason: &str) {
        for orders in self.loaders.values() {
            let reason = reason.to_string();
            let _ = orders.try_send(Ok(wire::LoaderCommand { finish: true, reason, ping: None }));
        }
    }

    /// Waits until everyone has closed their stream, which they do after `Finish`.
    pub(crate) async fn closed(&self) {
        for orders in self.workers.values() {
            orders.closed().await;
        }
        for orders in self.loaders.values() {
            orders.closed().await;
        }
    }
}
