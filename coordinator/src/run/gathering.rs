//! Gathering the members of a run: loaders with the run's pictures and a worker for each partition.
//! Then every worker gets its `Begin`.

use std::time::Instant;

use net::FOR_MACHINES;
use proto::command::{Begin, Command, Loaders};
use proto::digest::sha256;
use proto::status::Standing;
use proto::wire;

use super::boundaries::Boundaries;
use super::event::{Action, LoaderId, WorkerId};
use super::{Run, Settings, Stage};
use crate::disk::checkpoint::shard_name;
use crate::disk::data_set::DataSet;
use crate::disk::run_dir::START;
use crate::record::progress::thousands;

/// A data set for people: name, size, and enough of its digest to tell it from another.
fn in_words(data: &DataSet) -> String {
    let digest: String = data.digest.chars().take(12).collect();
    format!(
        "{:?} ({} training and {} validation pictures of {} classes, digest {digest})",
        data.name,
        thousands(data.n_train),
        thousands(data.n_val),
        thousands(data.classes.len() as u64)
    )
}

impl Run {
    pub(super) fn take_loader(
        &mut self,
        loader: LoaderId,
        address: String,
        data: DataSet,
        mean: bytes::Bytes,
        now: Instant,
    ) {
        let new = self.data.is_none();
        let fits = self.fits(&data).and_then(|()| self.fits_mean(&data, &mean));
        // A run that was begun has its schedule, for better or worse.
        let can_work = || if new { self.schedule_can_work(&data) } else { Ok(()) };
        if let Err(reason) = fits.and_then(|()| can_work()) {
            // With no other loader, nothing can put this right while the run waits.
            let alone = !self.members.has_loaders() && !self.started;
            self.actions.push(Action::RefuseLoader { loader, reason: reason.clone() });
            if alone {
                self.fail(reason);
            }
            return;
        }
        if new {
            self.set_data(data.clone());
            self.note_outlook();
            self.mean_sha256 = sha256(&mean);
            self.actions.push(Action::RecordData { data: Box::new(data), mean });
        }
        self.no_loader_since = None;
        self.members.loader_joined(loader, address);
        self.tell_loaders();
        self.begin_if_all_are_here(now);
    }

    /// Whether a data set is the run's, or can become the run's.
    fn fits(&self, data: &DataSet) -> Result<(), String> {
        let Settings { recipe, run_dir, .. } = &self.settings;
        let name = &data.name;
        if let Some(own) = &self.data
            && own.digest != data.digest
        {
            return Err(format!(
                "the run in {run_dir} was begun with {}, and these are {}: give it its own data \
                 set with --data, or begin a new run with another --run",
                in_words(own),
                in_words(data),
            ));
        }
        if let Some(own) = &self.data
            && own != data
        {
            return Err(format!(
                "it says that it has the pictures of the run in {run_dir}, {}, but describes them \
                 otherwise: {}; restart it with an intact copy of the data set",
                in_words(own),
                in_words(data),
            ));
        }
        let (n, crop) = (data.classes.len(), recipe.crop);
        if recipe.classes != 0 && recipe.classes != n {
            return Err(format!(
                "{name:?} has {n} classes, and the recipe says classes = {}: leave out `classes`, \
                 and the network has as many as the data set",
                recipe.classes
            ));
        }
        if data.n_train == 0 || n == 0 {
            return Err(format!("{name:?} has no training images; prepare it again"));
        }
        if (data.side as usize) < crop {
            return Err(format!(
                "{name:?} has pictures of {side}×{side}, the recipe crops {crop}×{crop}; prepare \
                 larger ones or lower `crop`",
                side = data.side
            ));
        }
        Ok(())
    }

    /// Returns true if a loader has the same mean image as the run.
    fn fits_mean(&self, data: &DataSet, mean: &[u8]) -> Result<(), String> {
        if self.mean_sha256.is_empty() || sha256(mean) == self.mean_sha256 {
            return Ok(());
        }
        Err(format!(
            "it says that it has the run's pictures, {}, but with another mean image; restart it \
             with an intact copy of the data set",
            in_words(data)
        ))
    }

    /// Remembers the mean image's digest of a run that was begun before.
    pub(crate) fn set_mean(&mut self, sha256: String) {
        self.mean_sha256 = sha256;
    }

    pub(super) fn set_data(&mut self, data: DataSet) {
        let Settings { recipe, until, checkpoint_every, .. } = &self.settings;
        self.boundaries = Some(Boundaries::new(recipe, &data, *until, *checkpoint_every));
        self.data = Some(data);
    }

    pub(super) fn loader_left(&mut self, loader: LoaderId, now: Instant) {
        if self.members.loader_left(loader) {
            self.tell_loaders();
            if !self.members.has_loaders() {
                tracing::warn!("the last loader is gone");
                self.no_loader_since = Some(now);
            }
        }
    }

