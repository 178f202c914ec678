//! A run directory's files, and the shards that workers take.

use std::rc::Rc;

use coordinator::checkpoint::{self, Manifest, parse_shard_name};
use coordinator::run_dir::RunDir;
use gpu_worker::backend::cpu::Cpu;
use gpu_worker::network::{DeviceNetwork, Mean};
use model::halves::{Partition, Plan};
use model::recipe::Recipe;
use model::shape::Network;
use proto::digest::sha256;
use serde_json::json;

use crate::engine::Target;
use crate::mutate::Shape;

const MANIFEST: &str = r#"{
  "step": 5,
  "epoch": 0.30000000000000004,
  "run_id": "r",
  "recipe_sha256": "x",
  "data_set": "d",
  "seed": 1,
  "shards": [
    {
      "file": "half-a.safetensors",
      "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
      "bytes": 3
    }
  ],
  "rate": {
    "drops": 0,
    "plateaus": 0,
    "best": 0.3333333333333333,
    "since": 0,
    "epochs_seen": 0,
    "ended": false
  },
  "last": null,
  "best": null,
  "metrics_bytes": 0,
  "checksum": ""
}"#;

/// Writes the manifest's own sum into it, as the coordinator does.
fn seal_manifest(bytes: &mut Vec<u8>) {
    let Ok(mut manifest) = serde_json::from_slice::<Manifest>(bytes)
        .and_then(|manifest| serde_json::to_value(&manifest))
    else {
        return;
    };
    manifest["checksum"] = json!("");
    // Through the type once more: its fields' order is the file's.
    let Ok(plain) = serde_json::from_value::<Manifest>(manifest) else { return };
    let text = serde_json::to_string_pretty(&plain).unwrap();
    let sum = sha256(text.as_bytes());
    *bytes = text.replace("\"checksum\": \"\"", &format!("\"checksum\": \"{sum}\"")).into();
}

/// A sealed manifest is what was written, so it must be taken, whatever its numbers.
fn manifest() -> Target {
    let dir = tempfile::tempdir().unwrap();
    let folder = checkpoint::folder(dir.path(), 5);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("half-a.safetensors"), "foo").unwrap();
    let mut seed = MANIFEST.as_bytes().to_vec();
    seal_manifest(&mut seed);
    let words: &[&str] = &["step", "half-b.safetensors", "../../x", "/etc/passwd"];
    let target = Target::new("manifest", 8 << 20, Shape::Text(words), vec![seed], move |bytes| {
        std::fs::write(folder.join("manifest.json"), bytes).unwrap();
        let (newest, refused) = match checkpoint::newest(dir.path()) {
            Err(coordinator::Error::Newer { .. }) => return false,
            found => found.unwrap(),
        };
        assert_eq!(newest.is_none(), !refused.is_empty());
        let mut again = bytes.to_vec();
        seal_manifest(&mut again);
        let five = serde_json::from_slice::<Manifest>(bytes).is_ok_and(|m| m.step == 5);
        if again == bytes && five {
            Manifest::read(dir.path(), 5).expect("what was written can be read");
        }
        newest.is_some()
    });
    target.sealed(seal_manifest)
}

fn run_dir() -> Vec<Target> {
    let dir = Rc::new(tempfile::tempdir().unwrap());
    let recipe = Recipe::default().to_toml().into_bytes();
    let record = serde_json::to_vec_pretty(&json!({
        "run_id": "r", "seed": 1, "recipe": "paper", "program": "0.1.0", "cpu": "x", "started": 1,
        "incarnation": 2, "devices": ["half A: cpu at h:1"], "mean_sha256": "",
        "data_set": {"name": "s", "digest": "d", "side": 2, "classes": ["a", "b"], "n_train": 3,
            "n_val": 1, "colors": [0, 0, 0, 0, 0, 0, 0, 0, 0]}
    }))
    .unwrap();
    let files = [("run.json", record), ("recipe.toml", recipe)];
    for (file, bytes) in &files {
        std::fs::write(dir.path().join(file), bytes).unwrap();
    }
    files
        .into_iter()
        .map(|(file, valid)| {
            let dir = dir.clone();
            Target::new(file, 16 << 20, Shape::Text(&[]), vec![valid.clone()], move |bytes| {
                std::fs::write(dir.path().join(file), bytes).unwrap();
                let opened = RunDir::open(dir.path());
                std::fs::write(dir.path().join(file), &valid).unwrap();
                opened.is_ok_and(|dir| {
                    let _ = (dir.mean(), dir.newest(), dir.best(), dir.data_set().is_ok());
                    true
                })
            })
        })
        .collect()
}

fn shard_names() -> Target {
    let seeds = [
        "checkpoints/step-00000005/half-a.safetensors",
        "checkpoints/step-00000005/whole.safetensors",
    ];
    let words: &[&str] = &["..", "/", "checkpoints", "step-", "half-b.safetensors"];
    let seeds = seeds.map(|s| s.as_bytes().to_vec()).into();
    Target::new("shard name", 1 << 20, Shape::Text(words), seeds, |bytes| {
        let Some((step, file)) = std::str::from_utf8(bytes).ok().and_then(parse_shard_name) else {
            return false;
        };
        assert_eq!(format!("checkpoints/step-{step:08}/{file}").as_bytes(), bytes, "one spelling");
        assert!(!file.contains('/'));
        true
    })
}

/// A shard is taken whole or refused; what is taken is finite and comes back the same.
fn shard() -> Target {
    let recipe =
        Recipe { width: 0.0625, crop: 16, batch: 1, ..Recipe::builtin("cifar10-relu").unwrap() };
    let network = Network::new(&recipe, 2).unwrap();
    let plan = Plan::new(&network, &recipe, Partition::Half(model::halves::Half::A));
    let mean = Mean { side: 16, values: vec![0.0; 768] };
    let mut dev = Cpu::new(1);
    let mut half = DeviceNetwork::new(&mut dev, plan, &recipe, 1, &mean).unwrap();
    let seed = half.shard(&mut dev, 1).unwrap();
    let len = seed.len();
    let words: &[&str] = &["F32", "F16", "I64", "shape", "data_offsets", "conv1.weight"];
    Target::new("restore", 8 << 20, Shape::Text(words), vec![seed], move |bytes| {
        let shard = bytes::Bytes::copy_from_slice(bytes);
        if half.restore(&mut dev, "half-a", &shard).is_err() {
            return false;
        }
        assert_eq!(half.shard(&mut dev, 1).expect("finite, as checkpoints are").len(), len);
        true
    })
}

pub(crate) fn targets() -> Vec<Target> {
    let mut targets = vec![manifest(), shard_names(), shard()];
    targets.extend(run_dir());
    targets
}
