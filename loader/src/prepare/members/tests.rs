//! Members of a tar that are used, and messages about the others.

use super::*;
use crate::prepare::tarfile::tests::{Made, file, open_end, whole};

fn list(bytes: Vec<u8>, repeated: Repeated) -> (Vec<Member>, Reading) {
    let archive = Archive::in_memory("a.tar".into(), bytes);
    let mut reading = Reading::default();
    let members = reading.list(Tar { repeated, ..Tar::whole(&archive) });
    (members, reading)
}

fn link(name: &'static str, kind: u8, link: &'static str) -> Made<'static> {
    Made { name, kind, link, bytes: Vec::new() }
}

#[test]
fn system_files_are_counted_and_links_are_followed_or_named() {
    let (members, reading) = list(
        whole(&[
            file("._1.jpg", vec![0; 9]),
            file("./1.jpg", vec![1; 9]),
            file("__MACOSX/2.jpg", vec![2]),
            file("a/.DS_Store", vec![2]),
            link("same.jpg", b'1', "1.jpg"),
            link("lost.jpg", b'1', "gone.jpg"),
            link("soft.jpg", b'2', "1.jpg"),
            link("pipe", b'6', ""),
        ]),
        Repeated::LastWins,
    );
    let found: Vec<_> = members.iter().map(|m| (m.name.as_str(), m.offset, m.length)).collect();
    assert_eq!(found, [("1.jpg", 1536, 9), ("same.jpg", 1536, 9)]);
    assert_eq!(reading.passed_over.kinds().map(|(_, n, _)| n).sum::<u64>(), 3);
    let said: Vec<_> =
        reading.left_out.iter().map(|l| (l.file.as_str(), l.reason.as_str())).collect();
    let want = [
        ("a.tar/lost.jpg", "a hard link to gone.jpg, which isn't in the archive"),
        ("a.tar/soft.jpg", "a symbolic link to 1.jpg"),
        ("a.tar/pipe", "a named pipe"),
    ];
    assert_eq!(said, want);
    assert!(reading.doubts.is_empty());
}

#[test]
fn of_members_that_come_twice_the_last_is_used_and_that_is_said() {
    let bytes = whole(&[file("1.jpg", vec![1]), file("2.jpg", vec![2]), file("1.jpg", vec![3; 5])]);
    let (members, reading) = list(bytes.clone(), Repeated::LastWins);
    let lengths: Vec<_> = members.iter().map(|m| (m.name.as_str(), m.length)).collect();
    assert_eq!(lengths, [("1.jpg", 5), ("2.jpg", 1)]);
    assert!(reading.notes[0].contains("1 members come twice"), "{:?}", reading.notes);
    let (members, reading) = list(bytes, Repeated::Kept);
    assert_eq!((members.len(), reading.notes.len()), (3, 0));
}

#[test]
fn a_cut_archive_is_doubted_and_its_last_picture_named_until_partial_accepts_it() {
    let mut bytes = open_end(&[file("1.jpg", vec![1]), file("2.jpg", vec![2; 600])]);
    bytes.truncate(bytes.len() - 700);
    let (members, mut reading) = list(bytes, Repeated::LastWins);
    assert_eq!(members.len(), 1);
    assert_eq!(reading.left_out[0].file, "a.tar/2.jpg");
    assert!(reading.doubts[0].why.contains("cut short"), "{:?}", reading.doubts);
    reading.accept_partial();
    assert!(reading.doubts.is_empty() && reading.notes[0].contains("cut short"));
}

#[test]
fn a_member_larger_than_any_picture_is_named_and_never_read() {
    // Only the header exists; the rest of the file is a hole.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.tar");
    let mut header = tar::Header::new_gnu();
    header.set_path("film.jpg").unwrap();
    header.set_size(3 << 30);
    header.set_cksum();
    std::fs::write(&path, header.as_bytes()).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len((3 << 30) + 512 + 1024).unwrap();
    let archive = Archive::open(&path).unwrap();
    let mut reading = Reading::default();
    assert!(reading.list(Tar::whole(&archive)).is_empty());
    assert!(reading.left_out[0].reason.contains("too large"), "{:?}", reading.left_out);
}
