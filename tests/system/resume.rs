//! Repeatable: the same seed, more loaders, a stop in mid-epoch: always the same bits.

use coordinator::Until;
use harness::cluster::Cluster;
use model::recipe::Encoding;

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

/// The paper's half-width comparison: one process, nobody to exchange with.
#[test]
fn the_one_column_network_trains_in_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::small(&folder.path().join("one-column"));
    cluster.recipe.columns = 1;
    assert_eq!(cluster.run().step, 10);
    let shard = cluster.run_dir.join("checkpoints/step-00000010/whole.safetensors");
    assert!(shard.is_file(), "{}", shard.display());
}

/// Half floats between processes: learns as well, with other bits.
#[test]
fn activations_travel_as_f16_between_processes() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, wire| {
        let mut cluster = Cluster::small(&folder.path().join(name));
        cluster.recipe.wire = wire;
        (cluster.run().last.expect("an evaluation").loss, cluster.shards(10))
    };
    let (f32_loss, f32_shards) = run("f32", Encoding::F32);
    let (f16_loss, f16_shards) = run("f16", Encoding::F16);
    assert!((f32_loss - f16_loss).abs() < 0.05 * f32_loss, "{f32_loss} and {f16_loss}");
    assert!(f32_shards != f16_shards, "f16 was not used");
}
