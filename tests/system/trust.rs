//! Trust between processes: who is accepted, which reason others get, and that the run is not
//! disturbed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::program;
use harness::certs::{certificates, certificates_until, renew};
use harness::cluster::{Cluster, shards};
use harness::process::{ENDLESS, Up, wait};
use harness::roles::{Machine, Running};
use net::{AUTHORITY, Role, Trust};
use proto::wire::coordinator_client::CoordinatorClient;
use proto::wire::exchange_client::ExchangeClient;
use proto::wire::loader_client::LoaderClient;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tonic::{Code, Status};

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The coordinator of a small run in `folder/run`.
pub(crate) fn coordinator(at: &Machine, folder: &Path, listen: &str, more: &[&str]) -> Running {
    let recipe = folder.join("small.toml");
    std::fs::write(&recipe, harness::small::recipe().to_toml()).unwrap();
    let run = folder.join("run");
    let args = ["coordinator", "--listen", listen, "--run", text(&run), "--recipe", text(&recipe)];
    at.start("coordinator", &[&args[..], &["--seed", "7"], more].concat())
}

pub(crate) fn loader(at: &Machine, coordinator: &str, listen: &str, more: &[&str]) -> Running {
    let data = "synthetic:72:200:40";
    let args = ["loader", "--coordinator", coordinator, "--listen", listen, "--data", data];
    at.start("loader", &[&args[..], more].concat())
}

pub(crate) fn worker(at: &Machine, name: &str, coordinator: &str, more: &[&str]) -> Running {
    at.start(name, &[&["worker", "--coordinator", coordinator][..], more].concat())
}

/// Asserts that all words are said.
pub(crate) fn says(said: &str, words: &[&str]) {
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} in: {said}");
}

/// Everyone who has no business in the run of `coordinator`, from `machine`; each is told why, and
/// so is the run's owner. Workers end by themselves.
pub(crate) fn intrude(machine: &Machine, folder: &Path, coordinator: &Running, address: &str) {
    let foreign = certificates(folder, "foreign");
    let worker = ["worker", "--coordinator", address, "--listen", "127.0.0.1:0"];
    let (well, said) = machine.run(&worker);
    assert!(!well, "a plain worker is refused: {said}");
    says(&said, &[address, "takes TLS connections only", "--certs"]);
    coordinator.wait_for("it speaks without TLS");

    let (well, said) = machine.run(&[&worker[..], &["--certs", text(&foreign)]].concat());
    assert!(!well, "a worker of another run is refused: {said}");
    says(&said, &[address, "another authority's", "another run"]);
    coordinator.wait_for("refuses this coordinator's certificate as another authority's");

    let nothing = folder.join("nothing");
    let (well, said) = machine.run(&[&worker[..], &["--certs", text(&nothing)]].concat());
    assert!(!well, "a worker without its files doesn't start: {said}");
    says(&said, &["authority.pem", "not there", "alexnet certs"]);
}

/// All roles of a small run, with these certificates, until its end: the shards.
fn small_run(folder: &Path, coordinator: Running, certs: &Path) -> Vec<Vec<u8>> {
    let machine = Machine::here(program(), folder);
    let (at, certs) = (coordinator.address.clone(), ["--certs", text(certs)]);
    let loader = loader(&machine, &at, "127.0.0.1:0", &certs);
    let workers = ["worker-0", "worker-1"].map(|name| worker(&machine, name, &at, &certs));
    for role in workers.into_iter().chain([loader, coordinator]) {
        assert!(role.end().success());
    }
    shards(&folder.join("run"), 10)
}

fn without_tls(folder: &Path) -> Vec<Vec<u8>> {
    let cluster = Cluster::small(&folder.join("plain"));
    cluster.run();
    cluster.shards(10)
}

#[test]
fn a_run_under_tls_has_the_bits_of_one_without() {
    let folder = tempfile::tempdir().unwrap();
    let mut secured = Cluster::small(&folder.path().join("secured"));
    secured.certs = Some(certificates(folder.path(), "certs"));
    secured.run();
    assert!(without_tls(folder.path()) == secured.shards(10), "TLS changed the bits");
}

