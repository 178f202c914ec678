//! Shards pass through the coordinator; it never holds one. A test of its own process, because
//! peak memory is a process's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[path = "sockets/fakes.rs"]
mod fakes;

use coordinator::{Config, Ending, Until};
use fakes::{Habits, loader, recipe, worker};
use tokio::net::TcpListener;

/// A shard of the full network is 244 MB; a quarter of it tells as much.
const SHARD: usize = 64 << 20;
/// The coordinator's limit; here the fakes are in the same process, too.
const LIMIT_KB: u64 = 50_000;

async fn run(run_dir: &std::path::Path, steps: u64) -> coordinator::Outcome {
    let mut config = Config::new(run_dir, recipe(), 7);
    config.until = Some(Until::Steps(steps));
    config.checkpoint_every = 1000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let run = tokio::spawn(coordinator::run(config, listener, std::future::pending()));
    let _loader = loader(&address, "d1").await;
    let habits = Habits { shard_bytes: SHARD, ..Habits::default() };
    let _workers = ["a:1", "b:1"].map(|at| worker(&address, at, habits.clone()));
    run.await.unwrap().unwrap()
}

#[tokio::test]
async fn shards_pass_through_the_coordinator_in_less_than_50_mb() {
    let dir = tempfile::tempdir().unwrap();
    // Saved at step 5, fetched by both halves to go on, saved again.
    assert_eq!(run(dir.path(), 5).await.ending, Ending::Finished);
    assert_eq!(run(dir.path(), 7).await.steps_done, 2);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < LIMIT_KB, "{peak} kB");
}
