//! One question, put to one loader after another until one answers.
//!
//! A loader that has not answered in time stays asked, and another one is asked as well; the first
//! answer counts. As long as a loader gives signs that it works, it is waited for.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use net::{Reaction, reaction};
use proto::status::Standing;
use tokio::task::{AbortHandle, JoinSet};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::loaders::{Chosen, Loaders, Next};
use crate::error::{Error, Result};

/// Time between two looks at the loaders that have been asked.
const LOOK: Duration = Duration::from_millis(50);
/// Pause before a loader that failed is asked again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Longest time for the answer of a slow loader that is tried again.
const PROBE: Duration = Duration::from_secs(30);

/// The limit of a wait, which begins when the answer is needed.
#[derive(Debug)]
pub(crate) struct Wait {
    deadline: Duration,
    needed: OnceLock<Instant>,
}

impl Wait {
    pub(crate) fn new(deadline: Duration) -> Self {
        Self { deadline, needed: OnceLock::new() }
    }

    /// From now on the answer is needed.
    pub(crate) fn begins(&self) {
        let _ = self.needed.set(Instant::now());
    }

    /// Returns true if the answer has been needed for the deadline without a sign from any loader.
    fn is_over(&self, last_sign: Instant) -> bool {
        self.needed.get().is_some_and(|needed| (*needed).max(last_sign).elapsed() >= self.deadline)
    }
}

/// The time of a loader's last sign that it works.
#[derive(Debug, Clone)]
pub(super) struct Sign(Arc<Mutex<Instant>>);

impl Sign {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn give(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The question as one loader gets it.
#[derive(Debug)]
pub(super) struct Asked {
    /// Steps until this loader has its turn again.
    pub(super) stride: u64,
    pub(super) sign: Sign,
}

/// A loader's answer.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) value: T,
    /// Time that making it took.
    pub(super) made: Option<Duration>,
}

/// The reason why a loader gave no answer that can be used.
#[derive(Debug)]
pub(super) enum Failure {
    /// The call failed.
    Status(Status),
    /// The answer was wrong.
    Wrong(String),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// An attempt that is under way.
struct Attempt {
    loader: Chosen,
    since: Instant,
    sign: Sign,
    task: AbortHandle,
}

/// A loader that failed, and the time before which it is not asked again.
struct Failed {
    session: u64,
    until: Instant,
    pause: Duration,
}

/// The attempts at one question.
struct Attempts<T> {
    tasks: JoinSet<(u64, std::result::Result<Answer<T>, Failure>)>,
    under_way: Vec<Attempt>,
    failed: Vec<Failed>,
    last_sign: Instant,
    /// The last failure.
    why: String,
}

impl<T> Attempts<T> {
    /// Returns true if another loader should be asked, `late` after the last one.
    fn want_another(&self, late: Duration) -> bool {
        self.under_way.last().is_none_or(|newest| newest.since.elapsed() > late)
    }

    /// Loaders that are not to be asked now.
    fn busy(&self) -> Vec<u64> {
        let now = Instant::now();
        let paused = self.failed.iter().filter(|f| f.until > now).map(|f| f.session);
        self.under_way.iter().map(|a| a.loader.session).chain(paused).collect()
    }

    fn remove(&mut self, session: u64) -> Option<Attempt> {
        let at = self.under_way.iter().position(|a| a.loader.session == session)?;
        Some(self.under_way.remove(at))
    }

    fn pause(&mut self, session: u64) {
        let at = self.failed.iter().position(|f| f.session == session);
        let pause = at.map_or(FIRST_PAUSE, |at| self.failed.swap_remove(at).pause * 2);
        let pause = pause.min(LONGEST_PAUSE);
        self.failed.push(Failed { session, until: Instant::now() + pause, pause });
    }

