//! The network cut in two: what each half owns, and where they exchange.

use std::ops::Range;

use crate::layer::{After, Kind, Reads};
use crate::params::{self, Param};
use crate::recipe::Recipe;
use crate::shape::{Network, Shape};

/// One of the two halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Half {
    /// The first maps of every layer; reports loss and errors.
    A,
    /// The other maps.
    B,
}

impl Half {
    /// Both, in order.
    pub const BOTH: [Half; 2] = [Half::A, Half::B];

    /// The other one.
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

/// How much of the network one process computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// All of it: the uncut reference, and the one-column network.
    Whole,
    /// One half.
    Half(Half),
}

impl Partition {
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

/// `the network`, `half A` or `half B`, as sentences need it.
impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Partition::Whole => f.write_str("the network"),
            Partition::Half(half) => write!(f, "half {half}"),
        }
    }
}

/// What one process computes: its part of every layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Which part of the network.
    pub partition: Partition,
    /// The image as the first layer sees it.
    pub input: Shape,
    /// Classes of the whole network.
    pub classes: usize,
    /// Top to bottom.
    pub layers: Vec<PlannedLayer>,
}

/// One process's part of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedLayer {
    /// The layer's name, as in parameters, spans and exchange headers.
    pub name: &'static str,
    /// Position in the network from the input on, beginning with 1; picks random streams.
    pub number: u32,
    /// What it computes.
    pub kind: Kind,
    /// Convolution groups inside this process: 2 only in the whole network, where the halves of
    /// conv2, conv4 and conv5 sit side by side.
    pub groups: usize,
    /// Whether the other half's maps are read too: an exchange point.
    pub exchanges: bool,
    /// All maps the layer reads here: own and, at an exchange point, the peer's.
    pub input: Shape,
    /// Which of `input`'s maps this process made itself; the others come from the peer.
    pub own_inputs: Range<usize>,
    /// The output maps this process owns, numbered in the whole network.
    pub maps: Range<usize>,
    /// Own maps before the operations of `after`.
    pub pre_activation: Shape,
    /// What follows the weights and biases.
    pub after: Vec<After>,
    /// LRN groups inside this process: a normalization never looks across halves.
    pub lrn_groups: usize,
    /// Own maps after everything in `after`.
    pub output: Shape,
    /// Weights, then biases.
    pub params: [Param; 2],
}

impl PlannedLayer {
    /// Inputs of one output in this process, the peer's included.
    pub fn fan_in(&self) -> usize {
        match self.kind {
            Kind::Conv { kernel, .. } => self.input.maps / self.groups * kernel * kernel,
            Kind::FullyConnected => self.input.len() / self.groups,
        }
    }

    /// Maps that come from the peer: none unless the layer exchanges.
    pub fn peer_inputs(&self) -> Range<usize> {
        if self.own_inputs.start == 0 {
            self.own_inputs.end..self.input.maps
        } else {
            0..self.own_inputs.start
        }
    }
}

impl Plan {
    /// Derives one process's part from the network.
    pub fn new(network: &Network, recipe: &Recipe, partition: Partition) -> Self {
        let mut made: Range<usize> = 0..network.input.maps; // the image is everyone's own
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

    /// Every weight and bias of this process, layer by layer, weights first.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.layers.iter().flat_map(|layer| layer.params.iter())
    }

    /// The units of the last layer this process owns.
    pub fn own_classes(&self) -> Range<usize> {
        self.layers.last().map_or(0..0, |layer| layer.maps.clone())
    }
}

/// The layers at which the halves meet, top to bottom.
pub fn exchange_points(network: &Network) -> impl Iterator<Item = &'static str> + '_ {
    network.layers.iter().skip(1).filter(|l| l.reads == Reads::BothHalves).map(|l| l.name)
}

/// What a half sends the other at each exchange point, top to bottom: the layer and the numbers an
/// image.
///
/// Forward it is this half's activations; backward, the gradients of the other half's, which are as
/// many where both halves own as many. Each half's own part of the logits comes on top.
pub fn exchange_floats_per_image(plan: &Plan) -> impl Iterator<Item = (&'static str, usize)> + '_ {
    plan.layers
        .iter()
        .filter(|layer| layer.exchanges)
        .map(|layer| (layer.name, layer.own_inputs.len() * layer.input.side * layer.input.side))
}
