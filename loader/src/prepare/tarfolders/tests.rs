//! A tar of class folders gives what the unpacked folder gives.

use std::fs;
use std::path::Path;

use super::*;
use crate::prepare::tarfile::tests::tar_of;
use crate::prepare::tests::gray_jpeg;
use crate::prepare::{Options, prepare, read};

/// Splits, classes in label order, and left-out files.
fn said(files: &[&str]) -> (String, Reading) {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> = files.iter().map(|name| (*name, b"x".to_vec())).collect();
    let path = folder.path().join("pets.tar");
    fs::write(&path, tar_of(&files)).unwrap();
    let reading = read(&path, &Options::default()).unwrap();
    let keys: Vec<_> = reading.classes.iter().map(|(key, _)| key.as_str()).collect();
    let n = |split: &Option<Vec<Picture>>| split.as_ref().map_or(0, Vec::len);
    let n = (reading.train.len(), n(&reading.val), n(&reading.test));
    (format!("{} {}/{}/{}", keys.join(","), n.0, n.1, n.2), reading)
}

#[test]
fn splits_classes_and_wrapping_folders_are_found() {
    for (files, want) in [
        (&["cat/1.jpg", "dog/1.jpg", "dog/2.jpg"][..], "cat,dog 3/0/0"),
        (&["pets/cat/1.jpg", "pets/dog/1.jpg", "pets/README"], "cat,dog 2/0/0"),
        (&["train/cat/1.jpg", "val/cat/2.jpg", "test/cat/3.jpg"], "cat 1/1/1"),
        (&["x/Train/cat/1.jpg", "x/Validation/dog/2.jpg"], "cat,dog 1/1/0"),
        (&["train/cat/1.jpg", "test/cat/2.jpg"], "cat 1/1/0"),
        (&["bus/1.jpg", "car/1.jpg", "train/1.jpg"], "bus,car,train 3/0/0"),
        (&["train/cat/a/1.jpg", "train/cat/b/1.jpg", "train/dog/1.jpg"], "cat,dog 3/0/0"),
        (&["a/b/train/cat/1.jpg", "a/b/train/dog/1.jpg"], "cat,dog 2/0/0"),
    ] {
        assert_eq!(said(files).0, want, "{files:?}");
    }
}

#[test]
fn what_has_no_class_is_named_or_needs_unpacking() {
    let (_, reading) = said(&["cat/1.jpg", "dog/1.jpg", "stray.jpg", "notes.md", "cat/._1.jpg"]);
    assert_eq!(reading.left_out[0].file, "pets.tar/stray.jpg");
    assert!(reading.notes[0].contains("notes.md"), "{:?}", reading.notes);
    assert_eq!(reading.passed_over.kinds().count(), 1);
    let (_, reading) = said(&["train/cat/1.jpg", "val/1.jpg", "val/2.jpg", "val.csv"]);
    assert!(reading.doubts[0].why.contains("2 pictures in val have no class folder"));
    assert!(matches!(&reading.doubts[0].instead, Some(Instead::Before(c)) if c.contains("tar xf")));
}

#[test]
fn a_tar_gives_the_same_bytes_as_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let pets = folder.path().join("pets");
    let mut files = vec![("classes.txt".to_string(), b"n2 dog\nn1 cat\n".to_vec())];
    for i in 0..12_u8 {
        let class = ["n1", "n2"][usize::from(i % 2)];
        files.push((format!("train/{class}/{i}.jpg"), gray_jpeg(40, 30, 10 * i)));
        files.push((format!("val/{class}/{i}.jpg"), gray_jpeg(30, 40, 10 * i)));
    }
    for (name, bytes) in &files {
        let path = pets.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let inside: Vec<_> =
        files.iter().map(|(name, bytes)| (format!("pets/{name}"), bytes)).collect();
    let inside: Vec<_> =
        inside.iter().rev().map(|(n, bytes)| (n.as_str(), bytes.to_vec())).collect();
    fs::write(folder.path().join("pets.tar"), tar_of(&inside)).unwrap();
    let make = |source: &str| {
        let options = Options { side: 24, name: Some("x".into()), ..Options::default() };
        let dest = folder.path().join(format!("{source}-out"));
        prepare(&folder.path().join(source), &dest, &options, &|_| ()).unwrap();
        let bytes = |file: &str| fs::read(Path::new(&dest).join(file)).unwrap();
        ["train-00000.tar", "val-00000.tar", "train.index", "mean.f32"].map(bytes)
    };
    assert_eq!(make("pets.tar"), make("pets"));
}
