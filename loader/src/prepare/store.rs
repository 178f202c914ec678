//! Stores the pictures of a source: reads them, cuts them to squares (all cores) and writes them,
//! in order, a batch at a time.
//!
//! Validation pictures are held out of those that could be stored, which is known at the end only.
//! So where the source has none of its own, everything is written to shards `all` first and then
//! divided.

use std::collections::BTreeMap;
use std::sync::mpsc;

use rayon::prelude::*;

use super::partial::Partial;
use super::shards::Stored;
use super::writer::{Batch, Form, Writer, Written};
use super::{Doubt, Instead, Options, Phase, Picture, Progress, Reading, Watch, cifar, holdout};
use crate::dataset::{LeftOut, PictureEncoding};
use crate::statistics::PixelSums;
use crate::{Error, files};

/// Side up to which pictures are stored as they are: a JPEG of so few pixels saves little space and
/// costs much of what they show.
const LOSSLESS_SIDE: usize = 64;
/// Pictures processed at a time, per thread and in all, and the memory of their pixels.
const BATCH_PER_THREAD: usize = 32;
const BATCH: usize = 512;
const BATCH_BYTES: usize = 64 << 20;
/// From so many pictures on, a source of which most can't be read is refused before its end.
const EARLY: u64 = 100;
/// Most reasons that are named.
const REASONS: usize = 5;

/// A preparation, and how far it is.
pub(super) struct Job<'a> {
    pub(super) reading: &'a Reading,
    pub(super) folder: &'a Partial,
    pub(super) options: &'a Options,
    pub(super) watch: &'a dyn Watch,
    count: Progress,
    /// Number of pictures that can't be used per reason, and the first of them.
    reasons: BTreeMap<String, (u64, String)>,
}

/// All splits, written.
pub(super) struct Splits {
    pub(super) train: Written,
    pub(super) val: Written,
    pub(super) test: Option<Written>,
    /// Origin of the validation pictures, in words.
    pub(super) val_from: String,
    /// Pictures that can't be used.
    pub(super) left_out: Vec<LeftOut>,
}

impl<'a> Job<'a> {
    pub(super) fn new(
        reading: &'a Reading,
        folder: &'a Partial,
        options: &'a Options,
        watch: &'a dyn Watch,
    ) -> Self {
        let splits = [Some(&reading.train), reading.val.as_ref(), reading.test.as_ref()];
        let total = splits.into_iter().flatten().map(|split| split.len() as u64).sum();
        let count = Progress { phase: Phase::Storing, done: 0, total, left_out: 0 };
        Self { reading, folder, options, watch, count, reasons: BTreeMap::new() }
    }

    pub(super) fn side(&self) -> usize {
        if self.reading.raw { cifar::SIDE } else { self.options.side }
    }

    pub(super) fn encoding(&self) -> PictureEncoding {
        match self.reading.raw || self.side() <= LOSSLESS_SIDE {
            true => PictureEncoding::Raw,
            false => PictureEncoding::Jpeg,
        }
    }

