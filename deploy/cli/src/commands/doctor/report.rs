//! The report: lines for people, grouped and aligned, or one JSON document for programs.

use serde::Serialize;

use super::check::{Check, Verdict};
use crate::print;

/// Changes when a key of the JSON document changes its meaning or goes.
const FORMAT: u32 = 1;
/// Columns of a line.
const WIDTH: usize = 100;
/// Columns of a line's name.
const NAME: usize = 16;
/// Columns before the measurement: two spaces, the verdict, the name.
const INDENT: usize = 2 + 5 + 2 + NAME + 2;

/// Document that `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    format: u32,
    version: &'static str,
    verdict: Verdict,
    checks: &'a [Check],
}

impl<'a> Document<'a> {
    /// The document of a whole report.
    pub(super) fn new(checks: &'a [Check]) -> Self {
        let (format, version) = (FORMAT, crate::BUILD);
        Self { format, version, verdict: worst(checks), checks }
    }
}

/// The worst verdict of all; `ok` where there is no line.
pub(super) fn worst(checks: &[Check]) -> Verdict {
    checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok)
}

/// A group of lines under its heading.
pub(super) fn group(checks: &[Check]) -> String {
    let mut text = String::new();
    let mut heading = "";
    for check in checks {
        if check.group() != heading {
            heading = check.group();
            text.push_str(&format!("\n{heading}\n"));
        }
        let line = format!("  {:<5}  {:<NAME$}  ", check.verdict.word(), check.name());
        text.push_str(&wrapped(&line, &check.measured));
        if let Some(remedy) = &check.remedy {
            text.push_str(&wrapped(&format!("{:INDENT$}-> ", ""), remedy));
        }
    }
    text.trim_end().to_owned()
}

/// `text` after `start`, cut at spaces; further lines begin below the first one's text.
fn wrapped(start: &str, text: &str) -> String {
    let indent = start.chars().count();
    let (mut lines, mut line, mut used) = (String::new(), start.to_owned(), indent);
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if used > indent && used + 1 + len > WIDTH {
            lines.push_str(line.trim_end());
            lines.push('\n');
            (line, used) = (" ".repeat(indent), indent);
        }
        if used > indent {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += len;
    }
    lines + line.trim_end() + "\n"
}

/// The last line: number and names of the lines that need attention.
pub(super) fn summary(checks: &[Check]) -> String {
    let names = |verdict| -> Vec<String> {
        let these = checks.iter().filter(|check| check.verdict == verdict);
        these.map(|check| format!("{} {}", check.group(), check.name())).collect()
    };
    let (wrong, look) = (names(Verdict::Wrong), names(Verdict::Look));
    let list = |names: &[String], what: &str| {
        format!("{} {what} ({})", print::thousands(names.len() as u64), names.join(", "))
    };
    let said = match (wrong.is_empty(), look.is_empty()) {
        (true, true) => "Everything is in order.".to_owned(),
        (true, false) => format!("Training works here; {}.", list(&look, "to look at")),
        (false, true) => format!("Training does not work here: {}.", list(&wrong, "wrong")),
        (false, false) => format!(
            "Training does not work here: {}; {}.",
            list(&wrong, "wrong"),
            list(&look, "to look at")
        ),
    };
    wrapped("", &said).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![
            Check::ok("cpu.model", "A model"),
            Check::ok("cpu.cores", "1 of 1").look("Rent a larger machine."),
            Check::ok("disk.folder", "runs").about("x").wrong("Name another with --run."),
        ]
    }

    #[test]
    fn lines_are_grouped_aligned_and_followed_by_their_remedy() {
        let want = "
cpu
  ok     model             A model
  look   cores             1 of 1
                           -> Rent a larger machine.

disk
  wrong  folder x          runs
                           -> Name another with --run.";
        assert_eq!(group(&checks()), want);
    }

    #[test]
    fn long_lines_wrap_below_their_text() {
        let text = "word ".repeat(40);
        let check = Check::ok("cpu.model", text.clone()).look(text);
        for line in group(&[check]).lines().skip(2) {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert!(line.starts_with("  look") || line.starts_with(&" ".repeat(INDENT)), "{line}");
        }
    }

    #[test]
    fn the_summary_names_what_wants_attention() {
        let checks = checks();
        let said = summary(&checks);
        assert!(said.contains("1 wrong (disk folder x)"), "{said}");
        assert!(said.contains("1 to look at (cpu cores)"), "{said}");
        assert!(summary(&checks[..2]).starts_with("Training works here"));
        assert_eq!(summary(&checks[..1]), "Everything is in order.");
        assert_eq!(worst(&checks), Verdict::Wrong);
        assert_eq!(worst(&[]), Verdict::Ok);
    }

    #[test]
    fn the_document_has_its_documented_keys() {
        let checks = checks();
        let json = serde_json::to_value(Document::new(&checks)).expect("plain data");
        assert_eq!(json["format"], 1);
        assert_eq!(json["version"], crate::BUILD);
        assert_eq!(json["verdict"], "wrong");
        let last = &json["checks"][2];
        assert_eq!((&last["key"], &last["subject"]), (&"disk.folder".into(), &"x".into()));
        assert_eq!((&last["verdict"], &last["measured"]), (&"wrong".into(), &"runs".into()));
        assert_eq!(last["remedy"], "Name another with --run.");
        assert!(last["numbers"].is_object() && json["checks"][0]["remedy"].is_null());
    }
}
