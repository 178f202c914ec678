//! Preparations that are interrupted: wherever that happens, the same command ends with the same
//! bytes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// A source of 150 pictures in two classes, five of them damaged; with `own`, 40 of validation and
/// 30 of a test besides.
fn source(own: bool) -> tempfile::TempDir {
    let mut files = Vec::new();
    let mut add = |split: &str, n: u8| {
        for i in 0..n {
            let class = ["cat", "dog"][usize::from(i % 3 == 0)];
            let bytes = if i % 31 == 30 { vec![i; 9] } else { gray_jpeg(20, 16, i) };
            files.push((format!("{split}/{class}/{i}.jpg"), bytes));
        }
    };
    add("train", 150);
    if own {
        add("val", 40);
        add("test", 30);
    }
    tree(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>())
}

fn options() -> Options {
    // Some thirteen pictures a shard, 32 a batch.
    let shard_bytes = 20_000;
    Options { side: 8, threads: 1, shard_bytes, name: Some("x".into()), ..Options::default() }
}

fn go(root: &Path, dest: &Path, watch: &dyn Watch) -> Result<Report, Error> {
    store(read(root, &options())?, root, dest, &options(), watch)
}

/// Asks to stop after so many questions.
struct After(AtomicU64);

impl Watch for After {
    fn progress(&self, _: Progress) {}

    fn stopped(&self) -> bool {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        left.is_err()
    }
}

/// Remembers remarks and resumptions.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) said: Mutex<Vec<String>>,
    pub(super) resumed: Mutex<Option<Progress>>,
}

impl Watch for Heard {
    fn progress(&self, _: Progress) {}

    fn resumed(&self, progress: Progress) {
        *self.resumed.lock().unwrap() = Some(progress);
    }

    fn say(&self, remark: &str) {
        self.said.lock().unwrap().push(remark.into());
    }
}

#[test]
fn stopped_between_any_two_pictures_and_finished_later_the_bytes_are_the_same() {
    for own in [false, true] {
        let (root, out) = (source(own), tempfile::tempdir().unwrap());
        let whole = out.path().join("whole");
        go(root.path(), &whole, &|_| ()).unwrap();
        let want = all_bytes(&whole);
        assert_eq!(DataSet::open(&whole).unwrap().summary().n_test, if own { 30 } else { 0 });
        let (mut kept, mut resumed) = (0, 0);
        for after in (0..400).step_by(13) {
            let dest = out.path().join("out");
            let partial = out.path().join(".out.partial");
            match go(root.path(), &dest, &After(after.into())) {
                Err(Error::Stopped { kept: None, .. }) => assert!(!partial.exists()),
                Err(Error::Stopped { kept: Some(path), stored }) => {
                    assert_eq!(path, partial);
                    assert!(stored > 0);
                    kept += 1;
                }
                Ok(_) => {}
                Err(other) => panic!("{other}"),
            }
            if !dest.exists() {
                let heard = Heard::default();
                go(root.path(), &dest, &heard).unwrap();
                resumed += u32::from(heard.resumed.lock().unwrap().is_some_and(|p| p.done > 0));
            }
            assert!(all_bytes(&dest) == want, "own {own}, stopped after {after}");
            assert!(!partial.exists());
            fs::remove_dir_all(&dest).unwrap();
        }
        assert!(kept > 3 && kept == resumed, "own {own}: {kept} kept, {resumed} resumed");
    }
}

/// Copies what is on disk after every batch, as a machine leaves it that loses its power.
struct Copies<'a> {
    partial: &'a Path,
    to: &'a Path,
    n: AtomicU64,
}

impl Watch for Copies<'_> {
    fn progress(&self, _: Progress) {
        let copy = self.to.join(self.n.fetch_add(1, Ordering::Relaxed).to_string());
        copy_folder(self.partial, &copy);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        // The writer may just have renamed a file.
        let _ = fs::copy(entry.path(), to.join(entry.file_name()));
    }
}

#[test]
fn killed_at_any_moment_and_finished_later_the_bytes_are_the_same() {
    for own in [false, true] {
        let (root, out) = (source(own), tempfile::tempdir().unwrap());
        let (copies, dest) = (out.path().join("copies"), out.path().join("out"));
        fs::create_dir(&copies).unwrap();
        let partial = out.path().join(".out.partial");
        let watch = Copies { partial: &partial, to: &copies, n: AtomicU64::new(0) };
        go(root.path(), &dest, &watch).unwrap();
        let want = all_bytes(&dest);
        let n = watch.n.load(Ordering::Relaxed);
        assert!(n >= 6, "{n} batches");
        for i in 0..n {
            fs::remove_dir_all(&dest).unwrap();
            fs::rename(copies.join(i.to_string()), &partial).unwrap();
            go(root.path(), &dest, &|_| ()).unwrap();
            assert!(all_bytes(&dest) == want, "own {own}, killed after batch {i}");
        }
    }
}

