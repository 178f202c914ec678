//! AlexNet: eight layers, top to bottom. Everything else about sizes is computed from this table.

use crate::layer::{After::*, Layer, Reads::*, conv, fc};

/// The network of the paper's Figure 2, both halves together.
#[rustfmt::skip] // one layer per line: read it against Figure 2 of the paper
pub const ALEXNET: [Layer; 8] = [
    //    name    maps  kernel stride pad  reads       what follows the sum
    conv("conv1",   96,   11,    4,    0,  OwnHalf,    &[Activation, Lrn, Pool]),
    conv("conv2",  256,    5,    1,    2,  OwnHalf,    &[Activation, Lrn, Pool]),
    conv("conv3",  384,    3,    1,    1,  BothHalves, &[Activation]),
    conv("conv4",  384,    3,    1,    1,  OwnHalf,    &[Activation]),
    conv("conv5",  256,    3,    1,    1,  OwnHalf,    &[Activation, Pool]),
    fc("fc6",   4096,                    BothHalves, &[Activation, Dropout]),
    fc("fc7",   4096,                    BothHalves, &[Activation, Dropout]),
    fc("fc8",   1000,                    BothHalves, &[]),
];

/// The sixth convolution of the networks that the paper's Table 2 marks with a star, over conv5's
/// pooled maps of both halves; its size is the authors' (layer-params-146).
pub const CONV6: Layer = conv("conv6", 256, 3, 1, 1, BothHalves, &[Activation]);

/// The half-width network on one GPU that the paper compares with (§3.2, footnote 2): the
/// convolutions halved except the last, the fully-connected layers not.
#[rustfmt::skip]
pub const ONE_COLUMN: [Layer; 8] = [
    conv("conv1",   48,   11,    4,    0,  OwnHalf,    &[Activation, Lrn, Pool]),
    conv("conv2",  128,    5,    1,    2,  OwnHalf,    &[Activation, Lrn, Pool]),
    conv("conv3",  192,    3,    1,    1,  OwnHalf,    &[Activation]),
    conv("conv4",  192,    3,    1,    1,  OwnHalf,    &[Activation]),
    conv("conv5",  256,    3,    1,    1,  OwnHalf,    &[Activation, Pool]),
    fc("fc6",   4096,                    OwnHalf,    &[Activation, Dropout]),
    fc("fc7",   4096,                    OwnHalf,    &[Activation, Dropout]),
    fc("fc8",   1000,                    OwnHalf,    &[]),
];
