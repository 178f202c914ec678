//! Folders as they really are.

use std::os::unix::fs::symlink;

use super::*;

fn folder(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    dir
}

fn names(found: &Found, dir: &Path) -> Vec<String> {
    let below = |path: &PathBuf| path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
    found.pictures.iter().map(below).collect()
}

fn find_in(dir: &Path, path: &str) -> Found {
    find(&[dir.join(path)], None).unwrap()
}

#[test]
fn a_folder_is_all_its_pictures_in_order_without_what_systems_left_behind() {
    let dir = folder(&[
        "b.jpg",
        "a/2.PNG",
        "a/1.jpg",
        ".DS_Store",
        "._b.jpg",
        "Thumbs.db",
        "@eaDir/b.jpg",
        "__MACOSX/b.jpg",
        ".git/x.png",
        "notes.txt",
        "photo.heic",
    ]);
    let found = find_in(dir.path(), "");
    assert_eq!(names(&found, dir.path()), ["a/1.jpg", "a/2.PNG", "b.jpg", "photo.heic"]);
    assert_eq!(found.problems, [""; 0]);
    let said = found.passed.sentences().join("\n");
    assert!(said.contains("6 hidden or system files") && said.contains("notes.txt"), "{said}");
}

#[test]
fn links_are_followed_once_and_never_to_a_folder_above() {
    let dir = folder(&["photos/a/1.jpg", "photos/b/2.jpg", "elsewhere/3.jpg", "private.jpg"]);
    let photos = dir.path().join("photos");
    symlink("../..", photos.join("a/up")).unwrap();
    symlink("../b", photos.join("a/b-again")).unwrap();
    symlink("../elsewhere", photos.join("linked")).unwrap();
    symlink("loop", photos.join("loop")).unwrap();
    symlink("nowhere.jpg", photos.join("broken.jpg")).unwrap();
    let found = find_in(dir.path(), "photos");
    let all = ["a/1.jpg", "a/b-again/2.jpg", "linked/3.jpg"];
    assert_eq!(names(&found, &photos), all, "each picture once, nothing from above");
    assert!(found.passed.sentences()[0].contains("link to a folder above"));
    assert_eq!(found.problems.len(), 2, "the loop and the broken link: {:?}", found.problems);
}

#[test]
fn pipes_and_devices_in_a_folder_are_never_opened() {
    let dir = folder(&["1.jpg"]);
    let made = std::process::Command::new("mkfifo").arg(dir.path().join("pipe.jpg")).status();
    assert!(made.unwrap().success());
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    symlink("/dev/zero", dir.path().join("zero.png")).unwrap();
    let found = find_in(dir.path(), "");
    assert_eq!(names(&found, dir.path()), ["1.jpg"]);
    let said = found.passed.sentences().join("\n");
    assert!(said.contains("3 pipes, sockets and devices"), "{said}");
}

#[test]
fn what_leads_to_no_picture_is_a_problem_each() {
    let dir = folder(&["empty/notes.txt", "1.jpg"]);
    let paths = ["missing.jpg", "empty", "*.gif", "*/notes.txt", "1.jpg"];
    let found = find(&paths.map(|path| dir.path().join(path)), None).unwrap();
    assert_eq!(names(&found, dir.path()), ["1.jpg"]);
    let said = found.problems.join("\n");
    for words in ["no such file", "no picture is in this folder", "nothing matches", "no picture"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(found.problems.len(), 4, "{said}");
}

#[test]
fn a_name_with_brackets_is_a_file_before_it_is_a_pattern() {
    let dir = folder(&["a[1].jpg", "a1.jpg"]);
    assert_eq!(names(&find_in(dir.path(), "a[1].jpg"), dir.path()), ["a[1].jpg"]);
    assert_eq!(names(&find_in(dir.path(), "a[0-9].jpg"), dir.path()), ["a1.jpg"]);
    assert_eq!(names(&find_in(dir.path(), "*.jpg"), dir.path()), ["a1.jpg", "a[1].jpg"]);
}

#[test]
fn folders_that_this_program_made_are_passed_over_unless_asked_for() {
    let dir = folder(&["runs/r/run.json", "runs/r/recipe.toml", "runs/r/eval/c.png", "1.jpg"]);
    assert_eq!(names(&find_in(dir.path(), ""), dir.path()), ["1.jpg"]);
    assert_eq!(names(&find_in(dir.path(), "runs/r"), dir.path()), ["runs/r/eval/c.png"]);
}

#[test]
fn a_list_has_one_path_per_line_however_it_was_written() {
    let paths = |text: &[u8]| -> Vec<String> {
        super::paths(text).iter().map(|path| path.to_string_lossy().into_owned()).collect()
    };
    assert_eq!(paths(b"\xEF\xBB\xBFa b.jpg\r\n\r\nc.jpg"), ["a b.jpg", "c.jpg"]);
    assert_eq!(paths(b"a\nb.jpg\0c\r\0"), ["a\nb.jpg", "c\r"]);
    let dir = folder(&["list", "empty"]);
    std::fs::write(dir.path().join("empty"), "\n\n").unwrap();
    let said = find(&[], Some(&dir.path().join("empty"))).unwrap_err().to_string();
    assert!(said.contains("one path per line"), "{said}");
    assert!(find(&[], Some(&dir.path().join("missing"))).is_err());
}
