//! Shards of all writers: which picture gets which label, and what is said of the rest.

use std::fs;

use super::*;
use crate::prepare::archives;
use crate::prepare::tarfile::tests::tar_of;

type Shard<'a> = (&'a str, Vec<(&'a str, &'a [u8])>);

fn reading(shards: &[Shard<'_>], more: &[(&str, &[u8])]) -> Result<Reading, Error> {
    let folder = tempfile::tempdir().unwrap();
    for (name, files) in shards {
        let files: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.to_vec())).collect();
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, tar_of(&files)).unwrap();
    }
    for (name, bytes) in more {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    Ok(archives::find(folder.path())?.unwrap())
}

/// Name and class of each picture.
fn pairs(reading: &Reading, pictures: &[Picture]) -> Vec<(String, String)> {
    let pair = |p: &Picture| {
        let name = reading.name_of(p);
        let name = name.split_once(".tar/").map_or(name.clone(), |(_, name)| name.to_string());
        (name, reading.classes[p.label as usize].0.clone())
    };
    pictures.iter().map(pair).collect()
}

fn train(shard: &[(&str, &[u8])]) -> (Vec<(String, String)>, Reading) {
    let reading = reading(&[("train-0.tar", shard.to_vec())], &[]).unwrap();
    (pairs(&reading, &reading.train), reading)
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()
}

