//! `alexnet plot`: loss, errors and speed of a run as one SVG and one PNG.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::draw::curves;
use crate::metrics::Metrics;
use crate::print;

/// Arguments of `alexnet plot`.
#[derive(Debug, Args)]
pub(super) struct PlotArgs {
    /// Run directory
    run: PathBuf,

    /// Write OUT.svg and OUT.png [default: RUN/plot]
    #[arg(long, value_name = "OUT")]
    out: Option<PathBuf>,
}

/// Draws `metrics.jsonl` of a run.
pub(super) fn run(args: &PlotArgs) -> Result<()> {
    let metrics = Metrics::read(&args.run.join("metrics.jsonl"))?;
    let title = std::path::absolute(&args.run)
        .ok()
        .and_then(|run| run.file_name().map(|name| name.to_string_lossy().into_owned()))
        .unwrap_or_default();
    let out = args.out.clone().unwrap_or_else(|| args.run.join("plot"));
    for file in curves::draw(&metrics, &title, &out)? {
        print::line(file.display());
    }
    Ok(())
}
