//! Writes the pictures of one split into shards, and after each shard notes how far it is, so that
//! an interrupted preparation resumes there.

use serde::{Deserialize, Serialize};

use super::partial::Partial;
use super::shards::{Shard, Stored};
use crate::Error;
use crate::dataset::{FileDigest, PictureEncoding, Record, index_bytes};
use crate::statistics::PixelSums;

/// The form of the shards of a split.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) side: usize,
    pub(super) encoding: PictureEncoding,
    /// Length in bytes at which a shard is closed.
    pub(super) limit: u64,
    /// True if the pixels are summed up.
    pub(super) summed: bool,
}

/// Pictures in the order of the source, each with its place there: stored, or the reason why not.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) made: Vec<(u64, Result<Stored, String>)>,
    /// Sums over all of them.
    pub(super) sums: Option<PixelSums>,
}

/// Writes the shards of one split.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    folder: &'a Partial,
    form: Form,
    shard: Option<Shard>,
    finished: bool,
    written: Written,
    /// Lengths of `written.records` and `written.left_out` at the end of the last shard.
    noted: (usize, usize),
    n_notes: usize,
}

/// The pictures of a split, as far as they are written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) name: &'static str,
    pub(super) shards: Vec<FileDigest>,
    pub(super) records: Vec<Record>,
    /// Place in the source of each record's picture.
    pub(super) places: Vec<u64>,
    /// Places of pictures that can't be used, with the reason.
    pub(super) left_out: Vec<(u64, String)>,
    /// Place in the source of the next picture.
    pub(super) next: u64,
    pub(super) sums: Option<PixelSums>,
}

/// The contents of the file that says how far a split is: what one shard adds to those before.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    shard: Option<FileDigest>,
    next: u64,
    finished: bool,
    /// Place, label, offset, length, CRC of each picture.
    records: Vec<(u64, u32, u64, u32, u32)>,
    left_out: Vec<(u64, String)>,
}

impl<'a> Writer<'a> {
    /// Goes on after the last shard that is whole, or begins.
    ///
    /// # Errors
    /// If a file of the folder is there and can't be read: it may be whole.
    pub(super) fn open(folder: &'a Partial, name: &'static str, form: Form) -> Result<Self, Error> {
        let mut writer = Self::new(folder, name, form);
        if !writer.resume()? {
            // Not what was written: the split begins anew.
            let mut n = 0;
            while folder.read(&writer.note_name(n))?.is_some() {
                folder.remove(&writer.note_name(n));
                n += 1;
            }
            writer = Self::new(folder, name, form);
        }
        Ok(writer)
    }

