//! The paper's four-layer network for CIFAR-10 (Figure 1: ReLU against tanh).

use crate::layer::{After::*, Layer, Reads::*, conv, fc};

/// Every layer reads both halves, so that the cut network is the uncut one, except for response
/// normalization. Figure 1's networks have none; the paper's §3.3 tells of one that has.
#[rustfmt::skip] // one layer per line
pub const CIFAR10: [Layer; 4] = [
    //    name    maps  kernel stride pad  reads       what follows the sum
    conv("conv1",   32,    5,    1,    2,  OwnHalf,    &[Activation, Lrn, Pool]),
    conv("conv2",   32,    5,    1,    2,  BothHalves, &[Activation, Lrn, Pool]),
    conv("conv3",   64,    5,    1,    2,  BothHalves, &[Activation, Pool]),
    fc("fc4",     10,                    BothHalves, &[]),
];
