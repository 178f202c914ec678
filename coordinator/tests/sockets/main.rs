//! Whole runs over real sockets, with workers and loaders that compute next to nothing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod fakes;
mod watching; // Prometheus and TensorBoard

use std::path::Path;
use std::time::Duration;

use coordinator::run_dir::RunDir;
use coordinator::{Config, Ending, Error, Outcome, RunStatus, Until};
use fakes::{End, Habits, loader, recipe, worker};
use model::halves::{Half, Partition};
use net::{Role, Trust};
use proto::status::Phase;
use proto::wire;
use proto::wire::coordinator_client::CoordinatorClient;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// A limit on everything: nothing may hang.
const LIMIT: Duration = Duration::from_secs(60);
const SHARD: usize = 3 << 20;

struct Coordinator {
    address: String,
    stop: oneshot::Sender<()>,
    status: watch::Receiver<RunStatus>,
    run: JoinHandle<Result<Outcome, Error>>,
}

impl Coordinator {
    async fn start(run_dir: &Path, steps: u64, change: impl FnOnce(&mut Config)) -> Self {
        let (progress, status) = watch::channel(RunStatus::default());
        let mut config = Config::new(run_dir, recipe(), 7);
        config.until = Some(Until::Steps(steps));
        config.checkpoint_every = 4;
        config.heartbeat_timeout = Duration::from_secs(5);
        config.replacement_deadline = Duration::from_secs(5);
        config.progress = Some(progress);
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            // A sender that is gone never stops the run.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let run = tokio::spawn(coordinator::run(config, listener, shutdown));
        Self { address, stop, status, run }
    }

    fn worker(&self, exchange: &str, habits: Habits) -> JoinHandle<End> {
        worker(&self.address, exchange, Habits { shard_bytes: SHARD, ..habits })
    }

    async fn until(&mut self, condition: impl FnMut(&RunStatus) -> bool) {
        tokio::time::timeout(LIMIT, self.status.wait_for(condition)).await.unwrap().unwrap();
    }

    async fn end(self) -> Result<Outcome, Error> {
        ended(self.run).await
    }
}

async fn ended<T>(task: JoinHandle<T>) -> T {
    tokio::time::timeout(LIMIT, task).await.unwrap().unwrap()
}

fn finished() -> End {
    End::Finished { reason: "finished".into(), failed: false }
}

/// Both shards of the last checkpoint of an undisturbed run.
async fn undisturbed(steps: u64) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), steps, |_| {}).await;
    let loader = loader(&coordinator.address, "d1").await;
    let workers = ["a:1", "b:1"].map(|at| coordinator.worker(at, Habits::default()));
    let outcome = coordinator.end().await.unwrap();
    assert_eq!((outcome.ending, outcome.step), (Ending::Finished, steps));
    for worker in workers {
        assert_eq!(ended(worker).await, finished());
    }
    assert_eq!(ended(loader).await.unwrap(), "finished");
    shards(dir.path())
}

fn shards(run_dir: &Path) -> Vec<String> {
    let (manifest, refused) = RunDir::open(run_dir).unwrap().newest().unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    manifest.shards.into_iter().map(|shard| shard.sha256).collect()
}

