//! The reading of a source, as people see it before the long work; and the command to type where
//! something else was probably meant.

use std::path::Path;

use loader::Error;
use loader::prepare::{Doubt, Instead, Options, Picture, Place, Reading};

use crate::print;

/// Most files, notes and kinds that are printed one by one.
const MOST: usize = 20;

/// Prints what a source holds: splits, classes, and all that is not used.
pub(super) fn show(reading: &Reading, src: &Path) {
    let (classes, train) = (&reading.classes, &reading.train);
    print::line(format_args!("{}: {}", src.display(), reading.layout));
    if !classes.is_empty() {
        split("training", Some(train), classes.len());
        split("validation", reading.val.as_ref(), classes.len());
        split("test", reading.test.as_ref(), classes.len());
    }
    if let (Some(first), Some(last)) = (classes.first(), classes.last()) {
        print::line(format_args!(
            "  {}, from 0 = {} to {} = {}",
            print::count(classes.len() as u64, "class", "classes"),
            named(first),
            classes.len() - 1,
            named(last)
        ));
    }
    some("note", reading.notes.iter().map(String::clone));
    for (what, n, first) in reading.passed_over.kinds() {
        let (n, first) = (print::thousands(n), print::visible(first));
        print::line(format_args!("  passed over: {what} ({n}, first {first})"));
    }
    let left_out = reading.left_out.iter();
    some(
        "left out",
        left_out.map(|left| format!("{}: {}", print::visible(&left.file), left.reason)),
    );
    some("doubt", reading.doubts.iter().map(|doubt| doubt.why.clone()));
}

fn split(name: &str, pictures: Option<&Vec<Picture>>, n_classes: usize) {
    let Some(pictures) = pictures else {
        if name != "test" {
            print::line(format_args!("  {name}: none"));
        }
        return;
    };
    let mut seen = vec![false; n_classes];
    pictures.iter().for_each(|picture| seen[picture.label as usize] = true);
    let n = seen.into_iter().filter(|seen| *seen).count() as u64;
    print::line(format_args!(
        "  {name}: {} of {}",
        print::count(pictures.len() as u64, "picture", "pictures"),
        print::count(n, "class", "classes")
    ));
}

/// Key of a class, and its name where that is another.
fn named((key, name): &(String, String)) -> String {
    let text = if key == name { key.clone() } else { format!("{key} ({name})") };
    print::visible(&text)
}

fn some(what: &str, mut lines: impl ExactSizeIterator<Item = String>) {
    let all = lines.len();
    for line in lines.by_ref().take(MOST) {
        print::line(format_args!("  {what}: {line}"));
    }
    if all > MOST {
        print::line(format_args!("  {what}: {} more", print::thousands((all - MOST) as u64)));
    }
}

/// Adds to the refusal of a doubtful source what was probably meant, as a command to paste.
pub(super) fn with_advice(
    error: Error,
    src: &Path,
    dst: &Path,
    options: &Options,
) -> anyhow::Error {
    let Error::Doubtful { doubts, .. } = &error else { return error.into() };
    let advice: Vec<String> =
        doubts.iter().filter_map(|doubt| command(doubt, src, dst, options)).collect();
    let text = error.to_string();
    match advice.first() {
        Some(command) => anyhow::anyhow!("{text}\nperhaps this was meant:\n  {command}"),
        None => error.into(),
    }
}

fn command(doubt: &Doubt, src: &Path, dst: &Path, options: &Options) -> Option<String> {
    Some(match doubt.instead.as_ref()? {
        Instead::Source(inner) => prepare(inner, dst, options, &[]),
        Instead::Options(words) => prepare(src, dst, options, words),
        Instead::Before(command) => command.clone(),
    })
}

/// The command line that prepares `src` with the options that differ from the usual ones.
fn prepare(src: &Path, dst: &Path, options: &Options, more: &[String]) -> String {
    let usual = Options::default();
    let mut words =
        vec![print::program(), "prepare".into(), print::quoted(src), print::quoted(dst)];
    let mut add = |option: &str, value: String| {
        if !more.iter().any(|word| word == option) {
            words.extend([option.to_owned(), value]);
        }
    };
    if options.side != usual.side {
        add("--side", options.side.to_string());
    }
    if options.val_share != usual.val_share {
        add("--val-share", options.val_share.to_string());
    }
    if let Some(name) = &options.name {
        add("--name", print::quoted(Path::new(name)));
    }
    let places = [("--train", &options.train), ("--val", &options.val), ("--test", &options.test)];
    for (option, place) in places {
        match place {
            Some(Place::Folder(path)) => add(option, print::quoted(path)),
            Some(Place::None) => add(option, "none".into()),
            None => {}
        }
    }
    words.extend(more.iter().map(|word| match word.starts_with("--") {
        true => word.clone(),
        false => print::quoted(word),
    }));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_a_command_that_a_shell_reads_as_meant() {
        let doubt = |instead| Doubt { why: "two".into(), instead: Some(instead) };
        let (src, dst) = (Path::new("my data"), Path::new("out"));
        let options = Options { side: 72, val: Some(Place::None), ..Options::default() };
        let said = |instead| command(&doubt(instead), src, dst, &options).unwrap();
        let inner = said(Instead::Source("my data/it's".into()));
        assert!(inner.ends_with(r"prepare 'my data/it'\''s' out --side 72 --val none"), "{inner}");
        let words = ["--val".to_owned(), "other val".to_owned()].to_vec();
        let more = said(Instead::Options(words));
        assert!(more.ends_with("prepare 'my data' out --side 72 --val 'other val'"), "{more}");
    }
}
