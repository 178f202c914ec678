//! Frames that come with the run's own certificates and token, and are wrong: refused; the halves
//! go back, and the bits are the same.

use std::sync::{Arc, Mutex, PoisonError};

use crate::program;
use bytes::Bytes;
use coordinator::Until;
use harness::certs::certificates;
use harness::cluster::{Cluster, shards};
use harness::process::wait;
use harness::roles::Machine;
use net::{Role, Trust};
use proto::wire::exchange_client::ExchangeClient;
use proto::wire::exchange_server::{Exchange, ExchangeServer};
use proto::wire::{Chunk, Encoding, Frame, FrameKind, Header, Sent};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::trust::{coordinator, loader, text, worker};

const STEPS: u64 = 1000;

/// A change to a tensor (announcement and chunk) in transit; None ends the stream.
type Fault = fn(Header, Chunk) -> Option<Vec<Frame>>;

fn frame(header: &Header, chunk: Option<Chunk>) -> Frame {
    Frame { header: Some(header.clone()), chunk }
}

fn tensor(header: Header, chunk: Chunk) -> Vec<Frame> {
    vec![frame(&header, None), frame(&header, Some(chunk))]
}

/// A chunk that is whole, of these bytes.
fn whole(payload: Bytes) -> Chunk {
    Chunk { offset: 0, total: payload.len() as u64, crc32: crc32fast::hash(&payload), payload }
}

/// The faults, with words of what the coordinator's log says of each.
const FAULTS: [(&str, &str, Fault); 14] = [
    ("sent twice", "the other half sent", |h, c| {
        Some([tensor(h.clone(), c.clone()), tensor(h, c)].concat())
    }),
    ("the chunk sent twice", "nobody announced", |h, c| {
        let again = frame(&h, Some(c.clone()));
        Some([tensor(h, c), vec![again]].concat())
    }),
    ("never sent", "the other half sent", |_, _| Some(Vec::new())),
    ("chunk before its announcement", "nobody announced", |h, c| {
        Some(tensor(h, c).into_iter().rev().collect())
    }),
    ("cut short, stream ended", "closed its stream", |h, c| {
        drop((h, c));
        None
    }),
    ("of another incarnation", "another run or incarnation", |h, c| {
        Some(tensor(Header { incarnation: h.incarnation - 1, ..h }, c))
    }),
    ("of another run", "another run or incarnation", |h, c| {
        Some(tensor(Header { run_id: "another".into(), ..h }, c))
    }),
    ("of another minibatch", "the other half sent", |h, c| {
        Some(tensor(Header { minibatch: !h.minibatch, ..h }, c))
    }),
    ("a number short", "a tensor of", |h, c| {
        let short = c.payload.slice(..c.payload.len() - 4);
        Some(tensor(h, whole(short)))
    }),
    ("a bit flipped", "checksum", |h, c| {
        let mut bytes = c.payload.to_vec();
        bytes[0] ^= 1;
        Some(tensor(h, Chunk { payload: bytes.into(), ..c }))
    }),
    ("chunk beyond its tensor", "bytes", |h, c| Some(tensor(h, Chunk { total: 2, ..c }))),
    ("1 TB announced", "bytes", |h, c| Some(tensor(h, Chunk { total: 1 << 40, ..c }))),
    ("5 MB in one frame", "too large", |h, _| {
        Some(tensor(h, whole(Bytes::from(vec![0; 5 << 20]))))
    }),
    ("of no known encoding", "without its encoding", |h, c| {
        Some(tensor(Header { encoding: Encoding::Unspecified.into(), ..h }, c))
    }),
];

/// Stands between the halves, with a worker's certificate: hands on what half B sends to half A.
#[derive(Clone)]
struct Between {
    trust: Trust,
    /// Address of half A.
    to: Arc<Mutex<String>>,
    /// For the next tensor of a training step.
    fault: Arc<Mutex<Option<Fault>>>,
}

