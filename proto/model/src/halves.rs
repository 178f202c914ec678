//! The network cut in two: the layers of each half, and the points at which the halves exchange.

use std::ops::Range;

use crate::layer::{After, Kind, Reads};
use crate::params::{self, Param};
use crate::recipe::Recipe;
use crate::shape::{Network, Shape};

/// One of the two halves of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Half {
    /// The first maps of every layer; reports loss and errors.
    A,
    /// The second maps of every layer.
    B,
}

impl Half {
    /// Both halves, A first.
    pub const BOTH: [Half; 2] = [Half::A, Half::B];

    /// The other half.
    pub const fn other(self) -> Self {
        match self {
            Half::A => Half::B,
            Half::B => Half::A,
        }
    }
}

impl std::fmt::Display for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Half::A => "A",
            Half::B => "B",
        })
    }
}

/// The share of the network that one process computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// The whole network: the uncut reference, and the one-column network.
    Whole,
    /// One half.
    Half(Half),
}

impl Partition {
    /// The partitions of a network with so many columns, half A first.
    pub const fn of(columns: usize) -> &'static [Self] {
        match columns {
            1 => &[Partition::Whole],
            _ => &[Partition::Half(Half::A), Partition::Half(Half::B)],
        }
    }

    /// `whole`, `A` or `B`: the name in records, metrics and spans.
    pub const fn label(self) -> &'static str {
        match self {
            Partition::Whole => "whole",
            Partition::Half(Half::A) => "A",
            Partition::Half(Half::B) => "B",
        }
    }

    /// `whole`, `half-a` or `half-b`: the name of this partition's files.
    pub const fn file_stem(self) -> &'static str {
        match self {
            Partition::Whole => "whole",
            Partition::Half(Half::A) => "half-a",
            Partition::Half(Half::B) => "half-b",
        }
    }

    /// The maps (or units) of `maps` that this process owns; an odd count gives half A one more.
    pub fn own(self, maps: usize) -> Range<usize> {
        let middle = maps.div_ceil(2);
        match self {
            Partition::Whole => 0..maps,
            Partition::Half(Half::A) => 0..middle,
            Partition::Half(Half::B) => middle..maps,
        }
    }
}

/// `the network`, `half A` or `half B`, for use in sentences.
impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Partition::Whole => f.write_str("the network"),
            Partition::Half(half) => write!(f, "half {half}"),
        }
    }
}

/// The plan of one process: its share of every layer, with all sizes.
///
/// ```
/// use model::halves::{Half, Partition, Plan};
/// use model::recipe::Recipe;
/// use model::shape::Network;
///
/// let recipe = Recipe::default();
/// let network = Network::new(&recipe, 1000)?;
/// let plan = Plan::new(&network, &recipe, Partition::Half(Half::B));
/// assert_eq!((plan.layers[0].name, plan.layers[0].maps.clone()), ("conv1", 48..96));
/// assert!(plan.layers[2].exchanges, "conv3 reads the maps of both halves");
/// # Ok::<(), model::shape::ShapeError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Share of the network that this process computes.
    pub partition: Partition,
    /// Shape of the input image.
    pub input: Shape,
    /// Number of classes of the whole network.
    pub classes: usize,
    /// Layers from input to output.
    pub layers: Vec<PlannedLayer>,
}

/// One process's share of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedLayer {
    /// The layer's name, as in parameters, spans and exchange headers.
    pub name: &'static str,
    /// Position in the network, counted from 1 at the input; selects the random streams.
    pub number: u32,
    /// Operation that computes the pre-activation.
    pub kind: Kind,
    /// Number of convolution groups in this process: 2 only in the whole network, where the halves
    /// of conv2, conv4 and conv5 are side by side.
    pub groups: usize,
    /// Whether this layer is an exchange point, which reads the peer's maps too.
    pub exchanges: bool,
    /// Shape of all inputs: own maps and, at an exchange point, the peer's.
    pub input: Shape,
    /// Range of the input maps that this process computes; the others come from the peer.
    pub own_inputs: Range<usize>,
    /// Output maps that this process owns, numbered as in the whole network.
    pub maps: Range<usize>,
    /// Shape of the own pre-activation.
    pub pre_activation: Shape,
    /// Operations that follow the pre-activation, in order.
    pub after: Vec<After>,
    /// Number of LRN groups in this process; a normalization never reads across halves.
    pub lrn_groups: usize,
    /// Shape of the own output, after all operations of `after`.
    pub output: Shape,
    /// Weights, and then biases.
    pub params: [Param; 2],
}

