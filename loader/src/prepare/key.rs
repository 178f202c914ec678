//! The identity of a preparation: only the same pictures with the same options resume where an
//! interrupted one stopped.

use proto::digest::hex;
use sha2::{Digest, Sha256};

use super::{Location, Options, Picture, Reading};

/// Version of the way in which pictures become bytes; raised when it changes.
const EDITION: u32 = 3;

/// A text that differs between any two preparations with different results.
pub(super) fn of(reading: &Reading, options: &Options, fingerprint: &str) -> String {
    let mut hash = Sha256::new();
    let Options { side, val_share, seed, quality, shard_bytes, .. } = options;
    let raw = reading.raw;
    let root = reading.root.display();
    hash.update(format!("{EDITION} {side} {val_share} {seed} {quality} {shard_bytes} {raw}\n"));
    hash.update(format!("{root}\n{fingerprint}\n"));
    for (key, name) in &reading.classes {
        hash.update(format!("{}:{key}{}:{name}", key.len(), name.len()));
    }
    let splits = [Some(&reading.train), reading.val.as_ref(), reading.test.as_ref()];
    for pictures in splits {
        let n = pictures.map(Vec::len);
        hash.update(format!("{n:?}\n"));
        pictures.into_iter().flatten().for_each(|picture| add(&mut hash, reading, picture));
    }
    hex(&hash.finalize())
}

fn add(hash: &mut Sha256, reading: &Reading, picture: &Picture) {
    hash.update(picture.label.to_le_bytes());
    match &picture.location {
        Location::File(path) => hash.update(path.as_os_str().as_encoded_bytes()),
        Location::Member { archive, name, offset, length } => {
            hash.update(&reading.archives[*archive as usize].name);
            hash.update(name.as_bytes());
            hash.update(offset.to_le_bytes());
            hash.update(length.to_le_bytes());
        }
    }
    hash.update([0]);
}