    fn new(folder: &'a Partial, name: &'static str, form: Form) -> Self {
        let written = Written {
            name,
            shards: Vec::new(),
            records: Vec::new(),
            places: Vec::new(),
            left_out: Vec::new(),
            next: 0,
            sums: form.summed.then(|| PixelSums::new(form.side)),
        };
        Self { folder, form, shard: None, finished: false, written, noted: (0, 0), n_notes: 0 }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    pub(super) fn written(&self) -> &Written {
        &self.written
    }

    /// Takes over what the notes say; false if something doesn't fit.
    fn resume(&mut self) -> Result<bool, Error> {
        while let Some(bytes) = self.folder.read(&self.note_name(self.n_notes))? {
            let Ok(note) = serde_json::from_slice::<Note>(&bytes) else { return Ok(false) };
            let number = self.written.shards.len() as u32;
            for (place, label, offset, length, crc32) in note.records {
                self.written.records.push(Record { shard: number, label, offset, length, crc32 });
                self.written.places.push(place);
            }
            if let Some(shard) = note.shard {
                let path = self.folder.path().join(&shard.file);
                match std::fs::metadata(&path) {
                    Ok(there) if there.len() == shard.bytes => {}
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::io(&path, "read")(e));
                    }
                    _ => return Ok(false),
                }
                self.written.shards.push(shard);
            }
            self.written.left_out.extend(note.left_out);
            self.written.next = note.next;
            self.finished = note.finished;
            self.n_notes += 1;
        }
        self.noted = (self.written.records.len(), self.written.left_out.len());
        if self.form.summed && self.n_notes > 0 {
            let sums = self.folder.read(&self.sums_name(self.n_notes - 1))?;
            self.written.sums =
                sums.and_then(|bytes| PixelSums::from_bytes(&bytes, self.form.side));
            return Ok(self.written.sums.is_some());
        }
        Ok(true)
    }

    fn note_name(&self, number: usize) -> String {
        format!("{}-{number:05}.done", self.written.name)
    }

    fn sums_name(&self, number: usize) -> String {
        format!("{}-{number:05}.sums", self.written.name)
    }

    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        for (i, (place, made)) in batch.made.iter().enumerate() {
            match made {
                Ok(stored) => self.store(*place, stored)?,
                Err(reason) => self.written.left_out.push((*place, reason.clone())),
            }
            self.written.next = place + 1;
            if self.shard.as_ref().is_some_and(|shard| shard.bytes >= self.form.limit) {
                // The sums so far: those before the batch, and of its pictures up to here.
                let mut sums = self.written.sums.clone();
                let stored = batch.made[..=i].iter().filter_map(|(_, made)| made.as_ref().ok());
                if let Some(sums) = &mut sums {
                    stored.for_each(|stored| sums.add(stored.pixels()));
                }
                self.close(sums.as_ref(), false)?;
            }
        }
        if let (Some(sums), Some(more)) = (&mut self.written.sums, &batch.sums) {
            sums.merge(more);
        }
        Ok(())
    }

    fn store(&mut self, place: u64, stored: &Stored) -> Result<(), Error> {
        let number = self.written.shards.len();
        let key = format!("{:08}", self.written.records.len());
        let side = self.form.side;
        let (end, header) = match self.form.encoding.of_record(stored.bytes.len(), side) {
            PictureEncoding::Jpeg => ("jpg", String::new()),
            PictureEncoding::Raw => ("ppm", format!("P6\n{side} {side}\n255\n")),
        };
        let shard = match &mut self.shard {
            Some(shard) => shard,
            none => {
                let name = format!("{}-{number:05}.tar", self.written.name);
                none.insert(Shard::create(self.folder.path(), name)?)
            }
        };
        let parts = [header.as_bytes(), &stored.bytes];
        let offset = shard.member(&format!("{key}.{end}"), &parts)? + header.len() as u64;
        shard.member(&format!("{key}.cls"), &[stored.label.to_string().as_bytes()])?;
        self.written.places.push(place);
        self.written.records.push(Record {
            shard: number as u32,
            label: stored.label,
            offset,
            length: stored.bytes.len() as u32,
            crc32: crc32fast::hash(&stored.bytes),
        });
        Ok(())
    }

    /// Closes the open shard and notes how far this split is.
    fn close(&mut self, sums: Option<&PixelSums>, finished: bool) -> Result<(), Error> {
        let shard = self.shard.take().map(Shard::close).transpose()?;
        let number = self.n_notes;
        let (n_records, n_left_out) = self.noted;
        let new = self.written.records[n_records..].iter().zip(&self.written.places[n_records..]);
        let note = Note {
            shard: shard.clone(),
            next: self.written.next,
            finished,
            records: new.map(|(r, place)| (*place, r.label, r.offset, r.length, r.crc32)).collect(),
            left_out: self.written.left_out[n_left_out..].to_vec(),
        };
        if let Some(sums) = sums {
            self.folder.write_durably(&self.sums_name(number), &sums.to_bytes())?;
        }
        let json = serde_json::to_vec(&note).unwrap_or_default(); // numbers and text
        self.folder.write_durably(&self.note_name(number), &json)?;
        if number > 0 {
            self.folder.remove(&self.sums_name(number - 1));
        }
        self.written.shards.extend(shard);
        self.noted = (self.written.records.len(), self.written.left_out.len());
        self.n_notes += 1;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Written, Error> {
        if !self.finished {
            let sums = self.written.sums.take();
            self.close(sums.as_ref(), true)?;
            self.written.sums = sums;
        }
        Ok(self.written)
    }
}

/// Number of pictures that the notes in a folder say are stored.
///
/// # Errors
/// If a note is there and can't be read.
pub(super) fn stored(folder: &Partial) -> Result<u64, Error> {
    let of = |name: &'static str| {
        let (mut n, mut stored) = (0, 0);
        while let Some(bytes) = folder.read(&format!("{name}-{n:05}.done"))? {
            let note = serde_json::from_slice::<Note>(&bytes);
            stored += note.map_or(0, |note| note.records.len() as u64);
            n += 1;
        }
        Ok(stored)
    };
    // Pictures in `train` were in `all` before, if there is such a thing.
    match of("all")? {
        0 => Ok(of("train")? + of("val")? + of("test")?),
        all => Ok(all + of("test")?),
    }
}

impl Written {
    pub(super) fn n_images(&self) -> u64 {
        self.records.len() as u64
    }

    /// Number of pictures of each class.
    pub(super) fn per_class(&self, n_classes: usize) -> Vec<u64> {
        let mut n_of = vec![0; n_classes];
        self.records.iter().for_each(|record| n_of[record.label as usize] += 1);
        n_of
    }

    pub(super) fn write_index(&self, folder: &Partial) -> Result<FileDigest, Error> {
        folder.write(&format!("{}.index", self.name), &index_bytes(&self.records))
    }
}
