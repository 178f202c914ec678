//! `alexnet timing`: the time of a run's steps per layer, both halves side by side.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use coordinator::run_dir::RunDir;
use coordinator::timing::table::{self, Halves};
use coordinator::timing::{HalfStep, earlier};

use crate::draw::step;
use crate::print;

/// Arguments of `alexnet timing`.
#[derive(Debug, Args)]
pub(super) struct TimingArgs {
    /// Run directory
    run: PathBuf,

    /// Also draw one timed step over time: OUT.svg and OUT.png
    #[arg(long, value_name = "OUT")]
    picture: Option<PathBuf>,

    /// Draw this step [default: the last one in the trace]
    #[arg(long, requires = "picture")]
    step: Option<u64>,

    /// Start the drawing at this millisecond
    #[arg(long, requires = "picture", value_name = "MS")]
    from: Option<f64>,

    /// End the drawing at this millisecond
    #[arg(long, requires = "picture", value_name = "MS")]
    to: Option<f64>,
}

/// Prints the table; draws the picture if asked to.
pub(super) fn run(args: &TimingArgs) -> Result<()> {
    let dir = RunDir::open(&args.run)?;
    let halves = read(&dir.timing_path())?;
    let table = table::side_by_side(&halves).context("no step of this run has been timed yet")?;
    print::line(table.trim_end());
    let trace = dir.trace_path();
    if trace.is_file() {
        print::line(format_args!(
            "\nsteps over time: open {} in https://ui.perfetto.dev",
            trace.display()
        ));
    }
    if let Some(out) = &args.picture {
        for file in step::draw(&trace, args.step, (args.from, args.to), out)? {
            print::line(file.display());
        }
    }
    Ok(())
}

/// Reads `timing.jsonl`, and the file before it if there is one. Of a step that was repeated after
/// a rollback, the last time counts.
pub(super) fn read(file: &Path) -> Result<Halves> {
    let text_of = |file: &Path| std::fs::read_to_string(file).unwrap_or_default();
    let text = text_of(&earlier(file)) + &text_of(file);
    if text.is_empty() {
        bail!(
            "no step of this run has been timed: a run times steps 2 to 4 and then every {}th, \
             unless --timing-every changes that",
            proto::timing::EVERY
        );
    }
    parse(&text).with_context(|| format!("{} is damaged", file.display()))
}

/// Parses the lines; the last one may be cut off, since the run may be writing it.
fn parse(text: &str) -> Result<Halves> {
    let mut halves = Halves::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((i, line)) = lines.next() {
        match serde_json::from_str::<HalfStep>(line) {
            Ok(step) => {
                halves.entry(step.half.clone()).or_default().insert(step.step, step);
            }
            Err(_) if lines.peek().is_none() => {}
            Err(e) => return Err(e).with_context(|| format!("line {}", i + 1)),
        }
    }
    Ok(halves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_done_twice_counts_once_and_damage_is_named() {
        let line = |step: u64, ms: f64| {
            format!(
                r#"{{"half":"half A","step":{step},"step_ms":{ms},"rest_ms":0,"clock_uncertainty_ms":0,"layers":[]}}"#
            )
        };
        let text = format!("{}\n{}\n{}\n{{\"half", line(2, 5.0), line(3, 6.0), line(2, 7.0));
        let halves = parse(&text).unwrap();
        let steps: Vec<_> = halves["half A"].values().map(|s| (s.step, s.step_ms)).collect();
        assert_eq!(steps, [(2, 7.0), (3, 6.0)]);
        let error = format!("{:#}", parse(&format!("oops\n{}", line(2, 1.0))).unwrap_err());
        assert!(error.starts_with("line 1"), "{error}");
    }
}
