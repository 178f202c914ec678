//! `alexnet audit`: steps of a run's past, computed again on this machine and compared with the
//! record.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use clap::Args;
use coordinator::run_dir::RunDir;
use loader::Source;
use model::random::Permutation;

use super::replay::recorded;
use super::stored::pictures_of;
use crate::metrics::{Metrics, Step};
use crate::network::Past;
use crate::options::{Call, DeviceArgs};
use crate::print;

const HELP: &str = "\
A step can be computed again from any checkpoint before it, since all its numbers follow from the
weights, the seed and the pictures. The record has the loss of each step and checksums of all that
the halves sent each other, so that the first difference names the half and its device. Steps
between the checkpoint and a chosen step are compared too, and weights and momentum with each
checkpoint on the way.

Examples:
  alexnet audit runs/caffe-my-pictures
  alexnet audit runs/caffe-my-pictures --steps 50 --devices cuda:0,cuda:1
  alexnet audit runs/caffe-my-pictures --step 4711

The exit code is 1 if a step has other bits than on record.";

/// Arguments of `alexnet audit`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct AuditArgs {
    /// Run directory
    run: PathBuf,

    /// Compute this many randomly chosen steps again
    #[arg(long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// Compute this step again instead, counted from 1; may be repeated
    #[arg(long, conflicts_with = "steps", value_parser = clap::value_parser!(u64).range(1..))]
    step: Vec<u64>,

    /// Prepared pictures of the run [default: where the run had them]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,

    /// Choice of the devices; they need not be those of the run.
    #[command(flatten)]
    devices: DeviceArgs,
}

/// Computes the chosen steps again, from the nearest checkpoint before each.
pub(super) fn run(args: &AuditArgs, call: Call<'_>) -> Result<()> {
    let dir = RunDir::open(&args.run)?;
    let metrics = Metrics::read(&dir.metrics_path())?;
    let last = metrics.steps.last().map_or(0, |step| step.figures.step);
    ensure!(last > 0, "{} has no finished step yet", args.run.display());
    let chosen = if args.step.is_empty() { random(args.steps, last) } else { sorted(&args.step) };
    let furthest = chosen.last().copied().unwrap_or(last);
    let steps = &recorded(&metrics, furthest, &args.run)?[..furthest as usize];
    let numbers: Vec<_> = chosen.iter().map(|step| print::thousands(*step)).collect();
    print::line(format_args!("computing again: {}", numbers.join(", ")));
    let data = args.data.clone().map_or_else(|| pictures_of(&dir, "--data"), Ok)?;
    let source = Source::open(&data.parse()?)?;
    let kept = dir.steps()?;
    let mut past: Option<Past<'_>> = None;
    let (mut compared, mut without) = (0, 0);
    let bar = indicatif::ProgressBar::new_spinner();
    for step in chosen {
        let nearest = kept.iter().copied().filter(|kept| *kept < step).max().unwrap_or(0);
        // Dropped before the next network is made: two would not fit into memory.
        past = past.filter(|past| past.done() >= nearest);
        let mut at = match past.take() {
            Some(past) => past,
            None => Past::before(&dir, step, &source, &args.devices, call.environment)?,
        };
        while at.done() < step {
            let next: &Step = &steps[at.done() as usize];
            bar.set_message(format!("step {}", print::thousands(next.figures.step)));
            at.next(next)?;
            if kept.contains(&at.done()) {
                at.equals_checkpoint(&dir)?;
            }
            compared += 1;
            without += u64::from(next.sent.is_none());
        }
        past = Some(at);
    }
    bar.finish_and_clear();
    print::line(format_args!("{} the bits on record", have(compared)));
    if without > 0 {
        print::line(format_args!(
            "of {}, only the loss was compared: the network is not cut in two, or an earlier \
             version recorded them",
            print::count(without, "step", "steps")
        ));
    }
    Ok(())
}

fn have(steps: u64) -> String {
    let verb = if steps == 1 { "has" } else { "have" };
    format!("{} {verb}", print::count(steps, "step", "steps"))
}

/// Steps in order, each once.
fn sorted(steps: &[u64]) -> Vec<u64> {
    let mut steps = steps.to_vec();
    steps.sort_unstable();
    steps.dedup();
    steps
}

/// At most `n` different steps from 1 to `last`, others at each call.
fn random(n: u64, last: u64) -> Vec<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let shuffled = Permutation::new(now.as_nanos() as u64, 0, last);
    sorted(&(0..n.min(last)).map(|i| 1 + shuffled.at(i)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_steps_are_on_record_and_in_order() {
        let steps = random(5, 10);
        assert!(steps.is_sorted() && steps.iter().all(|step| (1..=10).contains(step)));
        assert_eq!(steps.len(), 5, "each once");
        assert_eq!(random(u64::MAX, 10), (1..=10).collect::<Vec<_>>());
    }
}
