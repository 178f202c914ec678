//! One process's part of the network on its device: weights, activations, gradients.
//!
//! All memory is taken here, before step 0. A layer is a chain of *stages*: the sum, then what
//! normalization and pooling make of it; activation and dropout work in place on a stage.

use std::collections::BTreeMap;
use std::ops::Range;

use model::halves::{Plan, PlannedLayer};
use model::layer::{After, Kind};
use model::params::Param;
use model::recipe::Recipe;
use model::shape::Shape;
use proto::wire::Magnitude;

use crate::backend::{Backend, Download};
use crate::error::{Error, Result};
pub use crate::mean::Mean;
use crate::mean::Subtrahend;
use crate::ops::{Between, Classes, Conv, Fc, InputRange, Lrn, Pool};
use crate::timing::Stopwatch;

/// One process's part of the network, with its memory.
#[derive(Debug)]
pub struct DeviceNetwork<B: Backend> {
    pub(crate) plan: Plan,
    pub(crate) recipe: Recipe,
    pub(crate) seed: u64,
    pub(crate) input: Input<B>,
    pub(crate) layers: Vec<LayerMemory<B>>,
    pub(crate) output: Output<B>,
    /// Layers between two exchanges.
    pub(crate) segments: Vec<Range<usize>>,
    pub(crate) stopwatch: Stopwatch<B>,
    /// Whether the next step is timed.
    pub(crate) timed: bool,
}

/// The minibatch on the device.
#[derive(Debug)]
pub(crate) struct Input<B: Backend> {
    /// Side of the stored pictures, in which crops lie.
    pub(crate) picture_side: usize,
    pub(crate) mean: Subtrahend<B>,
    pub(crate) pixels: B::Bytes,
    pub(crate) crops: B::Floats,
    pub(crate) labels: B::Floats,
    pub(crate) x: B::Floats,
}

/// Logits of the other half, and what softmax makes of both.
#[derive(Debug)]
pub(crate) struct Output<B: Backend> {
    pub(crate) classes: Classes,
    pub(crate) peer: Option<B::Floats>,
    pub(crate) probabilities: B::Floats,
    pub(crate) loss: B::Floats,
}

/// A layer's geometry and memory.
#[derive(Debug)]
pub(crate) struct LayerMemory<B: Backend> {
    pub(crate) name: &'static str,
    /// Position in the network, beginning with 1: picks the random stream of dropout.
    pub(crate) number: u32,
    pub(crate) work: Work,
    /// The inputs this process made itself.
    pub(crate) own: InputRange,
    /// At an exchange point: the inputs of the other half.
    pub(crate) peer: Option<PeerInputs<B>>,
    pub(crate) weight: Tensor<B>,
    pub(crate) bias: Tensor<B>,
    pub(crate) stages: Vec<Stage<B>>,
}

/// Computation of a layer, with its sizes.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    /// A convolution.
    Conv(Conv),
    /// A fully-connected layer.
    Fc(Fc),
}

impl Work {
    /// The computation of a planned layer.
    pub fn of(layer: &PlannedLayer) -> Self {
        match layer.kind {
            Kind::Conv { kernel, stride, pad } => Self::Conv(Conv {
                inputs: layer.input.maps,
                side: layer.input.side,
                maps: layer.pre_activation.maps,
                out_side: layer.pre_activation.side,
                kernel,
                stride,
                pad,
                groups: layer.groups,
            }),
            Kind::FullyConnected => {
                Self::Fc(Fc { inputs: layer.input.len(), units: layer.pre_activation.maps })
            }
        }
    }

    /// Some of a planned layer's input maps, counted along the weights' second dimension: maps of
    /// a convolution, numbers of a fully-connected layer.
    pub fn range(layer: &PlannedLayer, maps: &Range<usize>) -> InputRange {
        let a_map = match layer.kind {
            Kind::Conv { .. } => 1,
            Kind::FullyConnected => layer.input.side * layer.input.side,
        };
        InputRange(maps.start * a_map..maps.end * a_map)
    }
}

/// The other half's maps at an exchange point.
#[derive(Debug)]
pub(crate) struct PeerInputs<B: Backend> {
    pub(crate) range: InputRange,
    /// Numbers per image.
    pub(crate) len: usize,
    /// Activations that the other half sent.
    pub(crate) value: B::Floats,
    /// Gradient of these activations, which this half sends back.
    pub(crate) gradient: B::Floats,
    /// Gradient of this half's own maps from the other half, `own_len` numbers per image.
    pub(crate) arriving: B::Floats,
    pub(crate) own_len: usize,
}