#[test]
fn intruders_get_a_reason_and_do_not_disturb_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let certs = certificates(folder, "certs");
    let machine = Machine::here(program(), folder);
    let more = ["--certs", text(&certs), "--steps", "10"];
    let coordinator = coordinator(&machine, folder, "127.0.0.1:0", &more);
    let address = coordinator.address.clone();
    intrude(&machine, folder, &coordinator, &address);

    nameless(&certs, &address);
    coordinator.wait_for("it showed no certificate");
    let mut garbage = TcpStream::connect(&address).unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    garbage.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[0], 0x15, "a TLS alert, and the end");

    let (well, said) = machine.run(&["status", &address]);
    assert!(!well);
    says(&said, &["takes TLS connections only"]);
    let (well, said) = machine.run(&["status", &address, "--certs", text(&certs)]);
    assert!(well && said.contains("waiting for"), "the operator may ask: {said}");
    assert!(small_run(folder, coordinator, &certs) == without_tls(folder), "a disturbed run");
}

/// A TLS client that trusts the run's authority but shows no certificate itself.
fn nameless(certs: &Path, address: &str) {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certs.join(AUTHORITY)).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("coordinator").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(address).unwrap());
    let refused = stream.read(&mut [0; 1]).unwrap_err().to_string();
    assert!(refused.contains("CertificateRequired"), "{refused}");
}

/// Both ends of a certificate that expires while its process lives.
#[test]
fn a_certificate_that_expires_is_refused_at_the_next_connection() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let certs = certificates(folder, "certs");
    let until = SystemTime::now() + Duration::from_secs(3);
    let short = copy(&certs, &folder.join("short"));
    renew(&short, &[Role::Worker], until);
    let trust = Trust::read(&short, Role::Worker).unwrap();
    let machine = Machine::here(program(), folder);
    let coordinator =
        coordinator(&machine, folder, "127.0.0.1:0", &["--certs", text(&certs), "--steps", "10"]);
    let dial = || runtime().block_on(trust.dial(Role::Coordinator, &coordinator.address));
    dial().expect("still valid");
    wait("its end", || SystemTime::now() > until + Duration::from_secs(1));
    let refused = dial().unwrap_err();
    assert!(refused.permanent, "trying again is of no use");
    says(&refused.to_string(), &["this worker's certificate", "expired on", "--roles worker"]);
    coordinator.wait_for("its certificate expired on");
    let said = Trust::read(&short, Role::Worker).unwrap_err().to_string();
    says(&said, &["worker.pem", "expired on", "--renew"]);
}

/// A run outlives its certificates, since a seated worker needs no new connection to keep a
/// checkpoint. Renewed ones are read by the processes that run. Meanwhile an operator's connections
/// that stay open take no place of a worker.
#[test]
fn checkpoints_outlive_certificates_and_renewed_ones_are_read_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let until = SystemTime::now() + Duration::from_secs(8);
    let certs = certificates_until(folder, "certs", until);
    let machine = Machine::here(program(), folder);
    let secure = ["--certs", text(&certs)];
    let long = [&ENDLESS[..], &["--checkpoint-every", "40"]].concat();
    let coordinator =
        coordinator(&machine, folder, "127.0.0.1:0", &[&secure[..], &long[..]].concat());
    let at = &coordinator.address;
    let loader = loader(&machine, at, "127.0.0.1:0", &secure);
    let seated = ["worker-0", "worker-1"].map(|name| worker(&machine, name, at, &secure));
    let kept = || newest_checkpoint(&folder.join("run"));
    wait("a first checkpoint", || kept() > 0);
    wait("the end of the certificates", || SystemTime::now() > until + Duration::from_secs(1));
    // Two more, since one may have been on its way.
    let before = kept();
    wait("checkpoints without new connections", || kept() > before + 80);

    renew(&certs, &Role::ALL, SystemTime::now() + Duration::from_secs(3600));
    let operator = Trust::read(&certs, Role::Operator).unwrap();
    let runtime = runtime();
    // It looks once a second.
    wait("the renewed certificate", || {
        runtime.block_on(operator.dial(Role::Coordinator, at)).is_ok()
    });
    coordinator.wait_for("the certificates have changed and were read anew");
    let visitors: Vec<_> = (0..300)
        .map(|_| {
            runtime.block_on(async {
                let channel = operator.dial(Role::Coordinator, at).await.expect("renewed");
                let mut client = CoordinatorClient::new(channel);
                client.status(proto::wire::StatusRequest {}).await.expect("an answer");
                client
            })
        })
        .collect();
    // A new worker finds a place, and both workers new connections to each other.
    let standby = worker(&machine, "worker-2", at, &secure);
    standby.wait_for("joined");
    let [first, second] = seated;
    drop(second);
    coordinator.wait_for("returning to the last checkpoint");
    let before = kept();
    wait("a checkpoint of the standby", || kept() > before);
    coordinator.wait_for("only asked for the status");
    let stop = proto::wire::StopRequest { reason: "the test".into() };
    runtime.block_on(visitors.last().unwrap().clone().stop(stop)).expect("the last one may ask");
    for role in [first, standby, loader, coordinator] {
        assert!(role.end().success());
    }
}

