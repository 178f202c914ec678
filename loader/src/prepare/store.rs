//! Stores the pictures of a source: reads them, cuts them to squares (all cores) and writes them, in
//! order, a batch at a time.

use std::sync::mpsc;

use rayon::prelude::*;

use super::shards::{self, Folder, Stored, Writer};
use super::{Options, Picture, Progress, Reading, cifar, holdout};
use crate::dataset::{Class, FORMAT, LeftOut, PictureEncoding, Summary};
use crate::{Error, Split};

/// Makes sure that there are validation pictures; returns their origin, in words.
pub(super) fn hold_out(reading: &mut Reading, options: &Options) -> String {
    if reading.val.is_some() {
        return "the source's own".into();
    }
    let train = std::mem::take(&mut reading.train);
    let (train, val) =
        holdout::split(train, reading.classes.len(), options.val_share, options.seed);
    if val.is_empty() {
        reading.notes.push(
            "no validation pictures: the source has none, and no class has two pictures or more \
             to set one aside"
                .into(),
        );
        (reading.train, reading.val) = (train, Some(val));
        return "none".into();
    }
    (reading.train, reading.val) = (train, Some(val));
    format!("{} of the training pictures, seed {}", options.val_share, options.seed)
}

/// Pictures processed at a time, per thread and in all.
const BATCH_PER_THREAD: usize = 32;
const BATCH: usize = 512;

pub(super) fn store(
    reading: &mut Reading,
    folder: &Folder,
    options: &Options,
    val_from: String,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Summary, Error> {
    let side = if reading.raw { cifar::SIDE } else { options.side };
    let encoding = if reading.raw { PictureEncoding::Raw } else { PictureEncoding::Jpeg };
    let val = reading.val.take().unwrap_or_default();
    let train = std::mem::take(&mut reading.train);
    let total = (train.len() + val.len()) as u64;
    let mut count = Progress { done: 0, total, left_out: reading.left_out.len() as u64 };
    let mut left_out = Vec::new();
    let mut finished = Vec::new();
    for (split, pictures) in [(Split::Train, &train), (Split::Val, &val)] {
        let writer = Writer::new(folder, split, side, encoding, options.shard_bytes);
        finished.push(store_split(reading, pictures, side, options.quality, writer, |left| {
            count.done += left.1;
            count.left_out += left.0.len() as u64;
            left_out.extend(left.0);
            progress(count);
        })?);
    }
    reading.left_out.append(&mut left_out);
    let val = finished.pop().expect("two splits");
    let train = finished.pop().expect("two splits");
    let classes = reading.classes.iter().enumerate();
    Ok(Summary {
        format: FORMAT,
        name: options.name.clone().unwrap_or_else(|| reading.name.clone()),
        source: reading.layout.into(),
        side,
        encoding,
        n_train: train.n_images(),
        n_val: val.n_images(),
        val_from,
        classes: classes
            .map(|(label, (key, name))| Class {
                key: key.clone(),
                name: name.clone(),
                n_train: train.n_of(label as u32),
                n_val: val.n_of(label as u32),
            })
            .collect(),
        colors: train.sums.colors(),
        mean: folder.write_mean(&train.sums)?,
        train_index: train.index,
        train_shards: train.shards,
        val_index: val.index,
        val_shards: val.shards,
        left_out: std::mem::take(&mut reading.left_out),
    })
}

/// Cuts pictures to squares (all cores) and writes them (one thread), in order, a batch at a time;
/// reports the files that each batch left out, and its size.
fn store_split(
    reading: &Reading,
    pictures: &[Picture],
    side: usize,
    quality: u8,
    mut writer: Writer<'_>,
    mut report: impl FnMut((Vec<LeftOut>, u64)),
) -> Result<shards::Finished, Error> {
    let size = (BATCH_PER_THREAD * rayon::current_num_threads()).min(BATCH);
    std::thread::scope(|scope| {
        // One batch waits while another is written and a third is made.
        let (send, batches) = mpsc::sync_channel::<Vec<Stored>>(1);
        let writing = scope.spawn(move || {
            for batch in batches {
                batch.iter().try_for_each(|stored| writer.write(stored))?;
            }
            writer.finish()
        });
        for batch in pictures.chunks(size) {
            let made: Vec<_> =
                batch.par_iter().map(|p| square(reading, p, side, quality)).collect();
            let mut left = Vec::new();
            let good = made.into_iter().filter_map(|m| m.map_err(|l| left.push(l)).ok()).collect();
            report((left, batch.len() as u64));
            if send.send(good).is_err() {
                break; // the writer has failed; its error is returned below
            }
        }
        drop(send);
        writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn square(
    reading: &Reading,
    picture: &Picture,
    side: usize,
    quality: u8,
) -> Result<Stored, LeftOut> {
    let out = |reason: String| LeftOut { file: reading.name_of(picture), reason };
    let bytes = reading.bytes_of(picture).map_err(|e| out(format!("can't be read: {e}")))?;
    let pixels = if reading.raw { cifar::pixels(&bytes) } else { picture::square(&bytes, side) };
    let stored =
        pixels.and_then(|pixels| Stored::new(picture.label, pixels, side, reading.raw, quality));
    stored.map_err(out)
}
