//! Text that people type, and files that they write: recipes, `--set`, data, devices, certificates.

use gpu_worker::Device;
use harness::certs::certificates;
use loader::DataSpec;
use model::halves::{Half, Partition, Plan};
use model::recipe::Recipe;
use model::shape::Network;
use net::{Role, Trust};

use crate::engine::Target;
use crate::mutate::Shape;

const WORDS: &[&str] = &[
    "batch",
    "classes",
    "width",
    "crop",
    "slices",
    "epochs",
    "lrn_size",
    "pool_size",
    "pool_stride",
    "biases",
    "weight_stds",
    "rates",
    "decays",
    "rate_epochs",
    "plateau",
    "halve",
    "epochs",
    "alexnet",
    "cifar10",
    "f16",
    "conv1",
    "fc8",
    "fan-in",
    "crop_offsets",
    "momentum",
    "columns",
    "lrn_k",
    "weight_std",
    "1e39",
];

/// Whatever a recipe says that is accepted, its sizes are numbers and its start is finite.
fn sane(recipe: &Recipe) -> bool {
    let again = Recipe::from_toml(&recipe.to_toml());
    assert_eq!(again.as_ref(), Ok(recipe), "written and read again");
    for classes in [2, 1000, recipe.classes.max(2)] {
        let Ok(network) = Network::new(recipe, classes) else { continue };
        let _ = (network.multiply_adds(), network.training_flop());
        for cut in [Partition::Whole, Partition::Half(Half::A), Partition::Half(Half::B)] {
            let plan = Plan::new(&network, recipe, cut);
            for layer in &plan.layers {
                let batch =
                    recipe.batch.checked_mul(layer.input.len() + layer.pre_activation.len());
                assert!(
                    batch.is_some_and(|n| n < 1 << 50),
                    "{} at batch {}",
                    layer.name,
                    recipe.batch
                );
            }
            for param in plan.params() {
                assert!(param.len() < 1 << 44, "{} has {} numbers", param.name, param.len());
                match param.start {
                    model::params::Start::Normal(std) => assert!((std as f32).is_finite()),
                    model::params::Start::Constant(value) => assert!(value.is_finite()),
                }
            }
        }
    }
    let _ = (0..3).map(|epoch| recipe.rate_after(recipe.scheduled_drops(epoch))).sum::<f64>();
    assert!((recipe.lrn_k as f32).is_finite() && (recipe.rate as f32).is_finite());
    true
}

pub(crate) fn targets() -> Vec<Target> {
    let texts: Vec<Vec<u8>> =
        Recipe::builtin_names().map(|n| Recipe::builtin_text(n).unwrap().into()).collect();
    let sets =
        ["batch=64", "rate_epochs=[25, 51]", "weight_stds.conv3=0.03", "lrn=none", "classes=9"];
    let specs = ["synthetic", "synthetic:72:4000:1000:2012", "/data/x"];
    let devices = ["cpu", "cpu:4", "cuda:0", "cuda:GPU-8f6d0000-1111-2222-3333-444455556666"];
    let bytes = |texts: &[&str]| texts.iter().map(|t| t.as_bytes().to_vec()).collect::<Vec<_>>();
    let text = |name, words, seeds, decode: fn(&str) -> bool| {
        Target::new(name, 16 << 20, Shape::Text(words), seeds, move |bytes| {
            std::str::from_utf8(bytes).is_ok_and(decode)
        })
    };
    let mut targets = vec![
        text("recipe", WORDS, texts, |t| Recipe::from_toml(t).is_ok_and(|recipe| sane(&recipe))),
        text("set", WORDS, bytes(&sets), |t| {
            let mut recipe = Recipe::builtin("demo").unwrap();
            recipe.set_all(t.lines()).is_ok() && sane(&recipe)
        }),
        text("data", &["synthetic", ":"], bytes(&specs), |t| match t.parse::<DataSpec>() {
            Ok(spec) => spec.to_string().parse::<DataSpec>().unwrap() == spec,
            Err(_) => false,
        }),
        text("device", &["cuda", "cpu", "GPU-"], bytes(&devices), |t| match t.parse::<Device>() {
            Ok(device) => device.to_string().parse::<Device>().is_ok() || panic!("{device}"),
            Err(_) => false,
        }),
    ];
    let folder = std::rc::Rc::new(tempfile::tempdir().unwrap());
    let certs = certificates(folder.path(), "certs");
    for (name, file) in
        [("authority", "authority.pem"), ("certificate", "worker.pem"), ("key", "worker-key.pem")]
    {
        let (path, certs, folder) = (certs.join(file), certs.clone(), folder.clone());
        let valid = std::fs::read(&path).unwrap();
        targets.push(Target::new(
            name,
            8 << 20,
            Shape::Text(&["-----"]),
            vec![valid.clone()],
            move |b| {
                std::fs::write(&path, b).unwrap();
                let read = Trust::read(&certs, Role::Worker).is_ok();
                std::fs::write(&path, &valid).unwrap();
                assert!(folder.path().is_dir());
                read
            },
        ));
    }
    targets
}
