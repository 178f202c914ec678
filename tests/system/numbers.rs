//! A run whose numbers blow up stops there, says where they went, and keeps what was good.

use crate::program;
use harness::process::Up;
use harness::small;

#[test]
fn a_run_that_diverges_names_the_first_layer_and_keeps_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--steps", "60", "--checkpoint-every", "1", "--set", "rate=1e6"];
    let output = Up::start(program(), folder.path(), &more).end();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    for words in [
        "blown up",
        "are the first with a number that isn't finite",
        "--set rate=",
        "last checkpoint is kept",
    ] {
        assert!(said.contains(words), "{words:?} in: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("restarting it"), "{said}");
    let checkpoints = std::fs::read_dir(folder.path().join("run/checkpoints"));
    for folder in checkpoints.into_iter().flatten().flatten() {
        for half in ["half-a", "half-b"] {
            let file = folder.path().join(format!("{half}.safetensors"));
            let tensors = harness::golden::parse(&std::fs::read(&file).unwrap());
            let finite = tensors.values().all(|(_, values)| values.iter().all(|v| v.is_finite()));
            assert!(finite, "{} is no good checkpoint", file.display());
        }
    }
}

/// One layer's sums overflow in both halves: that layer is named, not one behind it.
#[test]
fn the_layer_with_the_first_nan_is_named() {
    let recipe = small::recipe();
    let mut pair = small::network(&recipe, small::SEED, false);
    let bad = |shard: Vec<u8>| {
        let at = {
            let file = safetensors::SafeTensors::deserialize(&shard).unwrap();
            let weights = file.tensor("conv4.weight").unwrap().data();
            weights.as_ptr() as usize - shard.as_ptr() as usize
        };
        let mut shard = shard;
        for weight in shard[at..at + 4096].as_chunks_mut().0 {
            *weight = f32::MAX.to_le_bytes();
        }
        ("shard".to_string(), shard.into())
    };
    let shards: Vec<_> = pair.shards(0).unwrap().into_iter().map(bad).collect();
    pair.restore(&shards).unwrap();
    let rates = gpu_worker::Rates { weights: 0.0, biases: 0.0 };
    let error = pair.step(&small::minibatch(), 0, rates).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("conv4's activations are the first") && error.is_shared(), "{said}");
}
