//! Shard files in and out, a chunk at a time: the coordinator never holds one in memory.

mod serve; // the gRPC service

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use proto::chunk::{CHUNK_BYTES, ChunkChecker};
use proto::wire::Chunk;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::disk::checkpoint::{Manifest, folder, parse_shard_name};
use crate::disk::durable::{create_folders, hex, sync_folder};
use crate::disk::run_dir::{START, Start};
use crate::error::Error;

/// The checkpoints of one run directory.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    run_dir: PathBuf,
    /// Length and SHA-256 of the weights that the run starts from.
    start: Option<(u64, String)>,
    expected: Arc<Mutex<Expected>>,
    /// Limits the files sent at the same time.
    turns: Arc<Semaphore>,
}

/// Most files sent at the same time; the two halves of a run need two.
const FILES_OUT: usize = 8;

/// Files that workers have been told to send.
#[derive(Debug, Default)]
struct Expected {
    incarnation: u64,
    names: Vec<String>,
    /// Files that are being received.
    busy: HashSet<(u64, String)>,
}

impl Store {
    /// The files of a run that starts from `start`, or else from initial values.
    pub(crate) fn new(run_dir: &Path, start: Option<&Start>) -> Self {
        Self {
            run_dir: run_dir.to_path_buf(),
            start: start.map(|start| (start.bytes, start.sha256.clone())),
            expected: Arc::default(),
            turns: Arc::new(Semaphore::new(FILES_OUT)),
        }
    }

    /// From now on accepts these files of this incarnation, and no others.
    pub(crate) fn accept(&self, incarnation: u64, names: Vec<String>) {
        let mut expected = self.lock();
        expected.incarnation = incarnation;
        expected.names = names;
    }

    /// Waits until a file may go out.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        let turn = self.turns.clone().acquire_owned().await;
        turn.map_err(|_| Error::StoreClosed)
    }

    fn lock(&self) -> MutexGuard<'_, Expected> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, name: &str, incarnation: u64) -> Result<(), Error> {
        let expected = self.lock();
        if incarnation < expected.incarnation {
            return Err(Error::Older { got: incarnation, now: expected.incarnation });
        }
        if incarnation > expected.incarnation || !expected.names.iter().any(|n| n == name) {
            let expected = match expected.names.join(", ") {
                none if none.is_empty() => "no file".to_string(),
                names => names,
            };
            return Err(Error::NotExpected { name: name.to_string(), expected });
        }
        Ok(())
    }

    /// Begins to receive a file; blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Older`], [`Error::NotExpected`], [`Error::Busy`], or [`Error::Io`] on a full disk.
    pub(crate) fn put(
        &self,
        name: &str,
        sha256: &str,
        incarnation: u64,
    ) -> Result<Incoming, Error> {
        self.check(name, incarnation)?;
        let no_file = || Error::NoFile { name: name.to_string() };
        let (step, file) = parse_shard_name(name).ok_or_else(no_file)?;
        let key = (incarnation, name.to_string());
        if !self.lock().busy.insert(key.clone()) {
            return Err(Error::Busy { name: name.to_string() });
        }
        let folder = folder(&self.run_dir, step);
        let part = folder.join(format!("{file}.{incarnation}.part"));
        let path = folder.join(file);
        let mut incoming = Incoming {
            store: self.clone(),
            key,
            part,
            path,
            want: sha256.to_string(),
            file: None,
            hash: Sha256::new(),
            checker: ChunkChecker::new(u64::MAX),
        };
        create_folders(&folder)?;
        let file = File::create(&incoming.part).map_err(Error::io("create", &incoming.part))?;
        incoming.file = Some(file);
        Ok(incoming)
    }

    /// Opens a shard that a manifest lists, or the weights that the run starts from.
    ///
    /// # Errors
    /// [`Error::NoFile`] for any other name, [`Error::Io`] if it can't be read.
    pub(crate) fn get(&self, name: &str) -> Result<Outgoing, Error> {
        let no_file = || Error::NoFile { name: name.to_string() };
        if let Some((total, sha256)) = self.start.clone().filter(|_| name == START) {
            let path = self.run_dir.join(START);
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            return Ok(Outgoing { path, file, sha256, total, offset: 0 });
        }
        let (step, file) = parse_shard_name(name).ok_or_else(no_file)?;
        let manifest = Manifest::read(&self.run_dir, step)
            .map_err(|error| if error.is_absent() { no_file() } else { error })?;
        let entry = manifest.shards.iter().find(|s| s.file == file).ok_or_else(no_file)?;
        let path = folder(&self.run_dir, step).join(file);
        let open = File::open(&path).map_err(Error::io("open", &path))?;
        let sha256 = entry.sha256.clone();
        Ok(Outgoing { path, file: open, sha256, total: entry.bytes, offset: 0 })
    }
}

