//! `alexnet coordinator|worker|loader`: one role in this process.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coordinator::Ending;
use net::{Role, Trust};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::args::{CoordinatorArgs, ListenArgs, LoaderArgs, WorkerArgs};
use crate::children::{METRICS, READY};
use crate::recipe;
use crate::say;

/// Resolves when the process is asked to stop.
type Asked = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a coordinator prints at its end.
pub(crate) const FINISHED: &str = "finished";
/// There was nothing left to do.
pub(crate) const ALREADY_FINISHED: &str = "already finished";
/// It was asked to stop before its end.
pub(crate) const STOPPED: &str = "stopped";

/// `alexnet coordinator`.
pub(crate) fn coordinator(args: &CoordinatorArgs) -> Result<()> {
    let recipe = recipe::load(args.recipe.recipe.as_deref().unwrap_or("caffe"), &args.recipe.sets)?;
    let seed = args.recipe.seed.unwrap_or(crate::args::DEFAULT_SEED);
    let mut config = coordinator::Config::new(&args.run, recipe, seed);
    config.until = recipe::until(&args.recipe);
    if let Some(steps) = args.recipe.checkpoint_every {
        config.checkpoint_every = steps;
    }
    if let Some(steps) = args.recipe.timing_every {
        config.timing_every = steps;
    }
    if let Some(keep) = args.recipe.keep {
        config.keep = keep;
    }
    if let Some(address) = &args.watch.metrics {
        config.metrics = Some(metrics(address)?);
    }
    config.progress_every = Duration::from_secs_f64(args.progress_every);
    args.loss.set(&mut config);
    let trust = args.listen.certs.trust(Role::Coordinator)?;
    config.trust = trust.clone();
    in_a_process(&args.listen, &trust, async move |listener, stop| {
        config.linger = Duration::from_secs(args.linger);
        let outcome = coordinator::run(config, listener, stop).await?;
        say::line(match outcome.ending {
            Ending::Finished => FINISHED,
            Ending::AlreadyFinished => ALREADY_FINISHED,
            Ending::Stopped => STOPPED,
            Ending::Failed { reason } => bail!("{reason}"),
        });
        Ok(())
    })
}

/// Listens where Prometheus is to be answered, and says so.
fn metrics(address: &str) -> Result<std::net::TcpListener> {
    let address = match address.parse::<u16>() {
        Ok(port) => format!("127.0.0.1:{port}"),
        Err(_) => address.to_owned(),
    };
    let listener = std::net::TcpListener::bind(&address)
        .with_context(|| cant_listen(&address, "--metrics"))?;
    let address = listener.local_addr().context("the listener has no address")?;
    say::line(format_args!("{METRICS}http://{address}/metrics"));
    Ok(listener)
}

/// `alexnet worker`.
pub(crate) fn worker(args: &WorkerArgs) -> Result<()> {
    let mut config = gpu_worker::Config::new(args.coordinator.clone(), args.device.parse()?);
    config.advertise = args.advertise.clone();
    config.search = args.gpu.search();
    config.kernel_cache = args.gpu.kernel_cache.clone();
    config.device_deadline = Duration::from_secs(args.gpu.device_deadline);
    args.wait.set(&mut config);
    let trust = args.listen.certs.trust(Role::Worker)?;
    config.trust = trust.clone();
    in_a_process(&args.listen, &trust, async move |listener, stop| {
        gpu_worker::run(config, listener, stop).await?;
        Ok(())
    })
}

/// `alexnet loader`.
pub(crate) fn loader(args: &LoaderArgs) -> Result<()> {
    let trust = args.listen.certs.trust(Role::Loader)?;
    let config = loader::Config {
        data: args.data.parse()?,
        coordinator: args.coordinator.clone(),
        advertise: args.advertise.clone(),
        trust: trust.clone(),
        threads: usize::from(args.threads),
    };
    in_a_process(&args.listen, &trust, async move |listener, stop| {
        loader::run(config, listener, stop).await?;
        Ok(())
    })
}

/// Listens, says so, and runs a role until it ends, is asked to, or its parent is gone.
fn in_a_process<R>(args: &ListenArgs, trust: &Trust, role: R) -> Result<()>
where
    R: AsyncFnOnce(TcpListener, Asked) -> Result<()>,
{
    let runtime = one_thread()?;
    let done = runtime.block_on(async {
        let listener = listen(&args.listen).await?;
        let address = listener.local_addr().context("the listener has no address")?;
        if !(address.ip().is_loopback() || trust.is_secure() || args.insecure) {
            bail!(
                "listening on {address} without TLS lets everyone on that network read and steer \
                 the run: add --certs DIR (`alexnet certs DIR` makes them), or --insecure on a \
                 network that you trust"
            );
        }
        if let Some(until) = trust.valid_until() {
            tracing::info!(until, "connections are encrypted, with a certificate");
        }
        say::line(format_args!("{READY}{address}"));
        let (ask, asked) = oneshot::channel();
        let parent = parent_gone(args.with_parent);
        let asking = async {
            match net::asked_to_stop().await {
                Ok(()) => drop(ask.send(())),
                Err(error) => tracing::warn!(%error, "signals can't be received"),
            }
            std::future::pending::<()>().await;
        };
        let asked: Asked = Box::pin(async move {
            let _ = asked.await;
        });
        tokio::select! {
            done = role(listener, asked) => done,
            () = asking => Ok(()),
            _ = parent => Err(anyhow::anyhow!("`alexnet up` is gone, so this process ends too")),
        }
    });
    // Threads that compute or read files may be in the middle of something nobody waits for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

async fn listen(address: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| cant_listen(address, "--listen"))
}

fn cant_listen(address: &str, option: &str) -> String {
    format!(
        "can't listen on {address}: choose another address with {option}, or port 0 for any free \
         port"
    )
}

/// Resolves when standard input closes; never, if nobody holds it.
async fn parent_gone(held: bool) {
    if !held {
        return std::future::pending().await;
    }
    let (tell, told) = oneshot::channel();
    // A thread, because a pending read of standard input would hold up the runtime's end.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = tell.send(());
    });
    let _ = told.await;
}

/// A runtime that shares nothing with the threads that compute.
pub(crate) fn one_thread() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the system gives no event queue to wait on")
}
