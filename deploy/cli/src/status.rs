//! `alexnet status`, and the calls to a coordinator that `up` makes.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use proto::trust::{Role, Trust};
use proto::wire::coordinator_client::CoordinatorClient;
use proto::wire::{RunStatus, StatusRequest, StopRequest};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::args::StatusArgs;
use crate::memory::Memory;
use crate::progress;
use crate::roles::one_thread;
use crate::say;

/// Longer than dialling may take, which knows better why nobody answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Prints what a running coordinator is doing.
pub(crate) fn run(args: &StatusArgs) -> Result<()> {
    let address = match &args.address {
        Some(address) => address.clone(),
        None => newest_run(Path::new("runs"))?,
    };
    let trust = args.certs.trust(Role::Operator)?;
    let asking = async { ask(&mut client(&trust, &address)?).await };
    let status = one_thread()?.block_on(asking).with_context(|| {
        format!("the run at {address} can't be asked: it may be over, or never have started")
    })?;
    let line = |what: &str, value: String| say::line(format_args!("{what:<12} {value}"));
    line("run", format!("{} in {}", status.run_id, status.run_dir));
    line("phase", status.phase.clone());
    if status.step > 0 {
        line("progress", progress::line(&status, None));
        line("rate", format!("{}", status.rate));
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
    Ok(())
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

/// Address of the coordinator that `up` started last under `runs`.
fn newest_run(runs: &Path) -> Result<String> {
    let when = |dir: &PathBuf| {
        let remembered = std::fs::metadata(Memory::file(dir)).and_then(|m| m.modified());
        remembered.unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let folders = std::fs::read_dir(runs).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = folders.filter(|dir| Memory::file(dir).is_file()).max_by_key(when);
    newest.and_then(|dir| Memory::read(&dir)).and_then(|memory| memory.coordinator).ok_or_else(
        || anyhow!("no run was started under {}: give the coordinator's HOST:PORT", runs.display()),
    )
}