/// A parameter with momentum and gradient.
#[derive(Debug)]
pub(crate) struct Tensor<B: Backend> {
    pub(crate) param: Param,
    pub(crate) value: B::Floats,
    pub(crate) momentum: B::Floats,
    pub(crate) gradient: B::Floats,
}

/// Activations that have memory of their own, and their gradient.
#[derive(Debug)]
pub(crate) struct Stage<B: Backend> {
    pub(crate) made: Made<B>,
    pub(crate) shape: Shape,
    pub(crate) value: B::Floats,
    pub(crate) gradient: B::Floats,
    /// Applied in place, in order.
    pub(crate) in_place: Vec<After>,
}

/// Operation that made a stage from the one before.
#[derive(Debug)]
pub(crate) enum Made<B: Backend> {
    Sum,
    Lrn { lrn: Lrn, scale: B::Floats },
    Pool { pool: Pool, argmax: B::Bytes },
    LrnPool { lrn: Lrn, pool: Pool, between: Between<B::Floats>, argmax: B::Bytes },
}

impl<B: Backend> DeviceNetwork<B> {
    /// Takes all memory and sets the initial values.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if the device has no room; [`Error::Shape`] if the mean image is not
    /// `[3, side, side]`.
    pub fn new(dev: &mut B, plan: Plan, recipe: &Recipe, seed: u64, mean: &Mean) -> Result<Self> {
        let batch = recipe.batch;
        let (len, at_once) = transfers(&plan, recipe);
        dev.reserve_transfers(len, at_once)?;
        let input = Input {
            picture_side: mean.side,
            mean: Subtrahend::new(dev, recipe.mean, mean, plan.input.side)?,
            pixels: dev.bytes("pixels", batch * plan.input.len())?,
            crops: dev.floats("crops", batch * 6)?,
            labels: dev.floats("labels", batch)?,
            x: dev.floats("input", batch * plan.input.len())?,
        };
        let mut layers = Vec::with_capacity(plan.layers.len());
        for layer in &plan.layers {
            layers.push(LayerMemory::new(dev, layer, recipe, seed)?);
            dev.watch().mark();
        }
        let own = plan.own_classes();
        let others = plan.classes - own.len();
        let output = Output {
            classes: Classes { classes: plan.classes, own, batch },
            peer: if others > 0 { Some(dev.floats("peer logits", batch * others)?) } else { None },
            probabilities: dev.floats("probabilities", batch * plan.classes)?,
            loss: dev.floats("loss", batch)?,
        };
        let segments = segments(&plan);
        Ok(Self {
            plan,
            recipe: recipe.clone(),
            seed,
            input,
            layers,
            output,
            segments,
            stopwatch: Stopwatch::default(),
            timed: false,
        })
    }

    /// The micro-batches in which `n` images pass the segment that begins with this layer. One that
    /// begins with a fully-connected layer takes them at once, since it would read its weights anew
    /// for each micro-batch.
    pub(crate) fn micro_batches(&self, layer: usize, n: usize) -> Vec<Range<usize>> {
        let at_once = match self.layers[layer].work {
            Work::Conv(_) => self.recipe.batch.div_ceil(self.recipe.slices.max(1)),
            Work::Fc(_) => n,
        };
        (0..n).step_by(at_once.max(1)).map(|from| from..n.min(from + at_once)).collect()
    }

    /// Every parameter, layer by layer, weights first.
    pub(crate) fn tensors(&mut self) -> impl Iterator<Item = &mut Tensor<B>> {
        self.layers.iter_mut().flat_map(|layer| [&mut layer.weight, &mut layer.bias])
    }

    /// Gradients of the last step by parameter name, for tests and inspection.
    ///
    /// # Errors
    /// The device's.
    pub fn gradients(&mut self, dev: &mut B) -> Result<BTreeMap<String, Vec<f32>>> {
        self.tensors()
            .map(|t| Ok((t.param.name.clone(), download(dev, &t.gradient, 0..t.param.len())?)))
            .collect()
    }

