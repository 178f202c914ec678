//! Folders as people have them: what each is read as, and what is refused with which advice.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::*;
use crate::prepare::read;
use crate::prepare::tests::gray_jpeg;

/// A folder with files of these paths: pictures, or texts for paths with a text.
fn folder(paths: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for path in paths {
        put(root.path(), path, &gray_jpeg(9, 9, 90));
    }
    root
}

fn put(root: &Path, path: &str, bytes: &[u8]) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn reading(root: &Path) -> Reading {
    read(root, &Options::default()).unwrap()
}

/// Each class with its numbers of training, validation and test pictures.
fn counts(reading: &Reading) -> String {
    assert_eq!(reading.doubts, [], "{:?}", reading.notes);
    let n = |pictures: &[super::super::Picture], label: u32| {
        pictures.iter().filter(|picture| picture.label == label).count()
    };
    let class = |(label, (key, _)): (u32, &(String, String))| {
        let val = n(reading.val.as_deref().unwrap_or_default(), label);
        let test = n(reading.test.as_deref().unwrap_or_default(), label);
        format!("{key}={}/{val}/{test}", n(&reading.train, label))
    };
    (0..).zip(&reading.classes).map(class).collect::<Vec<_>>().join(" ")
}

fn of(paths: &[&str]) -> String {
    counts(&reading(folder(paths).path()))
}

/// The only doubt about a folder.
fn doubt(paths: &[&str]) -> (String, Option<Instead>) {
    let root = folder(paths);
    let reading = reading(root.path());
    let [doubt] = &reading.doubts[..] else { panic!("{reading:?}") };
    let instead = match doubt.instead.clone() {
        Some(Instead::Source(path)) => {
            Some(Instead::Source(path.strip_prefix(root.path()).unwrap().into()))
        }
        other => other,
    };
    (doubt.why.clone(), instead)
}

fn options(words: &[&str]) -> Option<Instead> {
    Some(Instead::Options(words.iter().map(|word| (*word).to_owned()).collect()))
}

#[test]
fn splits_are_read_by_any_of_their_names() {
    for (train, val, test) in [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("training_set", "validation_set", "test_set"),
        ("training", "validation", "testing"),
        ("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"),
        ("images_train", "images_val", "images_test"),
        ("train/images", "dev/images", "test/images"),
    ] {
        let paths = [
            format!("{train}/cat/1.jpg"),
            format!("{train}/cat/2.jpg"),
            format!("{train}/dog/1.jpg"),
            format!("{val}/cat/3.jpg"),
            format!("{val}/dog/2.jpg"),
            format!("{test}/dog/3.jpg"),
        ];
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert_eq!(of(&paths), "cat=2/1/0 dog=1/1/1", "{train}");
    }
}

#[test]
fn without_a_validation_split_the_test_split_is_used_and_that_is_said() {
    let root = folder(&["Train/a/1.jpg", "Train/b/1.jpg", "Test/a/2.jpg", "Test/b/2.jpg"]);
    let reading = reading(root.path());
    assert_eq!(counts(&reading), "a=1/1/0 b=1/1/0");
    assert!(reading.notes.iter().any(|note| note.contains("test pictures are used")));
}

