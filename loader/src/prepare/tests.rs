//! Whole preparations of small trees made here: what is kept, what is left out, what is refused.

mod interrupted; // stopped or killed, and finished later
mod stored; // pixels, validation pictures, refusals, remarks

use std::fs;

use jpeg_encoder::{ColorType, Encoder};

use super::*;
use crate::dataset::{DataSet, PictureEncoding};
use crate::source::Scratch;
use crate::{DataSpec, Source, Split};

pub(super) fn gray_jpeg(width: u16, height: u16, gray: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let pixels = vec![gray; usize::from(width) * usize::from(height)];
    Encoder::new(&mut bytes, 95).encode(&pixels, width, height, ColorType::Luma).unwrap();
    bytes
}

/// Label and middle pixel's brightness of a prepared picture.
pub(super) fn level(data: &DataSet, split: Split, index: u64) -> (u32, u8) {
    let mut pixels = Vec::new();
    let label = data.read(split, index, &mut Vec::new(), &mut pixels).unwrap();
    (label, pixels[pixels.len() / 2])
}

/// Files below a new folder.
fn tree(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    root
}

fn small() -> Options {
    Options { side: 24, ..Options::default() }
}

/// Twelve training pictures in two classes, five validation pictures.
fn two_classes() -> tempfile::TempDir {
    let file = |part: &str, class: &str, i: u8, gray: u8| {
        (format!("{part}/{class}/{i}.jpg"), gray_jpeg(40 + u16::from(i), 30, gray + i))
    };
    let mut files: Vec<_> = (0..7).map(|i| file("train", "cat", i, 60)).collect();
    files.extend((0..5).map(|i| file("train", "dog", i, 180)));
    files.extend((0..3).map(|i| file("val", "cat", i, 67)));
    files.extend((0..2).map(|i| file("val", "dog", i, 187)));
    tree(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>())
}

