//! The build's name: the version, and a digest of the sources on which messages and bits depend.
//!
//! Processes of two builds may understand each other and still compute other bits, or send messages
//! that the other end reads in another way. They tell each other apart by this name.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// The sources that both ends of a connection must share: messages, sizes and recipes, what a
/// minibatch holds and what a half computes. Preparing a data set is left out, since data sets have
/// digests.
const SOURCES: [&str; 8] = [
    "Cargo.lock",
    "proto/schema",
    "proto/src",
    "proto/model/recipes",
    "proto/model/src",
    "loader/src",
    "gpu-worker/kernels",
    "gpu-worker/src",
];
const LEFT_OUT: &str = "loader/src/prepare";

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
        list(&root, Path::new(source), &mut files)?;
    }
    files.sort();
    let mut digest = Fnv::new();
    for file in files {
        digest.add(file.to_string_lossy().as_bytes());
        digest.add(&fs::read(root.join(file))?);
    }
    println!("cargo:rustc-env=BUILD={}+{:016x}", env!("CARGO_PKG_VERSION"), digest.0);
    Ok(())
}

/// Lists the files at or below `path`, without tests.
fn list(root: &Path, path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    let is_test = path.file_stem().is_some_and(|name| name == "tests");
    if is_test || path.starts_with(LEFT_OUT) {
        return Ok(());
    }
    if root.join(path).is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(root.join(path))? {
        list(root, &path.join(entry?.file_name()), files)?;
    }
    Ok(())
}

/// FNV-1a hash. It tells builds apart and protects against nothing.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        // The length first, so that no two lists of files have the same bytes.
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
