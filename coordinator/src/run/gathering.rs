//! Until all are there: loaders with the run's pictures, a worker for each part; then `Begin`.

use std::time::Instant;

use net::FOR_MACHINES;

use super::{Phase, Run, Settings};
use crate::checkpoint::shard_name;
use crate::event::{Begin, Command, DataSet, LoaderId, Order};
use crate::plan::Plan;

impl Run {
    pub(super) fn take_loader(
        &mut self,
        loader: LoaderId,
        address: String,
        data: DataSet,
        mean: bytes::Bytes,
        now: Instant,
    ) {
        if let Err(reason) = self.fits(&data) {
            // With no other loader there, nobody could ever put this right while it runs.
            let alone = self.members.loaders().is_empty() && !self.started;
            self.out.push(Command::RefuseLoader { loader, reason: reason.clone() });
            if alone {
                self.fail(reason);
            }
            return;
        }
        if self.data.is_none() {
            self.set_data(data.clone());
            self.out.push(Command::RecordData { data: Box::new(data), mean });
        }
        self.no_loader_since = None;
        self.members.loader_joined(loader, address);
        self.tell_loaders();
        self.begin_if_all_are_here(now);
    }

    /// Whether a data set is the run's, or could become it.
    fn fits(&self, data: &DataSet) -> Result<(), String> {
        let Settings { recipe, run_dir, .. } = &self.settings;
        let name = &data.name;
        if let Some(own) = &self.data
            && own.digest != data.digest
        {
            return Err(format!(
                "the loader serves {name:?} (digest {}, {} classes), the run in {run_dir} was \
                 begun with {:?} (digest {}, {} classes); start the loader with that data set, or \
                 choose another --run",
                data.digest,
                data.classes.len(),
                own.name,
                own.digest,
                own.classes.len(),
            ));
        }
        let (n, crop) = (data.classes.len(), recipe.crop);
        if recipe.classes != 0 && recipe.classes != n {
            return Err(format!(
                "{name:?} has {n} classes, the recipe says {}; leave `classes` out to take the \
                 data set's",
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

    pub(super) fn set_data(&mut self, data: DataSet) {
        let Settings { recipe, until, checkpoint_every, .. } = &self.settings;
        self.plan = Some(Plan::new(recipe, &data, *until, *checkpoint_every));
        self.data = Some(data);
    }

    pub(super) fn lose_loader(&mut self, loader: LoaderId, now: Instant) {
        if self.members.loader_left(loader) {
            self.tell_loaders();
            if self.members.loaders().is_empty() {
                tracing::warn!("the last loader is gone");
                self.no_loader_since = Some(now);
            }
        }
    }

    /// Tells workers that have begun where minibatches can be had now.
    fn tell_loaders(&mut self) {
        if self.phase != Phase::Gathering {
            let loaders = self.members.loaders();
            self.order_all(|_| Order::Loaders(loaders.clone()));
        }
    }

    pub(super) fn begin_if_all_are_here(&mut self, now: Instant) {
        if self.phase != Phase::Gathering || self.not_before.is_some_and(|at| now < at) {
            return;
        }
        self.members.fill_seats();
        let (Some(data), Some(seated)) = (&self.data, self.members.seated()) else { return };
        let loaders = self.members.loaders();
        if loaders.is_empty() {
            return;
        }
        self.incarnation += 1;
        self.started = true;
        (self.missing_since, self.not_before) = (None, None);
        let bytes = self.kept.as_ref().map_or(0, |m| m.metrics_bytes);
        let begins: Vec<_> = (0..seated.len())
            .map(|seat| {
                let begin = Begin {
                    run_id: self.settings.run_id.clone(),
                    part: self.members.parts()[seat],
                    recipe: self.settings.recipe_toml.clone(),
                    classes: data.classes.len(),
                    seed: self.settings.seed,
                    step: self.done[seat],
                    shard: self.kept.as_ref().and_then(|manifest| {
                        let shard = manifest.shards.get(seat)?;
                        Some((shard_name(manifest.step, &shard.file), shard.sha256.clone()))
                    }),
                    peer: match seated.len() {
                        1 => String::new(),
                        _ => seated[1 - seat].exchange.clone(),
                    },
                    loaders: loaders.clone(),
                    data_set: data.digest.clone(),
                    n_train: data.n_train,
                    n_val: data.n_val,
                    timing_every: self.settings.timing_every,
                };
                (seated[seat].id, Order::Begin(Box::new(begin)))
            })
            .collect();
        self.phase = Phase::Starting { ready: vec![false; begins.len()], since: now };
        let (incarnation, devices) = (self.incarnation, self.members.describe());
        // `progress` logs the same as a sentence for people.
        tracing::info!(name: FOR_MACHINES, incarnation, step = self.step(), ?devices, "beginning");
        if let Some(kinds) = self.members.mixed() {
            self.note(format!(
                "{kinds}: the same network, with other last bits than two devices of a kind"
            ));
        }
        self.out.push(Command::RecordStart { incarnation, devices });
        self.out.push(Command::CutMetrics { bytes });
        self.out.push(Command::Expect { incarnation, shards: Vec::new() });
        for (worker, order) in begins {
            self.out.push(Command::Order { worker, incarnation, order });
        }
    }

    /// An explicit end beyond the plateau that ended the run means: train on.
    pub(super) fn train_beyond_a_plateau(&mut self) {
        if let (Some(plan), Some(kept)) = (&self.plan, &mut self.kept)
            && self.settings.until.is_some()
            && kept.rate.ended
            && kept.step < plan.end
        {
            kept.rate.train_on();
        }
    }
}
