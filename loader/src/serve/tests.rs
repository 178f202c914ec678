//! The service over a real socket, and registration with a stand-in for the coordinator.

use std::time::Duration;

use net::{Role, Trust};
use proto::chunk::Assembler;
use proto::wire::coordinator_server::{Coordinator, CoordinatorServer};
use proto::wire::loader_client::LoaderClient;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::Streaming;

use super::*;
use crate::DataSpec;

const DATA: &str = "synthetic:24:50:21:5";

fn config() -> Config {
    Config { threads: 2, ..Config::new(DATA.parse().unwrap()) }
}

/// A loader on a port of its own: address, stop, end.
async fn start(
    config: Config,
) -> (String, oneshot::Sender<()>, tokio::task::JoinHandle<Result<(), Error>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = oneshot::channel();
    let running = tokio::spawn(run(config, listener, async {
        let _ = stopped.await;
    }));
    (address, stop, running)
}

fn asked(digest: &str, step: u64) -> wire::BatchRequest {
    wire::BatchRequest {
        data_set: digest.into(),
        split: wire::Split::Train as i32,
        step,
        n_images: 40,
        seed: 7,
        crop: 20,
        crop_offsets: 0,
        flip: true,
        color_noise: 0.1,
        view: 0,
        traced: false,
        next_step: None,
    }
}

#[tokio::test]
async fn a_minibatch_over_a_socket_is_the_one_made_in_process() {
    let (address, stop, running) = start(config()).await;
    let mut loader =
        LoaderClient::new(Trust::default().dial(Role::Loader, &address).await.unwrap());
    let data = loader.describe(wire::DescribeRequest {}).await.unwrap().into_inner();
    let source = Source::open(&DATA.parse::<DataSpec>().unwrap()).unwrap();
    let own = source.describe();
    assert_eq!((&data.digest, data.n_train, data.n_val), (&own.digest, 50, 21));
    assert_eq!(proto::chunk::bytes_to_floats(&data.mean).unwrap(), own.mean);

    let request = asked(&data.digest, 5);
    let mut parts = loader.batch(request.clone()).await.unwrap().into_inner();
    let want = source.minibatch(&convert::request(&request).unwrap()).unwrap();
    let first = parts.message().await.unwrap().unwrap().content;
    let Some(Content::Head(head)) = first else { panic!("{first:?}") };
    assert_eq!((head.data_set.as_str(), head.made_us > 0), (own.digest.as_str(), true));
    let made = wire::BatchHead { data_set: String::new(), made_us: 0, ..head };
    assert_eq!(made, wire::BatchHead::from(&want));
    let mut pixels = Assembler::new(1 << 30);
    while let Some(part) = parts.message().await.unwrap() {
        let Some(Content::Pixels(chunk)) = part.content else { panic!("a second head") };
        pixels.take(chunk).unwrap();
    }
    assert!(pixels.is_complete());
    assert_eq!(pixels.into_bytes(), want.pixels);

    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_that_do_not_fit_are_refused_with_both_values() {
    let (address, _stop, _running) = start(config()).await;
    let mut loader =
        LoaderClient::new(Trust::default().dial(Role::Loader, &address).await.unwrap());
    let digest = loader.describe(wire::DescribeRequest {}).await.unwrap().into_inner().digest;
    let other = loader.batch(asked("abcd", 0)).await.err().unwrap();
    assert_eq!(other.code(), Code::FailedPrecondition);
    assert!(other.message().contains("abcd") && other.message().contains(&digest), "{other}");
    let large = wire::BatchRequest { crop: 25, ..asked(&digest, 0) };
    let large = loader.batch(large).await.err().unwrap();
    assert_eq!(large.code(), Code::FailedPrecondition);
    assert!(large.message().contains("25×25") && large.message().contains("24×24"), "{large}");
    let split = wire::BatchRequest { split: 0, ..asked(&digest, 0) };
    assert_eq!(loader.batch(split).await.err().unwrap().code(), Code::InvalidArgument);
}

/// A coordinator that records registrations, breaks the first connection and finishes the second.
struct StandIn(mpsc::Sender<String>, std::sync::atomic::AtomicU32);

type Commands<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl Coordinator for StandIn {
    type WorkStream = Commands<wire::WorkerCommand>;
    type ServeStream = Commands<wire::LoaderCommand>;

    async fn serve(
        &self,
        request: tonic::Request<Streaming<wire::LoaderEvent>>,
    ) -> Result<Response<Self::ServeStream>, Status> {
        let event = request.into_inner().message().await?.unwrap();
        self.0.send(event.address).await.unwrap();
        let (command, commands) = mpsc::channel(1);
        if self.1.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0 {
            let reason = "all epochs done".into();
            let finish = wire::LoaderCommand { finish: true, reason, ping: None };
            command.send(Ok(finish)).await.unwrap();
        }
        Ok(Response::new(ReceiverStream::new(commands)))
    }

    async fn work(
        &self,
        _: tonic::Request<Streaming<wire::WorkerEvent>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        Err(Status::unimplemented("no workers here"))
    }

    async fn status(
        &self,
        _: tonic::Request<wire::StatusRequest>,
    ) -> Result<Response<wire::RunStatus>, Status> {
        Err(Status::unimplemented("no run here"))
    }

    async fn stop(
        &self,
        _: tonic::Request<wire::StopRequest>,
    ) -> Result<Response<wire::Stopping>, Status> {
        Err(Status::unimplemented("no run here"))
    }
}

#[tokio::test]
async fn a_loader_registers_again_after_a_broken_line_and_ends_when_told() {
    let (heard, mut addresses) = mpsc::channel(4);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let coordinator = listener.local_addr().unwrap().to_string();
    let stand_in = CoordinatorServer::new(StandIn(heard, Default::default()));
    tokio::spawn(
        net::server().add_service(stand_in).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let (address, _stop, running) =
        start(Config { coordinator: Some(coordinator), ..config() }).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
    ended.expect("told to finish").unwrap().unwrap();
    assert_eq!(addresses.recv().await.unwrap(), address);
    assert_eq!(addresses.recv().await.unwrap(), address);
}

#[tokio::test]
async fn a_loader_whose_address_nobody_can_dial_ends() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let (coordinator, advertise) = (Some("127.0.0.1:1".into()), Some("0.0.0.0:5".into()));
    let config = Config { coordinator, advertise, ..config() };
    let error = run(config, listener, std::future::pending()).await.unwrap_err();
    assert!(matches!(error, Error::Setting { setting: "advertise", .. }), "{error}");
}
