//! Folders of archives as people have them: which reader gets them, and what is said.

use std::fs;
use std::path::Path;

use super::*;
use crate::prepare::Picture;
use crate::prepare::tarfile::tests::{file, open_end, tar_of};

fn write(root: &Path, files: &[(&str, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn class(n: usize) -> Vec<u8> {
    let names: Vec<_> = (0..n).map(|i| format!("{i}.jpg")).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), vec![1])).collect();
    tar_of(&files)
}

/// Layout, classes, counts and everything that is said.
fn said(files: &[(&str, Vec<u8>)]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files);
    let reading = find(folder.path()).unwrap()?;
    let n = |split: &Option<Vec<Picture>>| split.as_ref().map_or(0, Vec::len);
    let n = (reading.train.len(), n(&reading.val), n(&reading.test));
    let keys: Vec<_> = reading.classes.iter().map(|(key, _)| key.as_str()).collect();
    let doubts: Vec<_> = reading.doubts.iter().map(|doubt| doubt.why.as_str()).collect();
    let (layout, keys, notes) = (reading.layout, keys.join(","), reading.notes.join("; "));
    let (doubts, left) = (doubts.join("; "), reading.left_out.len());
    let counts = format!("{}/{}/{}", n.0, n.1, n.2);
    Some(format!("{layout} {keys} {counts} left out {left}; notes: {notes}; doubts: {doubts}"))
}

/// Samples in folders, of which the pictures come first: two for each label that a listing shows.
#[test]
fn labels_behind_the_first_members_of_a_tar_are_found() {
    let pictures = (0..500).map(|i| (format!("{:03}/{i:05}.jpg", i % 4), vec![1]));
    let labels =
        (0..500).map(|i| (format!("{:03}/{i:05}.cls", i % 4), format!("{}", i % 3).into()));
    let members: Vec<(String, Vec<u8>)> = pictures.chain(labels).collect();
    let members: Vec<_> = members.iter().map(|(name, b)| (name.as_str(), b.clone())).collect();
    let said = said(&[("00000.tar", tar_of(&members))]).unwrap();
    assert_eq!(said, "webdataset 0,1,2 500/0/0 left out 0; notes: ; doubts: ");
}

#[test]
fn folders_without_archives_or_with_unpacked_ones_are_left_to_others() {
    let samples = || tar_of(&[("0.jpg", vec![1]), ("0.cls", b"0".to_vec())]);
    for files in [
        vec![("train/cat/1.jpg", vec![1])],
        vec![("cat/1.jpg", vec![1]), ("cat.tar", samples())],
        vec![("train/cat/1.jpg", vec![1]), ("backup.tar", samples())],
        vec![("train/cat/1.jpg", vec![1]), ("pets.zip", b"PK\x03\x04".to_vec())],
        vec![("notes.txt", vec![1])],
    ] {
        assert_eq!(said(&files), None, "{:?}", files[0].0);
    }
}

#[test]
fn compressed_archives_and_web_pages_are_named() {
    let folder = |files: &[(&str, Vec<u8>)], want: &str| {
        let said = said(files).unwrap();
        assert!(said.contains(want), "{said}");
    };
    folder(&[("pets.zip", b"PK\x03\x04".to_vec())], "it is a zip archive; unpack it first: `unzip");
    folder(&[("pets.tar.gz", b"\x1f\x8b\x08".to_vec())], "compressed with gzip; unpack it first");
    folder(&[("train-0.tar", b"\x1f\x8b\x08".to_vec())], "compressed with gzip");
    folder(&[("ILSVRC2012_img_train.tar", b"<html>".to_vec())], "it is a web page");
    folder(&[("a.tar", Vec::new())], "0 bytes");
    folder(&[("a.tar", vec![b'x'; 2000])], "it is no tar");
    folder(&[("a.tar", tar_of(&[]))], "no pictures were found in this tar");
    folder(&[("a.tar", tar_of(&[("x.txt", vec![1])]))], "none of the pictures in these tars");
}

