//! `alexnet doctor`: checks a machine before anything is trained there, and prints what it found
//! and how to mend what is wrong.
//!
//! Each part *probes* (asks the machine) and *judges* (turns numbers into verdicts, without the
//! machine). Parts run one after the other, so that none disturbs another's measurement. Each part
//! runs in a thread with a deadline, so that a disk or a driver that hangs is a line of the report.

mod check; // a line: measurement, verdict, remedy
mod report; // lines for people, one document for programs
mod needs; // memory and disk that a run takes
mod system;
mod cpu;
mod memory;
mod limits;
mod disk;
mod loopback;
mod gpu;
mod nvrtc;
mod clock;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use gpu_worker::backend::cuda::Search;
use tokio::sync::oneshot;

use crate::devices::{Devices, devices};
use crate::options::{Call, GpuArgs};
use crate::print;
use crate::recipe::{self, RUNS};
use crate::runtime::one_thread;
use crate::signals::Asked;
use check::{Check, Verdict};
use clock::{Clock, Moment};

/// Deadline of the whole report, even if a part hangs.
const ALL_WITHIN: Duration = Duration::from_secs(9);
/// Deadline of a part that only reads files of the system or uses the loopback network.
const QUICK_WITHIN: Duration = Duration::from_secs(2);
/// Deadline of the disk: a slow one takes long to sync.
const DISK_WITHIN: Duration = Duration::from_secs(4);
/// Deadline of the GPUs: an idle driver first initializes all of them.
const GPUS_WITHIN: Duration = Duration::from_secs(7);
/// Time that the running part has to remove its files after Ctrl-C.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);

const NOTES: &str = "\
Each line is `ok`; or `look`: training works, but slower, on less, or with a risk; or `wrong`:
training does not work here. Below a line with `look` or `wrong` stands what to do. The exit code is
1 if a line is `wrong`, and 0 otherwise. The report needs no root, takes less than 10 seconds and
leaves no files. It may run beside a training: while it measures a GPU, for fractions of a second,
it takes 8 MB there and the memory that the driver takes for every program.

In a bug report, please paste the whole output.";

/// Arguments of `alexnet doctor`.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(super) struct DoctorArgs {
    /// Measure the disk of this run directory, which need not exist yet [default: runs]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,

    /// Check these devices, one per half, as for `up`; one that cannot be used is then `wrong`
    #[arg(long, default_value = "auto", value_name = "DEVICE,DEVICE")]
    devices: String,

    /// Libraries of the GPUs.
    #[command(flatten)]
    gpu: GpuArgs,

    /// Print one JSON document instead (docs/doctor.md lists its keys)
    #[arg(long)]
    json: bool,
}

/// A part of the report.
struct Part {
    /// Line of the report if the part does not answer.
    silent: Check,
    within: Duration,
    probe: Box<dyn FnOnce() -> Vec<Check> + Send>,
}

impl Part {
    fn new(
        silent: Check,
        within: Duration,
        probe: impl FnOnce() -> Vec<Check> + Send + 'static,
    ) -> Self {
        Self { silent, within, probe: Box::new(probe) }
    }

    /// A part that answers at once on any system that is not overloaded.
    fn quick(key: &'static str, probe: impl FnOnce() -> Vec<Check> + Send + 'static) -> Self {
        let silent = Check::ok(key, "no answer");
        let silent = silent.look("The system is overloaded: run this command again later.");
        Self::new(silent, QUICK_WITHIN, probe)
    }
}

/// Prints the report. The exit code is 1 if something is wrong.
pub(super) fn run(args: &DoctorArgs, call: Call<'_>) -> Result<ExitCode> {
    let tell = |checks: &[Check]| {
        if !args.json {
            print::line(report::group(checks));
        }
    };
    let checks =
        one_thread()?.block_on(examine(parts(args, args.gpu.search(call.environment)), tell))?;
    match args.json {
        true => print::line(serde_json::to_string_pretty(&report::Document::new(&checks))?),
        false => print::line(format_args!("\n{}", report::summary(&checks))),
    }
    Ok(match report::worst(&checks) {
        Verdict::Wrong => ExitCode::FAILURE,
        Verdict::Ok | Verdict::Look => ExitCode::SUCCESS,
    })
}

