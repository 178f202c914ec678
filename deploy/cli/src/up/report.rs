//! The last lines of `up`: what the run reached, its directory, and commands to type next.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use coordinator::Ending;
use coordinator::run_dir::RunDir;

use super::LocalRun;
use crate::metrics::Metrics;
use crate::print;

/// Prints how the run ended.
pub(crate) fn ended(run: &LocalRun, ending: &Ending, took: Duration) -> Result<()> {
    let dir = RunDir::open(&run.dir)?;
    let again = format!("{} up --run {}", print::program(), print::quoted(&run.dir));
    if *ending == Ending::Stopped {
        print::line(stopped(&dir, &again)?);
        return Ok(());
    }
    let metrics = Metrics::read(&dir.metrics_path())?;
    let classes = dir.data_set()?.classes.len();
    let (step, epoch) = metrics.steps.last().map_or((0, 0.0), |s| (s.figures.step, s.epoch));
    let took = print::duration(took.as_secs_f64());
    let so_far = format!("{} steps, {epoch:.1} epochs", print::thousands(step));
    match ending {
        Ending::AlreadyFinished => {
            print::line(format_args!("the run is already finished: {so_far}"));
        }
        _ => print::line(format_args!("trained {so_far} in {took}")),
    }
    if let Some(line) = reached(&metrics, classes) {
        print::line(line);
    }
    print::line(format_args!("run directory: {}", run.dir.display()));
    print::line("");
    next(&run.dir, epoch, &again, run.data.starts_with("synthetic"));
    Ok(())
}

/// The step from which a stopped run resumes: that of its newest checkpoint.
fn stopped(dir: &RunDir, again: &str) -> Result<String> {
    match dir.newest() {
        Ok((kept, _)) => Ok(format!(
            "stopped after {} steps, {:.1} epochs; to resume: {again}",
            print::thousands(kept.step),
            kept.epoch
        )),
        Err(error) if error.is_absent() => {
            Ok(format!("stopped before the first checkpoint; to begin anew: {again}"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The best and the last evaluation, against chance.
fn reached(metrics: &Metrics, classes: usize) -> Option<String> {
    let last = metrics.evals.last()?;
    let best = metrics.evals.iter().min_by(|a, b| a.top1_error.total_cmp(&b.top1_error))?;
    let percent = |error: f64| format!("{:.1} %", 100.0 * error);
    let chance = percent(1.0 - 1.0 / classes.max(1) as f64);
    let mut line = format!("validation top-1 error {} (chance {chance})", percent(last.top1_error));
    if classes > 5 {
        line.push_str(&format!(", top-5 error {}", percent(last.top5_error)));
    }
    if best.top1_error < last.top1_error {
        let step = print::thousands(best.step);
        line.push_str(&format!(", best {} at step {step}", percent(best.top1_error)));
    }
    Some(line)
}

fn next(run: &Path, epochs: f64, again: &str, built_in: bool) {
    let program = print::program();
    let run = print::quoted(run);
    let line = |command: String, what: &str| print::line(format_args!("  {command}\n      {what}"));
    print::line("next commands:");
    line(format!("{program} plot {run}"), "draw loss, errors and speed as SVG and PNG");
    line(
        format!("{program} eval {run} --views 10"),
        "measure as in the paper, with a confusion matrix",
    );
    line(format!("{program} predict {run} PICTURE…"), "name what is in a picture");
    let further = (2.0 * epochs).ceil().max(1.0);
    line(format!("{again} --epochs {further}"), "train longer");
    if built_in {
        line(
            format!("{program} up --data my-pictures"),
            "train the full AlexNet on your own pictures: my-pictures/train/<class>/* and \
             my-pictures/val/<class>/*",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Eval;

    #[test]
    fn errors_are_printed_beside_chance() {
        let eval =
            |step, top1_error| Eval { step, top1_error, top5_error: 0.01, ..Eval::default() };
        let metrics = Metrics { evals: vec![eval(10, 0.25), eval(1200, 0.125)], steps: vec![] };
        assert_eq!(
            reached(&metrics, 10).unwrap(),
            "validation top-1 error 12.5 % (chance 90.0 %), top-5 error 1.0 %"
        );
        let metrics = Metrics { evals: vec![eval(1000, 0.25), eval(1200, 0.5)], steps: vec![] };
        assert_eq!(
            reached(&metrics, 2).unwrap(),
            "validation top-1 error 50.0 % (chance 50.0 %), best 25.0 % at step 1,000"
        );
        assert_eq!(reached(&Metrics::default(), 2), None);
    }
}
