//! The split (training, validation, test) that the name of a folder or a file stands for.

use crate::Split;

const TRAIN: [&str; 7] =
    ["train", "training", "trn", "trainval", "entrenamiento", "entrainement", "treino"];
const VAL: [&str; 9] = [
    "val",
    "valid",
    "validation",
    "validate",
    "validating",
    "dev",
    "eval",
    "evaluation",
    "holdout",
];
const TEST: [&str; 4] = ["test", "testing", "tst", "tests"];
/// Words that say nothing about a split.
const NEUTRAL: [&str; 24] = [
    "set", "sets", "data", "dataset", "image", "images", "img", "imgs", "picture", "pictures",
    "pic", "pics", "photo", "photos", "split", "splits", "folder", "dir", "files", "the", "jpg",
    "jpeg", "png", "clean",
];

/// The split that a name stands for, and the words of the name that are neither a split's nor
/// neutral (`seg` of `seg_train`).
pub(super) fn split_of(name: &str) -> Option<(Split, Vec<String>)> {
    let mut split = None;
    let mut rest = Vec::new();
    for word in words(name) {
        match (split_word(&word), split) {
            (Some(new), None) => split = Some(new),
            (Some(new), Some(old)) if new != old => return None, // `train_test`: neither
            (Some(_), _) => {}
            _ if is_neutral(&word) => {}
            _ => rest.push(word),
        }
    }
    split.map(|split| (split, rest))
}

/// Returns true if a name is a split's and nothing else, such as `train` or `Validation`.
pub(super) fn is_plain(name: &str) -> bool {
    let name = name.to_lowercase();
    [&TRAIN[..], &VAL, &TEST].iter().any(|names| names.contains(&name.as_str()))
}

/// The split that the name of a file stands for: `imagenet-train-000000.tar`, `VAL_7.tar`.
///
/// A name with words of several splits (`train_val`) means training pictures.
pub(super) fn split_of_file(name: &str) -> Option<Split> {
    words(name).iter().filter_map(|word| split_word(word)).min()
}

/// The split that a whole name stands for, such as `train` or `Validation`.
pub(super) fn plain_split(name: &str) -> Option<Split> {
    split_of(name).map(|(split, _)| split).filter(|_| is_plain(name))
}

/// Returns true if a word says nothing: `images`, `data`, `2012`.
pub(super) fn is_neutral(word: &str) -> bool {
    NEUTRAL.contains(&word.to_lowercase().as_str()) || word.chars().all(|c| c.is_ascii_digit())
}

fn split_word(word: &str) -> Option<Split> {
    let is = |names: &[&str]| {
        // Also `trainset`, `traindata`, `valimages`, `imgtrain`, `train2012`.
        let end = |rest: &str| rest.is_empty() || is_neutral(rest);
        names.iter().any(|name| {
            word.strip_prefix(name).is_some_and(end) || word.strip_suffix(name).is_some_and(end)
        })
    };
    let all = [(&TRAIN[..], Split::Train), (&VAL, Split::Val), (&TEST, Split::Test)];
    all.into_iter().find(|(names, _)| is(names)).map(|(_, split)| split)
}

/// Words of a name in lower case: runs of letters and digits, `TrainSet` as two.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase()) {
            words.push(String::new());
        }
        if c.is_alphanumeric() {
            words.last_mut().into_iter().for_each(|word| word.extend(c.to_lowercase()));
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_known_by_the_names_that_people_give_them() {
        let split = |name: &str| split_of(name).map(|(split, _)| split);
        for name in [
            "train",
            "Train",
            "TRAIN",
            "training",
            "Training Set",
            "train_images",
            "images-train",
            "trainset",
            "TrainData",
            "train2012",
            "ILSVRC2012_img_train",
            "seg_train",
            "trn",
        ] {
            assert_eq!(split(name), Some(Split::Train), "{name}");
        }
        for name in ["val", "Valid", "VALIDATION", "validation_set", "dev", "imgs_val", "val2017"] {
            assert_eq!(split(name), Some(Split::Val), "{name}");
        }
        for name in ["test", "Testing", "test_set", "TestImages", "seg_test", "test1"] {
            assert_eq!(split(name), Some(Split::Test), "{name}");
        }
        for name in ["cat", "trains", "trainer", "valley", "contest", "testudo", "train_test", "1"]
        {
            assert_eq!(split(name), None, "{name}");
        }
        for (name, split) in [
            ("imagenet-train-000000.tar", Some(Split::Train)),
            ("imagenet1k-validation-00.tar", Some(Split::Val)),
            ("VAL_7.tar", Some(Split::Val)),
            ("train_val.tar", Some(Split::Train)),
            ("latest.tar", None),
            ("valley-trains.tar", None),
        ] {
            assert_eq!(split_of_file(name), split, "{name}");
        }
        assert_eq!(
            (plain_split("Training"), plain_split("train_images")),
            (Some(Split::Train), None)
        );
        assert_eq!(split_of("seg_train").unwrap().1, ["seg"]);
        assert!(is_plain("Training") && !is_plain("train_images"));
    }
}