#[test]
fn a_preparation_of_other_pictures_does_not_go_on_and_says_what_it_removes() {
    let (root, out) = (source(false), tempfile::tempdir().unwrap());
    let dest = out.path().join("out");
    let stop = || go(root.path(), &dest, &After(AtomicU64::new(100))).unwrap_err();
    let others: [&dyn Fn() -> Options; 3] =
        [&|| Options { side: 9, ..options() }, &|| Options { seed: 3, ..options() }, &|| {
            fs::write(root.path().join("train/cat/new.jpg"), gray_jpeg(9, 9, 9)).unwrap();
            options()
        }];
    for other in others {
        assert!(matches!(stop(), Error::Stopped { kept: Some(_), .. }));
        let heard = Heard::default();
        prepare(root.path(), &dest, &other(), &heard).unwrap();
        assert!(heard.resumed.lock().unwrap().is_none());
        let said = heard.said.lock().unwrap().join("\n");
        assert!(said.contains("removing") && said.contains(".out.partial"), "{said}");
        DataSet::open(&dest).unwrap().verify().unwrap();
        fs::remove_dir_all(&dest).unwrap();
    }
}

#[test]
fn litter_of_earlier_versions_is_named_and_removed_and_nothing_else() {
    let (root, out) = (source(false), tempfile::tempdir().unwrap());
    let path = |name: &str| out.path().join(name);
    let (litter, others) =
        (path(".out.partial-aB3xYz"), [".out.partial-notes", ".out2.partial-aB3xYz"]);
    fs::create_dir(&litter).unwrap();
    fs::write(litter.join("train-00000.tar"), "half").unwrap();
    others.iter().for_each(|name| fs::create_dir(path(name)).unwrap());
    let heard = Heard::default();
    prepare(root.path(), &path("out"), &options(), &heard).unwrap();
    let said = heard.said.lock().unwrap().join("\n");
    assert!(said.contains(".out.partial-aB3xYz"), "{said}");
    assert!(!litter.exists() && others.iter().all(|name| path(name).exists()));
}

/// Tries to prepare to the same destination meanwhile.
struct Second<'a>(&'a Path, &'a Path, Mutex<Vec<String>>);

impl Watch for Second<'_> {
    fn progress(&self, _: Progress) {
        let refused = prepare(self.0, self.1, &options(), &|_| ()).unwrap_err();
        self.2.lock().unwrap().push(refused.to_string());
    }
}

#[test]
fn a_second_preparation_of_one_destination_is_refused_and_disturbs_nothing() {
    let (root, out) = (source(false), tempfile::tempdir().unwrap());
    let dest = out.path().join("out");
    let watch = Second(root.path(), &dest, Mutex::default());
    prepare(root.path(), &dest, &options(), &watch).unwrap();
    let refused = watch.2.into_inner().unwrap();
    assert!(refused.iter().all(|why| why.contains("another preparation")), "{refused:?}");
    assert!(!refused.is_empty());
    DataSet::open(&dest).unwrap().verify().unwrap();
}

/// A folder where a file should be can't be read, even by root.
#[test]
fn an_interrupted_preparation_that_can_not_be_read_is_not_removed() {
    let (root, out) = (source(false), tempfile::tempdir().unwrap());
    let (dest, partial) = (out.path().join("out"), out.path().join(".out.partial"));
    go(root.path(), &dest, &After(AtomicU64::new(60))).unwrap_err();
    for (file, newer) in
        [("preparation.key", true), ("preparation.key", false), ("all-00000.done", false)]
    {
        let path = partial.join(file);
        let whole = std::fs::read(&path).unwrap();
        let files = || std::fs::read_dir(&partial).unwrap().count();
        let before = files();
        match newer {
            true => std::fs::write(&path, "another digest\nformat 3\n").unwrap(),
            false => {
                std::fs::remove_file(&path).unwrap();
                std::fs::create_dir(&path).unwrap();
            }
        }
        let said = go(root.path(), &dest, &|_| ()).unwrap_err().to_string();
        let expected = if newer { "written in format 3" } else { "Is a directory" };
        assert!(said.contains(file) && said.contains(expected), "{said}");
        assert_eq!(files(), before, "{said}");
        if !newer {
            std::fs::remove_dir(&path).unwrap();
        }
        std::fs::write(&path, whole).unwrap();
    }
    let heard = Heard::default();
    go(root.path(), &dest, &heard).unwrap();
    assert!(heard.resumed.lock().unwrap().is_some_and(|resumed| resumed.done > 0));
}
