//! Files and folders inside a folder that nobody means when they name the folder.

use std::path::{Path, PathBuf};

use crate::print;

/// Names that are given in full.
const NAMED: usize = 3;

/// Reasons for passing something over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Hidden, or left behind by a system.
    System,
    /// A pipe, socket or device.
    Special,
    /// Neither a picture's name nor a picture's first bytes.
    NotPicture,
    /// A link to a folder that the link itself lies in.
    LinkUp,
    /// A run directory or a prepared data set.
    Product,
}

/// Everything that was passed over.
#[derive(Debug, Default)]
pub(super) struct PassedOver(Vec<(Reason, PathBuf)>);

impl PassedOver {
    pub(super) fn add(&mut self, reason: Reason, path: &Path) {
        self.0.push((reason, path.to_path_buf()));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// One sentence per reason, with the number of files and the first names.
    pub(super) fn sentences(&self) -> Vec<String> {
        let kinds = [
            (Reason::System, "hidden or system file", "hidden or system files"),
            (Reason::Special, "pipe, socket or device", "pipes, sockets and devices"),
            (Reason::NotPicture, "file that is no picture", "files that are no pictures"),
            (Reason::LinkUp, "link to a folder above it", "links to a folder above them"),
            (Reason::Product, "folder made by this program", "folders made by this program"),
        ];
        let sentence = |(reason, one, many): (Reason, &str, &str)| {
            let paths = self.0.iter().filter(|passed| passed.0 == reason).map(|passed| &passed.1);
            let n = paths.clone().count();
            let mut names: Vec<String> = paths.take(NAMED).map(|path| print::path(path)).collect();
            if n > NAMED {
                names.push("…".into());
            }
            let n = print::count(n as u64, one, many);
            (!names.is_empty()).then(|| format!("passed over: {n} ({})", names.join(", ")))
        };
        kinds.into_iter().filter_map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_one_sentence_with_the_first_names() {
        let mut passed = PassedOver::default();
        for name in ["a", "b", "c", "d"] {
            passed.add(Reason::NotPicture, Path::new(name));
        }
        passed.add(Reason::System, Path::new(".x"));
        assert_eq!(
            passed.sentences(),
            [
                "passed over: 1 hidden or system file (.x)",
                "passed over: 4 files that are no pictures (a, b, c, …)"
            ]
        );
    }
}
