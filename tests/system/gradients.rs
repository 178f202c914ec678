//! `check-gradients`: the gradients of recipes, compared with their losses.

use harness::roles::Machine;

use crate::program;
use crate::trust::{says, text};

/// Every kind of layer, of order and of cut has gradients that fit the loss.
#[test]
fn the_gradients_of_every_kind_of_network_fit_its_loss() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = folder.path().join("small.toml");
    std::fs::write(&recipe, harness::small::recipe().to_toml()).unwrap();
    let machine = Machine::here(program(), folder.path());
    // The changes, and the number of tensors in which they result.
    let networks: [(&[&str], usize); 6] = [
        (&[], 32),
        (&["activation=tanh", "lrn=original", "order=as-run"], 32),
        (&["conv6=true", "biases.conv6=0.1", "pool_size=2", "wire=f16"], 36),
        (&["unlinked=[conv3, fc6, fc7]", "slices=4"], 32),
        (&["without=[conv4, fc7]", "rates.conv1=0", "lrn=none"], 24),
        (&["columns=1", "dropout=0.5"], 16),
    ];
    for (changes, tensors) in networks {
        let sets = changes.iter().flat_map(|change| ["--set", change]);
        let args = ["check-gradients", "--recipe", text(&recipe)].into_iter().chain(sets);
        let (well, said) = machine.run(&args.collect::<Vec<_>>());
        assert!(well, "{changes:?}: {said}");
        says(&said, &[&format!("all {tensors} gradients fit the loss")]);
    }
}
