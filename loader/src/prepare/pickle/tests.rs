//! Pickles as Python 2 and Python 3 write them.

use super::*;

#[test]
fn numbers_texts_and_containers_are_read() {
    for (bytes, number) in [
        (&b"\x80\x04K\x03."[..], 3),
        (b"\x80\x02M\xe7\x03.", 999),
        (b"\x80\x02J\xff\xff\xff\xff.", -1),
        (b"\x80\x03\x8a\x02\x00\x80.", -32768),
        (b"\x80\x02\x8a\x00.", 0),
    ] {
        assert_eq!(read(bytes).unwrap().as_int(), Some(number), "{bytes:?}");
    }
    let word = b"\x80\x04\x95\x07\0\0\0\0\0\0\0\x8c\x03cat\x94.";
    assert_eq!(read(word).unwrap().as_text(word).as_deref(), Some("cat"));
    let lists = b"\x80\x02}q\x00(U\x01aq\x01]q\x02(K\x01K\x02eU\x01bh\x01u.";
    let value = read(lists).unwrap();
    assert_eq!(value.get(lists, "a").unwrap().items().unwrap().len(), 2);
    assert_eq!(value.get(lists, "b").unwrap().as_text(lists).as_deref(), Some("a"));
    assert_eq!(value.get(lists, "c"), None);
}

#[test]
fn files_cut_anywhere_and_dangerous_ones_are_refused_or_harmless() {
    let whole =
        b"\x80\x02}q\x00(U\x01aq\x01]q\x02(K\x01M\x02\x00e\x8c\x01bcos\nsystem\nU\x02ls\x85Ru.";
    assert!(matches!(read(whole), Ok(Value::Dictionary(pairs)) if pairs.len() == 2));
    for end in 0..whole.len() {
        assert!(read(&whole[..end]).is_err(), "{end}");
    }
    for bad in [&b"\x80\x02."[..], b"\x80\x02e.", b"\x80\x02K\x01u.", b"\x80\x02h\x05.", b"(i"] {
        assert!(read(bad).is_err(), "{bad:?}");
    }
    assert!(read(b"\x80\x02T\xff\xff\xff\xffx.").is_err());
}
