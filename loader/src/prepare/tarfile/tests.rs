//! Tars of all writers, whole and damaged; the builder serves other tests too.

use super::*;
use crate::prepare::archive::Archive;

/// A member of a tar to be made.
pub(in crate::prepare) struct Made<'a> {
    pub(in crate::prepare) name: &'a str,
    pub(in crate::prepare) kind: u8,
    pub(in crate::prepare) link: &'a str,
    pub(in crate::prepare) bytes: Vec<u8>,
}

pub(in crate::prepare) fn file(name: &str, bytes: Vec<u8>) -> Made<'_> {
    Made { name, kind: b'0', link: "", bytes }
}

/// A tar of these members, without the blocks that end it.
pub(in crate::prepare) fn open_end(members: &[Made<'_>]) -> Vec<u8> {
    let mut tar = Vec::new();
    for member in members {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..member.name.len()].copy_from_slice(member.name.as_bytes());
        header.as_old_mut().linkname[..member.link.len()].copy_from_slice(member.link.as_bytes());
        header.set_size(member.bytes.len() as u64);
        header.set_mode(0o644);
        header.as_mut_bytes()[156] = member.kind;
        header.set_cksum();
        tar.extend(header.as_bytes());
        tar.extend(&member.bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar
}

/// A whole tar of these members.
pub(in crate::prepare) fn whole(members: &[Made<'_>]) -> Vec<u8> {
    [open_end(members), vec![0; 1024]].concat()
}

/// A tar of these files.
pub(in crate::prepare) fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let files: Vec<_> = files.iter().map(|(name, bytes)| file(name, bytes.clone())).collect();
    whole(&files)
}

fn entries(bytes: Vec<u8>) -> (Vec<Entry>, Result<(), Fault>) {
    let archive = Archive::in_memory("a.tar".into(), bytes);
    let mut entries = Vec::new();
    let result = walk(&archive, 0, archive.bytes, &mut |entry| {
        entries.push(entry);
        true
    });
    (entries, result)
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

#[test]
fn members_come_out_with_plain_names_and_their_positions() {
    let bytes = whole(&[
        file("./a/1.jpg", vec![1; 700]),
        file("/etc/2.jpg", vec![2; 3]),
        file("../b//3.jpg", vec![3]),
        Made { name: "d/", kind: b'5', link: "", bytes: Vec::new() },
        file("old-folder/", Vec::new()),
        Made { name: "hard", kind: b'1', link: "./a/1.jpg", bytes: Vec::new() },
        Made { name: "soft", kind: b'2', link: "../x", bytes: Vec::new() },
        Made { name: "pipe", kind: b'6', link: "", bytes: Vec::new() },
        Made { name: "old", kind: 0, link: "", bytes: vec![4] },
    ]);
    let (entries, result) = entries(bytes);
    assert_eq!(result, Ok(()));
    let want =
        ["a/1.jpg", "etc/2.jpg", "b/3.jpg", "d", "old-folder", "hard", "soft", "pipe", "old"];
    assert_eq!(names(&entries), want);
    assert_eq!((entries[0].offset, entries[0].length), (512, 700));
    assert_eq!(entries[1].offset, 512 + 1024 + 512);
    let kinds: Vec<_> = entries[3..].iter().map(|entry| entry.kind.clone()).collect();
    let want = [
        Kind::Folder,
        Kind::Folder,
        Kind::HardLink("a/1.jpg".into()),
        Kind::SymbolicLink("x".into()),
        Kind::Other("a named pipe"),
        Kind::File,
    ];
    assert_eq!(kinds, want);
}

#[test]
fn long_names_of_gnu_and_of_posix_are_read_and_sparse_files_are_named() {
    let long = format!("{}/1.jpg", "x".repeat(300));
    let field = |key: &str, value: &str| {
        let rest = format!(" {key}={value}\n");
        let digits = (rest.len() + 3).to_string().len();
        format!("{}{rest}", rest.len() + digits).into_bytes()
    };
    let extension = |kind, bytes| Made { name: "././@LongLink", kind, link: "", bytes };
    let bytes = whole(&[
        extension(b'g', field("comment", "a commit")),
        extension(b'L', format!("{long}\0").into_bytes()),
        file("cut-name", vec![1]),
        extension(b'x', field("path", &long)),
        file("other", vec![2, 2]),
        file("plain", vec![3]),
        extension(b'x', field("GNU.sparse.major", "1")),
        file("sparse", vec![4]),
    ]);
    let (entries, result) = entries(bytes);
    assert_eq!(result, Ok(()));
    assert_eq!(names(&entries), [long.as_str(), &long, "plain", "sparse"]);
    assert_eq!(entries[1].length, 2);
    assert!(matches!(entries[3].kind, Kind::Other(why) if why.contains("sparse")));
}

#[test]
fn every_cut_is_noticed_and_an_end_block_is_enough() {
    let tar = open_end(&[file("1.jpg", vec![1; 600]), file("2.jpg", vec![2; 100])]);
    let mut one_block = tar.clone();
    one_block.extend([0; 512]);
    assert_eq!(entries(one_block).1, Ok(()));
    for end in 0..=tar.len() {
        let (entries, result) = entries(tar[..end].to_vec());
        match result {
            Err(Fault::Cut(why)) => assert!(why.contains(".jpg"), "{end}: {why}"),
            Err(Fault::Damaged(_)) => assert!(end < 512, "{end}"),
            other => panic!("{end}: {other:?}"),
        }
        let whole = entries.iter().filter(|entry| entry.kind == Kind::File).count();
        let want = usize::from(end >= 512 + 600) + usize::from(end >= 512 + 1024 + 512 + 100);
        assert_eq!(whole, want, "{end}");
    }
}

#[test]
fn what_follows_the_end_is_said() {
    let tar = whole(&[file("1.jpg", vec![1; 600])]);
    let appended = [tar.clone(), tar.clone()].concat();
    let said = entries(appended).1.unwrap_err();
    assert!(matches!(&said, Fault::More(why) if why.contains("--ignore-zeros")), "{said:?}");
    let unfinished = [tar.clone(), vec![0; 5 << 20]].concat();
    let said = entries(unfinished).1.unwrap_err();
    assert!(matches!(&said, Fault::Cut(why) if why.contains("download")), "{said:?}");
    let padded = [tar, vec![0; 20 << 10]].concat();
    assert_eq!(entries(padded).1, Ok(()));
    assert_eq!(entries(vec![0; 10240]), (Vec::new(), Ok(())));
}

#[test]
fn a_damaged_header_is_named_by_the_member_before_it() {
    let mut tar = whole(&[file("1.jpg", vec![1; 600]), file("2.jpg", vec![2; 100])]);
    tar[512 + 1024 + 3] ^= 1;
    let (entries, result) = entries(tar);
    assert_eq!(names(&entries), ["1.jpg"]);
    assert_eq!(result, Err(Fault::Damaged("it is damaged after 1.jpg, at byte 1536".into())));
    let text = super::tests::entries(vec![b'x'; 2000]).1;
    assert_eq!(text, Err(Fault::Damaged("it is no tar".into())));
}