/// A file that is being received; dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Incoming {
    store: Store,
    key: (u64, String),
    part: PathBuf,
    path: PathBuf,
    want: String,
    file: Option<File>,
    hash: Sha256,
    checker: ChunkChecker,
}

impl Incoming {
    fn name(&self) -> &str {
        &self.key.1
    }

    /// Checks the next chunk and writes it; returns whether it was the last one.
    ///
    /// # Errors
    /// [`Error::Chunk`] or [`Error::Io`].
    pub(crate) fn write(&mut self, chunk: &Chunk) -> Result<bool, Error> {
        let is_over = self
            .checker
            .check(chunk)
            .map_err(|source| Error::Chunk { name: self.name().to_string(), source })?;
        if let Some(file) = &mut self.file {
            file.write_all(&chunk.payload).map_err(Error::io("write", &self.part))?;
        }
        self.hash.update(&chunk.payload);
        Ok(is_over)
    }

    /// Makes the file durable under its name; returns length and SHA-256.
    ///
    /// # Errors
    /// [`Error::CutShort`], [`Error::Digest`], [`Error::Older`] if a rollback overtook it, or
    /// [`Error::Io`].
    pub(crate) fn finish(mut self) -> Result<(u64, String), Error> {
        let name = self.name().to_string();
        let (have, total) = self.checker.progress();
        if !self.checker.is_complete() {
            return Err(Error::CutShort { name, got: have, want: total.unwrap_or(0) });
        }
        let got = hex(&std::mem::take(&mut self.hash).finalize());
        if got != self.want {
            return Err(Error::Digest { name, got, want: self.want.clone() });
        }
        if let Some(file) = self.file.take() {
            file.sync_all().map_err(Error::io("sync", &self.part))?;
        }
        self.store.check(&name, self.key.0)?;
        fs::rename(&self.part, &self.path).map_err(Error::io("write", &self.path))?;
        sync_folder(&self.path)?;
        Ok((have, got))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // Gone already if it was finished.
        let _ = fs::remove_file(&self.part);
        let Self { store, key, .. } = self;
        store.lock().busy.remove(key);
    }
}

/// A file that is being sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    path: PathBuf,
    file: File,
    pub(crate) sha256: String,
    pub(crate) total: u64,
    offset: u64,
}