fn all_bytes(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = listing::entries(folder).unwrap().into_iter();
    entries.map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

#[test]
fn folders_become_a_data_set_that_reads_back() {
    let (root, out) = (two_classes(), tempfile::tempdir().unwrap());
    let seen = std::sync::Mutex::new(Vec::new());
    let progress = |p: Progress| seen.lock().unwrap().push(p);
    let dest = out.path().join("new/pets");
    let report = prepare(root.path(), &dest, &small(), &progress).unwrap();
    let last = *seen.lock().unwrap().last().unwrap();
    assert_eq!(last.phase, Phase::Finishing);
    let stored = seen.lock().unwrap().iter().rev().find(|p| p.phase == Phase::Storing).copied();
    let want = Progress { phase: Phase::Storing, done: 17, total: 17, left_out: 0 };
    assert_eq!(stored, Some(want));
    assert_eq!((report.summary.n_train, report.summary.n_val), (12, 5));
    assert!(report.notes.is_empty() && report.summary.left_out.is_empty());

    let data = DataSet::open(&dest).unwrap();
    data.verify().unwrap();
    assert_eq!(data.describe().classes, ["cat", "dog"]);
    for (split, n) in [(Split::Train, 12), (Split::Val, 5)] {
        for i in 0..n {
            let (label, gray) = level(&data, split, i);
            assert!((60 + 120 * label as u8..70 + 120 * label as u8).contains(&gray));
        }
    }
    // The mean image is the mean of what was stored (a gray JPEG is exact to a level).
    let want = (7.0 * 63.0 + 5.0 * 182.0) / 12.0;
    let mean = &data.describe().mean;
    assert!(mean.iter().all(|v| (v - want).abs() < 1.0), "{} {want}", mean[0]);
    let colors = data.describe().colors;
    assert!(colors[0].iter().all(|v| (v - 58.6).abs() < 1.5), "{colors:?}");
    assert!(colors[1].iter().chain(&colors[2]).all(|v| v.abs() < 0.1), "{colors:?}");
}

#[test]
fn the_bytes_do_not_depend_on_threads_and_small_shards_hold_the_same_pictures() {
    let (root, out) = (two_classes(), tempfile::tempdir().unwrap());
    let make = |name: &str, options: Options| {
        let dest = out.path().join(name);
        prepare(root.path(), &dest, &Options { name: Some("x".into()), ..options }, &|_| ())
            .unwrap();
        dest
    };
    let one = make("one", Options { threads: 1, ..small() });
    let many = make("many", Options { threads: 5, ..small() });
    assert_eq!(all_bytes(&one), all_bytes(&many));
    let cut = make("cut", Options { shard_bytes: 3000, ..small() });
    let (one, cut) = (DataSet::open(&one).unwrap(), DataSet::open(&cut).unwrap());
    assert!(cut.summary().train_shards.len() > 2);
    for i in 0..12 {
        assert_eq!(level(&one, Split::Train, i), level(&cut, Split::Train, i));
    }
}

#[test]
fn what_is_no_picture_is_listed_counted_and_left_out() {
    let good = gray_jpeg(40, 30, 90);
    let root = tree(&[
        ("train/a/good.jpg", good.clone()),
        ("train/a/tiny.jpg", gray_jpeg(75, 56, 90)),
        ("train/a/deep/good.jpg", good.clone()),
        ("train/a/empty.jpg", Vec::new()),
        ("train/a/half.jpg", good[..good.len() / 2].to_vec()),
        ("train/a/text.jpg", b"no picture at all".to_vec()),
        ("train/a/.DS_Store", vec![0, 1]),
        ("train/stray.jpg", good.clone()),
        ("train/b/README", b"nothing here yet".to_vec()),
        ("val/a/1.jpg", good),
    ]);
    let out = tempfile::tempdir().unwrap();
    let report = prepare(root.path(), &out.path().join("out"), &small(), &|_| ()).unwrap();
    assert_eq!((report.summary.n_train, report.summary.n_val), (3, 1));
    let mut left: Vec<_> = report.summary.left_out.iter().map(|l| l.file.as_str()).collect();
    left.sort_unstable();
    let want = [
        "train/a/empty.jpg",
        "train/a/half.jpg",
        "train/a/text.jpg",
        "train/b/README",
        "train/stray.jpg",
    ];
    assert_eq!(left, want);
    let [empty, twice] = &report.notes[..] else { panic!("{:?}", report.notes) };
    assert!(empty.contains("class b has no training picture"));
    assert!(twice.contains("val/a/1.jpg is train/a/deep/good.jpg"), "{twice}");
    let written = DataSet::open(&report.path).unwrap();
    assert_eq!(written.summary().left_out, report.summary.left_out);
    assert_eq!(written.describe().classes, ["a", "b"]);
}

#[test]
fn classes_txt_gives_order_and_names_and_names_may_repeat() {
    let good = gray_jpeg(40, 30, 90);
    let root = tree(&[
        ("classes.txt", b"n02 crane\nn01 crane\nn09 gone\nbig dog\n".to_vec()),
        ("train/n01/1.jpg", good.clone()),
        ("train/n02/1.jpg", good.clone()),
        ("train/n03/1.jpg", good.clone()),
        ("train/big dog/1.jpg", good),
    ]);
    let out = tempfile::tempdir().unwrap();
    let report = prepare(root.path(), &out.path().join("out"), &small(), &|_| ()).unwrap();
    let names = report.summary.class_names();
    assert_eq!(names, ["crane (n02)", "crane (n01)", "gone", "big dog", "n03"]);
    let n_train: Vec<_> = report.summary.classes.iter().map(|class| class.n_train).collect();
    assert_eq!(n_train, [1, 1, 0, 1, 1]);
    assert!(report.notes.iter().any(|w| w.contains("n03")), "{:?}", report.notes);
    assert!(report.notes.iter().any(|w| w.contains("n09")), "{:?}", report.notes);
    assert!(report.notes.iter().any(|w| w.contains("no validation")), "{:?}", report.notes);
}

#[test]
fn without_validation_pictures_a_seeded_share_of_each_class_is_set_aside() {
    let files: Vec<_> = (0..50)
        .map(|i| (format!("{}/{i}.jpg", ["a", "b"][i / 30]), gray_jpeg(32, 32, 5 * i as u8)))
        .collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let (root, out) = (tree(&files), tempfile::tempdir().unwrap());
    let make = |name: &str, options: Options| {
        let dest = out.path().join(name);
        prepare(root.path(), &dest, &options, &|_| ()).unwrap();
        DataSet::open(&dest).unwrap()
    };
    let counts =
        |data: &DataSet| data.summary().classes.iter().map(|c| c.n_val).collect::<Vec<_>>();
    let levels = |data: &DataSet| {
        (0..data.describe().n_val).map(|i| level(data, Split::Val, i)).collect::<Vec<_>>()
    };
    let (a, same) = (make("a", small()), make("same", small()));
    let other = make("other", Options { seed: 3, ..small() });
    assert_eq!(counts(&a), [3, 2]);
    assert_eq!(levels(&a), levels(&same));
    assert_ne!(levels(&a), levels(&other));
    assert_eq!(counts(&make("most", Options { val_share: 0.5, ..small() })), [15, 10]);
    assert_eq!(counts(&make("none", Options { val_share: 0.0, ..small() })), [0, 0]);
}

#[test]
fn cifar_pictures_stay_bit_exact() {
    let record = |label: u8, i: usize| {
        let pixel = move |k: usize| (k * 7 + i * 31 + k / 1024) as u8;
        [vec![label], (0..3072).map(pixel).collect()].concat()
    };
    let mut first = [record(3, 0), record(9, 1), record(77, 2)].concat();
    first.extend([1; 100]);
    let root = tree(&[("data_batch_1.bin", first), ("test_batch.bin", record(0, 9))]);
    let out = tempfile::tempdir().unwrap();
    let partial = Options { partial: true, ..Options::default() };
    let report = prepare(root.path(), &out.path().join("out"), &partial, &|_| ()).unwrap();
    assert_eq!((report.summary.n_train, report.summary.n_val, report.summary.side), (2, 1, 32));
    assert_eq!(report.summary.encoding, PictureEncoding::Raw);
    assert_eq!(report.summary.left_out.len(), 2);
    assert_eq!(report.summary.classes[9].name, "truck");

    let source = Source::open(&DataSpec::Folder(report.path)).unwrap();
    let request = crate::batch::Request {
        split: Split::Val,
        step: 0,
        n_images: 5,
        seed: 0,
        crop: 32,
        crop_offsets: 0,
        flip: false,
        color_noise: 0.0,
        view: 0,
    };
    let batch = source.minibatch(&request).unwrap();
    assert_eq!(batch.pixels[..], record(0, 9)[1..]);
    let mut pixels = Vec::new();
    let label = source.read(Split::Train, 1, &mut Scratch::default(), &mut pixels).unwrap();
    assert_eq!((label, pixels[3 * 5 + 2]), (9, record(9, 1)[1 + 2048 + 5]));
}

fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn webdataset_tars_with_numbers_or_words_as_labels() {
    let picture = |gray| gray_jpeg(40, 30, gray);
    let train = tar_of(&[
        ("a/01.cls", b"1\n".to_vec()),
        ("a/01.jpg", picture(110)),
        ("a/02.jpg", picture(50)),
        ("a/02.json", br#"{"label": 0, "who": "me"}"#.to_vec()),
        ("a/03.jpg", picture(50)),
        ("a/04.cls", b"0".to_vec()),
    ]);
    let val = tar_of(&[("x.jpeg", picture(50)), ("x.cls", b"0".to_vec())]);
    let names = b"bee\nfly\n".to_vec();
    let root =
        tree(&[("pets-train-0.tar", train), ("pets-val-0.tar", val), ("classes.txt", names)]);
    let out = tempfile::tempdir().unwrap();
    let report = prepare(root.path(), &out.path().join("out"), &small(), &|_| ()).unwrap();
    assert_eq!((report.summary.n_train, report.summary.n_val), (2, 1));
    assert_eq!(report.summary.class_names(), ["bee", "fly"]);
    assert_eq!(report.summary.left_out.len(), 2);
    let data = DataSet::open(&report.path).unwrap();
    let (label, gray) = level(&data, Split::Train, 0);
    assert!(label == 1 && gray.abs_diff(110) < 4);

    let words = tar_of(&[
        ("1.jpg", picture(50)),
        ("1.json", br#"{"label": "wasp"}"#.to_vec()),
        ("2.jpg", picture(50)),
        ("2.json", br#"{"label": "ant"}"#.to_vec()),
    ]);
    let root = tree(&[("insects.tar", words)]);
    let report =
        prepare(&root.path().join("insects.tar"), &out.path().join("w"), &small(), &|_| ())
            .unwrap();
    assert_eq!(report.summary.class_names(), ["ant", "wasp"]);
    assert_eq!(report.summary.name, "insects");
}

#[test]
fn own_shards_are_webdataset_shards() {
    let (root, out) = (two_classes(), tempfile::tempdir().unwrap());
    let first = out.path().join("first");
    let options = Options { side: 72, ..small() };
    prepare(root.path(), &first, &options, &|_| ()).unwrap();
    let again = prepare(&first, &out.path().join("again"), &small(), &|_| ()).unwrap();
    assert_eq!((again.summary.n_train, again.summary.n_val), (12, 5));
    assert!(again.summary.left_out.is_empty(), "{:?}", again.summary.left_out);
}

#[test]
fn a_destination_that_is_not_free_is_refused_and_untouched() {
    let (root, out) = (two_classes(), tempfile::tempdir().unwrap());
    let refused = |dest: &Path| match prepare(root.path(), dest, &small(), &|_| ()) {
        Err(Error::Destination { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    fs::write(out.path().join("file"), "mine").unwrap();
    assert!(refused(&out.path().join("file")).contains("a file"));
    assert!(refused(out.path()).contains("files in it"));
    let dest = out.path().join("empty");
    fs::create_dir(&dest).unwrap();
    prepare(root.path(), &dest, &small(), &|_| ()).unwrap();
    let before = all_bytes(&dest);
    assert!(refused(&dest).contains("a data set already"));
    assert_eq!(all_bytes(&dest), before);
}

#[test]
fn sources_without_pictures_are_refused_and_nothing_is_left_behind() {
    let out = tempfile::tempdir().unwrap();
    let dest = out.path().join("out");
    let why = |files: &[(&str, Vec<u8>)]| {
        let root = tree(files);
        let error = prepare(root.path(), &dest, &small(), &|_| ()).unwrap_err();
        let refused = matches!(error, Error::Layout { .. } | Error::Doubtful { .. });
        assert!(refused, "{error}");
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
        error.to_string()
    };
    assert!(why(&[]).contains("expected one of"));
    assert!(why(&[("notes.txt", b"x".to_vec())]).contains("expected one of"));
    let text = why(&[("train/a/1.jpg", b"x".to_vec()), ("train/b/1.jpg", b"x".to_vec())]);
    assert!(text.contains("train/a/1.jpg") && text.contains("not a picture"), "{text}");
    let flat = [("train/a/1.jpg", gray_jpeg(9, 9, 9)), ("val/1.jpg", gray_jpeg(9, 9, 9))];
    assert!(why(&flat).contains("val/<class>"));
    let missing = prepare(&out.path().join("nowhere"), &dest, &small(), &|_| ()).unwrap_err();
    assert!(missing.to_string().contains("nowhere"), "{missing}");
}

#[test]
fn impossible_options_are_refused() {
    let root = two_classes();
    let dest = root.path().join("out");
    let refused = |options: Options| {
        matches!(prepare(root.path(), &dest, &options, &|_| ()), Err(Error::Setting { .. }))
    };
    assert!(refused(Options { side: 0, ..small() }));
    assert!(refused(Options { val_share: 1.0, ..small() }));
    assert!(refused(Options { val_share: f64::NAN, ..small() }));
    assert!(refused(Options { quality: 0, ..small() }));
}