/// All parts, in the order of the report.
fn parts(args: &DoctorArgs, search: Search) -> Vec<Part> {
    let began = Moment::now();
    let run = args.run.clone();
    let typed = args.devices.clone();
    vec![
        Part::quick("program.answer", || system::System::probe().checks()),
        Part::quick("cpu.answer", || cpu::Cpu::probe().checks()),
        Part::quick("memory.answer", || memory::Memory::checks(memory::Memory::probe())),
        Part::quick("limits.answer", || limits::Limits::probe().checks()),
        Part::new(
            Check::ok("disk.answer", "the file system of the run directory does not answer").wrong(
                "A run there would hang: see mount and dmesg, or choose another folder with --run.",
            ),
            DISK_WITHIN,
            move || disk::Disk::probe(run.as_deref(), Path::new(RUNS)).checks(),
        ),
        Part::quick("network.answer", || vec![loopback::judge(&loopback::probe())]),
        Part::new(silent_driver(&typed), GPUS_WITHIN, move || gpus(&typed, &search)),
        Part::quick("clock.answer", move || Clock::probe(began).checks()),
    ]
}

/// The line about a driver that hangs; it is `wrong` only if `--devices` names a GPU.
fn silent_driver(typed: &str) -> Check {
    let check = Check::ok("gpu.answer", "the driver does not answer");
    let remedy = "See nvidia-smi and dmesg; a driver that hangs needs a restart of the machine. \
                  Until then, train on the CPU with --devices cpu,cpu.";
    if typed.contains("cuda") { check.wrong(remedy) } else { check.look(remedy) }
}

/// GPUs, NVRTC, and what a run would compute on.
fn gpus(typed: &str, search: &Search) -> Vec<Check> {
    let gpus = gpu::Gpus::probe();
    let new_enough = gpus.cards.iter().flatten().filter(|card| card.is_new_enough());
    let capabilities: Vec<u32> = new_enough.map(|card| card.found.capability).collect();
    let mut checks = gpus.checks();
    for compilers in nvrtc::Compilers::probe(search, gpus.driver(), &capabilities) {
        checks.extend(compilers.checks());
    }
    let columns = recipe::load("caffe", &[]).map_or(2, |recipe| recipe.columns);
    checks.push(judge_devices(typed, devices(typed, columns, search)));
    checks
}

/// Judges the devices that `--devices` names or selects.
fn judge_devices(typed: &str, devices: Result<Devices>) -> Check {
    match devices {
        Ok(devices) => {
            // The lines about GPUs have the remedy.
            let why = devices.why.map_or(String::new(), |why| format!("; {}", gpu::split(&why).0));
            let names = devices.names.join(" and ");
            Check::ok("devices.taken", format!("--devices {typed} uses {names}{why}"))
        }
        Err(error) => Check::ok("devices.taken", format!("--devices {typed}: {error}")).wrong(
            "Mend what the lines above report about the GPU, or choose other devices; every \
             machine can train with --devices cpu,cpu.",
        ),
    }
}

/// Runs part after part and passes the lines of each to `tell`; returns all lines.
///
/// # Errors
/// If the user or the system asks the program to stop.
async fn examine(parts: Vec<Part>, mut tell: impl FnMut(&[Check])) -> Result<Vec<Check>> {
    let started = Instant::now();
    let mut stop = Asked::take_over();
    let mut all = Vec::new();
    for part in parts {
        let Part { silent, within, probe } = part;
        let (answer, mut answered) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = answer.send(probe());
        });
        let left = ALL_WITHIN.saturating_sub(started.elapsed()).min(within);
        let checks = tokio::select! {
            answer = tokio::time::timeout(left, &mut answered) => match answer {
                Ok(Ok(checks)) => checks,
                // The thread has panicked, and the panic was printed.
                Ok(Err(_)) => vec![Check { measured: "the check failed".into(), ..silent }
                    .look("This is a fault of this program: please report it with these lines.")],
                Err(_) => vec![unanswered(silent, left)],
            },
            () = stop.asked() => {
                let _ = tokio::time::timeout(LEAVES_WITHIN, &mut answered).await;
                bail!("stopped before the report was complete");
            }
        };
        tell(&checks);
        all.extend(checks);
    }
    Ok(all)
}

