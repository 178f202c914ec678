//! The results of `eval`: printed, and kept under `RUN/eval`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use loader::Split;
use serde::Serialize;

use super::measure::Measured;
use crate::confusion::{Confusion, OfClass};
use crate::draw::{confusion, sheet};
use crate::{print, recipe};

/// Confused pairs that are printed and kept.
const PAIRS: usize = 10;
/// Classes that are printed.
const CLASSES: usize = 5;

/// The pictures, network and devices of a measurement.
#[derive(Debug)]
pub(super) struct About {
    /// The pictures.
    pub(super) data: String,
    /// The split of the pictures.
    pub(super) split: Split,
    /// The devices.
    pub(super) devices: String,
    /// Steps that the network was trained for.
    pub(super) step: u64,
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
    step: u64,
    views: u32,
    n_images: u64,
    loss: f64,
    top1_error: f64,
    top5_error: f64,
    confused: Vec<Confused<'a>>,
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
    print::line(format_args!(
        "{} {} pictures of {}, step {}, {}, on {}",
        print::thousands(measured.n_images),
        match about.split {
            Split::Val => "validation",
            split => split.name(),
        },
        about.data,
        print::thousands(about.step),
        print::count(about.views.into(), "view", "views"),
        about.devices,
    ));
    print::line(format_args!(
        "top-1 error {:.2} %   top-5 error {:.2} %   loss {:.4}   (chance {:.1} %)",
        100.0 * measured.top1_error,
        100.0 * measured.top5_error,
        measured.loss,
        100.0 * (1.0 - 1.0 / confusion.classes().len() as f64)
    ));
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

/// Writes the results under `RUN/eval` and returns the files; only the coordinator writes
/// `metrics.jsonl`.
///
/// # Errors
/// If a file can't be written.
pub(super) fn keep(run: &Path, about: &About, measured: Measured) -> Result<Vec<PathBuf>> {
    let folder = run.join("eval");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("the folder {} can't be made", folder.display()))?;
    let name = name(about);
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
fn name(about: &About) -> String {
    let split = match about.split {
        Split::Val => String::new(),
        split => format!("-{}", split.name()),
    };
    let data = recipe::data_name(&about.data, about.side);
    format!("{data}{split}-step-{:08}-views-{}", about.step, about.views)
}

fn written<'a>(about: &'a About, measured: &'a Measured) -> Written<'a> {
    let confused = |(label, predicted, pictures)| Confused { label, predicted, pictures };
    Written {
        data: &about.data,
        split: about.split.name(),
        devices: &about.devices,
        step: about.step,
        views: about.views,
        n_images: measured.n_images,
        loss: measured.loss,
        top1_error: measured.top1_error,
        top5_error: measured.top5_error,
        confused: measured.confusion.worst(PAIRS).into_iter().map(confused).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mistakes::Worst;
    use super::*;
    use crate::confusion::tests::three;

    fn about(split: Split) -> About {
        let devices = "cpu:1,cpu:1".into();
        About { data: "data/flowers-72".into(), split, devices, step: 450, views: 10, side: 72 }
    }

    fn measured() -> Measured {
        let (worst, confusion) = (Worst::default(), three());
        let [loss, top1_error, top5_error] = [1.5, 0.6, 0.0];
        Measured { n_images: 5, loss, top1_error, top5_error, confusion, worst }
    }

    #[test]
    fn names_stay_those_of_the_first_release_for_validation_pictures() {
        assert_eq!(name(&about(Split::Val)), "flowers-step-00000450-views-10");
        assert_eq!(name(&about(Split::Train)), "flowers-train-step-00000450-views-10");
    }

    #[test]
    fn confused_pairs_are_in_the_json_and_a_stale_sheet_goes() {
        let dir = tempfile::tempdir().unwrap();
        let stale = dir.path().join("eval/flowers-step-00000450-views-10-mistakes.png");
        std::fs::create_dir(dir.path().join("eval")).unwrap();
        std::fs::write(&stale, "").unwrap();
        let files = keep(dir.path(), &about(Split::Val), measured()).unwrap();
        assert!(files.len() == 4 && files.iter().all(|file| file.is_file()), "{files:?}");
        assert!(!stale.exists());
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
        assert_eq!((&json["split"], &json["top1_error"]), (&"val".into(), &0.6.into()));
        assert_eq!(json["confused"][0]["true"], "cat");
        assert_eq!(json["confused"][0]["pictures"], 2);
    }

    #[test]
    fn the_lowest_recall_comes_first_and_a_class_without_mistakes_is_not_named() {
        let labels: Vec<usize> = worst_classes(&three()).iter().map(|c| c.label).collect();
        assert_eq!(labels, [2, 0]);
    }
}
