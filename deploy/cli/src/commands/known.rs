//! The class of a picture file, if the name of its folder says it: `val/tench/1.jpg`.

use std::collections::HashMap;
use std::path::Path;

use loader::dataset;

use crate::up::Remembered;

/// Names of folders that stand for classes, without case, spaces, hyphens and underscores; `None`
/// for a name that several classes share.
#[derive(Debug)]
pub(super) struct Known(HashMap<String, Option<usize>>);

impl Known {
    /// The names of a run's classes and, if its prepared pictures are still there, the names that
    /// their folders had (`n01440764` for `tench`).
    pub(super) fn new(run: &Path, classes: &[String]) -> Self {
        let mut known = Self(HashMap::new());
        for (label, name) in classes.iter().enumerate() {
            known.add(name, label);
        }
        // Without them, fewer pictures have a known class, which is no error.
        if let Ok(Some(remembered)) = Remembered::read(run)
            && let Ok((summary, _)) = dataset::describe(Path::new(&remembered.data))
            && summary.class_names() == classes
        {
            for (label, class) in summary.classes.iter().enumerate() {
                known.add(&class.key, label);
            }
        }
        known
    }

    fn add(&mut self, name: &str, label: usize) {
        let known = self.0.entry(folded(name)).or_insert(Some(label));
        if *known != Some(label) {
            *known = None;
        }
    }

    /// The class of a picture file, if its folder has the name of one.
    pub(super) fn of(&self, picture: &Path) -> Option<usize> {
        let folder = std::path::absolute(picture).ok()?;
        let name = folder.parent()?.file_name()?.to_string_lossy().into_owned();
        self.0.get(&folded(&name)).copied().flatten()
    }
}

fn folded(name: &str) -> String {
    let kept = name.chars().filter(|c| !matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_names_its_class_unless_two_classes_share_the_name() {
        let classes = ["golf ball", "tench", "T-ench", "crane"].map(String::from);
        let known = Known::new(Path::new("/nowhere"), &classes);
        assert_eq!(known.of(Path::new("val/Golf_Ball/1.jpg")), Some(0));
        assert_eq!(known.of(Path::new("crane/x")), Some(3));
        assert_eq!(known.of(Path::new("tench/1.jpg")), None, "tench or T-ench");
        assert_eq!(known.of(Path::new("holiday/1.jpg")), None);
        assert_eq!(known.of(Path::new("/")), None);
    }
}
