//! A run whose numbers blow up stops there, says where they went, and keeps what was good.

use harness::process::Up;

const PROGRAM: &str = env!("CARGO_BIN_EXE_alexnet-under-test");

#[test]
fn a_run_that_blows_up_names_the_first_layer_and_keeps_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--steps", "60", "--checkpoint-every", "1", "--set", "rate=1e6"];
    let output = Up::start(PROGRAM, folder.path(), &more).end();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    for words in ["blown up", "conv", "--set rate=", "last checkpoint is kept"] {
        assert!(said.contains(words), "{words:?} in: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("started again"), "{said}");
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
