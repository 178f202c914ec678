//! Hostile clients against each service of a run in training: the run is not disturbed, and its
//! processes stay small.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::program;
use harness::certs::certificates;
use harness::cluster::shards;
use harness::process::wait;
use harness::roles::{Machine, Running};
use net::{AUTHORITY, Role, Trust, certificate_file, key_file};
use proto::wire::exchange_client::ExchangeClient;
use proto::wire::{self, Frame, Header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::codegen::{Service, http};
use tonic::{Code, Status};

use crate::trust::{coordinator, loader, runtime, text, worker};

/// Enough for all attacks to happen while it trains.
const STEPS: u64 = 1500;
/// Memory that hostile clients may cost a process, in MB: the buffers of 500 connections.
const MORE_MB: u64 = 64;
/// Connections in all, and those open at once.
const CONNECTIONS: usize = 10_000;
const AT_ONCE: usize = 2_000;
/// Time within which a slow client must be disconnected.
const LONG: Duration = Duration::from_secs(30);

struct Run {
    roles: Vec<(&'static str, Running)>,
    metrics: String,
}

impl Run {
    fn start(folder: &Path, certs: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let machine = Machine::here(program(), folder);
        let secure = ["--certs", text(certs)];
        let steps = STEPS.to_string();
        let more = ["--steps", &steps, "--checkpoint-every", "100", "--metrics", "127.0.0.1:0"];
        // No plateau ends it before.
        let more = [&more[..], &["--set", "patience=1000000"]].concat();
        let more = [&secure[..], &more].concat();
        let coordinator = coordinator(&machine, folder, "127.0.0.1:0", &more);
        let at = coordinator.address.clone();
        coordinator.wait_for("serving metrics");
        let log = coordinator.log();
        let metrics = log.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let metrics = metrics.unwrap().to_string();
        let roles = vec![
            ("loader", loader(&machine, &at, "127.0.0.1:0", &secure)),
            ("worker A", worker(&machine, "worker-0", &at, &secure)),
            ("worker B", worker(&machine, "worker-1", &at, &secure)),
            ("coordinator", coordinator),
        ];
        Self { roles, metrics }
    }

    fn role(&self, name: &str) -> &Running {
        &self.roles.iter().find(|(role, _)| *role == name).unwrap().1
    }

    /// Peak memory of each process so far.
    fn peaks(&self) -> BTreeMap<&'static str, u64> {
        self.roles.iter().map(|(name, role)| (*name, peak_mb(role.pid()))).collect()
    }

    fn end(self) {
        for (name, role) in self.roles {
            let log = role.log();
            assert!(role.end().success(), "{name}: {log}");
        }
    }
}

fn peak_mb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

fn step(folder: &Path) -> u64 {
    let text = std::fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap_or_default();
    text.lines().filter(|line| line.contains("\"kind\":\"step\"")).count() as u64
}

/// Opens TLS to a service with these certificates, or with none.
async fn tls(
    certs: &Path,
    own: Option<Role>,
    to: Role,
    at: &str,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certs.join(AUTHORITY)).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match own {
        None => config.with_no_client_auth(),
        Some(role) => {
            let chain = vec![CertificateDer::from_pem_file(certificate_file(certs, role)).unwrap()];
            let key = PrivateKeyDer::from_pem_file(key_file(certs, role)).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let name = ServerName::try_from(to.name()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(at).await?).await
}

/// Writes, and says how it ended; panics if it doesn't.
async fn until_closed(mut io: impl AsyncReadExt + AsyncWriteExt + Unpin, words: &[u8]) -> String {
    let _ = io.write_all(words).await;
    let mut heard = Vec::new();
    match timeout(LONG, io.read_to_end(&mut heard)).await {
        Ok(Ok(_)) => format!("closed after {} bytes", heard.len()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => panic!("still open after {LONG:?}"),
    }
}

/// A gRPC call with any bytes as its body.
async fn raw(trust: &Trust, role: Role, at: &str, path: &str, body: &str) -> String {
    let mut channel = trust.dial(role, at).await.unwrap();
    std::future::poll_fn(|cx| Service::poll_ready(&mut channel, cx)).await.unwrap();
    let request = http::Request::post(format!("http://{at}{path}"))
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::new(body.to_string()))
        .unwrap();
    let response = timeout(LONG, channel.call(request)).await.expect("an answer").unwrap();
    match Status::from_header_map(response.headers()) {
        Some(status) => format!("{:?}: {}", status.code(), status.message()),
        None => "answered, and its stream ended".into(),
    }
}

/// Opens 10,000 connections without sending anything; returns how many were accepted.
async fn crowd(at: &str) -> String {
    let at: SocketAddr = at.parse().unwrap();
    let mut taken = 0;
    for _ in 0..CONNECTIONS / AT_ONCE {
        let dials: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                tokio::spawn(async move {
                    timeout(Duration::from_millis(500), TcpStream::connect(at)).await
                })
            })
            .collect();
        let mut open = Vec::new();
        for dial in dials {
            if let Ok(Ok(Ok(tcp))) = dial.await {
                open.push(tcp);
            }
        }
        taken += open.len();
    }
    format!("{taken} of {CONNECTIONS} were taken by the system, then left")
}

