//! Compiled programs on disk, so that only a device's first start waits for the compiler.
//!
//! One file per program: a digest of the rest, then the lengths, PTX and device code. The name is a
//! digest of all that decides the content, so a file is never stale; a damaged one is made anew.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tracing::{debug, warn};

use super::compile::{Compiled, Compiler};
use crate::error::Result;

/// Length of the digest in front.
const DIGEST: usize = 32;

/// The compiled program, from `folder` if it is there, else from the compiler and into `folder`.
pub(super) fn compiled(
    folder: Option<&Path>,
    compiler: &Compiler,
    name: &str,
    text: &str,
) -> Result<Compiled> {
    let path = folder.map(|folder| folder.join(file_name(compiler, name, text)));
    if let Some(found) = path.as_deref().and_then(read) {
        debug!(program = name, "compiled before");
        return Ok(found);
    }
    let made = compiler.compile(name, text)?;
    if let Some(path) = &path
        && let Err(why) = write(path, &made)
    {
        // Nothing is lost but time.
        warn!(path = %path.display(), why = %why, "compiled kernels could not be kept");
    }
    Ok(made)
}

fn file_name(compiler: &Compiler, name: &str, text: &str) -> String {
    let digest = Sha256::new().chain_update(compiler.key()).chain_update("\n").chain_update(text);
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name}-{}.kernels", &digest[..32])
}

fn read(path: &Path) -> Option<Compiled> {
    let bytes = std::fs::read(path).ok()?;
    let parsed = parse(&bytes);
    if parsed.is_none() {
        warn!(path = %path.display(), "damaged; compiling anew");
    }
    parsed
}

fn parse(bytes: &[u8]) -> Option<Compiled> {
    let (digest, rest) = bytes.split_at_checked(DIGEST)?;
    if Sha256::digest(rest)[..] != *digest {
        return None;
    }
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let (ptx, cubin) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    let ptx = String::from_utf8(ptx.to_vec()).ok()?;
    Some(Compiled { ptx, cubin: (!cubin.is_empty()).then(|| cubin.to_vec()) })
}

fn bytes(compiled: &Compiled) -> Vec<u8> {
    let mut rest = (compiled.ptx.len() as u64).to_le_bytes().to_vec();
    rest.extend_from_slice(compiled.ptx.as_bytes());
    rest.extend_from_slice(compiled.cubin.as_deref().unwrap_or_default());
    [&Sha256::digest(&rest)[..], &rest].concat()
}

/// Writes beside, then renames: two workers that start at once don't see halves.
fn write(path: &Path, compiled: &Compiled) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut beside = PathBuf::from(path);
    beside.set_extension(format!("partial-{}", std::process::id()));
    std::fs::write(&beside, bytes(compiled))?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_damage_is_noticed() {
        for cubin in [None, Some(vec![1, 2, 3])] {
            let compiled = Compiled { ptx: ".version 8.0".into(), cubin };
            let mut kept = bytes(&compiled);
            assert_eq!(parse(&kept), Some(compiled));
            *kept.last_mut().unwrap() ^= 1;
            assert_eq!(parse(&kept), None);
            assert_eq!(parse(&kept[..20]), None);
        }
    }
}
