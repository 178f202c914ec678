//! The streams to everyone who is connected.

use std::collections::HashMap;

use proto::wire;
use tokio::sync::mpsc;
use tonic::Status;

use super::words::order_to_wire;
use super::{LoaderOrders, Orders};
use crate::error::Error;
use crate::event::{Event, LoaderId, Order, WorkerId};

/// The streams to everyone who is connected.
#[derive(Debug, Default)]
pub(crate) struct Links {
    workers: HashMap<WorkerId, Orders>,
    loaders: HashMap<LoaderId, LoaderOrders>,
}

impl Links {
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
        let why = match orders.try_send(Ok(order_to_wire(incarnation, order))) {
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
            let _ = orders.try_send(Ok(wire::LoaderOrder { finish: true, reason, ping: None }));
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