impl Outgoing {
    /// The next megabyte and its offset; `None` after the last. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::Io`] if the file can't be read or is shorter than its manifest says.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Bytes)>, Error> {
        let offset = self.offset;
        if offset == self.total {
            return Ok(None);
        }
        let n = (self.total - offset).min(CHUNK_BYTES as u64) as usize;
        let mut buffer = vec![0; n];
        self.file.read_exact(&mut buffer).map_err(Error::io("read", &self.path))?;
        self.offset += n as u64;
        Ok(Some((offset, buffer.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::checkpoint::shard_name;
    use crate::disk::durable::sha256;

    fn accepting(dir: &Path) -> (Store, String) {
        let store = Store::new(dir, None);
        let name = shard_name(10, "half-a.safetensors");
        store.accept(3, vec![name.clone()]);
        (store, name)
    }

    fn chunk(offset: usize, total: u64, piece: &[u8]) -> Chunk {
        let payload = Bytes::copy_from_slice(piece);
        Chunk { offset: offset as u64, total, crc32: crc32fast::hash(piece), payload }
    }

    fn send(incoming: &mut Incoming, bytes: &[u8]) -> Result<bool, Error> {
        let total = bytes.len() as u64;
        let mut done = false;
        for (i, piece) in bytes.chunks(1000).enumerate() {
            done = incoming.write(&chunk(1000 * i, total, piece))?;
        }
        Ok(done)
    }

    #[test]
    fn an_accepted_file_is_there_after_finish_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let (store, name) = accepting(dir.path());
        let bytes = vec![7; 2500];
        let mut incoming = store.put(&name, &sha256(&bytes), 3).unwrap();
        assert!(matches!(store.put(&name, "", 3), Err(Error::Busy { .. })));
        assert!(send(&mut incoming, &bytes).unwrap());
        assert!(!dir.path().join(&name).exists());
        assert_eq!(incoming.finish().unwrap(), (2500, sha256(&bytes)));
        assert_eq!(fs::read(dir.path().join(&name)).unwrap(), bytes);
    }

    #[test]
    fn only_files_accepted_in_this_incarnation_are_received() {
        let dir = tempfile::tempdir().unwrap();
        let (store, name) = accepting(dir.path());
        let other = shard_name(11, "half-a.safetensors");
        assert!(matches!(store.put(&name, "", 2), Err(Error::Older { got: 2, now: 3 })));
        assert!(matches!(store.put(&other, "", 3), Err(Error::NotExpected { .. })));
        assert!(matches!(store.put("../run.json", "", 3), Err(Error::NotExpected { .. })));
        let bytes = [1; 10];
        let mut late = store.put(&name, &sha256(&bytes), 3).unwrap();
        send(&mut late, &bytes).unwrap();
        store.accept(4, vec![]);
        assert!(matches!(late.finish(), Err(Error::Older { got: 3, now: 4 })));
        assert_eq!(fs::read_dir(folder(dir.path(), 10)).unwrap().count(), 0);
    }

    #[test]
    fn damaged_and_cut_off_files_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (store, name) = accepting(dir.path());
        let mut incoming = store.put(&name, "abc", 3).unwrap();
        let damaged = Chunk { crc32: 0, ..chunk(0, 4, &[1; 4]) };
        assert!(matches!(incoming.write(&damaged), Err(Error::Chunk { .. })));
        drop(incoming);
        let mut incoming = store.put(&name, "abc", 3).unwrap();
        send(&mut incoming, &[1; 4]).unwrap();
        assert!(matches!(incoming.finish(), Err(Error::Digest { .. })));
        let mut incoming = store.put(&name, "abc", 3).unwrap();
        incoming.write(&chunk(0, 4, &[1; 2])).unwrap();
        assert!(matches!(incoming.finish(), Err(Error::CutShort { got: 2, want: 4, .. })));
        assert_eq!(fs::read_dir(folder(dir.path(), 10)).unwrap().count(), 0);
    }

    /// `/dev/full` behind the file's name: a real ENOSPC, for root too.
    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (store, name) = accepting(dir.path());
        let part = folder(dir.path(), 10).join("half-a.safetensors.3.part");
        fs::create_dir_all(part.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink("/dev/full", &part).unwrap();
        let mut incoming = store.put(&name, "abc", 3).unwrap();
        let said = send(&mut incoming, &[1; 4]).unwrap_err().to_string();
        assert!(said.contains("half-a") && said.contains("No space left"), "{said}");
    }

    #[test]
    fn only_files_with_a_manifest_go_out() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), None);
        let manifest = crate::disk::checkpoint::tests::write(dir.path(), 10, None);
        let mut out = store.get(&shard_name(10, "half-a.safetensors")).unwrap();
        assert_eq!((out.total, &out.sha256), (8, &manifest.shards[0].sha256));
        assert_eq!(out.next().unwrap(), Some((0, 10u64.to_le_bytes().to_vec().into())));
        assert_eq!(out.next().unwrap(), None);
        for bad in ["run.json", "checkpoints/step-00000010/manifest.json"] {
            assert!(matches!(store.get(bad), Err(Error::NoFile { .. })));
        }
        fs::remove_file(folder(dir.path(), 10).join("manifest.json")).unwrap();
        let name = shard_name(10, "half-a.safetensors");
        assert!(matches!(store.get(&name), Err(Error::NoFile { .. })));
    }
}
