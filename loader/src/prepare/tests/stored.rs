//! Stored pictures: their pixels, who is held out, what is refused, what is remarked.

use super::interrupted::Heard;
use super::*;
use crate::dataset;

fn photo(n: u32) -> Vec<u8> {
    let (side, mut bytes) = (96_u32, Vec::new());
    let pixel = |k: u32| (k.wrapping_mul(2_654_435_761 + n) >> 25) as u8 + (k / 300) as u8;
    let pixels: Vec<u8> = (0..side * side * 3).map(pixel).collect();
    Encoder::new(&mut bytes, 95).encode(&pixels, 96, 96, ColorType::Rgb).unwrap();
    bytes
}

fn photos(n: u32) -> tempfile::TempDir {
    let files: Vec<_> = (0..n)
        .map(|i| (format!("train/{}/{i}.jpg", ["a", "b"][i as usize % 2]), photo(i)))
        .collect();
    tree(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>())
}

#[test]
fn the_mean_image_is_that_of_the_pixels_trained_on() {
    let (root, out) = (photos(11), tempfile::tempdir().unwrap());
    for (name, options) in [
        ("jpeg", Options { side: 80, quality: 40, ..Options::default() }),
        ("raw", Options { side: 64, ..Options::default() }),
    ] {
        let dest = out.path().join(name);
        prepare(root.path(), &dest, &options, &|_| ()).unwrap();
        let data = DataSet::open(&dest).unwrap();
        let mut sums = crate::statistics::PixelSums::new(options.side);
        let mut pixels = Vec::new();
        for i in 0..data.describe().n_train {
            data.read(Split::Train, i, &mut Vec::new(), &mut pixels).unwrap();
            sums.add(&pixels);
        }
        assert_eq!(data.describe().mean, sums.mean(), "{name}");
        assert_eq!(data.describe().colors, sums.colors(), "{name}");
    }
}

#[test]
fn small_pictures_are_stored_without_loss_and_quality_is_a_choice() {
    let (root, out) = (photos(4), tempfile::tempdir().unwrap());
    let dest = out.path().join("raw");
    prepare(root.path(), &dest, &Options { side: 64, ..Options::default() }, &|_| ()).unwrap();
    let data = DataSet::open(&dest).unwrap();
    assert_eq!(data.summary().encoding, PictureEncoding::Raw);
    assert_eq!(data.summary().quality, None);
    let mut pixels = Vec::new();
    let all: Vec<_> = (0..4).map(|n| picture::square(&photo(n), 64).unwrap()).collect();
    for i in 0..data.describe().n_train {
        data.read(Split::Train, i, &mut Vec::new(), &mut pixels).unwrap();
        assert!(all.contains(&pixels));
    }
    let bytes = |quality: u8| {
        let dest = out.path().join(quality.to_string());
        let options = Options { side: 80, quality, ..Options::default() };
        let summary = prepare(root.path(), &dest, &options, &|_| ()).unwrap().summary;
        assert_eq!((summary.quality, summary.encoding), (Some(quality), PictureEncoding::Jpeg));
        summary.bytes()
    };
    let [best, usual, worse] = [95, 90, 50].map(bytes);
    assert!(best > usual && usual > worse);
}

/// Re-encoding would cost what a second JPEG costs; below side 65 the pixels take more space.
#[test]
fn a_jpeg_that_has_the_stored_size_already_is_stored_as_it_is() {
    let jpeg = |side: u16, n: u8| {
        let pixels: Vec<u8> =
            (0..3 * u32::from(side) * u32::from(side)).map(|k| (k / 9) as u8 ^ n).collect();
        let mut bytes = Vec::new();
        Encoder::new(&mut bytes, 70).encode(&pixels, side, side, ColorType::Rgb).unwrap();
        bytes
    };
    let with_film = |bytes: Vec<u8>| [bytes, vec![7; 1 << 16]].concat();
    for side in [48, 96] {
        let same = [jpeg(side, 0), jpeg(side, 1), jpeg(side, 2)];
        let others = [jpeg(side + 8, 3), with_film(jpeg(side, 4)), jpeg(side, 5)];
        let all: Vec<_> = same.iter().chain(&others).collect();
        let names = (0..).map(|i| format!("train/{}/{i}.jpg", ["a", "b"][i % 2]));
        let files: Vec<_> = names.zip(all.iter().map(|bytes| bytes.to_vec())).collect();
        let root = tree(&files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect::<Vec<_>>());
        let out = tempfile::tempdir().unwrap();
        for (name, val_share) in [("all", 0.0), ("divided", 0.4)] {
            let dest = out.path().join(name);
            let options = Options { side: side.into(), val_share, ..Options::default() };
            prepare(root.path(), &dest, &options, &|_| ()).unwrap();
            let data = DataSet::open(&dest).unwrap();
            let (mut kept, mut sums) = (0, crate::statistics::PixelSums::new(side.into()));
            for (split, n) in
                [(Split::Train, data.describe().n_train), (Split::Val, data.describe().n_val)]
            {
                for i in 0..n {
                    let (mut stored, mut pixels) = (Vec::new(), Vec::new());
                    data.read(split, i, &mut stored, &mut pixels).unwrap();
                    kept += usize::from(all.contains(&&stored));
                    let exact =
                        all.iter().any(|b| picture::square(b, side.into()).unwrap() == pixels);
                    assert!(exact || (side > 64 && !all.contains(&&stored)), "{side} {name} {i}");
                    if split == Split::Train {
                        sums.add(&pixels);
                    }
                }
            }
            assert_eq!(kept, 4, "side {side}, {name}");
            assert_eq!(data.describe().mean, sums.mean(), "side {side}, {name}");
        }
    }
}

