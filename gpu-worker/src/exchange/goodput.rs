//! The goodput of the exchange by itself: two ends in this process, each with the network thread of
//! a worker, send each other tensors over loopback. Nothing computes meanwhile.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::recipe::Encoding;
use net::{Trust, patient_server};
use proto::wire::Begin;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::grpc::{ExchangeService, GrpcPeer};
use super::{BatchId, Direction, Peer, TensorKey};
use crate::backend::{Download, Encoded};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;

/// Tensors on their way in each direction, such as the micro-batches of conv3.
const AHEAD: u64 = 4;

/// Bytes per second of both directions together, once both flow. Tensors have `tensor_bytes`.
///
/// # Errors
/// [`Error`] if there is no connection over loopback, or it is lost.
pub fn bytes_per_s(trust: &Trust, tensor_bytes: usize, measured: Duration) -> Result<f64> {
    let [a, b] = [End::open(trust)?, End::open(trust)?];
    let peers = [a.begin(&b.address), b.begin(&a.address)];
    let tensor = &Bytes::from(vec![0; tensor_bytes]);
    std::thread::scope(|scope| {
        let ends = peers.map(|peer| scope.spawn(move || trade(peer, tensor, measured)));
        let [a, b] = ends.map(|end| end.join().expect("an end only returns errors"));
        Ok(a?.0 + b?.0)
    })
}

/// One end: a listener and the network thread that serves it until the end is dropped.
struct End {
    exchange: ExchangeService,
    interrupt: Interrupt,
    address: String,
    network: Handle,
    _stop: oneshot::Sender<()>,
}

impl End {
    fn open(trust: &Trust) -> Result<Self> {
        let cant = |doing| move |why| Error::System { doing, why };
        let starting = "starting a network thread";
        let runtime = Builder::new_current_thread().enable_all().build().map_err(cant(starting))?;
        let bound = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = bound.map_err(cant("listening on 127.0.0.1"))?;
        let address =
            listener.local_addr().map_err(cant("reading the listener's address"))?.to_string();
        let (interrupt, own) = (Interrupt::new(), format!("this end ({address})"));
        let exchange =
            ExchangeService::new(trust.clone(), own, interrupt.clone(), Config::PEER_DEADLINE);
        let (network, service) = (runtime.handle().clone(), exchange.service());
        let (stop, stopped) = oneshot::channel();
        let incoming = trust.accept(listener);
        let serve = async move {
            let server = patient_server(Config::PEER_DEADLINE).add_service(service);
            tokio::select! {
                _ = server.serve_with_incoming(incoming) => {}
                _ = stopped => {}
            }
        };
        std::thread::Builder::new()
            .name("network".into())
            .spawn(move || runtime.block_on(serve))
            .map_err(cant(starting))?;
        Ok(Self { exchange, interrupt, address, network, _stop: stop })
    }

    /// Begins the exchange with the end at this address.
    fn begin(&self, other: &str) -> GrpcPeer {
        let begin = Begin {
            run_id: "goodput".into(),
            incarnation: 1,
            peer: other.into(),
            heartbeat_timeout_ms: Config::PEER_DEADLINE.as_millis() as u64,
            ..Begin::default()
        };
        self.interrupt.begin(&begin);
        let _inside = self.network.enter();
        self.exchange.begin(&begin)
    }
}

/// Sends a tensor for each one that arrives; returns the bytes per second that arrived, and the
/// peer, which the other end still needs.
///
/// The time begins with the tensor after the first [`AHEAD`]: the other end has sent that one as
/// an answer, so both directions flow.
fn trade(mut peer: GrpcPeer, tensor: &Bytes, measured: Duration) -> Result<(f64, GrpcPeer)> {
    let mut n_sent = 0;
    let mut send = |peer: &mut GrpcPeer| {
        n_sent += 1;
        peer.send(key(n_sent), payload(tensor))
    };
    for _ in 0..AHEAD {
        send(&mut peer)?;
    }
    for _ in 0..AHEAD {
        arrival(&mut peer)?;
        send(&mut peer)?;
    }
    let started = arrival(&mut peer)?;
    send(&mut peer)?;
    let (mut n, mut ended) = (1, arrival(&mut peer)?);
    // The other end may stop a little earlier, so this one doesn't wait beyond the time.
    while let Some(left) = measured.checked_sub(started.elapsed()) {
        send(&mut peer)?;
        let Some(tensor) = peer.next(left)? else { break };
        (n, ended) = (n + 1, tensor.ended);
    }
    let bytes = f64::from(n) * tensor.len() as f64;
    Ok((bytes / (ended - started).as_secs_f64(), peer))
}

/// The moment at which the next tensor is complete.
fn arrival(peer: &mut GrpcPeer) -> Result<Instant> {
    let wait = Config::PEER_DEADLINE;
    let silent = || Error::PeerSilent {
        at: "tensor of a measurement".into(),
        waited_ms: wait.as_millis() as u64,
    };
    Ok(peer.next(wait)?.ok_or_else(silent)?.ended)
}

fn key(n: u64) -> TensorKey {
    let (batch, at) = (BatchId::Train(n), "conv3".into());
    TensorKey { batch, at, direction: Direction::Forward, micro_batch: 0, digest: 0 }
}

fn payload(tensor: &Bytes) -> Download {
    Download::Ready(Encoded { bytes: tensor.clone(), encoding: Encoding::F32, exponent: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_flow_in_both_directions() {
        let rate = bytes_per_s(&Trust::default(), 3 << 20, Duration::from_millis(50)).unwrap();
        assert!(rate > 0.0, "{rate}");
    }
}
