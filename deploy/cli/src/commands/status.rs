//! `alexnet status`: the state of a run, from its coordinator or its run directory.

mod json; // the state as one JSON object
mod on_disk; // a run's directory, for runs that no coordinator answers for

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::Args;
use coordinator::progress;
use net::{Role, Trust};
use proto::status::{LoaderStatus, Phase, WorkerStatus};
use proto::wire::RunStatus;

use crate::options::{Call, TlsArgs};
use crate::recipe::RUNS;
use crate::runtime::one_thread;
use crate::up::{Remembered, operator};
use crate::{client, print};

use on_disk::OnDisk;

/// Arguments of `alexnet status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Run directory, its name under runs/, or the coordinator's HOST:PORT [default: the newest run
    /// under runs/]
    #[arg(value_name = "RUN|ADDRESS")]
    run: Option<String>,

    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,

    /// Certificates, of which the operator's is used.
    #[command(flatten)]
    tls: TlsArgs,
}

/// Prints the state of a run, as its coordinator answers or its directory shows.
pub(super) fn run(args: &StatusArgs, call: Call<'_>) -> Result<()> {
    match &args.run {
        None => of_directory(&newest_run(Path::new(RUNS))?, args),
        Some(run) if Path::new(run).is_dir() => of_directory(Path::new(run), args),
        // As `up` and `status` without arguments name it.
        Some(run) if Path::new(RUNS).join(run).is_dir() => {
            of_directory(&Path::new(RUNS).join(run), args)
        }
        Some(address) if is_address(address) => {
            let trust = args.tls.trust(Role::Operator, call.environment.certs.as_deref())?;
            let status = now(&trust, address).with_context(|| {
                format!(
                    "no coordinator answers at {address}: the run may have ended, or not started \
                     yet; `{} status RUN` reads its directory",
                    print::program()
                )
            })?;
            show_live(&status, args.json);
            Ok(())
        }
        Some(other) => bail!(
            "{other} is neither a run directory, here or in {RUNS}/, nor a coordinator's \
             HOST:PORT, such as 127.0.0.1:4000"
        ),
    }
}

/// Whether this has the form `HOST:PORT`.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Asks the coordinator that `up` remembered. Reads the directory if that coordinator does not
/// answer, or works on another run by now.
///
/// A run that `up` began here has certificates of its own, unless others were typed. Only its user
/// can read them; others see what is in the directory.
fn of_directory(path: &Path, args: &StatusArgs) -> Result<()> {
    let kept = OnDisk::read(path)?;
    let coordinator = Remembered::read(path)?.and_then(|remembered| remembered.coordinator);
    let trust = match args.tls.folder() {
        Some(_) => Some(args.tls.trust(Role::Operator, None)?),
        None => operator(path).ok(),
    };
    let live = coordinator.zip(trust).and_then(|(address, trust)| now(&trust, &address).ok());
    if let Some(status) = live.filter(|live| live.run_id == kept.status.run_id) {
        show_live(&status, args.json);
        return Ok(());
    }
    if args.json {
        json::print(&kept.status, kept.label, kept.best_error);
        return Ok(());
    }
    show(&kept.status, kept.phase);
    if let Some(best) = kept.best {
        line("best", best);
    }
    line("to continue", kept.next);
    Ok(())
}

/// A coordinator's answer.
fn now(trust: &Trust, address: &str) -> Result<RunStatus> {
    one_thread()?.block_on(async { client::status(&mut client::connect(trust, address)?).await })
}

/// Prints a coordinator's answer.
fn show_live(status: &RunStatus, as_json: bool) {
    let phase = Phase::of(status);
    if as_json {
        return json::print(status, phase.as_ref().map_or("unknown", Phase::label), None);
    }
    show(status, phase.map_or("unknown to this version".into(), |phase| phase.to_string()));
}

fn show(status: &RunStatus, phase: String) {
    line("run", format!("{} in {}", status.run_id, status.run_dir));
    line("phase", phase);
    if status.step > 0 {
        line("progress", progress::numbers(status, None));
        line("rate", status.rate.to_string());
    }
    line(
        "checkpoint",
        match status.checkpoint_step {
            0 => "none yet".into(),
            step => format!("step {}", print::thousands(step)),
        },
    );
    let workers = status.workers.iter().cloned().map(WorkerStatus::from);
    workers.for_each(|worker| line("worker", worker.to_string()));
    let loaders = status.loaders.iter().cloned().map(LoaderStatus::from);
    loaders.for_each(|loader| line("loader", loader.to_string()));
    status.notices.iter().for_each(|notice| line("notice", notice.clone()));
}

fn line(what: &str, value: String) {
    print::line(format_args!("{what:<12} {value}"));
}

/// The run that `up` started last under `runs`.
fn newest_run(runs: &Path) -> Result<PathBuf> {
    let when = |dir: &PathBuf| {
        let remembered = std::fs::metadata(Remembered::file(dir)).and_then(|m| m.modified());
        remembered.unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let folders = std::fs::read_dir(runs).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = folders.filter(|dir| Remembered::file(dir).is_file()).max_by_key(when);
    newest.with_context(|| {
        format!(
            "there is no run under {}: name a run directory, or the coordinator's HOST:PORT",
            runs.display()
        )
    })
}
