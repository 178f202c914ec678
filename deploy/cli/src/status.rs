//! `alexnet status`, and the calls to a coordinator that `up` makes.

mod on_disk; // a run's directory, for runs that no coordinator answers for

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use coordinator::progress;
use net::{Role, Trust};
use proto::wire::coordinator_client::CoordinatorClient;
use proto::wire::{RunStatus, StatusRequest, StopRequest};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::args::StatusArgs;
use crate::memory::Memory;
use crate::recipe::RUNS;
use crate::roles::one_thread;
use crate::say;

use on_disk::OnDisk;

/// Longer than dialling may take, which knows better why nobody answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Prints how a run stands: its coordinator's answer, or what its directory says.
pub(crate) fn run(args: &StatusArgs) -> Result<()> {
    let trust = args.certs.trust(Role::Operator)?;
    match &args.run {
        None => of_directory(&newest_run(Path::new(RUNS))?, &trust),
        Some(run) if Path::new(run).is_dir() => of_directory(Path::new(run), &trust),
        Some(address) if is_address(address) => {
            let status = now(&trust, address).with_context(|| {
                format!(
                    "the run at {address} can't be asked: it may be over, or never have started \
                     (`{} status RUN` reads its directory)",
                    say::program()
                )
            })?;
            show(&status);
            Ok(())
        }
        Some(other) => bail!(
            "{other} is neither a run directory nor a coordinator's HOST:PORT such as \
             127.0.0.1:4000"
        ),
    }
}

/// Whether this has the form `HOST:PORT`.
pub(crate) fn is_address(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Asks the coordinator that `up` remembered, and reads the directory if it does not answer, or
/// works on another run by now.
fn of_directory(path: &Path, trust: &Trust) -> Result<()> {
    let kept = OnDisk::read(path)?;
    let coordinator = Memory::read(path).and_then(|memory| memory.coordinator);
    let live = coordinator.and_then(|address| now(trust, &address).ok());
    if let Some(status) = live.filter(|live| live.run_id == kept.status.run_id) {
        show(&status);
        return Ok(());
    }
    show(&kept.status);
    if let Some(best) = kept.best {
        line("best", best);
    }
    line("to continue", kept.next);
    Ok(())
}

/// A coordinator's answer.
fn now(trust: &Trust, address: &str) -> Result<RunStatus> {
    one_thread()?.block_on(async { ask(&mut client(trust, address)?).await })
}

fn show(status: &RunStatus) {
    line("run", format!("{} in {}", status.run_id, status.run_dir));
    line("phase", status.phase.clone());
    if status.step > 0 {
        line("progress", progress::numbers(status, None));
        line("rate", status.rate.to_string());
    }
    line(
        "checkpoint",
        match status.checkpoint_step {
            0 => "none yet".into(),
            step => format!("step {}", say::thousands(step)),
        },
    );
    status.workers.iter().for_each(|worker| line("worker", worker.clone()));
    status.loaders.iter().for_each(|loader| line("loader", loader.clone()));
    status.notices.iter().for_each(|notice| line("notice", notice.clone()));
}

fn line(what: &str, value: String) {
    say::line(format_args!("{what:<12} {value}"));
}

/// A connection that is made when it is first used, and again when it was lost.
pub(crate) fn client(trust: &Trust, address: &str) -> Result<CoordinatorClient<Channel>> {
    Ok(CoordinatorClient::new(trust.dial_lazily(Role::Coordinator, address)?))
}

/// How the run stands.
pub(crate) async fn ask(client: &mut CoordinatorClient<Channel>) -> Result<RunStatus> {
    answer(client.status(StatusRequest {})).await
}

/// Asks for a checkpoint and the end of the run; the step after which it ends.
pub(crate) async fn stop(client: &mut CoordinatorClient<Channel>, reason: &str) -> Result<u64> {
    let request = StopRequest { reason: reason.into() };
    Ok(answer(client.stop(request)).await?.after_step)
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
    let answer = tokio::time::timeout(ANSWER_WITHIN, call).await;
    let answer = answer.context("it says nothing for ten seconds")?;
    // The message alone: what tonic wraps around it tells people nothing.
    answer.map(Response::into_inner).map_err(|status| anyhow!("{}", status.message().to_owned()))
}

/// The run that `up` started last under `runs`.
fn newest_run(runs: &Path) -> Result<PathBuf> {
    let when = |dir: &PathBuf| {
        let remembered = std::fs::metadata(Memory::file(dir)).and_then(|m| m.modified());
        remembered.unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let folders = std::fs::read_dir(runs).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = folders.filter(|dir| Memory::file(dir).is_file()).max_by_key(when);
    newest.with_context(|| {
        format!(
            "no run was started under {}: give a run directory, or the coordinator's HOST:PORT",
            runs.display()
        )
    })
}
