//! Health of a process, as the engine that runs it asks: Kubernetes' probes, a load balancer.
//!
//! *Ready* means that the process serves its part of the run. *Live* means that a restart would not
//! help. A worker whose device hangs ends by itself, so being live says little more than that the
//! process answers.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::http::{self, Page, StatusCode};

/// Path of the page that says whether the process is live.
pub const LIVE: &str = "/livez";
/// Path of the page that says whether the process is ready.
pub const READY: &str = "/readyz";
/// Longest time between two signs of progress: longer than any disk that the tests know.
const LONGEST: Duration = Duration::from_secs(120);

/// Health of this process, shared by those who report it and those who answer for it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Reason for being ready, or for not being so; `None`: it has just started.
    ready: Option<Result<String, String>>,
    /// The last sign of progress of something that must never stand still.
    moved: Option<Instant>,
}

impl Health {
    /// Records that the process serves its part of the run, with a reason such as `joined`.
    pub fn ready(&self, why: impl Into<String>) {
        self.with(|state| state.ready = Some(Ok(why.into())));
    }

    /// Records that the process can't serve its part of the run now, and the reason.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.with(|state| state.ready = Some(Err(why.into())));
    }

    /// Records a sign of progress. Until [`rests`](Self::rests), there must be one at least every
    /// two minutes, or the process counts as dead.
    pub fn moves(&self) {
        self.with(|state| state.moved = Some(Instant::now()));
    }

    /// Records that nothing has to move any more.
    pub fn rests(&self) {
        self.with(|state| state.moved = None);
    }

    /// Answers at [`LIVE`] and [`READY`] for as long as the future is polled.
    pub async fn serve(self, listener: TcpListener) {
        let page = move |path: &str| self.page(path, Instant::now());
        http::serve(listener, "health", &[LIVE, READY], page).await;
    }

    fn page(&self, path: &str, now: Instant) -> Page {
        let answer = self.with(|state| match path {
            LIVE => match state.moved.map(|moved| now.saturating_duration_since(moved)) {
                Some(still) if still > LONGEST => {
                    Err(format!("no progress for {} s: a restart may help", still.as_secs()))
                }
                _ => Ok("live".into()),
            },
            _ => state.ready.clone().unwrap_or_else(|| Err("starting".into())),
        });
        match answer {
            Ok(why) => Page::sentence(StatusCode::OK, why + "\n"),
            Err(why) => Page::sentence(StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
        }
    }

    fn with<T>(&self, of: impl FnOnce(&mut State) -> T) -> T {
        of(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_it_says_so_and_dead_when_it_stands_still() {
        let health = Health::default();
        let now = Instant::now();
        let says = |path, at| {
            let page = health.page(path, at);
            (page.status.as_u16(), page.text)
        };
        assert_eq!(says(READY, now), (503, "starting\n".into()));
        assert_eq!(says(LIVE, now + 2 * LONGEST), (200, "live\n".into()), "nothing must move yet");
        health.ready("joined");
        assert_eq!(says(READY, now), (200, "joined\n".into()));
        health.not_ready("no coordinator");
        assert_eq!(says(READY, now), (503, "no coordinator\n".into()));
        health.moves();
        assert_eq!(says(LIVE, now + LONGEST / 2).0, 200);
        let (status, why) = says(LIVE, now + 2 * LONGEST);
        assert!(status == 503 && why.starts_with("no progress for "), "{why}");
        health.rests();
        assert_eq!(says(LIVE, now + 2 * LONGEST).0, 200);
    }
}