    /// Takes a worker's experience with a loader, and tells it to people and to all workers, so
    /// that all ask the same loader for a minibatch.
    pub(super) fn loader_judged(
        &mut self,
        worker: WorkerId,
        loader: LoaderId,
        standing: Standing,
        why: &str,
    ) {
        let Some(seat) = self.members.seat_of(worker) else { return };
        let by = self.members.seats[seat].partition;
        let Some((status, is_news)) = self.members.judge(loader, standing, why) else { return };
        let address = &status.address;
        let notice = match standing {
            Standing::Refused => format!("loader {address} is not asked any more: {why}"),
            Standing::Slow => format!("loader {address} is too slow: {why}"),
            Standing::Good | Standing::Unspecified => {
                tracing::info!(%by, "loader {address} is fast enough again");
                return self.tell_loaders();
            }
        };
        tracing::warn!(%by, "{notice}");
        if is_news {
            self.note(notice);
        }
        self.tell_loaders();
    }

    /// Tells workers that have begun about the loaders.
    fn tell_loaders(&mut self) {
        if self.stage != Stage::Gathering {
            let loaders = self.members.known_loaders();
            self.send_to_all(|_| Command::Loaders(Loaders { loaders: loaders.clone() }));
        }
    }

    pub(super) fn begin_if_all_are_here(&mut self, now: Instant) {
        let waits = self.search.is_some() || self.not_before.is_some_and(|at| now < at);
        if self.stage != Stage::Gathering || waits {
            return;
        }
        self.dismiss_leaving();
        self.members.fill_seats(now);
        if self.started && !self.members.missing().is_empty() {
            self.no_worker_since.get_or_insert(now);
        }
        if !self.members.has_loaders() {
            return;
        }
        let incarnation = self.incarnation + 1;
        let Some(begins) = self.begins(incarnation) else { return };
        self.incarnation = incarnation;
        self.started = true;
        (self.no_worker_since, self.not_before) = (None, None);
        self.stage = Stage::Starting { since: now };
        self.expect_answers();
        self.members.remember_devices();
        let workers = self.members.describe();
        let devices: Vec<_> = workers.iter().map(ToString::to_string).collect();
        // `progress` logs the same as a sentence for people.
        tracing::info!(name: FOR_MACHINES, incarnation, step = self.step(), ?devices, "beginning");
        if let Some(kinds) = self.members.mixed_devices() {
            self.note(format!(
                "{kinds}: the same network, with other last bits than two devices of a kind"
            ));
        }
        self.actions.push(Action::RecordStart { incarnation, workers });
        self.actions.push(Action::AcceptShards { incarnation, shards: Vec::new() });
        self.send_to_all(|seat| Command::Begin(begins[seat].clone()));
    }

    /// A `Begin` for each seat; `None` while a seat is empty or the data set is unknown.
    fn begins(&self, incarnation: u64) -> Option<Vec<Begin>> {
        let (data, seated) = (self.data.as_ref()?, self.members.seated()?);
        let seats = self.members.seats.iter().enumerate();
        let begins = seats.map(|(i, seat)| {
            let shard = self.checkpoint.as_ref().and_then(|manifest| {
                let shard = manifest.shards.get(i)?;
                Some((shard_name(manifest.step, &shard.file), shard.sha256.clone()))
            });
            // Without a shard the worker makes initial values.
            let start = self.settings.start.as_ref().filter(|_| shard.is_none());
            let (shard, shard_sha256) = shard.unwrap_or_default();
            Begin {
                run_id: self.settings.run_id.clone(),
                incarnation,
                partition: wire::Partition::from(seat.partition).into(),
                recipe: self.settings.recipe_toml.clone(),
                classes: data.classes.len() as u32,
                seed: self.settings.seed,
                step: seat.done,
                shard,
                shard_sha256,
                start: start.map_or(String::new(), |_| START.to_string()),
                start_sha256: start.map_or(String::new(), |start| start.sha256.clone()),
                other_classes: start.is_some_and(|start| start.are_others(&data.classes)),
                peer: match seated.len() {
                    1 => String::new(),
                    _ => seated[1 - i].address.clone(),
                },
                loaders: self.members.known_loaders(),
                side: data.side,
                colors: data.colors.to_vec(),
                mean_sha256: self.mean_sha256.clone(),
                data_set: data.digest.clone(),
                n_train: data.n_train,
                n_val: data.n_val,
                timing_every: self.settings.timing_every,
                heartbeat_timeout_ms: self.settings.heartbeat_timeout.as_millis() as u64,
                token: bytes::Bytes::new(), // filled in on sending: it belongs in no log or file
            }
        });
        Some(begins.collect())
    }

    /// From now on every seat owes an answer.
    pub(super) fn expect_answers(&mut self) {
        self.members.seats.iter_mut().for_each(|seat| seat.answered = false);
    }

    /// An explicit end beyond the plateau that ended the run means that training continues.
    pub(super) fn train_beyond_a_plateau(&mut self) {
        if let (Some(boundaries), Some(checkpoint)) = (&self.boundaries, &mut self.checkpoint)
            && self.settings.until.is_some()
            && checkpoint.rate.ended
            && checkpoint.step < boundaries.end
        {
            checkpoint.rate.train_on();
        }
    }
}