    fn writer(&self, name: &'static str, summed: bool) -> Result<Writer<'a>, Error> {
        let (side, encoding, limit) = (self.side(), self.encoding(), self.options.shard_bytes);
        Writer::open(self.folder, name, Form { side, encoding, limit, summed })
    }

    /// Writes all splits.
    pub(super) fn store(&mut self) -> Result<Splits, Error> {
        let reading = self.reading;
        let hold_out = reading.val.is_none() && self.options.val_share > 0.0;
        let first = if hold_out { "all" } else { "train" };
        let no_pictures = Vec::new();
        let val = reading.val.as_ref().unwrap_or(&no_pictures);
        let mut parts = vec![(self.writer(first, true)?, &reading.train, "train")];
        if !hold_out {
            parts.push((self.writer("val", false)?, val, "val"));
        }
        if let Some(test) = &reading.test {
            parts.push((self.writer("test", false)?, test, "test"));
        }
        self.go_on(&parts);
        let (mut written, mut left_out) = (Vec::new(), Vec::new());
        for (writer, pictures, _) in parts {
            let split = self.split(writer, pictures)?;
            let named = split.left_out.iter().map(|(place, reason)| LeftOut {
                file: reading.name_of(&pictures[*place as usize]),
                reason: reason.clone(),
            });
            left_out.extend(named);
            written.push(split);
        }
        self.refuse_mostly_unreadable(0)?;
        let test = reading.test.as_ref().and_then(|_| written.pop());
        let mut written = written.into_iter();
        let train = written.next().expect("the first split is always written");
        let own = written.next();
        let (train, val) = match own {
            Some(val) => (train, val),
            None => self.divide(train)?,
        };
        let val_from = match (reading.val.is_some(), val.records.is_empty()) {
            (true, _) => "the source's own".into(),
            (false, true) => "none".into(),
            (false, false) => format!(
                "{} of the training pictures, seed {}",
                self.options.val_share, self.options.seed
            ),
        };
        Ok(Splits { train, val, test, val_from, left_out })
    }

    /// Counts what an interrupted preparation has stored, and says so.
    fn go_on(&mut self, parts: &[(Writer<'_>, &Vec<Picture>, &str)]) {
        for (writer, pictures, _) in parts {
            self.count.done += writer.written().next;
            for (place, reason) in &writer.written().left_out {
                self.leave_out(&pictures[*place as usize], reason);
            }
        }
        if self.count.done > 0 {
            self.watch.resumed(self.count);
        }
    }

    fn leave_out(&mut self, picture: &Picture, reason: &str) {
        self.count.left_out += 1;
        match self.reasons.get_mut(reason) {
            Some((n, _)) => *n += 1,
            None => {
                let first = (1, self.reading.name_of(picture));
                self.reasons.insert(reason.into(), first);
            }
        }
    }

    fn batch_size(&self) -> usize {
        let threads = rayon::current_num_threads();
        let fits = BATCH_BYTES / (3 * self.side() * self.side());
        fits.min(BATCH).min(BATCH_PER_THREAD * threads).max(threads)
    }

    /// Cuts pictures to squares (all cores) and writes them (one thread), in order, a batch at a
    /// time.
    fn split(&mut self, writer: Writer<'a>, pictures: &[Picture]) -> Result<Written, Error> {
        if writer.is_finished() {
            return writer.finish();
        }
        let summed = writer.written().sums.is_some();
        let first = writer.written().next as usize;
        let stop = self.stopped();
        std::thread::scope(|scope| {
            // One batch waits while another is written and a third is made.
            let (send, batches) = mpsc::sync_channel::<Batch>(1);
            let writing = scope.spawn(move || {
                let mut writer = writer;
                batches.into_iter().try_for_each(|batch| writer.write(&batch))?;
                Ok::<_, Error>(writer)
            });
            let mut place = first as u64;
            let mut result = Ok(());
            for pictures in pictures[first..].chunks(self.batch_size()) {
                let Some(batch) = self.make(pictures, place, summed) else {
                    result = Err(stop);
                    break;
                };
                place += pictures.len() as u64;
                result = self.count_batch(pictures, &batch);
                if result.is_err() || send.send(batch).is_err() {
                    break; // if the writer has failed, its error is returned below
                }
            }
            drop(send);
            let writer = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            result?;
            writer.finish()
        })
    }

    fn count_batch(&mut self, pictures: &[Picture], batch: &Batch) -> Result<(), Error> {
        for (picture, (_, made)) in pictures.iter().zip(&batch.made) {
            if let Err(reason) = made {
                self.leave_out(picture, reason);
            }
        }
        self.count.done += pictures.len() as u64;
        self.watch.progress(self.count);
        self.refuse_mostly_unreadable(EARLY)
    }

    /// Makes a batch; `None` if the preparation is asked to stop meanwhile.
    fn make(&self, pictures: &[Picture], first: u64, summed: bool) -> Option<Batch> {
        let (side, encoding, watch) = (self.side(), self.encoding(), self.watch);
        let make = |(i, picture): (usize, &Picture)| {
            if watch.stopped() {
                return None;
            }
            let stored = self.square(picture);
            let stored =
                if summed { stored.and_then(|s| s.decode(side, encoding)) } else { stored };
            Some((first + i as u64, stored))
        };
        let made = pictures.par_iter().enumerate().map(make).collect::<Option<Vec<_>>>()?;
        let sums = summed.then(|| sums_of(side, &made));
        Some(Batch { made, sums })
    }

    fn square(&self, picture: &Picture) -> Result<Stored, String> {
        let bytes = self.reading.bytes_of(picture).map_err(|e| format!("can't be read: {e}"))?;
        let side = self.side();
        let pixels = match self.reading.raw {
            true => cifar::pixels(&bytes),
            false => picture::square(&bytes, side),
        };
        let (label, encoding, quality) = (picture.label, self.encoding(), self.options.quality);
        Stored::kept(label, bytes, pixels?)
            .or_else(|pixels| Stored::encode(label, pixels, side, encoding, quality))
    }

    /// Refuses a source of at least `least` pictures if most of them can't be used.
    fn refuse_mostly_unreadable(&self, least: u64) -> Result<(), Error> {
        let Progress { total, left_out, done, .. } = self.count;
        if self.options.allow_unreadable || 2 * left_out <= total || total < least {
            return Ok(());
        }
        if left_out == done && done == total {
            return Ok(()); // "no picture can be used" says more
        }
        let why = format!(
            "{left_out} of {total} pictures can't be used: {}; expected nearly all to be pictures \
             that can be decoded. Convert or remove them, or leave them out with \
             --allow-unreadable",
            self.reasons()
        );
        let instead = Some(Instead::Options(vec!["--allow-unreadable".into()]));
        let path = self.reading.root.clone();
        Err(Error::Doubtful { path, doubts: vec![Doubt { why, instead }] })
    }

    /// The most frequent reasons why pictures can't be used.
    pub(super) fn reasons(&self) -> String {
        let mut all: Vec<_> = self.reasons.iter().collect();
        all.sort_by_key(|(_, (n, _))| std::cmp::Reverse(*n));
        let line =
            |(reason, (n, first)): &(&String, &(u64, String))| format!("{n} × {reason} ({first})");
        let mut lines: Vec<_> = all.iter().take(REASONS).map(line).collect();
        if all.len() > REASONS {
            lines.push(format!("{} other reasons", all.len() - REASONS));
        }
        lines.join(", ")
    }

    fn stopped(&self) -> Error {
        Error::Stopped { stored: 0, kept: None }
    }

    /// Divides the shards `all` into training and validation pictures.
    fn divide(&mut self, all: Written) -> Result<(Written, Written), Error> {
        let labels: Vec<u32> = all.records.iter().map(|record| record.label).collect();
        let Options { val_share, seed, .. } = *self.options;
        let held = holdout::choose(&labels, self.reading.classes.len(), val_share, seed);
        let (mut train, mut val) = (self.writer("train", false)?, self.writer("val", true)?);
        let next = |writer: &Writer<'_>| match writer.is_finished() {
            true => labels.len() as u64,
            false => writer.written().next,
        };
        let mut at = next(&train).min(next(&val)) as usize;
        let (side, encoding) = (self.side(), self.encoding());
        let shards = files::Folder::open(self.folder.path())?;
        let total = labels.len() as u64;
        while at < labels.len() {
            if self.watch.stopped() {
                return Err(self.stopped());
            }
            let end = labels.len().min(at + self.batch_size());
            let read = |i: usize| {
                let stored = self.stored_again(&shards, &all, i)?;
                match held[i] {
                    true => Ok(stored.decode(side, encoding)),
                    false => Ok(Ok(stored)),
                }
            };
            let made = (at..end).into_par_iter().map(read).collect::<Result<Vec<_>, Error>>()?;
            let made = (at as u64..).zip(made);
            let (to_val, to_train) = made.partition(|(i, _)| held[*i as usize]);
            put(&mut train, to_train, None)?;
            put(&mut val, to_val, Some(side))?;
            at = end;
            let left_out = self.count.left_out;
            self.watch.progress(Progress {
                phase: Phase::Dividing,
                done: at as u64,
                total,
                left_out,
            });
        }
        let (mut train, mut val) = (train.finish()?, val.finish()?);
        let place = |i: &mut u64| *i = all.places[*i as usize];
        train.places.iter_mut().chain(&mut val.places).for_each(place);
        train.sums = all.sums;
        if let (Some(sums), Some(less)) = (&mut train.sums, &val.sums) {
            sums.subtract(less);
        }
        Ok((train, val))
    }

    /// Reads a picture of the shards `all`.
    fn stored_again(
        &self,
        shards: &files::Folder,
        all: &Written,
        i: usize,
    ) -> Result<Stored, Error> {
        let record = all.records[i];
        let name = &all.shards[record.shard as usize].file;
        let bytes = read_record(shards, name, record)?;
        if crc32fast::hash(&bytes) != record.crc32 {
            let why = "it is not what was written a while ago".to_string();
            let file = shards.path().join(name);
            return Err(Error::Damaged { file, record: format!("picture {i}"), why });
        }
        Ok(Stored::known(record.label, bytes))
    }
}

/// Reads the bytes of a stored picture.
pub(super) fn read_record(
    shards: &files::Folder,
    name: &str,
    record: crate::dataset::Record,
) -> Result<Vec<u8>, Error> {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; record.length as usize];
    // Names are numbered: the key of a file is its split's first letter and its number.
    let key = (u32::from(name.as_bytes()[0]) << 8 | u32::from(name.as_bytes()[1]), record.shard);
    let shard = shards.file(key, name)?;
    let read = shard.read_exact_at(&mut bytes, record.offset);
    read.map_err(Error::io(&shards.path().join(name), "read"))?;
    Ok(bytes)
}

/// Writes pictures that a writer doesn't have yet; with a side, also the sums over their pixels.
fn put(
    writer: &mut Writer<'_>,
    mut made: Vec<(u64, Result<Stored, String>)>,
    side: Option<usize>,
) -> Result<(), Error> {
    let next = writer.written().next;
    made.retain(|(place, _)| *place >= next);
    if writer.is_finished() || made.is_empty() {
        return Ok(());
    }
    let sums = side.map(|side| sums_of(side, &made));
    writer.write(&Batch { made, sums })
}

fn sums_of(side: usize, made: &[(u64, Result<Stored, String>)]) -> PixelSums {
    let add = |mut sums: PixelSums, (_, made): &(u64, Result<Stored, String>)| {
        if let Ok(stored) = made {
            sums.add(stored.pixels());
        }
        sums
    };
    let merge = |mut a: PixelSums, b: PixelSums| {
        a.merge(&b);
        a
    };
    let none = || PixelSums::new(side);
    // Sums of integers: neither chunks nor threads change a bit.
    made.par_chunks(16).map(|some| some.iter().fold(none(), add)).reduce(none, merge)
}