#[test]
fn data_may_be_wrapped_in_folders() {
    let two = "rose=1/1/0 tulip=1/0/0";
    for inside in ["flowers", "archive/flowers", "archive/2024/flowers-v2"] {
        let paths = ["train/rose/1.jpg", "train/tulip/1.jpg", "val/rose/2.jpg"];
        let paths: Vec<String> = paths.iter().map(|path| format!("{inside}/{path}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let root = folder(&paths);
        put(root.path(), "README.md", b"flowers");
        let reading = reading(root.path());
        assert_eq!(counts(&reading), two);
        assert!(reading.notes.iter().any(|note| note.contains(inside)), "{:?}", reading.notes);
    }
    assert_eq!(of(&["x/rose/1.jpg", "x/tulip/1.jpg"]), "rose=1/0/0 tulip=1/0/0");
}

#[test]
fn splits_may_lie_inside_the_classes() {
    let paths = ["cat/train/1.jpg", "cat/val/2.jpg", "dog/train/1.jpg", "dog/test/2.jpg"];
    assert_eq!(of(&paths), "cat=1/1/0 dog=1/0/1");
}

#[test]
fn a_class_may_be_named_like_a_split() {
    assert_eq!(of(&["bus/1.jpg", "car/1.jpg", "train/1.jpg"]), "bus=1/0/0 car=1/0/0 train=1/0/0");
    assert_eq!(of(&["control/1.jpg", "test/1.jpg"]), "control=1/0/0 test=1/0/0");
}

#[test]
fn an_empty_validation_split_is_as_good_as_none() {
    let root = folder(&["train/a/1.jpg", "train/b/1.jpg"]);
    fs::create_dir_all(root.path().join("val/a")).unwrap();
    let reading = reading(root.path());
    assert!(reading.val.is_none());
    assert!(reading.notes.iter().any(|note| note.contains("validation")), "{:?}", reading.notes);
}

#[test]
fn lists_give_the_classes_of_flat_folders() {
    // Tiny ImageNet as it is distributed.
    let root = folder(&[
        "train/n01443537/images/a.JPEG",
        "train/n01629819/images/b.JPEG",
        "val/images/val_0.JPEG",
        "val/images/val_1.JPEG",
        "test/images/test_0.JPEG",
    ]);
    put(
        root.path(),
        "val/val_annotations.txt",
        b"val_0.JPEG\tn01629819\t0\t1\t2\t3\nval_1.JPEG\tn01443537\t0\t1\t2\t3\n",
    );
    put(root.path(), "train/n01443537/n01443537_boxes.txt", b"a.JPEG 0 0 1 1");
    let tiny = reading(root.path());
    assert_eq!(counts(&tiny), "n01443537=1/1/0 n01629819=1/1/0");
    assert_eq!(tiny.classes[0].1, "goldfish");
    assert!(tiny.notes.iter().any(|note| note.contains("test/images/ holds 1")));

    // Kaggle's dog breeds: one table for flat training pictures.
    let root = folder(&["train/01.jpg", "train/02.jpg", "train/03.jpg", "test/04.jpg"]);
    put(root.path(), "labels.csv", b"id,breed\n01,beagle\n02,pug\n03,pug\n");
    assert_eq!(counts(&reading(root.path())), "beagle=1/0/0 pug=2/0/0");

    // A table of one's own that also names the splits.
    let root = folder(&["images/a.jpg", "images/b.jpg", "images/c.jpg", "images/d.jpg"]);
    put(
        root.path(),
        "my.csv",
        b"file;class;split\na.jpg;ant;train\nb.jpg;bee;train\nc.jpg;ant;val\nd.jpg;bee;test\n",
    );
    assert_eq!(counts(&reading(root.path())), "ant=1/1/0 bee=1/0/1");

    // Caffe's val.txt: places in the order of the training classes.
    let root = folder(&["train/n01/1.jpg", "train/n02/1.jpg", "val/x.jpg", "val/y.jpg"]);
    put(root.path(), "val.txt", b"x.jpg 1\ny.jpg 0\n");
    assert_eq!(counts(&reading(root.path())), "n01=1/1/0 n02=1/1/0");
}

#[test]
fn kaggles_copy_of_imagenet_may_be_sorted_or_not() {
    let base = "ILSVRC/Data/CLS-LOC";
    let train =
        [format!("{base}/train/n01440764/1.JPEG"), format!("{base}/train/n01443537/1.JPEG")];
    for val in ["val/ILSVRC2012_val_00000001.JPEG", "val/n01440764/ILSVRC2012_val_00000001.JPEG"] {
        let root = folder(&[&train[0], &train[1], &format!("{base}/{val}")]);
        put(
            root.path(),
            "LOC_val_solution.csv",
            b"ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4 \n",
        );
        put(
            root.path(),
            "LOC_synset_mapping.txt",
            b"n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius\n",
        );
        put(root.path(), "ILSVRC/ImageSets/CLS-LOC/val.txt", b"ILSVRC2012_val_00000001 1\n");
        let reading = reading(root.path());
        assert_eq!(counts(&reading), "n01440764=1/1/0 n01443537=1/0/0", "{val}");
        assert_eq!(reading.classes[0].1, "tench");
    }
}

#[test]
fn things_of_systems_and_of_this_program_are_passed_over_and_counted() {
    let root = folder(&[
        "cat/1.jpg",
        "dog/1.jpg",
        "__MACOSX/cat/._1.jpg",
        "@eaDir/x.jpg",
        "cat/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg",
        "lost+found/x.jpg",
        "$RECYCLE.BIN/x.jpg",
        ".hidden/x.jpg",
        "cat/.DS_Store",
        "cat/Thumbs.db",
        "cat/notes.txt",
        "runs/eval/worst.png",
        "pets-256/train-00000.jpg",
    ]);
    for file in
        ["runs/run.json", "runs/recipe.toml", "pets-256/dataset.json", "pets-256/SHA256SUMS"]
    {
        put(root.path(), file, b"{}");
    }
    let reading = reading(root.path());
    assert_eq!(counts(&reading), "cat=1/0/0 dog=1/0/0");
    let kinds: Vec<_> = reading.passed_over.kinds().collect();
    assert!(kinds.len() >= 9, "{kinds:?}");
    assert_eq!(reading.left_out, []);
}

#[test]
fn links_are_followed_once_and_pipes_are_never_opened() {
    let root = folder(&["train/cat/1.jpg", "train/dog/1.jpg", "elsewhere/2.jpg"]);
    symlink(".", root.path().join("train/cat/loop")).unwrap();
    symlink("../..", root.path().join("train/cat/up")).unwrap();
    symlink("dog", root.path().join("train/alias")).unwrap();
    symlink("nowhere", root.path().join("train/dog/dangling.jpg")).unwrap();
    symlink("../../elsewhere/2.jpg", root.path().join("train/dog/2.jpg")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.path().join("train/cat/pipe.jpg"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let reading = reading(root.path());
    assert_eq!(counts(&reading), "cat=1/0/0 dog=2/0/0");
    let left: Vec<_> = reading.left_out.iter().map(|left| left.file.as_str()).collect();
    assert_eq!(left, ["train/dog/dangling.jpg"]);
    let kinds: Vec<_> = reading.passed_over.kinds().map(|(what, n, _)| (what, n)).collect();
    assert_eq!(kinds, [("links to folders that are read already", 3), ("pipes", 1)]);
}

#[test]
fn pictures_may_lie_deep_and_names_may_be_composed_or_not() {
    let deep = format!("train/cat/{}/1.jpg", ["x"; 40].join("/"));
    assert_eq!(of(&[&deep, "train/dog/1.jpg"]), "cat=1/0/0 dog=1/0/0");
    let (nfc, nfd) = ("train/caf\u{e9}/1.jpg", "val/cafe\u{301}/2.jpg");
    assert_eq!(of(&[nfc, nfd, "train/dog/1.jpg"]), "caf\u{e9}=1/1/0 dog=1/0/0");
    let paths = ["train/Golden Retriever/1.jpg", "train/pug/1.jpg", "val/golden_retriever/2.jpg"];
    assert_eq!(of(&paths), "Golden Retriever=1/1/0 pug=1/0/0");
    assert_eq!(of(&["train/a/1.jpg", "train/A/1.jpg", "val/a/1.jpg"]), "A=1/0/0 a=1/1/0");
}

#[test]
fn what_would_become_something_else_is_refused_with_what_was_probably_meant() {
    let (why, instead) =
        doubt(&["flowers/train/rose/1.jpg", "flowers/train/tulip/1.jpg", "docs/figure.png"]);
    assert!(why.contains("flowers/"), "{why}");
    assert_eq!(instead, Some(Instead::Source("flowers".into())));

    let (why, instead) =
        doubt(&["train/cat/1.jpg", "train/dog/1.jpg", "val/Katze/1.jpg", "val/Hund/1.jpg"]);
    assert!(why.contains("none of the 2 classes"), "{why}");
    assert_eq!(instead, options(&["--val", "none"]));

    let (why, instead) = doubt(&["train/cat/1.jpg", "train/dog/1.jpg", "val/1.jpg"]);
    assert!(why.contains("without class folders"), "{why}");
    assert_eq!(instead, options(&["--val", "none"]));

    let (why, _) = doubt(&["train/cat/1.jpg", "train/cat/2.jpg"]);
    assert!(why.contains("only one class") && why.contains("cat"), "{why}");

    let (why, instead) = doubt(&["train_a/cat/1.jpg", "train_b/cat/1.jpg", "val/cat/1.jpg"]);
    assert!(why.contains("--train"), "{why}");
    assert_eq!(instead, options(&["--train", "train_a"]));

    let (why, instead) =
        doubt(&["fotos/cat/1.jpg", "fotos/dog/1.jpg", "test/cat/1.jpg", "test/dog/2.jpg"]);
    assert!(why.contains("no training split"), "{why}");
    assert_eq!(instead, options(&["--train", "fotos"]));

    let (why, instead) =
        doubt(&["train/cat.0.jpg", "train/cat.1.jpg", "train/dog.0.jpg", "train/dog.1.jpg"]);
    assert!(why.contains("no class folders"), "{why}");
    assert!(matches!(instead, Some(Instead::Before(_))), "{instead:?}");
}

#[test]
fn a_folder_one_level_too_deep_is_answered_with_the_one_around_it() {
    let root = folder(&["train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.jpg", "val/dog/2.jpg"]);
    let instead = |below: &str| {
        let source = root.path().join(below);
        read(&source, &Options::default()).unwrap().doubts[0].instead.clone()
    };
    let train = root.path().join("train").canonicalize().unwrap();
    assert_eq!(instead("train/cat"), Some(Instead::Source(train)));
}

#[test]
fn the_command_that_sorts_pictures_into_class_folders_works() {
    let root =
        folder(&["train/cat.0.jpg", "train/cat.1.jpg", "train/dog.0.jpg", "train/dog.1.jpg"]);
    let Some(Instead::Before(command)) = reading(root.path()).doubts[0].instead.clone() else {
        panic!("no command");
    };
    let ran = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(ran.status.success(), "{command}: {ran:?}");
    assert_eq!(counts(&reading(root.path())), "cat=2/0/0 dog=2/0/0");
}

#[test]
fn folders_may_be_chosen_for_splits() {
    let root = folder(&["fotos/cat/1.jpg", "fotos/dog/1.jpg", "test/cat/1.jpg", "test/dog/2.jpg"]);
    let choose = |options: Options| read(root.path(), &options);
    let place = |path: &str| Some(path.parse::<Place>().unwrap());
    let chosen = choose(Options { train: place("fotos"), ..Options::default() }).unwrap();
    assert_eq!(counts(&chosen), "cat=1/0/0 dog=1/0/0");
    assert!(chosen.notes.iter().any(|note| note.contains("test/") && note.contains("not used")));
    let both = Options { train: place("fotos"), val: place("test"), ..Options::default() };
    assert_eq!(counts(&choose(both).unwrap()), "cat=1/1/0 dog=1/1/0");
    let error = choose(Options { train: place("photos"), ..Options::default() }).unwrap_err();
    assert!(error.to_string().contains("no folder photos"), "{error}");
}

#[test]
fn every_picture_of_the_source_is_used_or_named() {
    let root = folder(&[
        "train/a/1.jpg",
        "train/b/1.jpg",
        "train/stray.jpg",
        "extra/2.jpg",
        "extra/more/3.jpg",
        "val/a/1.jpg",
    ]);
    let reading = reading(root.path());
    assert_eq!(reading.left_out.len(), 1, "{:?}", reading.left_out);
    assert!(
        reading.notes.iter().any(|note| note.starts_with("extra/ (2 files)")),
        "{:?}",
        reading.notes
    );
    let files: Vec<PathBuf> = reading.files.iter().map(|file| file.path.clone()).collect();
    assert_eq!(files.len(), 6, "{files:?}");
}
