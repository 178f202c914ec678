//! The results of `eval`: printed, and kept in a folder, by default `RUN/eval`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use loader::Split;
use serde::Serialize;

use super::measure::{Measured, OfRun, Scores};
use crate::confusion::{Confusion, OfClass};
use crate::draw::{confusion, sheet};
use crate::{print, recipe};

/// Confused pairs that are printed and kept.
const PAIRS: usize = 10;
/// Classes that are printed.
const CLASSES: usize = 5;

/// The pictures and views of a measurement.
#[derive(Debug)]
pub(super) struct About {
    /// The pictures.
    pub(super) data: String,
    /// The split of the pictures.
    pub(super) split: Split,
    /// Views of each picture.
    pub(super) views: u32,
    /// Side of the stored pictures.
    pub(super) side: usize,
}

/// The content of `RUN/eval/*.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Written<'a> {
    data: &'a str,
    split: &'a str,
    devices: &'a str,
    /// Steps of the network; none for several runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<u64>,
    views: u32,
    n_images: u64,
    loss: f64,
    top1_error: f64,
    top5_error: f64,
    /// Each run alone, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runs: Vec<WrittenRun>,
    confused: Vec<Confused<'a>>,
}

/// One of several runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct WrittenRun {
    run: String,
    step: u64,
    loss: f64,
    top1_error: f64,
    top5_error: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Confused<'a> {
    #[serde(rename = "true")]
    label: &'a str,
    predicted: &'a str,
    pictures: u64,
}

/// Prints errors, the worst classes and the most confused pairs.
pub(super) fn print(about: &About, measured: &Measured) {
    let confusion = &measured.confusion;
    let chance = 100.0 * (1.0 - 1.0 / confusion.classes().len() as f64);
    let step = match measured.runs.as_slice() {
        [run] => format!("step {}, ", print::thousands(run.step)),
        _ => String::new(),
    };
    print::line(format_args!(
        "{} {} pictures of {}, {step}{}, on {}",
        print::thousands(measured.n_images),
        match about.split {
            Split::Val => "validation",
            split => split.name(),
        },
        about.data,
        print::count(about.views.into(), "view", "views"),
        measured.devices,
    ));
    if measured.runs.len() > 1 {
        measured.runs.iter().for_each(|run| {
            let name = format!("{}, step {}", print::path(&run.run), print::thousands(run.step));
            print::line(format_args!("{}   {name}", errors(&run.scores)));
        });
        let n = measured.runs.len();
        let mean = errors(&Scores::mean(&measured.runs));
        print::line(format_args!("{mean}   mean of the {n} runs"));
        let together = errors(&measured.scores);
        print::line(format_args!(
            "{together}   the {n} runs together: mean of their probabilities (chance {chance:.1} %)"
        ));
    } else {
        print::line(format_args!("{}   (chance {chance:.1} %)", errors(&measured.scores)));
    }
    let pairs = confusion.worst(PAIRS);
    if !pairs.is_empty() {
        print::line("most confused pairs:");
    }
    for (class, predicted, times) in pairs {
        let (class, predicted) = (print::visible(class), print::visible(predicted));
        print::line(format_args!("  {times:>5} × {class} predicted as {predicted}"));
    }
    print_worst_classes(confusion);
}

fn errors(scores: &Scores) -> String {
    let Scores { loss, top1_error, top5_error } = scores;
    let [top1, top5] = [top1_error, top5_error].map(|error| 100.0 * error);
    format!("top-1 error {top1:.2} %   top-5 error {top5:.2} %   loss {loss:.4}")
}

fn print_worst_classes(confusion: &Confusion) {
    let worst = worst_classes(confusion);
    if worst.is_empty() {
        return;
    }
    print::line("classes recognized least:");
    for class in worst {
        let share =
            |share: Option<f64>| share.map_or("–".into(), |s| format!("{:.1} %", 100.0 * s));
        print::line(format_args!(
            "  {}: recall {}, precision {}, {}",
            print::visible(&confusion.classes()[class.label]),
            share(class.recall()),
            share(class.precision()),
            print::count(class.pictures, "picture", "pictures")
        ));
    }
}

/// The classes with the lowest recall, if any picture of theirs was missed.
fn worst_classes(confusion: &Confusion) -> Vec<OfClass> {
    let mut classes = confusion.of_classes();
    classes.retain(|class| class.right < class.pictures);
    let missed = |class: &OfClass| std::cmp::Reverse(class.pictures - class.right);
    classes.sort_by(|a, b| {
        let recall = |class: &OfClass| class.recall().unwrap_or(1.0);
        recall(a).total_cmp(&recall(b)).then(missed(a).cmp(&missed(b)))
    });
    classes.truncate(CLASSES);
    classes
}