    /// Activations of a layer for the first `n` images of the last minibatch, `[n, len]`: own maps
    /// or units, after all operations that follow the pre-activation.
    ///
    /// # Errors
    /// [`Error::NoLayer`], or the device's.
    pub fn activations(&self, dev: &mut B, layer: &str, n: usize) -> Result<Vec<f32>> {
        let named = self.layers.iter().find(|one| one.name == layer);
        let last = named.map(LayerMemory::last).ok_or_else(|| Error::NoLayer {
            layer: layer.into(),
            layers: self.layers.iter().map(|one| one.name).collect::<Vec<_>>().join(", "),
        })?;
        download(dev, &last.value, 0..n * last.shape.len())
    }
}

impl<B: Backend> DeviceNetwork<B> {
    /// Sums of |w| and of the last step's |Δw| over the weights of each layer, without biases. The
    /// authors' program printed the means.
    ///
    /// # Errors
    /// The device's.
    pub(crate) fn magnitudes(&mut self, dev: &mut B) -> Result<Vec<Magnitude>> {
        let sum = |dev: &mut B, from: &B::Floats, len| {
            let values = download(dev, from, 0..len)?;
            Ok(values.iter().map(|value| f64::from(value.abs())).sum::<f64>())
        };
        let magnitude = |layer: &LayerMemory<B>| {
            let Tensor { param, value, momentum, .. } = &layer.weight;
            Ok(Magnitude {
                layer: layer.name.into(),
                n: param.len() as u64,
                weights: sum(dev, value, param.len())?,
                // The update adds the momentum to the weights.
                updates: sum(dev, momentum, param.len())?,
            })
        };
        self.layers.iter().map(magnitude).collect()
    }
}

impl<B: Backend> LayerMemory<B> {
    fn new(dev: &mut B, layer: &PlannedLayer, recipe: &Recipe, seed: u64) -> Result<Self> {
        let [weight, bias] = &layer.params;
        let range = |maps: &Range<usize>| Work::range(layer, maps);
        let peer = if layer.exchanges {
            let maps = layer.peer_inputs();
            let pixels = layer.input.side * layer.input.side;
            let (len, own_len) = (maps.len() * pixels, layer.own_inputs.len() * pixels);
            Some(PeerInputs {
                range: range(&maps),
                len,
                value: dev.floats("peer activations", recipe.batch * len)?,
                gradient: dev.floats("peer gradient", recipe.batch * len)?,
                arriving: dev.floats("arriving gradient", recipe.batch * own_len)?,
                own_len,
            })
        } else {
            None
        };
        let work = Work::of(layer);
        match &work {
            // A convolution sees a micro_batch at a time.
            Work::Conv(conv) => {
                let micro_batch = recipe.batch.div_ceil(recipe.slices.max(1));
                dev.reserve(Some(conv), None, micro_batch)?;
            }
            Work::Fc(fc) => dev.reserve(None, Some(fc), recipe.batch)?,
        }
        Ok(Self {
            name: layer.name,
            number: layer.number,
            work,
            own: range(&layer.own_inputs),
            peer,
            weight: Tensor::new(dev, weight, seed)?,
            bias: Tensor::new(dev, bias, seed)?,
            stages: stages(dev, layer, recipe)?,
        })
    }

    pub(crate) fn last(&self) -> &Stage<B> {
        &self.stages[self.stages.len() - 1]
    }

    pub(crate) fn last_mut(&mut self) -> &mut Stage<B> {
        let last = self.stages.len() - 1;
        &mut self.stages[last]
    }
}

impl<B: Backend> Tensor<B> {
    fn new(dev: &mut B, param: &Param, seed: u64) -> Result<Self> {
        let mut value = dev.floats("weights", param.len())?;
        upload(dev, &param.initial(seed), &mut value)?;
        Ok(Self {
            value,
            momentum: dev.floats("momentum", param.len())?,
            gradient: dev.floats("gradient", param.len())?,
            param: param.clone(),
        })
    }
}

