//! Drawings as SVG and PNG.

pub(crate) mod canvas; // files, the embedded font, lines of text
pub(crate) mod confusion; // the confusion matrix
mod series; // numbers over steps, made ready to be drawn
mod panel; // one diagram with its axes
pub(crate) mod curves; // loss, errors and speed of one run
pub(crate) mod runs; // errors and loss of several runs
pub(crate) mod filters; // kernels of the first convolution
pub(crate) mod predictions; // pictures with bars for their most probable classes
pub(crate) mod similar; // pictures with those most like them
pub(crate) mod sheet; // pictures with captions
pub(crate) mod step; // one timed step, layer by layer