fn unanswered(silent: Check, within: Duration) -> Check {
    let measured = format!("{} within {:.1} s", silent.measured, within.as_secs_f64());
    Check { measured, ..silent }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(parts: Vec<Part>) -> Vec<Check> {
        let runtime = one_thread().expect("a runtime");
        runtime.block_on(examine(parts, |_| ())).expect("nobody stops it")
    }

    fn silent() -> Check {
        Check::ok("disk.answer", "no answer").wrong("Look at the disk.")
    }

    #[test]
    fn a_part_that_hangs_is_a_line_and_the_next_ones_are_told() {
        let (_hold, held) = std::sync::mpsc::channel::<()>();
        let hangs = Part::new(silent(), Duration::from_secs(1), move || {
            let _ = held.recv();
            Vec::new()
        });
        let next = Part::quick("cpu.answer", || vec![Check::ok("cpu.model", "A model")]);
        let checks = examined(vec![hangs, next]);
        assert_eq!(checks[0].verdict, Verdict::Wrong);
        assert_eq!(checks[0].measured, "no answer within 1.0 s");
        assert_eq!(checks[1].measured, "A model");
    }

    #[test]
    fn each_part_of_the_report_that_hangs_has_a_line_of_its_own_with_a_remedy() {
        let (cli, _) = crate::commands::parse(["alexnet", "doctor"].map(Into::into)).unwrap();
        let crate::commands::Command::Doctor(args) = cli.command else { panic!("not doctor") };
        let mut holds = Vec::new();
        let hanging = parts(&args, Search::default()).into_iter().map(|part| {
            let (hold, held) = std::sync::mpsc::channel::<()>();
            holds.push(hold);
            let probe = move || {
                let _ = held.recv();
                Vec::new()
            };
            Part { within: Duration::from_millis(20), probe: Box::new(probe), ..part }
        });
        let checks = examined(hanging.collect());
        let keys: Vec<_> = checks.iter().map(|check| check.key).collect();
        let names = ["program", "cpu", "memory", "limits", "disk", "network", "gpu", "clock"];
        assert_eq!(keys, names.map(|name| format!("{name}.answer")));
        for check in checks {
            let wanted = if check.key == "disk.answer" { Verdict::Wrong } else { Verdict::Look };
            assert_eq!(check.verdict, wanted, "{}", check.key);
            assert!(check.measured.ends_with("within 0.0 s"), "{}", check.measured);
            assert!(check.remedy.is_some(), "{}", check.key);
        }
    }

    #[test]
    fn a_part_that_fails_is_a_line() {
        let fails = Part::new(silent(), GPUS_WITHIN, || panic!("a fault, as this test wants"));
        let checks = examined(vec![fails]);
        assert_eq!(checks[0].verdict, Verdict::Look);
        assert_eq!(checks[0].measured, "the check failed");
    }

    #[test]
    fn a_driver_that_hangs_is_wrong_only_for_a_run_on_gpus() {
        assert_eq!(silent_driver("auto").verdict, Verdict::Look);
        assert_eq!(silent_driver("cpu,cuda:0").verdict, Verdict::Wrong);
    }

    #[test]
    fn devices_that_were_typed_and_cannot_be_used_are_wrong() {
        let refused =
            judge_devices("cuda:7,cpu", Err(anyhow::anyhow!("no such GPU; here is none")));
        assert_eq!(refused.verdict, Verdict::Wrong);
        assert_eq!(refused.measured, "--devices cuda:7,cpu: no such GPU; here is none");
        let names = vec!["cpu:1".to_owned(), "cpu:1".to_owned()];
        let taken =
            judge_devices("auto", Ok(Devices { names, why: Some("no driver; install it".into()) }));
        assert_eq!(taken.verdict, Verdict::Ok);
        assert_eq!(taken.measured, "--devices auto uses cpu:1 and cpu:1; no driver");
    }
}
