//! All roles of a run in this process, each on a thread with its own runtime, connected by real
//! sockets on port 0. Tests that kill roles start real processes instead.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use coordinator::{Outcome, RunStatus, Until};
use gpu_worker::Device;
use loader::DataSpec;
use model::recipe::Recipe;
use net::{Role as Certified, Trust};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The recipe.
    pub recipe: Recipe,
    /// The pictures.
    pub data: DataSpec,
    /// The run directory.
    pub run_dir: PathBuf,
    /// End of the run.
    pub until: Until,
    /// Number of loaders.
    pub loaders: usize,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// The seed.
    pub seed: u64,
    /// Folder of certificates for TLS between the roles; None for plain connections.
    pub certs: Option<PathBuf>,
}

/// A running role on its thread.
#[derive(Debug)]
pub struct Role<T> {
    stop: Option<oneshot::Sender<()>>,
    thread: JoinHandle<T>,
    /// Address on which the role listens.
    pub address: String,
}

impl<T> Role<T> {
    /// Asks the role to stop, as SIGTERM does, without waiting for its end.
    pub fn ask_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits for the role to end and returns its result.
    pub fn join(self) -> T {
        self.thread.join().expect("no role panics")
    }
}

/// Starts a role: `run` gets its listener and a future that ends with [`Role::ask_to_stop`].
pub fn start<T, F>(run: impl FnOnce(TcpListener, Shutdown) -> F + Send + 'static) -> Role<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (stop, stopped) = oneshot::channel::<()>();
    let (at, address) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            at.send(listener.local_addr().expect("an address").to_string()).expect("a receiver");
            run(listener, Box::pin(async move { drop(stopped.await) })).await
        })
    });
    Role { stop: Some(stop), thread, address: address.recv().expect("the role's address") }
}

/// The status of a run, for waiting.
pub type Progress = watch::Receiver<RunStatus>;

/// Waits until the status of the run satisfies `is`.
pub fn wait_until(progress: &mut Progress, is: impl FnMut(&RunStatus) -> bool) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), progress.wait_for(is))
            .await
            .expect("within a minute")
            .expect("the coordinator is there");
    });
}

/// A future that resolves when the role is asked to stop.
pub type Shutdown = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Cluster {
    /// Ten steps of the small network on small synthetic pictures.
    pub fn small(run_dir: &Path) -> Self {
        Self {
            recipe: crate::small::recipe(),
            data: "synthetic:72:200:40".parse().expect("a data spec"),
            run_dir: run_dir.to_path_buf(),
            until: Until::Steps(10),
            loaders: 1,
            checkpoint_every: 5,
            seed: crate::small::SEED,
            certs: None,
        }
    }

    fn trust(&self, role: Certified) -> Trust {
        let read = |folder: &PathBuf| Trust::read(folder, role).expect("certificates");
        self.certs.as_ref().map(read).unwrap_or_default()
    }

    /// Starts the coordinator.
    pub fn coordinator(&self) -> Role<Result<Outcome, coordinator::Error>> {
        self.watched_coordinator().0
    }

    /// Starts the coordinator and returns its progress, to be watched.
    pub fn watched_coordinator(&self) -> (Role<Result<Outcome, coordinator::Error>>, Progress) {
        self.coordinator_with(|_| {})
    }

    /// As [`Self::watched_coordinator`], with a changed configuration.
    pub fn coordinator_with(
        &self,
        change: impl FnOnce(&mut coordinator::Config),
    ) -> (Role<Result<Outcome, coordinator::Error>>, Progress) {
        let mut config = coordinator::Config::new(&self.run_dir, self.recipe.clone(), self.seed);
        config.version = alexnet::BUILD; // real processes may join
        config.until = Some(self.until);
        config.checkpoint_every = self.checkpoint_every;
        config.trust = self.trust(Certified::Coordinator);
        let (tell, progress) = watch::channel(RunStatus::default());
        config.progress = Some(tell);
        change(&mut config);
        let role = start(move |listener, stop| coordinator::run(config, listener, stop));
        (role, progress)
    }

    /// Starts one loader.
    pub fn loader(&self, coordinator: &str) -> Role<Result<(), loader::Error>> {
        let mut config = loader::Config::new(self.data.clone());
        config.coordinator = Some(coordinator.to_string());
        config.threads = 1;
        config.version = alexnet::BUILD;
        config.trust = self.trust(Certified::Loader);
        start(move |listener, stop| loader::run(config, listener, stop))
    }

    /// Starts one worker.
    pub fn worker(&self, coordinator: &str) -> Role<gpu_worker::Result<()>> {
        let mut config = gpu_worker::Config::new(coordinator, Device::Cpu { threads: 1 });
        config.version = alexnet::BUILD;
        config.trust = self.trust(Certified::Worker);
        start(move |listener, stop| gpu_worker::run(config, listener, stop))
    }

    /// Runs all roles to the end of the run.
    pub fn run(&self) -> Outcome {
        let coordinator = self.coordinator();
        let at = coordinator.address.clone();
        let loaders: Vec<_> = (0..self.loaders).map(|_| self.loader(&at)).collect();
        let workers: Vec<_> = (0..self.recipe.columns).map(|_| self.worker(&at)).collect();
        for worker in workers {
            worker.join().expect("the worker ends well");
        }
        for loader in loaders {
            loader.join().expect("the loader ends well");
        }
        coordinator.join().expect("the run ends well")
    }

    /// The shard files of a checkpoint, half A's first.
    pub fn shards(&self, step: u64) -> Vec<Vec<u8>> {
        shards(&self.run_dir, step)
    }
}

/// The shard files of a run directory's checkpoint, half A's first.
pub fn shards(run_dir: &Path, step: u64) -> Vec<Vec<u8>> {
    let folder = run_dir.join(format!("checkpoints/step-{step:08}"));
    ["half-a", "half-b"]
        .iter()
        .map(|half| {
            let path = folder.join(format!("{half}.safetensors"));
            std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        })
        .collect()
}