/// The newest step of a run directory with a checkpoint; 0 without one.
fn newest_checkpoint(run: &Path) -> u64 {
    let folders = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    let whole =
        folders.map(|entry| entry.path()).filter(|path| path.join("manifest.json").exists());
    let step = |path: PathBuf| path.to_str()?.rsplit_once("step-")?.1.parse().ok();
    whole.filter_map(step).max().unwrap_or(0)
}

/// Everybody on a machine can connect to 127.0.0.1, but only the user who started `up` can read the
/// certificates that it made.
#[test]
fn up_talks_only_to_those_who_can_read_the_certificates_that_it_made() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(program(), folder.path(), &ENDLESS);
    up.wait_for_step(3);
    let run = up.run_dir();
    let machine = Machine::here(program(), folder.path());
    // Whoever knows the run directory finds the certificates, without being told to.
    let (well, said) = machine.run(&["status", text(&run)]);
    assert!(well, "{said}");
    let live = |line: &str| line.starts_with("worker") || line.starts_with("loader");
    let mut addresses: Vec<&str> =
        said.lines().filter(|line| live(line)).filter_map(|l| l.rsplit(' ').next()).collect();
    assert_eq!(addresses.len(), 3, "two workers and a loader answer through it: {said}");
    let memory = std::fs::read_to_string(run.join("up.json")).unwrap();
    let memory: serde_json::Value = serde_json::from_str(&memory).unwrap();
    addresses.push(memory["coordinator"].as_str().unwrap());
    let own = run.join("certs");
    let elsewhere = certificates(folder.path(), "elsewhere");
    let foreign = Trust::read(&elsewhere, Role::Worker).unwrap();
    for address in addresses {
        for (trust, reason) in
            [(&Trust::default(), "takes TLS connections only"), (&foreign, "another authority's")]
        {
            let dialed = runtime().block_on(trust.dial(Role::Coordinator, address));
            says(&dialed.expect_err(address).to_string(), &[reason]);
        }
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&own), mode(&net::key_file(&own, Role::Operator))), (0o700, 0o600));
    // A second `up` on the same run is refused and leaves the certificates as they are.
    let authority = || std::fs::read(own.join(AUTHORITY)).unwrap();
    let before = authority();
    let second = Up::start(program(), folder.path(), &ENDLESS).end();
    assert!(!second.status.success());
    assert!(authority() == before, "the run in training keeps its certificates");
    up.signal("TERM");
    assert!(up.end().status.success());
}

