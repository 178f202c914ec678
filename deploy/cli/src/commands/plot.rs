//! `alexnet plot`: loss, errors and speed of a run, or a comparison of several, as one SVG and one
//! PNG.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::draw::{curves, runs};
use crate::metrics::Metrics;
use crate::print;

const HELP: &str = "\
Of one run, loss, errors, the relative change of each layer and speed are drawn over its steps; of
several, errors and loss over their epochs, in one color per run. Marks show where the learning rate
drops.

Examples:
  alexnet plot runs/caffe-my-pictures
  alexnet plot runs/cifar10-relu-cifar-10 runs/cifar10-tanh-cifar-10 figure-1.svg";

/// Arguments of `alexnet plot`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct PlotArgs {
    /// Run directories; a last path that ends in .svg or .png is that of --out
    #[arg(id = "run", required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,

    /// Write OUT.svg and OUT.png [default: RUN/plot; must be named for several runs]
    #[arg(long, value_name = "OUT")]
    out: Option<PathBuf>,
}

impl PlotArgs {
    /// The runs, and where their drawing belongs if it was named.
    fn runs_and_out(&self) -> (&[PathBuf], Option<&Path>) {
        match (self.runs.split_last(), &self.out) {
            (Some((last, runs)), None) if !runs.is_empty() && is_drawing(last) => {
                (runs, Some(last))
            }
            (_, out) => (&self.runs, out.as_deref()),
        }
    }
}

/// Returns true for the path of a drawing: no folder, and with a drawing's ending.
fn is_drawing(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("svg" | "png")) && !path.is_dir()
}

/// Draws `metrics.jsonl` of the runs.
pub(super) fn run(args: &PlotArgs) -> Result<()> {
    let read = |run: &PathBuf| Metrics::read(&run.join("metrics.jsonl"));
    let (dirs, out) = args.runs_and_out();
    let files = match dirs {
        [run] => {
            let out = out.map_or_else(|| run.join("plot"), Path::to_path_buf);
            curves::draw(&read(run)?, &print::last_part(run), &out)?
        }
        several => {
            let out = out.context("name the drawing of several runs: add --out FILE.svg")?;
            let run = |(name, run)| Ok(runs::Run { name, metrics: read(run)? });
            let named = runs::names_of(several).into_iter().zip(several);
            runs::draw(&named.map(run).collect::<Result<Vec<_>>>()?, out)?
        }
    };
    for file in files {
        print::line(file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_path_is_the_drawing_if_it_looks_like_one() {
        let args = |runs: &[&str], out: Option<&str>| PlotArgs {
            runs: runs.iter().map(PathBuf::from).collect(),
            out: out.map(PathBuf::from),
        };
        let several = args(&["a", "b", "c.svg"], None);
        let (runs, out) = several.runs_and_out();
        assert_eq!((runs.len(), out), (2, Some(Path::new("c.svg"))));
        let (one, option) = (args(&["a"], None), args(&["a", "b.png"], Some("c")));
        assert_eq!(one.runs_and_out().1, None);
        assert_eq!(
            (option.runs_and_out().0.len(), option.runs_and_out().1),
            (2, Some("c".as_ref()))
        );
        assert_eq!(args(&["a.png"], None).runs_and_out().0.len(), 1, "a run of an odd name");
    }
}
