//! The goodput of the exchange alone, over loopback, with TLS and without, alternating.

use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use harness::cluster::start;
use net::server;
use net::{Role, Trust};
use proto::MESSAGE_LIMIT;
use proto::chunk::chunks;
use proto::wire::exchange_client::ExchangeClient;
use proto::wire::exchange_server::{Exchange, ExchangeServer};
use proto::wire::{Frame, Header, Sent};
use tonic::{Request, Response, Status, Streaming};

use crate::records::median;
use crate::say;

/// Bytes of one half's maps at conv3, for 128 images.
const TENSOR: usize = 11_075_584;
const TENSORS: usize = 50;
const ROUNDS: usize = 5;

/// A service that checks frames and discards them.
struct Sink;

#[tonic::async_trait]
impl Exchange for Sink {
    async fn send(&self, request: Request<Streaming<Frame>>) -> Result<Response<Sent>, Status> {
        let (mut stream, mut frames) = (request.into_inner(), 0);
        while let Some(frame) = stream.message().await? {
            let chunk = frame.chunk.unwrap_or_default();
            if crc32fast::hash(&chunk.payload) != chunk.crc32 {
                return Err(Status::data_loss("a damaged chunk"));
            }
            frames += 1;
        }
        Ok(Response::new(Sent { frames }))
    }
}

/// Prints both goodputs and their ratio.
pub(crate) fn measure(certs: &Path) {
    let trust = |secure: bool| match secure {
        true => Trust::read(certs, Role::Worker).expect("certificates"),
        false => Trust::default(),
    };
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for secure in [false, true] {
            rates[usize::from(secure)].push(gb_per_s(trust(secure)));
        }
    }
    let [plain, tls] = rates.map(|mut rates| median(&mut rates));
    say(&format!(
        "exchange goodput over loopback: {plain:.2} GB/s without TLS, {tls:.2} GB/s with ({:.0} %)",
        100.0 * tls / plain
    ));
}

fn gb_per_s(trust: Trust) -> f64 {
    let serving = trust.clone();
    let mut sink = start(move |listener, stop| async move {
        let service = ExchangeServer::new(Sink).max_decoding_message_size(MESSAGE_LIMIT);
        let incoming = serving.accept(listener);
        server().add_service(service).serve_with_incoming_shutdown(incoming, stop).await
    });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let seconds = runtime.block_on(async {
        let channel = trust.dial(Role::Worker, &sink.address).await.expect("it listens");
        let tensor = Bytes::from(vec![7; TENSOR]);
        let frames = (0..TENSORS).flat_map(move |_| {
            let header = Some(Header::default());
            chunks(tensor.clone()).map(move |c| Frame { header: header.clone(), chunk: Some(c) })
        });
        let started = Instant::now();
        let sent = ExchangeClient::new(channel).send(tokio_stream::iter(frames)).await;
        assert!(sent.expect("all arrives").into_inner().frames > 0);
        started.elapsed().as_secs_f64()
    });
    drop(runtime); // and with it the connection, which the sink's end waits for
    sink.ask_to_stop();
    sink.join().expect("it ends well");
    (TENSOR * TENSORS) as f64 / seconds / 1e9
}
