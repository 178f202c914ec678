//! The layers of the network that a recipe trains: its table, with layers left out, added or cut
//! off from the other half.

use super::{NetworkName, Recipe};
use crate::alexnet::{ALEXNET, CONV6, ONE_COLUMN};
use crate::cifar::CIFAR10;
use crate::layer::{After, Kind, Layer, Reads};
use crate::shape::ShapeError;

/// A layer and its number in the network's table, counted from 1 at the input.
///
/// The number stays the same when other layers are left out, so that the remaining ones keep their
/// initial weights.
pub(crate) type Row = (u32, Layer);

/// The number of the sixth convolution: behind those of the table, whose layers keep theirs.
const CONV6_NUMBER: u32 = ALEXNET.len() as u32 + 1;

impl Recipe {
    /// The layers from input to output, with their numbers.
    ///
    /// # Errors
    /// [`ShapeError::Layers`] if `without`, `unlinked` or `conv6` names something that the network
    /// doesn't have or can't do.
    pub fn rows(&self) -> Result<Vec<Row>, ShapeError> {
        let mut rows = self.table()?;
        for name in &self.unlinked {
            let allowed = "layers that read both halves, except the last";
            let last = rows.len() - 1;
            let row = rows[..last].iter_mut().find(|(_, row)| row.name == *name);
            match row {
                Some((_, row)) if row.reads == Reads::BothHalves => row.reads = Reads::OwnHalf,
                _ => return Err(value("unlinked", name, allowed)),
            }
        }
        for name in &self.without {
            leave_out(&mut rows, name)?;
        }
        Ok(rows)
    }

    /// Names of all layers that a recipe may give values for, those left out included.
    pub(super) fn layer_names(&self) -> Result<Vec<&'static str>, ShapeError> {
        Ok(self.table()?.iter().map(|(_, row)| row.name).collect())
    }

    /// The network's table, with the sixth convolution if the recipe has it.
    fn table(&self) -> Result<Vec<Row>, ShapeError> {
        let (table, two_halves): (&[Layer], _) = match (self.network, self.columns) {
            (NetworkName::Alexnet, 1) => (&ONE_COLUMN, false),
            (NetworkName::Alexnet, _) => (&ALEXNET, true),
            (NetworkName::Cifar10, _) => (&CIFAR10, true),
        };
        let mut rows: Vec<Row> = (1..).zip(table.iter().copied()).collect();
        if self.conv6 {
            let conv5 = rows.iter().position(|(_, row)| row.name == "conv5");
            let Some(conv5) = conv5.filter(|_| two_halves) else {
                let allowed = "false, unless network = alexnet and columns = 2";
                return Err(value("conv6", "true", allowed));
            };
            rows.insert(conv5 + 1, (CONV6_NUMBER, CONV6));
        }
        Ok(rows)
    }
}

/// Removes a layer. Its pooling and its exchange stay: the layer before pools in its place, and the
/// layer after reads both halves in its place, so that all others keep their sizes.
fn leave_out(rows: &mut Vec<Row>, name: &str) -> Result<(), ShapeError> {
    let allowed = "layers between the first and the last, each once";
    let at = rows.iter().position(|(_, row)| row.name == name);
    let Some(at) = at.filter(|&at| at > 0 && at + 1 < rows.len()) else {
        return Err(value("without", name, allowed));
    };
    let (_, gone) = rows[at];
    let before = &mut rows[at - 1].1;
    if gone.after.contains(&After::Pool) {
        if before.after != [After::Activation] || before.kind == Kind::FullyConnected {
            let allowed = format!(
                "layers whose pooling the layer before can take over; {} has its own",
                before.name
            );
            return Err(value("without", name, &allowed));
        }
        before.after = &[After::Activation, After::Pool];
    }
    if gone.reads == Reads::BothHalves {
        rows[at + 1].1.reads = Reads::BothHalves;
    }
    rows.remove(at);
    Ok(())
}

fn value(key: &'static str, value: &str, allowed: &str) -> ShapeError {
    ShapeError::Layers { key, value: value.into(), allowed: allowed.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::RecipeError;
    use crate::shape::Network;

    fn network(changes: &[&str]) -> Result<Network, RecipeError> {
        let mut recipe = Recipe::default();
        recipe.set_all(changes)?;
        Ok(Network::new(&recipe, 1000)?)
    }

    #[test]
    fn a_layer_left_out_hands_on_its_pooling_and_its_exchange() {
        let all = network(&[]).unwrap();
        for (name, before, after) in
            [("conv3", "conv2", "conv4"), ("conv4", "conv3", "conv5"), ("conv5", "conv4", "fc6")]
        {
            let cut = network(&[&format!("without={name}")]).unwrap();
            let of = |network: &Network, name: &str| {
                network.layers.iter().find(|layer| layer.name == name).unwrap().clone()
            };
            assert_eq!(cut.layers.len(), 7);
            assert_eq!(of(&cut, before).output.side, of(&all, name).output.side, "{name}");
            let (now, then) = (of(&cut, after), of(&all, after));
            assert_eq!((now.number, now.input.side), (then.number, then.input.side), "{name}");
            let linked = of(&all, name).reads == Reads::BothHalves;
            assert_eq!(now.reads == Reads::BothHalves, linked || then.reads == Reads::BothHalves);
        }
        let cut = network(&["without=[conv4, conv5]"]).unwrap();
        assert_eq!(cut.layers.len(), 6);
        assert_eq!(cut.layers[3].input, crate::shape::Shape { maps: 384, side: 6 });
    }

    #[test]
    fn the_sixth_convolution_reads_pool5_of_both_halves_and_changes_no_other_layer() {
        let (all, six) = (network(&[]).unwrap(), network(&["conv6=true"]).unwrap());
        let conv6 = &six.layers[5];
        assert_eq!((conv6.name, conv6.reads), ("conv6", Reads::BothHalves));
        assert_eq!((conv6.input.side, conv6.output.side, conv6.output.maps), (6, 6, 256));
        let mut others = six.layers.clone();
        others.remove(5);
        assert_eq!(others, all.layers);
    }

    #[test]
    fn an_unlinked_layer_reads_its_own_half() {
        let cut = network(&["unlinked=[conv3, fc6]"]).unwrap();
        let groups: Vec<_> = cut.layers.iter().map(|layer| layer.groups).collect();
        assert_eq!(groups, [1, 2, 2, 2, 2, 2, 1, 1]);
    }

    #[test]
    fn what_a_network_does_not_have_or_can_not_do_is_refused_by_its_key() {
        for (changes, words) in [
            (&["without=conv1"][..], "between the first and the last"),
            (&["without=fc8"], "between the first and the last"),
            (&["without=conv9"], "between the first and the last"),
            (&["without=[conv4, conv4]"], "each once"),
            (&["without=conv2"], "conv1 has its own"),
            (&["without=[conv3, conv4, conv5]"], "conv2 has its own"),
            (&["unlinked=conv4"], "read both halves"),
            (&["unlinked=fc8"], "except the last"),
            (&["conv6=true", "columns=1"], "columns = 2"),
            (&["biases.conv6=1"], "no layer \"conv6\""),
        ] {
            let said = network(changes).unwrap_err().to_string();
            assert!(said.contains(words), "{changes:?}: {said}");
        }
        network(&["conv6=true", "biases.conv6=1"]).unwrap();
        network(&["without=conv4", "rates.conv4=2"]).unwrap();
    }
}