#[test]
fn pictures_that_cannot_be_decoded_are_not_held_out() {
    let good = |gray| gray_jpeg(32, 32, gray);
    let bad = || b"no picture".to_vec();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for i in 0..9 {
        files.push((format!("many/{i}.jpg"), good(i)));
    }
    for (name, bytes) in [("1", bad()), ("2", good(90)), ("3", bad()), ("4", good(91))] {
        files.push((format!("two/{name}.jpg"), bytes));
    }
    for (name, bytes) in [("1", bad()), ("2", good(92)), ("3", bad())] {
        files.push((format!("one/{name}.jpg"), bytes));
    }
    let root = tree(&files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect::<Vec<_>>());
    let out = tempfile::tempdir().unwrap();
    let data = prepare(root.path(), &out.path().join("out"), &small(), &|_| ()).unwrap();
    let counts = |c: &Class| (c.key.clone(), c.n_train, c.n_val);
    let counts: Vec<_> = data.summary.classes.iter().map(counts).collect();
    let want = [("many", 8, 1), ("one", 1, 0), ("two", 1, 1)];
    assert_eq!(counts, want.map(|(key, train, val)| (key.to_string(), train, val)));
    assert_eq!(data.summary.left_out.len(), 4);
}

#[test]
fn a_source_of_mostly_unreadable_files_is_refused_with_reasons_and_may_be_insisted_on() {
    let out = tempfile::tempdir().unwrap();
    for (n_bad, n_good, refused) in [(3, 2, true), (2, 2, false), (150, 20, true), (1, 9, false)] {
        let bad = (0..n_bad).map(|i| (format!("a/bad{i}.avif"), b"no picture".to_vec()));
        let good = (0..n_good).map(|i| (format!("b/{i}.jpg"), gray_jpeg(9, 9, i as u8)));
        let files: Vec<_> = bad.chain(good).collect();
        let root = tree(&files.iter().map(|(n, b)| (n.as_str(), b.clone())).collect::<Vec<_>>());
        let dest = out.path().join("out");
        match prepare(root.path(), &dest, &small(), &|_| ()) {
            Err(Error::Doubtful { doubts, .. }) if refused => {
                let why = &doubts[0].why;
                assert!(why.contains("not a picture") && why.contains("a/bad0.avif"), "{why}");
                assert!(why.contains("--allow-unreadable"), "{why}");
                assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
                let insisting = Options { allow_unreadable: true, ..small() };
                prepare(root.path(), &dest, &insisting, &|_| ()).unwrap();
            }
            Ok(_) if !refused => {}
            other => panic!("{n_bad} bad, {n_good} good: {other:?}"),
        }
        fs::remove_dir_all(&dest).unwrap();
    }
}

#[test]
fn pictures_in_two_splits_are_counted_and_named() {
    let out = tempfile::tempdir().unwrap();
    let gray = |g| gray_jpeg(32, 32, g);
    let root = tree(&[
        ("train/a/1.jpg", gray(10)),
        ("train/a/2.jpg", gray(200)),
        ("train/b/3.jpg", gray(100)),
        ("val/a/copy.jpg", gray(200)),
        ("val/b/other.jpg", gray(150)),
    ]);
    let report = prepare(root.path(), &out.path().join("out"), &small(), &|_| ()).unwrap();
    let [note] = &report.notes[..] else { panic!("{:?}", report.notes) };
    assert!(note.contains("1 validation picture is among the training pictures"), "{note}");
    assert!(note.contains("val/a/copy.jpg is train/a/2.jpg"), "{note}");
    assert!(!note.contains("other.jpg"), "{note}");
    assert_eq!(report.summary.notes, report.notes);
}

