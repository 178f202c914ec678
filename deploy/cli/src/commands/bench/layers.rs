//! The time of each layer and pass, and its share of the speed of matrix products.

use coordinator::timing::HalfStep;
use model::shape::Network;
use serde::Serialize;

/// One pass of a layer, both halves together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct LayerPass {
    /// A layer, or `input`, `logits`, `softmax`.
    pub layer: String,
    /// `forward`, `backward_inputs`, `backward_weights` or `update`.
    pub pass: String,
    /// Time per step, without waits: the mean over steps and halves.
    pub ms: f64,
    /// Floating-point operations per step if every window is multiplied by the weights; `None` if
    /// nothing is multiplied.
    pub gflop: Option<f64>,
    /// Rate of those operations.
    pub gflop_per_s: Option<f64>,
    /// Share of the rate of all processes' matrix products.
    pub products_share: Option<f64>,
}

/// The passes in the order in which the record has them.
pub(super) fn passes(
    steps: &[&HalfStep],
    network: &Network,
    batch: usize,
    products_gflop_per_s: f64,
) -> Vec<LayerPass> {
    let mut passes: Vec<LayerPass> = Vec::new();
    for row in steps.iter().flat_map(|step| &step.layers).filter(|row| row.compute_ms > 0.0) {
        let ms = row.compute_ms / steps.len() as f64;
        let known = passes.iter_mut().find(|p| (&p.layer, &p.pass) == (&row.layer, &row.pass));
        match known {
            Some(pass) => pass.ms += ms,
            None => passes.push(LayerPass {
                layer: row.layer.clone(),
                pass: row.pass.clone(),
                ms,
                gflop: gflop(network, &row.layer, &row.pass, batch),
                gflop_per_s: None,
                products_share: None,
            }),
        }
    }
    for pass in &mut passes {
        pass.gflop_per_s = pass.gflop.map(|gflop| 1e3 * gflop / pass.ms);
        pass.products_share = pass.gflop_per_s.map(|rate| rate / products_gflop_per_s);
    }
    passes
}

/// GFLOP per step of a layer's pass, if it multiplies.
fn gflop(network: &Network, layer: &str, pass: &str, batch: usize) -> Option<f64> {
    let mut passes = network.training_passes();
    let (_, _, flop) = passes.find(|(name, of, _)| (*name, of.name()) == (layer, pass))?;
    (flop > 0).then_some(flop as f64 * batch as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use coordinator::timing::LayerTime;
    use model::recipe::Recipe;

    use super::*;

    fn step(half: &str, rows: &[(&str, &str, f64)]) -> HalfStep {
        let row = |(layer, pass, compute_ms): &(&str, &str, f64)| LayerTime {
            layer: (*layer).into(),
            pass: (*pass).into(),
            compute_ms: *compute_ms,
            ..LayerTime::default()
        };
        let layers = rows.iter().map(row).collect();
        HalfStep { half: half.into(), layers, ..HalfStep::default() }
    }

    #[test]
    fn times_are_means_over_steps_and_halves_and_shares_follow() {
        let recipe = Recipe::builtin("caffe").unwrap();
        let network = Network::new(&recipe, 1000).unwrap();
        let a = step("half A", &[("data", "forward", 0.0), ("conv1", "forward", 100.0)]);
        let b = step("half B", &[("conv1", "forward", 200.0), ("conv1", "update", 3.0)]);
        let passes = passes(&[&a, &b], &network, 128, 300.0);
        let [forward, update] = passes.as_slice() else { panic!("{passes:?}") };
        assert_eq!((forward.layer.as_str(), forward.pass.as_str()), ("conv1", "forward"));
        let gflop = 2.0 * 105_415_200.0 * 128.0 / 1e9;
        assert_eq!((forward.ms, forward.gflop), (150.0, Some(gflop)));
        let share = gflop / 0.150 / 300.0;
        assert!((forward.products_share.unwrap() - share).abs() < 1e-9);
        assert_eq!((update.ms, update.gflop, update.products_share), (1.5, None, None));
    }
}
