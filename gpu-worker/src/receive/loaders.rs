//! The run's loaders, and this worker's experience with each.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use net::{Role, Trust};
use proto::status::Standing;
use proto::wire::{KnownLoader, LoaderJudged, WorkerEvent, worker_event::Event};
use tokio::sync::mpsc::WeakUnboundedSender;
use tonic::Status;
use tonic::transport::Channel;

/// Times in a row that another loader, asked later, answered first: then a loader is slow.
const LOST: u32 = 2;
/// Answers before a loader's pace counts.
const PACED: u32 = 4;
/// A loader is slow if it takes this many times as long as the fastest, and [`APART`] longer.
const SLOWER: f64 = 3.0;
const APART: Duration = Duration::from_millis(100);
/// A second loader is asked after this many times what the fastest usually takes.
const LATE: f64 = 4.0;
/// Shortest and first time after which a second loader is asked.
const SOONEST: Duration = Duration::from_millis(250);
const UNKNOWN: Duration = Duration::from_secs(2);
/// Damaged answers in a row after which the loader's disk is to blame, and not the network.
const DAMAGED: u32 = 3;
/// Time until a slow loader is tried again; it doubles up to the longest.
const FIRST_PROBE: Duration = Duration::from_secs(2);
const LONGEST_PROBE: Duration = Duration::from_secs(60);

/// The loaders of the run; any of them can answer any request.
#[derive(Debug)]
pub(crate) struct Loaders {
    trust: Trust,
    /// Weak, because the end of all senders means that the engine has ended.
    events: WeakUnboundedSender<WorkerEvent>,
    known: Mutex<Vec<Known>>,
}

#[derive(Debug)]
struct Known {
    loader: KnownLoader,
    channel: Option<Channel>,
    /// Mean time that making a minibatch took lately, and the number of answers.
    pace: Duration,
    answers: u32,
    /// Times in a row that another loader, asked later, answered first.
    lost: u32,
    /// Damaged answers in a row.
    damaged: u32,
    /// While it is slow: when to try it again, and the time until the try after that.
    probe: Instant,
    pause: Duration,
}

impl Known {
    fn new(loader: KnownLoader) -> Self {
        Self {
            loader,
            channel: None,
            pace: Duration::ZERO,
            answers: 0,
            lost: 0,
            damaged: 0,
            probe: Instant::now() + FIRST_PROBE,
            pause: FIRST_PROBE,
        }
    }

    fn has(&self, standing: Standing) -> bool {
        self.loader.standing() == standing
    }

    fn set_standing(&mut self, standing: Standing, why: String) {
        self.loader.set_standing(standing);
        self.loader.why = why;
        (self.lost, self.answers, self.damaged) = (0, 0, 0);
        if standing == Standing::Slow {
            self.probe_later();
        }
    }

    fn probe_later(&mut self) {
        self.probe = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PROBE);
    }
}

/// The loader to ask next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// This one.
    Ask(Chosen),
    /// None ever again: all were refused, for these reasons.
    Refused(String),
    /// None at present.
    Nobody,
}

/// A loader to ask.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chosen {
    pub(super) session: u64,
    pub(super) address: String,
    /// Steps until the loader has its turn again.
    pub(super) stride: u64,
}

impl Loaders {
    pub(crate) fn new(trust: Trust, events: WeakUnboundedSender<WorkerEvent>) -> Self {
        Self { trust, events, known: Mutex::default() }
    }