#[tonic::async_trait]
impl Exchange for Between {
    async fn send(&self, request: Request<Streaming<Frame>>) -> Result<Response<Sent>, Status> {
        let to = self.to.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let channel = self.trust.dial(Role::Worker, &to).await?;
        let (frames, onward) = mpsc::channel(4);
        let (between, mut stream) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let mut announced = None;
            while let Ok(Some(next)) = stream.message().await {
                for frame in between.meddle(&mut announced, next)? {
                    frames.send(frame).await.ok()?;
                }
            }
            Some(())
        });
        ExchangeClient::new(channel).send(ReceiverStream::new(onward)).await
    }
}

impl Between {
    /// The frames to pass on for the next frame; an announcement waits for its chunk. None ends the
    /// stream.
    fn meddle(&self, announced: &mut Option<Header>, next: Frame) -> Option<Vec<Frame>> {
        let Frame { header: Some(header), chunk } = next else { return Some(vec![next]) };
        let training = header.kind() == FrameKind::Train;
        match (chunk, announced.take()) {
            (None, _) => {
                *announced = Some(header);
                Some(Vec::new())
            }
            (Some(chunk), Some(header)) => {
                let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
                match fault.take_if(|_| training) {
                    Some(fault) => fault(header, chunk),
                    None => Some(tensor(header, chunk)),
                }
            }
            (chunk, None) => Some(vec![frame(&header, chunk)]), // the hello
        }
    }
}

#[test]
fn wrong_frames_of_the_other_half_are_refused_and_cost_no_bits() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let certs = certificates(folder, "certs");
    let machine = Machine::here(program(), folder);
    let (steps, secure) = (STEPS.to_string(), ["--certs", text(&certs)]);
    // No plateau ends it before.
    let more = ["--steps", &steps, "--checkpoint-every", "5", "--set", "patience=1000000"];
    let coordinator = coordinator(&machine, folder, "127.0.0.1:0", &[&secure[..], &more].concat());
    let at = coordinator.address.clone();

    // With a thread of its own, since this one waits.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let trust = Trust::read(&certs, Role::Worker).unwrap();
    let between = Between { trust: trust.clone(), to: Arc::default(), fault: Arc::default() };
    let service = ExchangeServer::new(between.clone()).max_decoding_message_size(8 << 20);
    let served = net::server().add_service(service);
    runtime.spawn(served.serve_with_incoming(trust.accept(listener)));

    let loader = loader(&machine, &at, "127.0.0.1:0", &secure);
    let half_a = worker(&machine, "a", &at, &[&secure[..], &["--advertise", &address]].concat());
    half_a.address.clone_into(&mut between.to.lock().unwrap());
    half_a.wait_for("joined");
    let half_b = worker(&machine, "b", &at, &secure);

    let step = || {
        let text = std::fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap_or_default();
        text.lines().filter(|line| line.contains("\"kind\":\"step\"")).count() as u64
    };
    let returns = || coordinator.log().matches("returning to the last").count();
    for (name, words, fault) in FAULTS {
        let due = step() + 7;
        wait("some steps", || step() >= due);
        let before = [&half_a, &half_b].map(|half| half.log().len());
        let returned = returns();
        *between.fault.lock().unwrap() = Some(fault);
        wait(&format!("{name}: a return"), || returns() > returned);
        let log = coordinator.log();
        let said = log.lines().rev().find(|line| line.contains("returning to the last")).unwrap();
        let reason = said.split_once("reason=").unwrap().1;
        eprintln!("{name:30} {reason}");
        let told = || [&half_a.log()[before[0]..], &half_b.log()[before[1]..]].concat();
        wait(&format!("{name}: {words:?}"), || said.contains(words) || told().contains(words));
    }
    assert!(step() < STEPS, "all faults came in mid-run");
    for role in [half_a, half_b, loader, coordinator] {
        let log = role.log();
        assert!(role.end().success(), "{log}");
    }
    let mut calm = Cluster::small(&folder.join("calm"));
    calm.recipe.patience = 1_000_000;
    calm.until = Until::Steps(STEPS);
    calm.run();
    assert!(calm.shards(STEPS) == shards(&folder.join("run"), STEPS), "other bits");
}
