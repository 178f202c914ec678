//! Shards to and from the coordinator's `Store`.

use std::time::Duration;

use bytes::Bytes;
use net::{DialError, Role, Trust};
use proto::MESSAGE_LIMIT;
use proto::chunk::{Assembler, chunks};
use proto::digest::sha256;
use proto::wire::store_client::StoreClient;
use proto::wire::{FileChunk, FileRequest};
use tonic::transport::Channel;

use crate::error::{Error, Result};

/// Longest shard taken: a half of ten times AlexNet's size.
const LONGEST: u64 = 4 << 30;
/// A disk that takes this long for a shard is as good as gone.
const DEADLINE: Duration = Duration::from_secs(300);
/// How long a coordinator that doesn't answer is dialled: a crowd at its door passes.
const DIALLING: Duration = Duration::from_secs(30);

/// Streams a shard into the run directory; returns its SHA-256.
pub(crate) async fn put(
    trust: &Trust,
    coordinator: &str,
    name: &str,
    incarnation: u64,
    shard: Bytes,
) -> Result<String> {
    let failed = |why: String| Error::Shard { shard: name.into(), why };
    // Beside the network's thread, which the exchange needs meanwhile.
    let hashed = shard.clone();
    let sha256 = tokio::task::spawn_blocking(move || sha256(&hashed)).await;
    let sha256 = sha256.map_err(|e| failed(e.to_string()))?;
    let dialled = reach(trust, coordinator).await;
    let channel = dialled.map_err(|e| failed(e.by("this worker")))?;
    let (first_name, first_sha) = (name.to_string(), sha256.clone());
    let parts = chunks(shard).enumerate().map(move |(i, chunk)| {
        let (name, sha256) =
            if i == 0 { (first_name.clone(), first_sha.clone()) } else { Default::default() };
        FileChunk { name, sha256, incarnation, chunk: Some(chunk) }
    });
    let mut client = StoreClient::new(channel);
    let stored = tokio::time::timeout(DEADLINE, client.put(tokio_stream::iter(parts)))
        .await
        .map_err(|_| failed(format!("not stored after {} s", DEADLINE.as_secs())))?
        .map_err(|status| failed(status.message().into()))?
        .into_inner();
    if stored.sha256 != sha256 {
        return Err(failed(format!("stored as {}, sent as {sha256}", stored.sha256)));
    }
    Ok(sha256)
}

async fn reach(trust: &Trust, coordinator: &str) -> std::result::Result<Channel, DialError> {
    trust.dial_within(DIALLING, Role::Coordinator, coordinator, |_, _| ()).await
}

/// Fetches a shard and checks it.
pub(crate) async fn get(
    trust: &Trust,
    coordinator: &str,
    name: &str,
    sha256_wanted: &str,
) -> Result<Bytes> {
    let failed = |why: String| Error::Shard { shard: name.into(), why };
    let broke_off = |why: String| Error::Store { shard: name.into(), why };
    let bytes = tokio::time::timeout(DEADLINE, fetch(trust, coordinator, name))
        .await
        .map_err(|_| broke_off(format!("not here after {} s", DEADLINE.as_secs())))?
        .map_err(broke_off)?;
    let got = sha256(&bytes);
    if got != sha256_wanted {
        return Err(failed(format!("SHA-256 {got}, the manifest says {sha256_wanted}")));
    }
    Ok(bytes)
}

async fn fetch(trust: &Trust, coordinator: &str, name: &str) -> std::result::Result<Bytes, String> {
    let channel = reach(trust, coordinator).await.map_err(|e| e.by("this worker"))?;
    let mut client = StoreClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
    let said = |status: tonic::Status| status.message().to_string();
    let mut stream =
        client.get(FileRequest { name: name.into() }).await.map_err(said)?.into_inner();
    let mut file = Assembler::new(LONGEST);
    while let Some(part) = stream.message().await.map_err(said)? {
        let chunk = part.chunk.ok_or("a part without a chunk")?;
        file.take(chunk).map_err(|e| e.to_string())?;
    }
    if !file.is_complete() {
        return Err(format!("the stream ended early: {:?} bytes", file.progress()));
    }
    Ok(file.into_bytes())
}