/// Writes the results into a folder and returns the files; only the coordinator writes
/// `metrics.jsonl`.
///
/// # Errors
/// If a file can't be written.
pub(super) fn keep(folder: &Path, about: &About, measured: Measured) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("the folder {} can't be made", folder.display()))?;
    let name = name(about, &measured.runs);
    let file = |ending: &str| folder.join(format!("{name}{ending}"));
    let mut files =
        Vec::from([".json", "-confusion.csv", "-confusion.png", "-classes.csv"].map(file));
    std::fs::write(&files[0], serde_json::to_vec_pretty(&written(about, &measured))?)
        .with_context(|| format!("{} can't be written", files[0].display()))?;
    measured.confusion.write_csv(&files[1])?;
    confusion::write_png(&measured.confusion, &files[2])?;
    measured.confusion.write_classes(&files[3])?;
    let mistakes = file("-mistakes.png");
    if measured.worst.len() > 0 {
        let title = format!("the {} worst mistakes of {name}", measured.worst.len());
        let tiles = measured.worst.tiles(measured.confusion.classes());
        sheet::write_png(&mistakes, &title, tiles)?;
        files.push(mistakes);
    } else if let Err(error) = std::fs::remove_file(&mistakes)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        // Another measurement's, which had mistakes.
        return Err(error).with_context(|| format!("{} can't be removed", mistakes.display()));
    }
    Ok(files)
}

/// The common beginning of the names of all files.
fn name(about: &About, runs: &[OfRun]) -> String {
    let split = match about.split {
        Split::Val => String::new(),
        split => format!("-{}", split.name()),
    };
    let data = recipe::data_name(&about.data, about.side);
    match runs {
        [run] => format!("{data}{split}-step-{:08}-views-{}", run.step, about.views),
        runs => format!("{data}{split}-{}-runs-views-{}", runs.len(), about.views),
    }
}

fn written<'a>(about: &'a About, measured: &'a Measured) -> Written<'a> {
    let confused = |(label, predicted, pictures)| Confused { label, predicted, pictures };
    let Scores { loss, top1_error, top5_error } = measured.scores;
    let is_alone = measured.runs.len() == 1;
    let of_run = |OfRun { run, step, scores }: &OfRun| WrittenRun {
        run: run.to_string_lossy().into_owned(),
        step: *step,
        loss: scores.loss,
        top1_error: scores.top1_error,
        top5_error: scores.top5_error,
    };
    Written {
        data: &about.data,
        split: about.split.name(),
        devices: &measured.devices,
        step: measured.runs.first().filter(|_| is_alone).map(|run| run.step),
        views: about.views,
        n_images: measured.n_images,
        loss,
        top1_error,
        top5_error,
        runs: if is_alone { Vec::new() } else { measured.runs.iter().map(of_run).collect() },
        confused: measured.confusion.worst(PAIRS).into_iter().map(confused).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mistakes::Worst;
    use super::*;
    use crate::confusion::tests::three;

    fn about(split: Split) -> About {
        About { data: "data/flowers-72".into(), split, views: 10, side: 72 }
    }

    fn run(name: &str, top1_error: f64) -> OfRun {
        let scores = Scores { loss: 1.5, top1_error, top5_error: 0.0 };
        OfRun { run: name.into(), step: 450, scores }
    }

    fn measured(runs: Vec<OfRun>) -> Measured {
        let (worst, confusion) = (Worst::default(), three());
        let scores = Scores { loss: 1.5, top1_error: 0.6, top5_error: 0.0 };
        let devices = "cpu:1,cpu:1".into();
        Measured { n_images: 5, scores, runs, devices, confusion, worst }
    }

    #[test]
    fn names_stay_those_of_the_first_release_for_validation_pictures() {
        let alone = [run("a", 0.6)];
        assert_eq!(name(&about(Split::Val), &alone), "flowers-step-00000450-views-10");
        assert_eq!(name(&about(Split::Train), &alone), "flowers-train-step-00000450-views-10");
    }

    #[test]
    fn confused_pairs_are_in_the_json_and_a_stale_sheet_goes() {
        let dir = tempfile::tempdir().unwrap();
        let stale = dir.path().join("flowers-step-00000450-views-10-mistakes.png");
        std::fs::write(&stale, "").unwrap();
        let measured = measured(vec![run("a", 0.6)]);
        let files = keep(dir.path(), &about(Split::Val), measured).unwrap();
        assert!(files.len() == 4 && files.iter().all(|file| file.is_file()), "{files:?}");
        assert!(!stale.exists());
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
        assert_eq!((&json["split"], &json["top1_error"]), (&"val".into(), &0.6.into()));
        assert_eq!(json["confused"][0]["true"], "cat");
        assert_eq!(json["confused"][0]["pictures"], 2);
        assert_eq!((&json["step"], &json["runs"]), (&450.into(), &serde_json::Value::Null));
    }

    #[test]
    fn several_runs_are_kept_each_with_its_errors() {
        let dir = tempfile::tempdir().unwrap();
        let measured = measured(vec![run("a", 0.75), run("b", 0.5)]);
        assert_eq!(Scores::mean(&measured.runs).top1_error, 0.625);
        let files = keep(dir.path(), &about(Split::Val), measured).unwrap();
        assert!(files[0].ends_with("flowers-2-runs-views-10.json"), "{files:?}");
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
        assert_eq!((&json["top1_error"], &json["step"]), (&0.6.into(), &serde_json::Value::Null));
        assert_eq!(json["runs"][1]["run"], "b");
        assert_eq!(json["runs"][1]["top1_error"], 0.5);
    }

    #[test]
    fn the_lowest_recall_comes_first_and_a_class_without_mistakes_is_not_named() {
        let labels: Vec<usize> = worst_classes(&three()).iter().map(|c| c.label).collect();
        assert_eq!(labels, [2, 0]);
    }
}
