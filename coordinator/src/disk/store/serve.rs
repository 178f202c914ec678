//! The `Store` service, between gRPC streams and blocking disk work.

use std::time::Duration;

use bytes::Bytes;
use net::first_message;
use net::{Role, require_role};
use proto::wire::{self, store_server};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Incoming, Store};
use crate::error::Error;

/// Megabytes between the network and the disk, per stream.
const IN_FLIGHT: usize = 2;
/// Longest time for one megabyte.
const STALLED: Duration = Duration::from_secs(10);

fn stalled(what: &str) -> Status {
    Status::deadline_exceeded(format!("no part of the file {what} for {} s", STALLED.as_secs()))
}

#[tonic::async_trait]
impl store_server::Store for Store {
    type GetStream = ReceiverStream<Result<wire::FileChunk, Status>>;

    async fn put(
        &self,
        request: Request<Streaming<wire::FileChunk>>,
    ) -> Result<Response<wire::Stored>, Status> {
        require_role(&request, "Store", &[Role::Worker])?;
        let mut parts = request.into_inner();
        let first = first_message(&mut parts).await?;
        let (to_disk, from_network) = mpsc::channel(IN_FLIGHT);
        let store = self.clone();
        let (name, sha256, incarnation) = (first.name, first.sha256, first.incarnation);
        let writer = tokio::task::spawn_blocking(move || {
            let incoming = store.put(&name, &sha256, incarnation)?;
            write(incoming, from_network)
        });
        let mut next = first.chunk;
        loop {
            // If the writer has ended, its error is reported below.
            if let Some(chunk) = next
                && to_disk.send(chunk).await.is_err()
            {
                break;
            }
            // A sender that stops in the middle would keep others from sending the file.
            let part = timeout(STALLED, parts.message()).await;
            match part.map_err(|_| stalled("sent"))?? {
                Some(part) => next = part.chunk,
                None => break,
            }
        }
        drop(to_disk);
        let ended = writer.await.map_err(|e| Status::internal(e.to_string()))?;
        let (bytes, sha256) = ended.inspect_err(|error| {
            tracing::error!(%error, "a shard can't be stored");
        })?;
        Ok(Response::new(wire::Stored { bytes, sha256 }))
    }

    async fn get(
        &self,
        request: Request<wire::FileRequest>,
    ) -> Result<Response<Self::GetStream>, Status> {
        require_role(&request, "Store", &[Role::Worker, Role::Operator])?;
        let name = request.into_inner().name;
        let store = self.clone();
        let turn = self.turn().await?;
        let (to_network, stream) = mpsc::channel(IN_FLIGHT);
        let opened = tokio::task::spawn_blocking(move || store.get(&name).map(|out| (name, out)));
        let (name, mut out) = opened.await.map_err(|e| Status::internal(e.to_string()))??;
        let network = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut head = Some((name, out.sha256.clone()));
            loop {
                let part = match out.next() {
                    Ok(None) => return,
                    Ok(Some((offset, payload))) => Ok(part(&mut head, offset, out.total, payload)),
                    Err(error) => Err(error.into()),
                };
                // After an error, or once the receiver is gone, nothing more is sent.
                let over = part.is_err();
                let sent = network.block_on(timeout(STALLED, to_network.send(part)));
                if over || !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Writes chunks until the stream ends.
fn write(
    mut incoming: Incoming,
    mut chunks: mpsc::Receiver<wire::Chunk>,
) -> Result<(u64, String), Error> {
    while let Some(chunk) = chunks.blocking_recv() {
        incoming.write(&chunk)?;
    }
    incoming.finish()
}

/// The next part; name and SHA-256 only in the first.
fn part(
    head: &mut Option<(String, String)>,
    offset: u64,
    total: u64,
    payload: Bytes,
) -> wire::FileChunk {
    let (name, sha256) = head.take().unwrap_or_default();
    let crc32 = crc32fast::hash(&payload);
    let chunk = Some(wire::Chunk { offset, total, crc32, payload });
    wire::FileChunk { name, sha256, incarnation: 0, chunk }
}
