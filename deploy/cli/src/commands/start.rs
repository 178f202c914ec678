//! The weights that `--from` names: those of another run, or of a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use coordinator::run_dir::{RunDir, Start};
use safetensors::tensor::SafeTensors;

use super::export;
use crate::files::is_there;
use crate::recipe::resolved;

/// Longest file accepted, in bytes; AlexNet has 244 MB.
const LONGEST: u64 = 4 << 30;

/// Brings the weights of a run or file into a new run directory. `None` if there is a run already
/// that started from them.
///
/// # Errors
/// If the run there started from something else, or the weights can't be read.
pub(super) fn ready(run: &Path, from: &str) -> Result<Option<Start>> {
    let origin = resolved(from)
        .with_context(|| format!("--from {from} is no path"))?
        .to_string_lossy()
        .into_owned();
    if is_there(&run.join("run.json"))? {
        let run = RunDir::open(run)?;
        let began = run.record.start.as_ref();
        ensure!(
            began.is_some_and(|start| start.from == origin),
            "the run in {} started from {}, not from {origin}: leave out --from to resume it, or \
             choose another --run",
            run.path.display(),
            began.map_or("initial values".to_owned(), Start::in_words)
        );
        return Ok(None);
    }
    must_be_there(from)?;
    let (weights, step, classes) = if Path::new(from).is_dir() {
        let dir = RunDir::open(Path::new(from))?;
        let classes = dir.data_set()?.classes.clone();
        let (step, weights) = export::best(dir)?;
        (weights, Some(step), classes)
    } else {
        of_file(from)?
    };
    let start = Start::keep(run, &weights, origin, step, classes)?;
    Ok(Some(start))
}

/// Refuses a run or file that isn't there.
///
/// # Errors
/// If it isn't there, or can't be looked at.
pub(super) fn must_be_there(from: &str) -> Result<()> {
    ensure!(is_there(Path::new(from))?, "--from {from}: there is no such run or file");
    Ok(())
}

/// The recipe of the run that `--from` names; `None` if it names a file, or nothing.
pub(super) fn recipe(from: &str) -> Option<String> {
    let recipe = Path::new(from).join("recipe.toml");
    is_there(&recipe).unwrap_or(false).then(|| recipe.to_string_lossy().into_owned())
}

/// Weights, steps and classes of a safetensors file.
fn of_file(from: &str) -> Result<(Vec<u8>, Option<u64>, Vec<String>)> {
    let cant = || format!("the weights of --from {from} can't be read");
    let mut bytes = Vec::new();
    let file = File::open(from).with_context(cant)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).with_context(cant)?;
    ensure!(bytes.len() as u64 <= LONGEST, "--from {from} is longer than 4 GiB: no AlexNet");
    let read = SafeTensors::read_metadata(&bytes);
    let (_, metadata) = read.with_context(|| {
        format!(
            "--from {from} is no safetensors file: give a run directory, or what \
             `alexnet export RUN OUT.safetensors` wrote"
        )
    })?;
    if metadata.tensors().is_empty() {
        bail!("--from {from} has no tensors");
    }
    let about = metadata.metadata().clone().unwrap_or_default();
    let step = about.get("step").and_then(|step| step.parse().ok());
    let classes = match about.get("classes") {
        Some(text) => serde_json::from_str(text)
            .with_context(|| format!("the class names in --from {from} are no list of names"))?,
        None => Vec::new(),
    };
    Ok((bytes, step, classes))
}
