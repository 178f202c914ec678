//! Pictures that are in two splits: a network that is tested on what it has learned makes fewer
//! errors than it would elsewhere.

use std::collections::HashMap;

use super::store::read_record;
use super::writer::Written;
use crate::{Error, files};

/// Most pairs that are named.
const NAMED: usize = 3;

/// Describes the pictures of `other` that are stored byte for byte among the training pictures;
/// `None` if there are none.
pub(super) fn note(
    shards: &files::Folder,
    train: &Written,
    other: &Written,
    name_of: impl Fn(&Written, usize) -> String,
) -> Result<Option<String>, Error> {
    let known: HashMap<_, _> =
        train.records.iter().enumerate().rev().map(|(i, r)| ((r.length, r.crc32), i)).collect();
    let (mut n, mut pairs) = (0_u64, Vec::new());
    for (i, record) in other.records.iter().enumerate() {
        let Some(&same) = known.get(&(record.length, record.crc32)) else { continue };
        // Equal checksums are a hint, equal bytes the proof.
        let bytes = |split: &Written, i: usize| {
            let record = split.records[i];
            read_record(shards, &split.shards[record.shard as usize].file, record)
        };
        if bytes(train, same)? != bytes(other, i)? {
            continue;
        }
        n += 1;
        if pairs.len() < NAMED {
            pairs.push(format!("{} is {}", name_of(other, i), name_of(train, same)));
        }
    }
    let what = match (other.name, n) {
        (_, 0) => return Ok(None),
        ("val", 1) => "1 validation picture is".into(),
        ("val", n) => format!("{n} validation pictures are"),
        (name, 1) => format!("1 {name} picture is"),
        (name, n) => format!("{n} {name} pictures are"),
    };
    let more = if n > NAMED as u64 { ", …" } else { "" };
    Ok(Some(format!(
        "{what} among the training pictures too, so errors will look smaller than they are: {}{more}",
        pairs.join(", ")
    )))
}