#[test]
fn imagenet_is_found_in_every_state_of_unpacking() {
    let train = |classes: &[&str]| {
        let names: Vec<_> = classes.iter().map(|class| format!("{class}.tar")).collect();
        let tars: Vec<_> = names.iter().map(|name| (name.as_str(), class(2))).collect();
        tar_of(&tars)
    };
    let both = ["n00000001", "n00000002"];
    for (files, want) in [
        (vec![("ILSVRC2012_img_train.tar", train(&both))], "ilsvrc-2012 n00000001,n00000002 4/0/0"),
        (vec![("ILSVRC2010_images_train.tar", train(&both))], "ilsvrc-2010 n00000001,"),
        (vec![("fall11_whole.tar", train(&both))], "imagenet-fall-2011 n00000001,n00000002 4/0/0"),
        (vec![("train/ILSVRC2012_img_train.tar", train(&both))], "ilsvrc-2012 n00000001,"),
        (vec![("mine.tar", train(&["cat", "dog"]))], "class-tars cat,dog 4/0/0"),
        (
            vec![("n00000001.tar", class(2)), ("n00000002.tar", class(3))],
            "5/0/0 left out 0; notes: ;",
        ),
        (
            vec![("train/n00000001.tar", class(2)), ("train/n00000002.tar", class(3))],
            "5/0/0 left out 0",
        ),
        (vec![("cat.tar", class(1)), ("dog.tar", class(1))], "class-tars cat,dog 2/0/0"),
        (
            vec![("train/n00000001.tar", class(2)), ("train/n00000002/1.jpg", vec![1])],
            "3/0/0 left out 0; notes: 1 classes are read from tars and 1 from folders",
        ),
        (
            vec![
                ("n00000001.tar", class(2)),
                ("n00000001/1.jpg", vec![1]),
                ("n00000002.tar", class(1)),
            ],
            "3/0/0 left out 0; notes: 1 classes are there both packed and unpacked",
        ),
    ] {
        let said = said(&files).unwrap();
        assert!(said.contains(want) && said.ends_with("doubts: "), "{want}: {said}");
    }
}

#[test]
fn a_source_that_is_a_file_is_read_or_refused_with_a_command() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            (
                "insects.tar",
                tar_of(&[("0.jpg", vec![1]), ("0.json", br#"{"label": "ant"}"#.to_vec())]),
            ),
            ("cut.tar", open_end(&[file("0.jpg", vec![1]), file("0.cls", b"0".to_vec())])),
            ("pets.zip", b"PK\x03\x04".to_vec()),
            ("photo.jpg", vec![0xFF, 0xD8, 0xFF]),
        ],
    );
    let read = |name: &str| find_file(&folder.path().join(name)).unwrap();
    let insects = read("insects.tar");
    assert_eq!(
        (insects.name.as_str(), insects.train.len(), insects.files.len()),
        ("insects", 1, 1)
    );
    assert_eq!(insects.files[0].path, Path::new("insects.tar"));
    assert!(read("cut.tar").doubts[0].why.contains("cut short"));
    assert!(
        matches!(&read("pets.zip").doubts[0].instead, Some(Instead::Before(c)) if c.contains("unzip"))
    );
    assert!(!read("photo.jpg").doubts.is_empty());
}

#[test]
fn more_shards_than_files_may_be_open_are_read() {
    let files: Vec<_> = (0..200).map(|i| format!("train-{i:05}.tar")).collect();
    let shard = || tar_of(&[("0.jpg", vec![1]), ("0.cls", b"0".to_vec())]);
    let files: Vec<_> = files.iter().map(|name| (name.as_str(), shard())).collect();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &files);
    let reading = find(folder.path()).unwrap().unwrap();
    assert_eq!((reading.train.len(), reading.archives.len(), reading.files.len()), (200, 200, 200));
    for picture in &reading.train {
        assert_eq!(reading.bytes_of(picture).unwrap(), [1]);
    }
}