/// One word of a hello a second.
async fn dribble(at: &str) -> String {
    let (mut reader, mut writer) = TcpStream::connect(at).await.unwrap().into_split();
    let drip = async {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            if writer.write_all(&[0x16]).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let mut heard = Vec::new();
    tokio::select! {
        () = drip => unreachable!("it drips for ever"),
        ended = timeout(LONG, reader.read_to_end(&mut heard)) => {
            format!("{:?}", ended.expect("closed in time").map(|n| format!("closed after {n} bytes")))
        }
    }
}

/// Sends frames as a client with a worker's certificate that isn't the other half.
async fn frames(trust: &Trust, at: &str, run_id: &str) -> Vec<(&'static str, String)> {
    let hello = Header {
        run_id: run_id.into(),
        incarnation: 1,
        kind: wire::FrameKind::Hello.into(),
        ..Header::default()
    };
    let chunk = wire::Chunk { total: 4, payload: vec![1; 4].into(), ..Default::default() };
    let train = Header { kind: wire::FrameKind::Train.into(), ..hello.clone() };
    let cases = [
        ("greets without the token", hello.clone(), None, Code::PermissionDenied),
        ("of another incarnation", Header { incarnation: 0, ..hello.clone() }, None, Code::Aborted),
        ("of another run", Header { run_id: "x".into(), ..hello }, None, Code::FailedPrecondition),
        ("a tensor ungreeted", train, Some(chunk), Code::InvalidArgument),
    ];
    let silent = tokio::spawn({
        let mut client = ExchangeClient::new(trust.dial(Role::Worker, at).await.unwrap());
        async move { client.send(tokio_stream::pending::<Frame>()).await.unwrap_err() }
    });
    let mut told = Vec::new();
    for (name, header, chunk, code) in cases {
        let mut client = ExchangeClient::new(trust.dial(Role::Worker, at).await.unwrap());
        let frame = Frame { header: Some(header), chunk };
        let status = client.send(tokio_stream::iter([frame])).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        told.push((name, status.message().to_string()));
    }
    let silent = timeout(LONG, silent).await.expect("an end").unwrap();
    assert_eq!(silent.code(), Code::DeadlineExceeded, "{silent}");
    told.push(("a call without a word", silent.message().to_string()));
    told
}

/// Everything at one service.
async fn attack(
    role: Role,
    at: &str,
    path: &str,
    certs: &Path,
    foreign: &Path,
) -> Vec<(&'static str, String)> {
    let (own, trust) = (Role::Worker, Trust::read(certs, Role::Worker).unwrap());
    let slow = (
        tokio::spawn({
            let at = at.to_string();
            async move { dribble(&at).await }
        }),
        {
            let io = tls(certs, Some(own), role, at).await.unwrap();
            tokio::spawn(async move {
                until_closed(
                    io,
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x08\x01\0\0\0\0\x01",
                )
                .await
            })
        },
    );
    let mut told = Vec::new();
    let nameless = match tls(certs, None, role, at).await {
        Ok(io) => until_closed(io, b"").await,
        Err(error) => error.to_string(),
    };
    told.push(("no certificate", nameless));
    let stranger = Trust::read(foreign, own).unwrap().dial(role, at).await;
    told.push(("foreign certificate", stranger.unwrap_err().to_string()));
    let io = tls(certs, Some(own), role, at).await.unwrap();
    told.push(("garbage", until_closed(io, &[0x5a; 65536]).await));
    told.push((
        "malformed message",
        raw(&trust, role, at, path, "\0\0\0\0\x04\x7f\x7f\x7f\x7f").await,
    ));
    told.push(("1 GB message", raw(&trust, role, at, path, "\0\x40\0\0\0garbage").await));
    told.push(("10,000 connections", crowd(at).await));
    told.push(("a handshake byte a second", slow.0.await.unwrap()));
    told.push(("headers that never end", slow.1.await.unwrap()));
    told
}

#[test]
fn hostile_clients_disturb_no_run_and_fill_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (certs, foreign) = (certificates(folder, "certs"), certificates(folder, "foreign"));
    let calm = folder.join("calm");
    let run = Run::start(&calm, &certs);
    wait("the end of the calm run", || step(&calm) >= STEPS - 20);
    let before = run.peaks();
    run.end();

    let rough = folder.join("rough");
    let run = Run::start(&rough, &certs);
    wait("a step", || step(&rough) > 5);
    let json = std::fs::read_to_string(rough.join("run/run.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let run_id = json["run_id"].as_str().unwrap();
    let at = |name| run.role(name).address.as_str();
    let told = runtime().block_on(async {
        let (a, b, c, frames, metrics) = tokio::join!(
            attack(
                Role::Coordinator,
                at("coordinator"),
                "/alexnet.v1.Coordinator/Status",
                &certs,
                &foreign
            ),
            attack(Role::Worker, at("worker A"), "/alexnet.v1.Exchange/Send", &certs, &foreign),
            attack(Role::Loader, at("loader"), "/alexnet.v1.Loader/Batch", &certs, &foreign),
            async {
                frames(&Trust::read(&certs, Role::Worker).unwrap(), at("worker A"), run_id).await
            },
            async {
                let garbage = TcpStream::connect(&run.metrics).await.unwrap();
                vec![
                    ("garbage", until_closed(garbage, &[0x5a; 65536]).await),
                    ("a request byte a second", dribble(&run.metrics).await),
                    ("10,000 connections", crowd(&run.metrics).await),
                ]
            },
        );
        [
            ("coordinator", a),
            ("worker A", b),
            ("loader", c),
            ("exchange", frames),
            ("metrics", metrics),
        ]
    });
    let during = step(&rough);
    let page = harness::scrape::page(&run.metrics).expect("metrics after the crowd");
    assert!(page.contains("alexnet_"), "{page}");
    assert!(during < STEPS, "the run ended before the attacks did: {during}");
    wait("the end", || step(&rough) >= STEPS - 20);
    let after = run.peaks();
    let said = run.role("coordinator").log();
    run.end();
    for (service, answers) in told {
        answers.iter().for_each(|(client, told)| eprintln!("{service:12} {client:26} {told}"));
    }
    eprintln!("attacked until step {during} of {STEPS}");
    for (name, peak) in &after {
        eprintln!("{name:12} {peak} MB at most, {} MB undisturbed", before[name]);
        assert!(*peak <= before[name] + MORE_MB, "{name} grew");
    }
    assert!(!said.contains("incarnation=2"), "a recovery: {said}");
    assert!(shards(&calm.join("run"), STEPS) == shards(&rough.join("run"), STEPS), "other bits");
}

/// Not even where everything is logged.
#[test]
fn no_log_holds_a_key_or_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let certs = certificates(folder, "certs");
    let machine = Machine::here(program(), folder).logging("trace");
    let secure = ["--certs", text(&certs)];
    let more = [&secure[..], &["--steps", "5"]].concat();
    let coordinator = coordinator(&machine, folder, "127.0.0.1:0", &more);
    let at = coordinator.address.clone();
    let loader = loader(&machine, &at, "127.0.0.1:0", &secure);
    let workers = ["worker-0", "worker-1"].map(|name| worker(&machine, name, &at, &secure));
    let mut secrets = vec!["BEGIN ".to_string(), "PRIVATE".into()];
    for entry in std::fs::read_dir(&certs).unwrap().flatten() {
        let pem = std::fs::read_to_string(entry.path()).unwrap();
        secrets
            .extend(pem.lines().filter(|l| l.len() >= 32 && !l.starts_with('-')).map(Into::into));
    }
    assert!(secrets.len() > 20, "the files were read");
    let mut bytes = 0;
    for role in workers.into_iter().chain([loader, coordinator]) {
        wait("its end", || !harness::process::lives(role.pid()) || role.log().contains("finished"));
        let log = role.log();
        bytes += log.len();
        assert!(role.end().success());
        let found = secrets.iter().find(|secret| log.contains(*secret));
        assert!(found.is_none(), "{found:?} is in a log");
    }
    eprintln!("{bytes} bytes of logs hold none of {} lines", secrets.len());
}