impl PlannedLayer {
    /// Number of inputs of one output in this process, including the peer's.
    pub fn fan_in(&self) -> usize {
        match self.kind {
            Kind::Conv { kernel, .. } => self.input.maps / self.groups * kernel * kernel,
            Kind::FullyConnected => self.input.len() / self.groups,
        }
    }

    /// Range of the input maps that come from the peer; empty unless the layer exchanges.
    pub fn peer_inputs(&self) -> Range<usize> {
        if self.own_inputs.start == 0 {
            self.own_inputs.end..self.input.maps
        } else {
            0..self.own_inputs.start
        }
    }
}

impl Plan {
    /// Derives the plan of one process from the network.
    pub fn new(network: &Network, recipe: &Recipe, partition: Partition) -> Self {
        let mut made: Range<usize> = 0..network.input.maps; // every process has the image
        let mut layers = Vec::with_capacity(network.layers.len());
        for (i, layer) in network.layers.iter().enumerate() {
            let exchanges =
                i > 0 && partition != Partition::Whole && layer.reads == Reads::BothHalves;
            let maps = partition.own(layer.pre_activation.maps);
            let (input_maps, own_inputs, groups) = match partition {
                Partition::Whole => (layer.input.maps, 0..layer.input.maps, layer.groups),
                Partition::Half(_) if exchanges || i == 0 => (layer.input.maps, made.clone(), 1),
                Partition::Half(_) => (made.len(), 0..made.len(), 1),
            };
            layers.push(PlannedLayer {
                name: layer.name,
                number: layer.number,
                kind: layer.kind,
                groups,
                exchanges,
                input: Shape { maps: input_maps, side: layer.input.side },
                own_inputs,
                pre_activation: Shape { maps: maps.len(), side: layer.pre_activation.side },
                after: layer.after.clone(),
                lrn_groups: if partition == Partition::Whole && network.columns == 2 {
                    2
                } else {
                    1
                },
                output: Shape { maps: maps.len(), side: layer.output.side },
                params: params::of(layer, recipe, maps.clone()),
                maps: maps.clone(),
            });
            made = maps;
        }
        Self { partition, input: network.input, classes: network.classes, layers }
    }

    /// The plan of each process of a network, half A first; a one-column network has one.
    pub fn all(network: &Network, recipe: &Recipe) -> Vec<Self> {
        let partitions = Partition::of(network.columns);
        partitions.iter().map(|part| Self::new(network, recipe, *part)).collect()
    }

    /// All weights and biases of this process, layer by layer, weights first.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.layers.iter().flat_map(|layer| layer.params.iter())
    }

    /// Units of the last layer that this process owns.
    pub fn own_classes(&self) -> Range<usize> {
        self.layers.last().map_or(0..0, |layer| layer.maps.clone())
    }
}

/// The layers at which the halves exchange, from input to output.
pub fn exchange_points(network: &Network) -> impl Iterator<Item = &'static str> + '_ {
    network.layers.iter().skip(1).filter(|l| l.reads == Reads::BothHalves).map(|l| l.name)
}

/// The layer and the number of values per image that a half sends at each exchange point, from
/// input to output.
///
/// Forward, a half sends its activations; backward, the gradients of the other half's, which are as
/// many if both halves own the same number. The logits are exchanged in addition.
pub fn exchange_floats_per_image(plan: &Plan) -> impl Iterator<Item = (&'static str, usize)> + '_ {
    plan.layers
        .iter()
        .filter(|layer| layer.exchanges)
        .map(|layer| (layer.name, layer.own_inputs.len() * layer.input.side * layer.input.side))
}