#[test]
fn without_any_validation_picture_the_note_gives_the_true_reason() {
    let out = tempfile::tempdir().unwrap();
    let root = photos(4);
    let options = Options { val_share: 0.0, ..small() };
    let report = prepare(root.path(), &out.path().join("out"), &options, &|_| ()).unwrap();
    assert!(report.notes[0].contains("--val-share 0"), "{:?}", report.notes);
    let root = photos(2);
    let report = prepare(root.path(), &out.path().join("two"), &small(), &|_| ()).unwrap();
    assert!(report.notes[0].contains("no class has two pictures"), "{:?}", report.notes);
}

#[test]
fn pictures_and_labels_alone_decide_the_digest() {
    let out = tempfile::tempdir().unwrap();
    let root = photos(8);
    let digest = |name: &str, options: &Options| {
        let dest = out.path().join(name);
        prepare(root.path(), &dest, options, &|_| ()).unwrap();
        let digest = DataSet::open(&dest).unwrap().describe().digest.clone();
        assert_eq!(dataset::describe(&dest).unwrap().1, digest);
        digest
    };
    let first = digest("first", &small());
    assert_eq!(digest("named", &Options { name: Some("y".into()), ..small() }), first);
    assert_eq!(digest("threads", &Options { threads: 3, ..small() }), first);
    assert_ne!(digest("side", &Options { side: 25, ..small() }), first);
    assert_ne!(digest("seed", &Options { seed: 1, ..small() }), first);
    fs::write(root.path().join("train/stray.txt"), "stray").unwrap();
    fs::write(root.path().join("train/a/broken.jpg"), "no picture").unwrap();
    assert_eq!(digest("stray", &small()), first);
    fs::rename(root.path().join("train/b"), root.path().join("train/c")).unwrap();
    assert_ne!(digest("class", &small()), first);
}

#[test]
fn a_new_data_set_takes_the_place_of_an_old_one_which_is_kept() {
    let out = tempfile::tempdir().unwrap();
    let (root, dest) = (photos(8), out.path().join("out"));
    let options = Options { replace: true, ..small() };
    let first = prepare(root.path(), &dest, &options, &|_| ()).unwrap();
    assert_eq!(first.before, None);
    let old = all_bytes(&dest);
    // The same pictures again: nothing is kept twice.
    assert_eq!(prepare(root.path(), &dest, &options, &|_| ()).unwrap().before, None);
    for (i, before) in [(20, "out.before"), (21, "out.before-2")] {
        fs::write(root.path().join(format!("train/a/{i}.jpg")), photo(i)).unwrap();
        let report = prepare(root.path(), &dest, &options, &|_| ()).unwrap();
        assert_eq!(report.before, Some(out.path().join(before)));
    }
    assert!(all_bytes(&out.path().join("out.before")) == old);
    assert_eq!(before(&dest).len(), 2);
    fs::create_dir(out.path().join("mine")).unwrap();
    fs::write(out.path().join("mine/dataset.json"), r#"{"labels": []}"#).unwrap();
    let error = prepare(root.path(), &out.path().join("mine"), &options, &|_| ()).unwrap_err();
    assert!(matches!(error, Error::Destination { .. }), "{error}");
}

#[test]
fn what_has_changed_in_the_source_is_found() {
    let out = tempfile::tempdir().unwrap();
    let (root, dest) = (photos(8), out.path().join("out"));
    prepare(root.path(), &dest, &small(), &Heard::default()).unwrap();
    let changes = || {
        let files = read(root.path(), &small()).unwrap().files;
        dataset::changes_since(&dest, &files).unwrap().unwrap()
    };
    assert!(changes().is_empty());
    fs::write(root.path().join("train/a/new.jpg"), photo(9)).unwrap();
    fs::remove_file(root.path().join("train/b/1.jpg")).unwrap();
    fs::write(root.path().join("train/b/3.jpg"), photo(10)).unwrap();
    let found = changes();
    assert_eq!(found.added.first, [PathBuf::from("train/a/new.jpg")]);
    assert_eq!(found.removed.first, [PathBuf::from("train/b/1.jpg")]);
    assert_eq!(found.changed.first, [PathBuf::from("train/b/3.jpg")]);
}