fn metrics_steps(run_dir: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(run_dir.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    lines.filter(|l| l["kind"] == "step").map(|l| l["step"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_run_directory_holds_all_that_predict_needs() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), 20, |_| {}).await;
    let _loader = loader(&coordinator.address, "d1").await;
    let _workers = ["a:1", "b:1"].map(|at| coordinator.worker(at, Habits::default()));
    let outcome = coordinator.end().await.unwrap();
    assert_eq!((outcome.steps_done, outcome.images_per_s), (20, 10_000.0));
    let run = RunDir::open(dir.path()).unwrap();
    assert_eq!(run.recipe, recipe());
    assert_eq!(run.data_set().unwrap().classes[9], "class 9");
    assert_eq!(run.mean().unwrap().len(), 3 * 256 * 256);
    // The last three, the best among them; every fourth step and the end of each epoch.
    assert_eq!(run.steps().unwrap(), [12, 16, 20]);
    assert_eq!(run.best().unwrap().0.step, 20);
    assert_eq!(outcome.best.unwrap().step, 20);
    assert_eq!(metrics_steps(dir.path()), (1..=20).collect::<Vec<_>>());
    assert!(run.record.devices[0].starts_with("half A: fake at"));
}

#[tokio::test]
async fn a_worker_that_dies_or_freezes_is_replaced_and_nothing_is_different_in_the_end() {
    let calm = undisturbed(30).await;
    for habits in [
        Habits { dies_at: Some(14), ..Habits::default() },
        Habits { freezes_at: Some(14), ..Habits::default() },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut coordinator = Coordinator::start(dir.path(), 30, |c| {
            c.heartbeat_timeout = Duration::from_secs(2);
        })
        .await;
        let _loader = loader(&coordinator.address, "d1").await;
        let a = coordinator.worker("a:1", Habits::default());
        coordinator.until(|s| !s.workers.is_empty()).await;
        let b = coordinator.worker("b:1", habits);
        let missing = vec![Partition::Half(Half::B)];
        let waiting = Phase::WaitingForWorkers { missing };
        coordinator.until(|s| s.phase == waiting).await;
        let replacement = coordinator.worker("b:2", Habits::default());
        let outcome = coordinator.end().await.unwrap();
        assert_eq!(outcome.ending, Ending::Finished);
        assert!(outcome.notices[0].contains("half B failed: "), "{:?}", outcome.notices);
        assert_ne!(ended(b).await, finished());
        assert_eq!((ended(a).await, ended(replacement).await), (finished(), finished()));
        assert_eq!(shards(dir.path()), calm);
        assert_eq!(metrics_steps(dir.path()), (1..=30).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_third_worker_stands_by_and_takes_over_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start(dir.path(), 30, |_| {}).await;
    let dying = coordinator.worker("a:1", Habits { dies_at: Some(9), ..Habits::default() });
    coordinator.until(|s| s.workers.len() == 1).await;
    let others = ["b:1", "c:1"].map(|at| coordinator.worker(at, Habits::default()));
    coordinator.until(|s| s.workers.len() == 3).await;
    let _loader = loader(&coordinator.address, "d1").await;
    assert_eq!(coordinator.end().await.unwrap().ending, Ending::Finished);
    assert_eq!(ended(dying).await, End::Died);
    for worker in others {
        assert_eq!(ended(worker).await, finished());
    }
    assert_eq!(shards(dir.path()), undisturbed(30).await);
}

#[tokio::test]
async fn a_full_disk_costs_a_checkpoint_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), 14, |c| c.keep = 10).await;
    let _loader = loader(&coordinator.address, "d1").await;
    let fills = Some((8, dir.path().to_path_buf()));
    let _a = coordinator.worker("a:1", Habits { fills_disk_at: fills, ..Habits::default() });
    let _b = coordinator.worker("b:1", Habits::default());
    let outcome = coordinator.end().await.unwrap();
    assert_eq!(outcome.ending, Ending::Finished);
    let said = &outcome.notices[0];
    assert!(said.contains("step 8 failed") && said.contains("No space left"), "{said}");
    let run = RunDir::open(dir.path()).unwrap();
    assert_eq!(run.steps().unwrap(), [4, 10, 12, 14]);
    assert!(!coordinator::checkpoint::folder(dir.path(), 8).exists());
    assert_eq!(shards(dir.path()), undisturbed(14).await);
}

#[tokio::test]
async fn a_run_that_is_stopped_resumes_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start(dir.path(), 5000, |c| {
        c.checkpoint_every = 100_000;
    })
    .await;
    let _loader = loader(&coordinator.address, "d1").await;
    let _workers = ["a:1", "b:1"].map(|at| coordinator.worker(at, Habits::default()));
    coordinator.until(|s| s.step >= 15).await;
    let mut client = CoordinatorClient::new(
        Trust::default().dial(Role::Coordinator, &coordinator.address).await.unwrap(),
    );
    let stopping = client.stop(wire::StopRequest { reason: "enough".into() }).await.unwrap();
    let outcome = coordinator.end().await.unwrap();
    assert_eq!(outcome.ending, Ending::Stopped);
    assert!(outcome.step >= stopping.into_inner().after_step);
    assert_eq!(RunDir::open(dir.path()).unwrap().newest().unwrap().0.step, outcome.step);
    let to = outcome.step + 3;
    let coordinator = Coordinator::start(dir.path(), to, |c| c.checkpoint_every = 100_000).await;
    let _loader = loader(&coordinator.address, "d1").await;
    let _workers = ["a:1", "b:1"].map(|at| coordinator.worker(at, Habits::default()));
    let outcome = coordinator.end().await.unwrap();
    assert_eq!((outcome.ending, outcome.steps_done), (Ending::Finished, 3));
    assert_eq!(shards(dir.path()), undisturbed(to).await);
    let again = Coordinator::start(dir.path(), to, |_| {}).await.end().await.unwrap();
    assert_eq!((again.ending, again.step), (Ending::AlreadyFinished, to));
}

#[tokio::test]
async fn late_workers_and_loaders_are_told_to_finish_by_a_coordinator_that_lingers() {
    let dir = tempfile::tempdir().unwrap();
    let linger = |c: &mut Config| c.linger = Duration::from_secs(3);
    let mut coordinator = Coordinator::start(dir.path(), 4, linger).await;
    let _loader = loader(&coordinator.address, "d1").await;
    let _workers = ["a:1", "b:1"].map(|at| coordinator.worker(at, Habits::default()));
    coordinator.until(|s| s.phase == Phase::Ended).await;
    // A replacement that was late; then all of a run that was finished before.
    for again in [false, true] {
        if again {
            assert_eq!(coordinator.end().await.unwrap().ending, Ending::Finished);
            coordinator = Coordinator::start(dir.path(), 4, linger).await;
        }
        let late = coordinator.worker("c:1", Habits::default());
        assert_eq!(ended(late).await, finished());
        let late = loader(&coordinator.address, "d1").await;
        assert_eq!(ended(late).await.unwrap(), "finished");
    }
    assert_eq!(coordinator.end().await.unwrap().ending, Ending::AlreadyFinished);
}

