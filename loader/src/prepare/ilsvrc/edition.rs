//! The editions of ImageNet: names of their archives, and what these hold.

use crate::Split;

/// One edition of ImageNet.
#[derive(Debug)]
pub(super) struct Edition {
    /// Layout and default name of a data set made from it.
    pub(super) layout: &'static str,
    pub(super) name: &'static str,
    /// Archives by split; the first name is the usual one.
    archives: &'static [(Split, &'static [&'static str])],
    /// Beginning of the archives' names, for archives of other tasks of the same edition.
    prefix: &'static str,
    /// Name of the development kit.
    pub(super) kit: &'static str,
    /// Classes, training and validation pictures of the whole edition; 0 = not known.
    pub(super) n_classes: u64,
    pub(super) n_train: u64,
}

/// The editions that have archives of known names.
pub(super) const EDITIONS: [Edition; 3] = [
    Edition {
        layout: "ilsvrc-2012",
        name: "ilsvrc-2012",
        archives: &[
            (Split::Train, &["ILSVRC2012_img_train.tar"]),
            (Split::Val, &["ILSVRC2012_img_val.tar"]),
            (Split::Test, &["ILSVRC2012_img_test.tar", "ILSVRC2012_img_test_v10102019.tar"]),
        ],
        prefix: "ilsvrc2012_",
        kit: "ILSVRC2012_devkit_t12.tar.gz",
        n_classes: 1000,
        n_train: 1_281_167,
    },
    Edition {
        layout: "ilsvrc-2010",
        name: "ilsvrc-2010",
        archives: &[
            (Split::Train, &["ILSVRC2010_images_train.tar"]),
            (Split::Val, &["ILSVRC2010_images_val.tar"]),
            (Split::Test, &["ILSVRC2010_images_test.tar"]),
        ],
        prefix: "ilsvrc2010_",
        kit: "ILSVRC2010_devkit-1.0.tar.gz",
        n_classes: 1000,
        n_train: 1_261_406,
    },
    Edition {
        layout: "imagenet-fall-2011",
        name: "imagenet-fall-2011",
        archives: &[(Split::Train, &["fall11_whole.tar"])],
        prefix: "fall11_",
        kit: "",
        n_classes: 21_841,
        n_train: 0,
    },
];

/// Class tars under other names.
pub(super) const OTHER: Edition = Edition {
    layout: "class-tars",
    name: "",
    archives: &[],
    prefix: "",
    kit: "",
    n_classes: 0,
    n_train: 0,
};

impl Edition {
    /// The split that an archive of this edition holds.
    pub(super) fn purpose_of(&self, file: &str) -> Option<Split> {
        let is = |name: &&str| name.eq_ignore_ascii_case(file);
        let holds = self.archives.iter().find(|(_, names)| names.iter().any(is));
        holds.map(|(split, _)| *split)
    }

    /// Returns true if the name is that of an archive of this edition, of whatever task.
    pub(super) fn owns(&self, file: &str) -> bool {
        !self.prefix.is_empty() && file.to_lowercase().starts_with(self.prefix)
    }

    /// The usual name of the archive of a split.
    pub(super) fn archive(&self, split: Split) -> &'static str {
        let found = self.archives.iter().find(|(of, _)| *of == split);
        found.and_then(|(_, names)| names.first()).copied().unwrap_or("an archive")
    }
}
