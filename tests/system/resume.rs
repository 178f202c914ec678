//! Repeatable: the same seed, more loaders, a stop in mid-epoch: always the same bits.

use coordinator::Until;
use harness::cluster::Cluster;

#[test]
fn the_same_seed_gives_bitwise_equal_checkpoints_whatever_the_number_of_loaders() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, loaders| {
        let mut cluster = Cluster::small(&folder.path().join(name));
        cluster.recipe.color_noise = 0.1;
        cluster.recipe.flip = true;
        cluster.recipe.crop_offsets = 0;
        cluster.loaders = loaders;
        assert_eq!(cluster.run().step, 10);
        cluster.shards(10)
    };
    let first = run("first", 1);
    assert!(first == run("again", 1), "the same seed, other bits");
    assert!(first == run("three-loaders", 3), "three loaders, other bits");
}

#[test]
fn a_run_stopped_in_mid_epoch_resumes_bitwise() {
    let folder = tempfile::tempdir().unwrap();
    let undisturbed = Cluster::small(&folder.path().join("undisturbed"));
    undisturbed.run();
    let mut stopped = Cluster::small(&folder.path().join("stopped"));
    stopped.until = Until::Steps(7); // 200 pictures: 12.5 steps an epoch
    assert_eq!(stopped.run().step, 7);
    stopped.until = Until::Steps(10);
    assert_eq!(stopped.run().step, 10);
    assert!(undisturbed.shards(10) == stopped.shards(10), "resumed, other bits");
}