/// Forms of the label 3, all kinds of writers.
const THREE: [(&str, &[u8]); 24] = [
    ("cls", b"3"),
    ("cls", b"3\n"),
    ("cls", b"3\r\n"),
    ("cls", b"\xEF\xBB\xBF3"),
    ("cls", b"3.0"),
    ("cls", b"b'3'"),
    ("cls", b"[3]"),
    ("cls", b"tensor(3)"),
    ("cls", b"003"),
    ("cls", b"\x03\0\0\0\0\0\0\0"),
    ("cls", b"\x03"),
    ("cls.txt", b"3"),
    ("label", b"3"),
    ("index", b"3"),
    ("id", b"3"),
    ("txt", b"3"),
    ("json", br#"{"label": 3}"#),
    ("json", br#"{"class_id": 3.0, "who": "me"}"#),
    ("json", br#"{"annotations": [{"category_id": 3}]}"#),
    ("json", b"\xEF\xBB\xBF{\"target\": \"3\"}"),
    ("json", b"3"),
    ("pyd", b"\x80\x04K\x03."),
    ("msgpack", b"\x03"),
    (
        "npy",
        b"\x93NUMPY\x01\0\x38\0{'descr': '<i8', \
          'fortran_order': False, 'shape': (), }\n\x03\0\0\0\0\0\0\0",
    ),
];

#[test]
fn a_label_is_the_same_however_it_is_written() {
    for (kind, bytes) in THREE {
        let read = label::read(kind, bytes);
        assert!(matches!(read, Label::Number(3) | Label::Bytes(3)), "{kind} {bytes:?}: {read:?}");
    }
    for (kind, bytes) in [
        ("cls", &b"-1"[..]),
        ("cls", b""),
        ("cls", b"\n"),
        ("cls", b"-1.0"),
        ("cls", b"\xff\xff\xff\xff"),
        ("json", br#"{"label": null}"#),
        ("json", br#"{"label": -1}"#),
        ("txt", b"none"),
    ] {
        assert_eq!(label::read(kind, bytes), Label::None, "{kind} {bytes:?}");
    }
    for (kind, bytes) in [
        ("cls", &b"3.5"[..]),
        ("txt", b"a dog\nruns"),
        ("json", br#"{"width": 40}"#),
        ("json", b"{"),
        ("json", br#"{"label": [1, 2]}"#),
        ("pyd", b"junk"),
        ("cls", b"\x93NUMPY"),
        ("cls", b"\xfe\xfd\xfc"),
    ] {
        assert!(matches!(label::read(kind, bytes), Label::Unknown(_)), "{kind} {bytes:?}");
    }
    assert_eq!(label::read("txt", b"b'cat'\n"), Label::Word("cat".into()));
}

#[test]
fn keys_with_dots_are_understood_or_the_kind_is_named() {
    let (pairs, _) = train(&[
        ("n0.5_a.jpg", b"x"),
        ("n0.5_a.cls", b"0"),
        ("n0.5_b.jpg", b"x"),
        ("n0.5_b.cls", b"1"),
    ]);
    assert_eq!(pairs, owned(&[("n0.5_a.jpg", "0"), ("n0.5_b.jpg", "1")]));
    let (pairs, reading) = train(&[
        ("0.left.jpg", b"x"),
        ("0.right.jpg", b"x"),
        ("0.cls", b"0"),
        ("1.left.jpg", b"x"),
        ("1.right.jpg", b"x"),
        ("1.cls", b"1"),
    ]);
    assert_eq!(pairs, owned(&[("0.left.jpg", "0"), ("1.left.jpg", "1")]));
    assert!(
        reading.notes[0].contains(".left.jpg is used, .right.jpg isn't"),
        "{:?}",
        reading.notes
    );
    let (pairs, reading) = train(&[
        ("a.jpg", b"x"),
        ("a.seg.png", b"x"),
        ("a.cls", b"0"),
        ("b.jpg", b"x"),
        ("b.npz", b"x"),
        ("c.npz", b"x"),
        ("c.cls", b"0"),
    ]);
    assert_eq!(pairs, owned(&[("a.jpg", "0")]));
    let said: Vec<_> = reading.left_out.iter().map(|l| l.reason.as_str()).collect();
    assert!(said[0].contains("found: .npz") && said[1].contains("found: .npz, .cls"), "{said:?}");
}

#[test]
fn repeated_keys_are_used_or_named_and_never_mixed_up() {
    let (pairs, reading) = train(&[
        ("a.jpg", b"x"),
        ("a.cls", b"0"),
        ("b.jpg", b"x"),
        ("b.cls", b"0"),
        ("a.jpg", b"x"),
        ("a.cls", b"1"),
    ]);
    assert_eq!(pairs, owned(&[("a.jpg", "0"), ("a.jpg", "1"), ("b.jpg", "0")]));
    assert!(reading.notes[0].contains("comes more than once"), "{:?}", reading.notes);
    // Pictures first, labels later: fine while no key comes twice.
    let (pairs, reading) =
        train(&[("a.jpg", b"x"), ("b.jpg", b"x"), ("a.cls", b"1"), ("b.cls", b"0")]);
    assert_eq!(pairs, owned(&[("a.jpg", "1"), ("b.jpg", "0")]));
    assert!(reading.notes.is_empty());
    for shard in [
        vec![
            ("a.jpg", &b"x"[..]),
            ("b.jpg", b"x"),
            ("a.jpg", b"x"),
            ("a.cls", b"0"),
            ("b.cls", b"0"),
            ("a.cls", b"1"),
        ],
        vec![
            ("b.jpg", b"x"),
            ("b.cls", b"0"),
            ("a.jpg", b"x"),
            ("a.jpg", b"x"),
            ("a.cls", b"0"),
            ("a.cls", b"1"),
        ],
    ] {
        let (pairs, reading) = train(&shard);
        assert_eq!(pairs, owned(&[("b.jpg", "0")]));
        let left = reading.left_out.iter().filter(|l| l.reason.contains("isn't clear"));
        assert_eq!(left.count(), 2, "{:?}", reading.left_out);
    }
    // The same key in several shards is usual.
    let shard = |name| (name, vec![("0.jpg", &b"x"[..]), ("0.cls", &b"0"[..])]);
    let reading = reading_of(&[shard("train-0.tar"), shard("train-1.tar")]);
    assert_eq!((reading.train.len(), reading.notes.len()), (2, 0));
}

fn reading_of(shards: &[Shard<'_>]) -> Reading {
    reading(shards, &[]).unwrap()
}

#[test]
fn unlabeled_samples_are_left_out_and_numbers_stay_in_their_order() {
    let names: Vec<_> = (0..24).map(|i| (format!("{i:03}.jpg"), format!("{i:03}.cls"))).collect();
    let numbers: Vec<_> = (0..24).map(|i| (i % 12).to_string()).collect();
    let shard: Vec<_> = names
        .iter()
        .zip(&numbers)
        .flat_map(|((jpg, cls), n)| [(jpg.as_str(), &b"x"[..]), (cls.as_str(), n.as_bytes())])
        .collect();
    let marked = vec![("a.jpg", &b"x"[..]), ("a.cls", &b"-1"[..])];
    let reading = reading_of(&[("train-0.tar", shard), ("test-0.tar", marked.clone())]);
    let keys: Vec<_> = reading.classes.iter().map(|(key, _)| key.parse::<u32>().unwrap()).collect();
    assert_eq!(keys, (0..12).collect::<Vec<_>>());
    assert!(reading.val.is_none() && reading.test.is_none() && reading.left_out.is_empty());
    assert!(reading.notes[0].contains("1 test pictures aren't used"), "{:?}", reading.notes);
    let both = [vec![("b.jpg", &b"x"[..]), ("b.cls", &b"0"[..])], marked].concat();
    let reading = reading_of(&[("train-0.tar", both)]);
    assert_eq!((reading.train.len(), reading.left_out.len()), (1, 1));
}

#[test]
fn splits_come_from_names_and_from_folders() {
    let shard = || vec![("0.jpg", &b"x"[..]), ("0.cls", &b"0"[..])];
    let counts = |names: [&str; 4]| {
        let reading = reading_of(&names.map(|name| (name, shard())));
        let n = |labeled: &Option<Vec<Picture>>| labeled.as_ref().map(Vec::len);
        (reading.train.len(), n(&reading.val), n(&reading.test))
    };
    let named = ["imagenet-train-000000.tar", "b-train-1.tar", "x-validation-0.tar", "test.tar"];
    assert_eq!(counts(named), (2, Some(1), Some(1)));
    let folders = ["train/0.tar", "train/1.tar", "val/0.tar", "test/0.tar"];
    assert_eq!(counts(folders), (2, Some(1), Some(1)));
    // `find` takes test pictures for validation where there are no others, for all layouts.
    assert_eq!(counts(["0.tar", "1.tar", "2.tar", "test.tar"]), (3, None, Some(1)));
    assert_eq!(
        counts(["Train/0.tar", "train_val.tar", "Val/1.tar", "Val/2.tar"]),
        (2, Some(2), None)
    );
}

#[test]
fn labels_that_make_no_classes_are_doubted() {
    let doubts = |shard: &[(&str, &[u8])], more: &[(&str, &[u8])]| {
        let reading = reading(&[("train-0.tar", shard.to_vec())], more).unwrap();
        let all = reading.doubts.iter().map(|doubt| doubt.why.clone());
        all.collect::<Vec<_>>().join("; ")
    };
    let far = [("a.jpg", &b"x"[..]), ("a.cls", b"0"), ("b.jpg", b"x"), ("b.cls", b"99999")];
    assert!(doubts(&far, &[]).contains("99998 classes would have no picture"));
    let mixed = [("a.jpg", &b"x"[..]), ("a.cls", b"0"), ("b.jpg", b"x"), ("b.cls", b"cat")];
    assert!(doubts(&mixed, &[]).contains("others are words"));
    let bytes = [("a.jpg", &b"x"[..]), ("a.cls", b"\x03"), ("b.jpg", b"x"), ("b.cls", b"3")];
    assert!(doubts(&bytes, &[]).contains("written as bytes"));
    let none = [("a.jpg", &b"x"[..]), ("b.jpg", b"x")];
    assert!(doubts(&none, &[]).contains("none of the pictures"));
    let gap = [("a.jpg", &b"x"[..]), ("a.cls", b"0"), ("b.jpg", b"x"), ("b.cls", b"40")];
    assert!(!doubts(&gap, &[]).is_empty());
    let names: String = (0..41).map(|i| format!("c{i}\n")).collect();
    assert_eq!(doubts(&gap, &[("classes.txt", names.as_bytes())]), "");
    let keys: Vec<_> = (0..30).map(|i| (format!("{i}.jpg"), format!("{i}.txt"))).collect();
    let texts: Vec<_> = (0..30).map(|i| format!("a photo of thing {i}")).collect();
    let captions: Vec<_> = keys
        .iter()
        .zip(&texts)
        .flat_map(|((jpg, txt), text)| [(jpg.as_str(), &b"x"[..]), (txt.as_str(), text.as_bytes())])
        .collect();
    assert!(doubts(&captions, &[]).contains("look like descriptions"));
}

#[test]
fn classes_txt_names_numbers_and_orders_words() {
    let numbers = [("a.jpg", &b"x"[..]), ("a.cls", &b"1"[..])];
    let names: [(&str, &[u8]); 1] = [("classes.txt", b"\xEF\xBB\xBFbee\r\nfly\r\n")];
    let of =
        |shard: &[(&str, &[u8])]| reading(&[("0.tar", shard.to_vec())], &names).unwrap().classes;
    assert_eq!(of(&numbers), owned(&[("0", "bee"), ("1", "fly")]));
    let words = [
        ("a.jpg", &b"x"[..]),
        ("a.cls", b"fly"),
        ("b.jpg", b"x"),
        ("b.cls", b"bee"),
        ("c.jpg", b"x"),
        ("c.cls", b"ant"),
    ];
    assert_eq!(of(&words), owned(&[("bee", "bee"), ("fly", "fly"), ("ant", "ant")]));
}