    /// Gives up attempts without a sign for longer than `limit`; returns their loaders.
    fn give_up_silent(&mut self, limit: Duration) -> Vec<u64> {
        let signs = self.under_way.iter().map(|a| a.sign.last());
        // Being asked is no sign of the loader's.
        let signs = signs.zip(&self.under_way).filter(|(sign, a)| *sign > a.since);
        self.last_sign = signs.map(|(sign, _)| sign).max().unwrap_or(self.last_sign);
        let is_silent = |a: &&Attempt| a.sign.last().elapsed() > limit;
        let silent: Vec<_> =
            self.under_way.iter().filter(is_silent).map(|a| a.loader.session).collect();
        for session in &silent {
            if let Some(attempt) = self.remove(*session) {
                attempt.task.abort();
                self.why = format!("no sign for {:.1} s that it works", limit.as_secs_f64());
                self.pause(*session);
            }
        }
        silent
    }
}

impl Loaders {
    /// Asks the loader whose turn it is, and others if that one is late or fails.
    pub(super) async fn ask<T, F>(
        self: &Arc<Self>,
        turn: u64,
        wait: &Wait,
        call: Arc<impl Fn(Channel, Asked) -> F + Send + Sync + 'static>,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = std::result::Result<Answer<T>, Failure>> + Send + 'static,
    {
        let mut attempts = Attempts {
            tasks: JoinSet::new(),
            under_way: Vec::new(),
            failed: Vec::new(),
            last_sign: Instant::now(),
            why: "no loader has joined the run".to_string(),
        };
        let mut looks = tokio::time::interval(LOOK);
        loop {
            if attempts.want_another(self.late()) {
                match self.next(turn, &attempts.busy()) {
                    Next::Ask(loader) => self.begin(&mut attempts, loader, &call),
                    // The address of the first loader is in front of its reason.
                    Next::Refused(reasons) if attempts.under_way.is_empty() => {
                        let (loader, why) = reasons.split_once(": ").unwrap_or(("", &reasons));
                        return Err(Error::BadData { loader: loader.into(), why: why.into() });
                    }
                    Next::Refused(_) | Next::Nobody => {}
                }
            }
            tokio::select! {
                Some(ended) = attempts.tasks.join_next() => {
                    if let Some(answer) = self.ended(&mut attempts, ended) {
                        return Ok(answer);
                    }
                }
                _ = looks.tick() => {
                    // A loader that hangs is asked again on a new connection.
                    for session in attempts.give_up_silent(wait.deadline / 4) {
                        self.disconnect(session);
                    }
                    if wait.is_over(attempts.last_sign) {
                        return Err(Error::NoData {
                            loaders: self.addresses(),
                            waited_ms: wait.deadline.as_millis() as u64,
                            why: attempts.why,
                        });
                    }
                }
            }
        }
    }

    fn begin<T, F>(
        self: &Arc<Self>,
        attempts: &mut Attempts<T>,
        loader: Chosen,
        call: &Arc<impl Fn(Channel, Asked) -> F + Send + Sync + 'static>,
    ) where
        T: Send + 'static,
        F: Future<Output = std::result::Result<Answer<T>, Failure>> + Send + 'static,
    {
        let sign = Sign::new();
        let since = sign.last();
        let (loaders, to, call) = (self.clone(), loader.clone(), call.clone());
        let asked = Asked { stride: loader.stride, sign: sign.clone() };
        let task = attempts.tasks.spawn(async move {
            let channel = loaders.connect(&to).await;
            let answer = match channel {
                Ok(channel) => call(channel, asked).await,
                Err(status) => Err(status.into()),
            };
            (to.session, answer)
        });
        attempts.under_way.push(Attempt { loader, since, sign, task });
    }

    /// Takes the end of an attempt; returns its answer, if it has one.
    fn ended<T>(
        &self,
        attempts: &mut Attempts<T>,
        ended: std::result::Result<
            (u64, std::result::Result<Answer<T>, Failure>),
            tokio::task::JoinError,
        >,
    ) -> Option<T> {
        let (session, answer) = match ended {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return None, // it was given up
        };
        let Attempt { loader, since, .. } = attempts.remove(session)?;
        let failure = match answer {
            Ok(Answer { value, made }) => {
                let late = attempts.under_way.iter().filter(|other| other.since < since);
                let late: Vec<_> = late.map(|other| other.loader.session).collect();
                self.answered(&loader, made, &late);
                return Some(value);
            }
            Err(failure) => failure,
        };
        attempts.pause(session);
        attempts.why = self.failed(&loader, failure);
        None
    }

    /// Takes note of a failure; returns its reason.
    fn failed(&self, loader: &Chosen, failure: Failure) -> String {
        let status = match failure {
            Failure::Wrong(why) => {
                self.judge(loader.session, Standing::Refused, why.clone());
                return why;
            }
            Failure::Status(status) => status,
        };
        let why = status.message().to_string();
        if reaction(&status) == Reaction::Stop {
            self.judge(loader.session, Standing::Refused, why.clone());
        } else if status.code() == Code::DataLoss {
            self.damaged(loader, &why);
        }
        self.disconnect(loader.session);
        tracing::debug!(loader = loader.address, why, "asking the next loader");
        why
    }

    /// Tries a slow loader again if that is due, with a question that has been answered already.
    pub(super) fn probe<T, F>(
        self: &Arc<Self>,
        call: &Arc<impl Fn(Channel, Asked) -> F + Send + Sync + 'static>,
    ) where
        T: Send + 'static,
        F: Future<Output = std::result::Result<Answer<T>, Failure>> + Send + 'static,
    {
        let Some(loader) = self.to_probe() else { return };
        let (loaders, call) = (self.clone(), call.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            let asked = Asked { stride: loader.stride, sign: Sign::new() };
            let answer = tokio::time::timeout(PROBE, async {
                call(loaders.connect(&loader).await?, asked).await
            });
            match answer.await {
                Ok(Ok(answer)) => {
                    let took = began.elapsed().max(answer.made.unwrap_or_default());
                    loaders.probed(loader.session, took);
                }
                Ok(Err(failure)) => drop(loaders.failed(&loader, failure)),
                Err(_) => loaders.disconnect(loader.session),
            }
        });
    }
}
