//! One line of the report: a measurement, its verdict and its remedy.

use std::collections::BTreeMap;

use serde::Serialize;

/// Verdict on a measurement, ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// Nothing to do.
    Ok,
    /// Training works, but slower, on less, or with a risk that the remedy names.
    Look,
    /// Training does not work here until the remedy is applied.
    Wrong,
}

impl Verdict {
    /// The word that people read.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Look => "look",
            Self::Wrong => "wrong",
        }
    }
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Check {
    /// Stable name, `group.what`; `docs/doctor.md` lists them all.
    pub key: &'static str,
    /// The device or file that was measured, where several share a key.
    pub subject: Option<String>,
    /// Verdict on the measurement.
    pub verdict: Verdict,
    /// Measurement, in words.
    pub measured: String,
    /// Remedy, unless the verdict is `ok`.
    pub remedy: Option<String>,
    /// Measurement as numbers, with the unit in each name.
    pub numbers: BTreeMap<&'static str, f64>,
}

impl Check {
    /// A line with nothing to do.
    pub(super) fn ok(key: &'static str, measured: impl Into<String>) -> Self {
        Self {
            key,
            subject: None,
            verdict: Verdict::Ok,
            measured: measured.into(),
            remedy: None,
            numbers: BTreeMap::new(),
        }
    }

    /// The same line where training works, but something deserves attention.
    pub(super) fn look(self, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Look, remedy: Some(remedy.into()), ..self }
    }

    /// The same line where training does not work.
    pub(super) fn wrong(self, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Wrong, remedy: Some(remedy.into()), ..self }
    }

    /// The same line about one of several things.
    pub(super) fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// The same line with one more number.
    pub(super) fn number(mut self, name: &'static str, value: f64) -> Self {
        self.numbers.insert(name, value);
        self
    }

    /// The part of the key before the dot.
    pub(super) fn group(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(group, _)| group)
    }

    /// Name of the line: the key after the dot in words, and the subject.
    pub(super) fn name(&self) -> String {
        let what = self.key.split_once('.').map_or("", |(_, what)| what).replace('-', " ");
        match &self.subject {
            Some(subject) => format!("{what} {subject}"),
            None => what,
        }
    }
}

/// A size in decimal units: `24.7 GB`, `488 MB`.
pub(super) fn size(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes >= 1e12 => format!("{:.1} TB", bytes / 1e12),
        bytes if bytes >= 1e9 => format!("{:.1} GB", bytes / 1e9),
        bytes if bytes >= 1e6 => format!("{:.0} MB", bytes / 1e6),
        bytes => format!("{:.0} kB", bytes / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_named_by_its_key_and_subject() {
        let check = Check::ok("gpu.copy-rate", "50 GB/s").about("cuda:0").number("up", 5e10);
        assert_eq!((check.group(), check.name().as_str()), ("gpu", "copy rate cuda:0"));
        assert_eq!(check.verdict, Verdict::Ok);
        let look = check.look("Move the card.");
        assert_eq!(look.remedy.as_deref(), Some("Move the card."));
        assert!(look.verdict > Verdict::Ok && look.wrong("").verdict > Verdict::Look);
    }

    #[test]
    fn sizes_are_readable() {
        let sizes = [4096, 487_721_792, 24_700_000_000, 2_000_000_000_000].map(size);
        assert_eq!(sizes, ["4 kB", "488 MB", "24.7 GB", "2.0 TB"]);
    }
}
