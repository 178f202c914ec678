//! The split that a file or folder belongs to, from its name.

/// The split that pictures are meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Purpose {
    Train,
    Val,
    Test,
}

const WORDS: [(&str, Purpose); 13] = [
    ("train", Purpose::Train),
    ("training", Purpose::Train),
    ("trn", Purpose::Train),
    ("trainval", Purpose::Train),
    ("val", Purpose::Val),
    ("valid", Purpose::Val),
    ("validation", Purpose::Val),
    ("validate", Purpose::Val),
    ("dev", Purpose::Val),
    ("eval", Purpose::Val),
    ("test", Purpose::Test),
    ("testing", Purpose::Test),
    ("tst", Purpose::Test),
];

impl Purpose {
    /// The split that a whole name means, in any case.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        let lower = word.to_lowercase();
        WORDS.iter().find(|(word, _)| *word == lower).map(|(_, purpose)| *purpose)
    }

    /// The split that a word of a name means: `imagenet-train-000000.tar`, `Val_01.tar`.
    ///
    /// A name with words of several splits (`train_val`) means training pictures.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let words = name.split(|c: char| !c.is_alphabetic());
        words.filter_map(Self::of_word).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_name_decides_in_any_case_and_a_part_of_a_word_does_not() {
        for (name, purpose) in [
            ("imagenet-train-000000.tar", Some(Purpose::Train)),
            ("imagenet1k-validation-00.tar", Some(Purpose::Val)),
            ("VAL_7.tar", Some(Purpose::Val)),
            ("test.tar", Some(Purpose::Test)),
            ("train_val.tar", Some(Purpose::Train)),
            ("latest.tar", None),
            ("valley-trains.tar", None),
            ("000001.tar", None),
        ] {
            assert_eq!(Purpose::of_name(name), purpose, "{name}");
        }
        assert_eq!(Purpose::of_word("Training"), Some(Purpose::Train));
        assert_eq!(Purpose::of_word("training set"), None);
    }
}
