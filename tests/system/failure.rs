//! Something is lost in mid-run: the run goes on from the last manifest, and the bits are the same.

use coordinator::Until;
use harness::cluster::{Cluster, wait_until};

fn cluster(run_dir: &std::path::Path) -> Cluster {
    let mut cluster = Cluster::small(run_dir);
    cluster.until = Until::Steps(60);
    cluster.checkpoint_every = 10;
    cluster
}

/// Asked to leave, it stays until its steps are kept: nothing is done twice.
#[test]
fn a_worker_that_leaves_is_replaced_without_losing_a_step_and_the_bits_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let undisturbed = cluster(&folder.path().join("undisturbed"));
    undisturbed.run();

    let disturbed = cluster(&folder.path().join("disturbed"));
    let (coordinator, mut progress) = disturbed.watched_coordinator();
    let loader = disturbed.loader(&coordinator.address);
    let stays = disturbed.worker(&coordinator.address);
    let mut leaves = disturbed.worker(&coordinator.address);
    wait_until(&mut progress, |run| run.checkpoint_step >= 10);
    leaves.ask_to_stop();
    leaves.join().unwrap();
    let replacement = disturbed.worker(&coordinator.address);
    replacement.join().unwrap();
    stays.join().unwrap();
    loader.join().unwrap();
    let outcome = coordinator.join().unwrap();
    assert_eq!(outcome.step, 60);
    let status = progress.borrow().clone();
    assert_eq!((status.incarnation, status.restarts), (2, 0), "begun again, but not rolled back");
    assert!(undisturbed.shards(60) == disturbed.shards(60), "recovered, other bits");
}

#[test]
fn a_failed_loader_costs_nothing_if_there_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let run = cluster(&folder.path().join("run"));
    let (coordinator, mut progress) = run.watched_coordinator();
    let mut leaves = run.loader(&coordinator.address);
    let stays = run.loader(&coordinator.address);
    let workers = [run.worker(&coordinator.address), run.worker(&coordinator.address)];
    wait_until(&mut progress, |run| run.step >= 5);
    leaves.ask_to_stop();
    leaves.join().unwrap();
    for worker in workers {
        worker.join().unwrap();
    }
    stays.join().unwrap();
    assert_eq!(coordinator.join().unwrap().step, 60);
    assert_eq!(progress.borrow().incarnation, 1, "no recovery was needed");
}

#[test]
fn a_stopped_coordinator_keeps_what_both_halves_finished() {
    let folder = tempfile::tempdir().unwrap();
    let run = cluster(&folder.path().join("run"));
    let (mut coordinator, mut progress) = run.watched_coordinator();
    let loader = run.loader(&coordinator.address);
    let workers = [run.worker(&coordinator.address), run.worker(&coordinator.address)];
    wait_until(&mut progress, |run| run.step >= 13);
    coordinator.ask_to_stop();
    for worker in workers {
        worker.join().unwrap();
    }
    loader.join().unwrap();
    let stopped_at = coordinator.join().unwrap().step;
    assert!((13..60).contains(&stopped_at), "stopped at {stopped_at}");
    assert_eq!(run.shards(stopped_at).len(), 2, "its checkpoint is there");

    assert_eq!(run.run().step, 60);
    let undisturbed = cluster(&folder.path().join("undisturbed"));
    undisturbed.run();
    assert!(undisturbed.shards(60) == run.shards(60), "resumed, other bits");
}