    /// Replaces the list of loaders; keeps connections and experience of those that stay.
    pub(crate) fn set(&self, loaders: Vec<KnownLoader>) {
        let mut known = self.lock();
        let mut old = std::mem::take(&mut *known);
        for loader in loaders {
            let same = |k: &Known| {
                k.loader.session == loader.session && k.loader.address == loader.address
            };
            let Some(at) = old.iter().position(same) else {
                known.push(Known::new(loader));
                continue;
            };
            let mut kept = old.swap_remove(at);
            // The coordinator says what any worker has experienced. A refusal is for good.
            if !kept.has(loader.standing()) && !kept.has(Standing::Refused) {
                kept.set_standing(loader.standing(), loader.why);
            }
            known.push(kept);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loader whose turn it is, or the next one that is not among `except`.
    pub(super) fn next(&self, turn: u64, except: &[u64]) -> Next {
        let known = self.lock();
        let of = |standing| known.iter().filter(move |k| k.has(standing));
        let (good, slow): (Vec<_>, Vec<_>) =
            (of(Standing::Good).collect(), of(Standing::Slow).collect());
        let (first, then) = if good.is_empty() { (slow, good) } else { (good, slow) };
        if first.is_empty() && !known.is_empty() {
            let reason = |k: &Known| (k.loader.address.clone(), k.loader.why.clone());
            let reasons = known.iter().map(reason).map(|(a, why)| format!("{a}: {why}"));
            return Next::Refused(reasons.collect::<Vec<_>>().join("; loader "));
        }
        let from = (turn % first.len().max(1) as u64) as usize;
        let (after, before) = (first[from..].iter(), first[..from].iter());
        let mut others = after.chain(before).chain(&then).map(|k| &k.loader);
        let free = others.find(|loader| !except.contains(&loader.session));
        free.map_or(Next::Nobody, |KnownLoader { session, address, .. }| {
            let (session, address) = (*session, address.clone());
            Next::Ask(Chosen { session, address, stride: first.len() as u64 })
        })
    }

    /// A slow loader that should be tried again now.
    pub(super) fn to_probe(&self) -> Option<Chosen> {
        let now = Instant::now();
        let mut known = self.lock();
        let due = |k: &&mut Known| k.has(Standing::Slow) && k.probe <= now;
        let slow = known.iter_mut().find(due)?;
        slow.probe_later();
        let (session, address) = (slow.loader.session, slow.loader.address.clone());
        Some(Chosen { session, address, stride: 1 })
    }

    /// Addresses of all loaders, for people.
    pub(super) fn addresses(&self) -> String {
        self.lock().iter().map(|k| k.loader.address.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// A connection to a loader.
    pub(super) async fn connect(&self, to: &Chosen) -> Result<Channel, Status> {
        let open = self.with(to.session, |known| known.channel.clone());
        if let Some(channel) = open.flatten() {
            return Ok(channel);
        }
        // A loader that isn't trusted counts as unreachable: another one may answer.
        let dialed = self.trust.dial(Role::Loader, &to.address).await;
        let channel = dialed.map_err(|e| Status::unavailable(e.by("this worker")))?;
        self.with(to.session, |known| known.channel = Some(channel.clone()));
        Ok(channel)
    }

    /// Drops the connection to a loader, so that the next question makes a new one.
    pub(super) fn disconnect(&self, session: u64) {
        self.with(session, |known| known.channel = None);
    }

    fn with<T>(&self, session: u64, change: impl FnOnce(&mut Known) -> T) -> Option<T> {
        self.lock().iter_mut().find(|k| k.loader.session == session).map(change)
    }

    /// Time after which another loader is asked as well.
    pub(super) fn late(&self) -> Duration {
        self.fastest().map_or(UNKNOWN, |fastest| fastest.mul_f64(LATE).max(SOONEST))
    }

    fn fastest(&self) -> Option<Duration> {
        let known = self.lock();
        known.iter().filter(|k| k.answers > 0).map(|k| k.pace).min()
    }

    /// Takes note of an answer, of the time that making it took, and of the loaders that had been
    /// asked before.
    pub(super) fn answered(&self, by: &Chosen, made: Option<Duration>, late: &[u64]) {
        self.with(by.session, |known| {
            (known.lost, known.damaged) = (0, 0);
            if let Some(made) = made {
                known.answers += 1;
                known.pace = match known.answers {
                    1 => made,
                    _ => (known.pace * 3 + made) / 4,
                };
            }
        });
        for session in late {
            let lost = self.with(*session, |known| {
                known.lost += 1;
                known.lost >= LOST && known.has(Standing::Good)
            });
            if lost == Some(true) {
                let why = format!("it was asked first, and {} answered before it", by.address);
                self.judge(*session, Standing::Slow, why);
            }
        }
        self.compare(by.session);
    }

    /// Compares the pace of a loader with that of the fastest.
    fn compare(&self, session: u64) {
        let slow = {
            let known = self.lock();
            let paced = || known.iter().filter(|k| k.answers >= PACED && k.has(Standing::Good));
            let fastest = paced().min_by_key(|k| k.pace);
            let own = paced().find(|k| k.loader.session == session);
            own.zip(fastest)
                .filter(|(own, fastest)| is_slow(own.pace, fastest.pace))
                .map(|(own, fastest)| (own.pace, fastest.loader.address.clone(), fastest.pace))
        };
        if let Some((own, address, fastest)) = slow {
            let (own, fastest) = (own.as_secs_f64(), fastest.as_secs_f64());
            let why =
                format!("it makes a minibatch in {own:.2} s, and {address} takes {fastest:.2} s");
            self.judge(session, Standing::Slow, why);
        }
    }

    /// Takes note of the time in which a slow loader answered; it is good again if that was short.
    pub(super) fn probed(&self, session: u64, took: Duration) {
        if self.fastest().is_none_or(|fastest| !is_slow(took, fastest)) {
            self.judge(session, Standing::Good, String::new());
        }
    }

    /// Takes note of a damaged answer. After several in a row the loader is not asked again.
    pub(super) fn damaged(&self, of: &Chosen, why: &str) {
        let n = self.with(of.session, |known| {
            known.damaged += 1;
            known.damaged
        });
        tracing::warn!(loader = of.address, why, "a damaged minibatch");
        if n.is_some_and(|n| n > DAMAGED) {
            self.judge(of.session, Standing::Refused, why.to_string());
        }
    }

    /// Sets what is thought of a loader from now on, and tells the coordinator.
    pub(super) fn judge(&self, session: u64, standing: Standing, why: String) {
        let changed = self.with(session, |known| {
            if known.has(standing) || known.has(Standing::Refused) {
                return None;
            }
            known.set_standing(standing, why.clone());
            Some(known.loader.address.clone())
        });
        let Some(loader) = changed.flatten() else { return };
        match standing {
            Standing::Refused => tracing::warn!(loader, why, "this loader is not asked any more"),
            Standing::Slow => tracing::warn!(loader, why, "this loader is too slow"),
            _ => tracing::info!(loader, "this loader is fast enough again"),
        }
        if let Some(events) = self.events.upgrade() {
            let judged = LoaderJudged { session, standing: standing.into(), why };
            let _ = events.send(WorkerEvent { event: Some(Event::LoaderJudged(judged)) });
        }
    }
}

/// Returns true if a loader with this pace is too slow beside the fastest.
fn is_slow(pace: Duration, fastest: Duration) -> bool {
    pace > fastest.mul_f64(SLOWER) && pace > fastest + APART
}

#[cfg(test)]
mod tests;