/// The sum, and a stage for each operation that can't work in place.
fn stages<B: Backend>(dev: &mut B, layer: &PlannedLayer, recipe: &Recipe) -> Result<Vec<Stage<B>>> {
    let stage = |dev: &mut B, made, shape: Shape| -> Result<Stage<B>> {
        Ok(Stage {
            made,
            shape,
            value: dev.floats("activations", recipe.batch * shape.len())?,
            gradient: dev.floats("activations' gradient", recipe.batch * shape.len())?,
            in_place: Vec::new(),
        })
    };
    let mut stages = vec![stage(dev, Made::Sum, layer.pre_activation)?];
    let mut shape = layer.pre_activation;
    let normalize = |shape: Shape| {
        let pixels = shape.side * shape.side;
        lrn(recipe, shape.maps, pixels, layer.lrn_groups)
    };
    let stored = |shape: Shape| if B::STORES_NORMALIZED { recipe.batch * shape.len() } else { 0 };
    let mut ops = layer.after.iter().peekable();
    while let Some(op) = ops.next() {
        let made = match op {
            After::Activation | After::Dropout => {
                let last = stages.len() - 1;
                stages[last].in_place.push(*op);
                continue;
            }
            After::Lrn if ops.next_if_eq(&&After::Pool).is_some() => {
                let len = stored(shape);
                let between = Between {
                    scale: dev.floats("normalization scale", len)?,
                    value: dev.floats("normalized activations", len)?,
                    gradient: dev.floats("normalized activations' gradient", len)?,
                };
                let (lrn, pool) = (normalize(shape), pool(recipe, layer, shape));
                shape.side = pool.out_side;
                let argmax = dev.bytes("pooling places", recipe.batch * shape.len())?;
                Made::LrnPool { lrn, pool, between, argmax }
            }
            After::Lrn => {
                let scale = dev.floats("normalization scale", stored(shape))?;
                Made::Lrn { lrn: normalize(shape), scale }
            }
            After::Pool => {
                let pool = pool(recipe, layer, shape);
                shape.side = pool.out_side;
                let argmax = dev.bytes("pooling places", recipe.batch * shape.len())?;
                Made::Pool { pool, argmax }
            }
        };
        stages.push(stage(dev, made, shape)?);
    }
    Ok(stages)
}

fn pool(recipe: &Recipe, layer: &PlannedLayer, from: Shape) -> Pool {
    Pool {
        maps: from.maps,
        side: from.side,
        out_side: layer.output.side,
        size: recipe.pool_size,
        stride: recipe.pool_stride,
    }
}

fn lrn(recipe: &Recipe, maps: usize, pixels: usize, groups: usize) -> Lrn {
    Lrn {
        maps,
        pixels,
        groups,
        size: recipe.lrn_size,
        k: recipe.lrn_k as f32,
        alpha: recipe.lrn_alpha_on_sum() as f32,
        beta: recipe.lrn_beta as f32,
    }
}

/// The longest tensor that leaves or arrives in a step, and how many may be on their way at once:
/// the micro-batches of two exchange points, since a half that waits at the third knows that the
/// first were taken; and probabilities and losses, which leave beside them.
fn transfers(plan: &Plan, recipe: &Recipe) -> (usize, usize) {
    let micro_batch = recipe.batch.div_ceil(recipe.slices.max(1));
    let exchanged = plan.layers.iter().filter(|layer| layer.exchanges).flat_map(|layer| {
        let a_map = layer.input.side * layer.input.side;
        let n = if matches!(Work::of(layer), Work::Conv(_)) { micro_batch } else { recipe.batch };
        [layer.own_inputs.len(), layer.peer_inputs().len()].map(|maps| n * maps * a_map)
    });
    let outputs = recipe.batch * plan.classes;
    (exchanged.max().unwrap_or(0).max(outputs), 2 * recipe.slices.max(1) + 4)
}

/// Runs of layers that need nothing from the other half after their first one.
fn segments(plan: &Plan) -> Vec<Range<usize>> {
    let n = plan.layers.len();
    let mut starts: Vec<usize> = (0..n).filter(|i| *i == 0 || plan.layers[*i].exchanges).collect();
    starts.push(n);
    starts.windows(2).map(|w| w[0]..w[1]).collect()
}

pub(crate) fn upload<B: Backend>(dev: &mut B, from: &[f32], to: &mut B::Floats) -> Result<()> {
    let bytes = proto::chunk::floats_to_bytes(from);
    dev.upload(&[bytes], model::recipe::Encoding::F32, 0, to, 0)
}

pub(crate) fn download<B: Backend>(
    dev: &mut B,
    from: &B::Floats,
    range: Range<usize>,
) -> Result<Vec<f32>> {
    floats(dev.download(from, range, model::recipe::Encoding::F32)?)
}

/// Waits for a tensor on its way.
pub(crate) fn floats(leaving: Download) -> Result<Vec<f32>> {
    let bytes = leaving.wait()?.bytes;
    proto::chunk::bytes_to_floats(&bytes).ok_or(Error::Shape {
        tensor: "downloaded tensor",
        got: bytes.len(),
        want: bytes.len().next_multiple_of(4),
    })
}
