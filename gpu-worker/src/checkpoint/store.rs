//! Upload and download of shards: the client of the coordinator's `Store`.
//!
//! Shards travel on the connection of the control stream. A new connection could fail late in a run
//! although the worker is seated: its certificate may have expired, or the coordinator may have too
//! many connections.

use std::time::Duration;

use bytes::Bytes;
use proto::MESSAGE_LIMIT;
use proto::chunk::{Assembler, chunks};
use proto::digest::sha256;
use proto::wire::store_client::StoreClient;
use proto::wire::{FileChunk, FileRequest};
use tonic::transport::Channel;

use crate::error::{Error, Result};

/// Longest shard accepted: a half of ten times AlexNet's size.
const LONGEST: u64 = 4 << 30;
/// A disk that takes this long for a shard counts as failed.
const DEADLINE: Duration = Duration::from_secs(300);

/// The coordinator's store, over the connection of the control stream.
#[derive(Debug, Clone)]
pub(crate) struct Store(StoreClient<Channel>);

impl Store {
    /// The store at the other end of a connection to the coordinator.
    pub(crate) fn new(channel: Channel) -> Self {
        Self(StoreClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT))
    }

    /// Streams a shard into the run directory; returns its SHA-256.
    pub(crate) async fn put(
        mut self,
        name: &str,
        incarnation: u64,
        shard: Bytes,
    ) -> Result<String> {
        let failed = |why: String| Error::Shard { shard: name.into(), why };
        // Hashed on another thread, since the exchange needs this one.
        let hashed = shard.clone();
        let sha256 = tokio::task::spawn_blocking(move || sha256(&hashed)).await;
        let sha256 = sha256.map_err(|e| failed(e.to_string()))?;
        let (first_name, first_sha) = (name.to_string(), sha256.clone());
        let parts = chunks(shard).enumerate().map(move |(i, chunk)| {
            let (name, sha256) =
                if i == 0 { (first_name.clone(), first_sha.clone()) } else { Default::default() };
            FileChunk { name, sha256, incarnation, chunk: Some(chunk) }
        });
        let stored = tokio::time::timeout(DEADLINE, self.0.put(tokio_stream::iter(parts)))
            .await
            .map_err(|_| failed(format!("not stored after {} s", DEADLINE.as_secs())))?
            .map_err(|status| failed(status.message().into()))?
            .into_inner();
        if stored.sha256 != sha256 {
            return Err(failed(format!("stored as {}, sent as {sha256}", stored.sha256)));
        }
        Ok(sha256)
    }

    /// Fetches a shard and checks it.
    pub(crate) async fn get(&self, name: &str, sha256_wanted: &str) -> Result<Bytes> {
        let failed = |why: String| Error::Shard { shard: name.into(), why };
        let broke_off = |why: String| Error::Store { shard: name.into(), why };
        let bytes = tokio::time::timeout(DEADLINE, fetch(self.0.clone(), name))
            .await
            .map_err(|_| broke_off(format!("not received after {} s", DEADLINE.as_secs())))?
            .map_err(broke_off)?;
        let got = sha256(&bytes);
        if got != sha256_wanted {
            return Err(failed(format!("SHA-256 {got}, the manifest says {sha256_wanted}")));
        }
        Ok(bytes)
    }
}

async fn fetch(mut client: StoreClient<Channel>, name: &str) -> std::result::Result<Bytes, String> {
    let message = |status: tonic::Status| status.message().to_string();
    let mut stream =
        client.get(FileRequest { name: name.into() }).await.map_err(message)?.into_inner();
    let mut file = Assembler::new(LONGEST);
    while let Some(part) = stream.message().await.map_err(message)? {
        let chunk = part.chunk.ok_or("a message without a chunk")?;
        file.take(chunk).map_err(|e| e.to_string())?;
    }
    if !file.is_complete() {
        let (have, total) = file.progress();
        let total = total.map_or("an unknown number".into(), |total| total.to_string());
        return Err(format!("the stream ended early, after {have} of {total} bytes"));
    }
    Ok(file.into_bytes())
}