#[tokio::test]
async fn sigterm_stops_like_the_rpc() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start(dir.path(), 1_000_000, |_| {}).await;
    let _loader = loader(&coordinator.address, "d1").await;
    let worker = coordinator.worker("a:1", Habits::default());
    let _other = coordinator.worker("b:1", Habits::default());
    coordinator.until(|s| s.step >= 5).await;
    coordinator.stop.send(()).unwrap();
    let outcome = ended(coordinator.run).await.unwrap();
    assert_eq!(outcome.ending, Ending::Stopped);
    assert_eq!(RunDir::open(dir.path()).unwrap().newest().unwrap().0.step, outcome.step);
    assert_eq!(
        ended(worker).await,
        End::Finished { reason: "asked to stop".into(), failed: false }
    );
}

#[tokio::test]
async fn a_damaged_checkpoint_is_refused_by_name_and_the_one_before_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), 8, |_| {}).await;
    let _loader = loader(&coordinator.address, "d1").await;
    let _workers = ["a:1", "b:1"].map(|at| coordinator.worker(at, Habits::default()));
    coordinator.end().await.unwrap();
    let shard = coordinator::checkpoint::folder(dir.path(), 8).join("half-b.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[SHARD / 2] ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let mut coordinator = Coordinator::start(dir.path(), 8, |_| {}).await;
    coordinator.until(|s| s.checkpoint_step == 4).await;
    let _loader = loader(&coordinator.address, "d1").await;
    let _workers = ["a:1", "b:1"].map(|at| coordinator.worker(at, Habits::default()));
    let outcome = coordinator.end().await.unwrap();
    let said = &outcome.notices[0];
    assert!(said.contains("step 8 is not used") && said.contains("half-b.safetensors"), "{said}");
    assert_eq!(shards(dir.path()), undisturbed(8).await);
}

#[tokio::test]
async fn without_a_replacement_the_run_ends_and_says_which_half_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), 30, |_| {}).await;
    let _loader = loader(&coordinator.address, "d1").await;
    let a = coordinator.worker("a:1", Habits { dies_at: Some(9), ..Habits::default() });
    let b = coordinator.worker("b:1", Habits { dies_at: Some(9), ..Habits::default() });
    let said = coordinator.end().await.unwrap_err().to_string();
    assert!(said.contains("no worker for half A and half B"), "{said}");
    // Nobody trains beyond 8 before the checkpoint of 4 is kept; that of 8 may be on its way still.
    let kept = ["resumes from step 4", "resumes from step 8"];
    assert!(kept.iter().any(|words| said.contains(words)), "{said}");
    assert_eq!((ended(a).await, ended(b).await), (End::Died, End::Died));
}

#[tokio::test]
async fn refused_connections_are_told_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut coordinator = Coordinator::start(dir.path(), 1_000_000, |_| {}).await;
    let _loader = loader(&coordinator.address, "d1").await;
    coordinator.until(|s| !s.loaders.is_empty()).await;
    let other = ended(loader(&coordinator.address, "d2").await).await.unwrap_err();
    assert_eq!(other.code(), tonic::Code::FailedPrecondition);
    assert!(other.message().contains("d2") && other.message().contains("d1"), "{other}");
    let old = coordinator.worker("x:1", Habits { version: Some("0.0.1"), ..Habits::default() });
    let End::Refused(code, said) = ended(old).await else { panic!("let in") };
    assert_eq!(code, tonic::Code::FailedPrecondition);
    assert!(said.contains("0.0.1") && said.contains(proto::VERSION), "{said}");
    let channel = Trust::default().dial(Role::Coordinator, &coordinator.address).await.unwrap();
    let mut store = wire::store_client::StoreClient::new(channel);
    let name = "checkpoints/step-00000004/half-a.safetensors";
    let status = fakes::put(&mut store, name, 9, 1, 8).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    let request = wire::FileRequest { name: "../../etc/passwd".into() };
    assert_eq!(store.get(request).await.unwrap_err().code(), tonic::Code::NotFound);
    coordinator.stop.send(()).unwrap();
    assert_eq!(ended(coordinator.run).await.unwrap().ending, Ending::Stopped);
}

#[tokio::test]
async fn other_pictures_than_the_run_began_with_end_a_resumed_run() {
    let dir = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start(dir.path(), 4, |_| {}).await;
    let _loader = loader(&coordinator.address, "d1").await;
    let _workers = ["a:1", "b:1"].map(|at| coordinator.worker(at, Habits::default()));
    coordinator.end().await.unwrap();
    let coordinator = Coordinator::start(dir.path(), 8, |_| {}).await;
    let _loader = loader(&coordinator.address, "d2").await;
    let said = coordinator.end().await.unwrap_err().to_string();
    assert!(said.contains("d1") && said.contains("d2") && said.contains("--run"), "{said}");
}