/// While one authority follows another, `authority.pem` has the certificates of both.
#[test]
fn certificates_of_a_second_authority_are_trusted_once_it_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (old, new) = (certificates(folder, "old"), certificates(folder, "new"));
    let machine = Machine::here(program(), folder);
    let coordinator = coordinator(&machine, folder, "127.0.0.1:0", &["--certs", text(&old)]);
    let both = |folder: &Path| {
        let texts = [&old, &new].map(|folder| std::fs::read_to_string(folder.join(AUTHORITY)));
        let text = texts.map(Result::unwrap).concat();
        let (file, beside) = (folder.join(AUTHORITY), folder.join("beside"));
        std::fs::write(&beside, text).and_then(|()| std::fs::rename(beside, file)).unwrap();
    };
    let ask = |certs: &Path| machine.run(&["status", &coordinator.address, "--certs", text(certs)]);
    let added = copy(&new, &folder.join("added"));
    both(&added);
    let (well, said) = ask(&added);
    assert!(!well, "the coordinator doesn't know the new authority: {said}");
    says(&said, &["another authority's"]);
    both(&old);
    wait("the new authority's operator", || ask(&added).0);
    assert!(ask(&old).0, "and the old one's is still served");
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to.into()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// One role's certificate doesn't open another's door.
#[test]
fn a_role_can_make_only_its_own_calls() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let certs = certificates(folder, "certs");
    let machine = Machine::here(program(), folder);
    let secure = ["--certs", text(&certs)];
    let steps = [&secure[..], &["--steps", "10"]].concat();
    let coordinator = coordinator(&machine, folder, "127.0.0.1:0", &steps);
    let loader = loader(&machine, &coordinator.address, "127.0.0.1:0", &secure);
    let worker = worker(&machine, "worker-0", &coordinator.address, &secure);
    let trust = |role| Trust::read(&certs, role).unwrap();
    let refused = |status: Status, words: &[&str]| {
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        says(status.message(), words);
    };
    runtime().block_on(async {
        let as_loader = trust(Role::Loader);
        let channel = as_loader.dial(Role::Coordinator, &coordinator.address).await.unwrap();
        let call = CoordinatorClient::new(channel).work(tokio_stream::pending()).await;
        refused(call.unwrap_err(), &["Work takes a worker's", "this one is a loader's"]);
        let channel = as_loader.dial(Role::Worker, &worker.address).await.unwrap();
        let call = ExchangeClient::new(channel).send(tokio_stream::pending()).await;
        refused(call.unwrap_err(), &["Exchange takes a worker's", "a loader's"]);
        let operator = trust(Role::Operator);
        let channel = operator.dial(Role::Loader, &loader.address).await.unwrap();
        let call = LoaderClient::new(channel).describe(proto::wire::DescribeRequest {}).await;
        refused(call.unwrap_err(), &["Describe takes a worker's or a coordinator's"]);
        // A dialler who meets another role than it looks for turns away.
        let met = operator.dial(Role::Coordinator, &loader.address).await.unwrap_err();
        says(
            &met.to_string(),
            &["a coordinator is expected there", "says loader", &loader.address],
        );
    });
    loader.wait_for("refuses this loader's certificate");
}

/// The other way round: TLS at one end only, and a certificate of the server that nobody takes.
#[test]
fn a_worker_with_certificates_does_not_talk_to_a_coordinator_without() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let certs = certificates(folder, "certs");
    let machine = Machine::here(program(), folder);
    let coordinator = coordinator(&machine, folder, "127.0.0.1:0", &["--steps", "10"]);
    let address = &coordinator.address;
    let (well, said) = machine.run(&["worker", "--coordinator", address, "--certs", text(&certs)]);
    assert!(!well, "{said}");
    says(&said, &[address, "speaks without TLS", "start it with --certs too"]);
    coordinator.wait_for("it speaks TLS, and this process was started without --certs");
}

#[test]
fn listening_beyond_this_machine_needs_certificates_or_the_option_insecure() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::here(program(), folder.path());
    let args = ["loader", "--data", "synthetic:72:200:40", "--listen", "0.0.0.0:0"];
    let (well, said) = machine.run(&args);
    assert!(!well);
    says(&said, &["0.0.0.0:", "without TLS", "--certs", "--insecure"]);
    // An address that others can't dial is refused: 0.0.0.0, or a port that is not a number.
    for advertise in ["0.0.0.0:7", "host:port"] {
        for role in [&args[..], &["worker", "--listen", "0.0.0.0:0"]] {
            let more = ["--insecure", "--coordinator", "127.0.0.1:1", "--advertise", advertise];
            let (well, said) = machine.run(&[role, &more].concat());
            assert!(!well);
            says(&said, &["--advertise", advertise]);
        }
    }
}

/// An expired certificate is said at once, at a role's start.
#[test]
fn a_role_with_an_expired_certificate_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let until = SystemTime::now() - Duration::from_secs(60);
    let certs = certificates_until(folder.path(), "certs", until);
    let machine = Machine::here(program(), folder.path());
    let (well, said) = machine.run(&["status", "127.0.0.1:1", "--certs", text(&certs)]);
    assert!(!well);
    says(&said, &["operator.pem", "expired on", "--renew --roles operator"]);
}
